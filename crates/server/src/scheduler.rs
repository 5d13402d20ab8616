//! Which generations run together: one thread, which goes with all of them a step at a time.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Batch, EndReason, Generation, InterventionReport, Plan, RuntimeError, Sampling, Step,
    StepOutcome,
};
use nanoscope_sae::SparseFeatures;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::scope::Scope;
use crate::stop_strings::StopStrings;

/// A generation that is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) prompt: Vec<u32>,
    pub(crate) plan: Plan,
    pub(crate) sampling: Sampling,
    /// Texts that end it.
    pub(crate) stop: Vec<String>,
    /// Whether it is the one before it but for its seed, so that it need not be checked too.
    pub(crate) copy: bool,
}

/// What happens to a generation, in this order: `Started`, any number of `Step`s, `End`. One that
/// ends before its prompt was run has only the last.
#[derive(Debug)]
pub(crate) enum Event {
    Started {
        /// Tokens of the prompt that did not have to be run again.
        reused: usize,
        prompt_features: BTreeMap<HookPoint, SparseFeatures>,
    },
    Step(Step),
    End {
        why: End,
        applied: Vec<InterventionReport>,
    },
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Model(EndReason),
    /// One of [`Ask::stop`] is in the text.
    StopString,
    /// It took longer than [`Limits::time`], its wait included.
    TimeOut,
    ShuttingDown,
    /// It, or one that ran beside it, met a fault of ours.
    Failed,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(reason) => reason.fmt(f),
            Self::StopString => f.write_str("stop_string"),
            Self::TimeOut => f.write_str("time_out"),
            Self::ShuttingDown => f.write_str("shutting_down"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

/// A generation that waits or runs. Dropping it frees its row within one step.
#[derive(Debug)]
pub(crate) struct Running {
    /// The scheduler's and the client's: it is free when the generation has ended and its events
    /// are read or given up. It goes before the events, so that who sees their end finds it free.
    _place: Arc<OwnedSemaphorePermit>,
    // A generation has at most as many events as tokens, so the queue needs no bound of its own,
    // and a client that reads nothing keeps nobody waiting.
    events: mpsc::UnboundedReceiver<Event>,
}

impl Running {
    /// What happens next; none after the end.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Where generations are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    door: Mutex<Door>,
    wake: Condvar,
    /// One for each row and each place in the queue.
    places: Arc<Semaphore>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// Closed when the thread has ended.
    alive: watch::Receiver<()>,
}

/// Between those who ask and the thread.
#[derive(Debug, Default)]
struct Door {
    arrivals: Vec<Group>,
    closing: bool,
}

/// Generations that are admitted together.
#[derive(Debug)]
struct Group {
    asks: Vec<Ask>,
    places: OwnedSemaphorePermit,
    asked: Instant,
    reply: oneshot::Sender<Result<Vec<Running>, ApiError>>,
}

impl Scheduler {
    /// Starts the thread.
    pub(crate) fn new(
        scope: Arc<Scope>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let places = Arc::new(Semaphore::new(limits.rows + limits.queue));
        let (life, alive) = watch::channel(());
        let (door, wake) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { door, wake, places, limits, metrics, alive });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("scheduler".to_owned()).spawn(move || {
            let _life = life;
            let _closing = Closing(&of_thread);
            Worker::new(&of_thread, &scope).work();
        })?;
        Ok(Self { shared })
    }

    /// Asks for generations that are admitted together, or none of them.
    ///
    /// # Errors
    /// 429 if there is no room for them, 400 if there never is or one of them cannot be followed,
    /// 503 while shutting down.
    pub(crate) async fn start(&self, asks: Vec<Ask>) -> Result<Vec<Running>, ApiError> {
        self.check(asks.len())?;
        let limits = &self.shared.limits;
        let places = Arc::clone(&self.shared.places).try_acquire_many_owned(asks.len() as u32);
        let Ok(places) = places else {
            let waiting = limits.rows + limits.queue - self.shared.places.available_permits();
            let patience = 1 + waiting / limits.rows.max(1);
            return Err(ApiError::busy("too many requests are waiting", patience as u64));
        };
        let (reply, answer) = oneshot::channel();
        {
            let mut door = self.shared.door();
            if door.closing {
                return Err(ApiError::shutting_down());
            }
            door.arrivals.push(Group { asks, places, asked: Instant::now(), reply });
        }
        self.shared.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(ApiError::shutting_down()))
    }

    /// Checks that there can be room for `found` generations at once, which can be known before there
    /// is anything to ask with.
    ///
    /// # Errors
    /// 400 if there never is.
    pub(crate) fn check(&self, found: usize) -> Result<(), ApiError> {
        let limits = &self.shared.limits;
        let capacity = limits.rows + limits.queue;
        if found <= capacity {
            return Ok(());
        }
        let message = format!("{found} texts are asked for at once, this server takes {capacity}");
        Err(ApiError::bad(message))
    }

    /// Ends all generations, with the reason said, and takes no more.
    pub(crate) fn close(&self) {
        self.shared.door().closing = true;
        self.shared.wake.notify_one();
    }

    /// Waits for the end of the thread.
    pub(crate) async fn closed(&self) {
        // Nothing is ever sent: it is the sender's end that is waited for.
        while self.shared.alive.clone().changed().await.is_ok() {}
    }
}

impl Shared {
    fn door(&self) -> MutexGuard<'_, Door> {
        // What is behind it is whole at every moment, so a panic elsewhere does not matter.
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What arrived; waits for something to arrive if there is nothing to do. None when closing.
    fn arrivals(&self, idle: bool) -> Option<Vec<Group>> {
        let mut door = self.door();
        while idle && door.arrivals.is_empty() && !door.closing {
            door = self.wake.wait(door).unwrap_or_else(PoisonError::into_inner);
        }
        (!door.closing).then(|| std::mem::take(&mut door.arrivals))
    }
}

/// Refuses those whom the thread did not come to, when it ends, be it by a panic.
struct Closing<'s>(&'s Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let mut door = self.0.door();
        door.closing = true;
        // What they wait on for their answers goes with them.
        door.arrivals.clear();
    }
}

/// The thread's own.
struct Worker<'s> {
    shared: &'s Shared,
    scope: &'s Scope,
    batch: Batch<'s>,
    /// Checked, and told so.
    waiting: VecDeque<Vec<Waiting<'s>>>,
    rows: Vec<Row<'s>>,
}

struct Waiting<'s> {
    ask: Ask,
    /// Kept where it need not wait; else it is begun again, with what is cached by then.
    begun: Option<Generation<'s>>,
    client: Client,
}

struct Row<'s> {
    generation: Generation<'s>,
    stops: StopStrings,
    client: Client,
    started: Option<Instant>,
    tokens: usize,
}

/// To whom events go.
struct Client {
    _place: Arc<OwnedSemaphorePermit>,
    events: mpsc::UnboundedSender<Event>,
    asked: Instant,
}

impl Client {
    fn tell(&self, event: Event) {
        // Who does not listen any more is found before the next step.
        let _ = self.events.send(event);
    }

    fn end(&self, why: End, applied: Vec<InterventionReport>) {
        self.tell(Event::End { why, applied });
    }
}

impl<'s> Worker<'s> {
    fn new(shared: &'s Shared, scope: &'s Scope) -> Self {
        let batch = Batch::new(&scope.model, shared.limits.prefix_cache);
        Self { shared, scope, batch, waiting: VecDeque::new(), rows: Vec::new() }
    }

    fn work(mut self) {
        while let Some(arrivals) =
            self.shared.arrivals(self.rows.is_empty() && self.waiting.is_empty())
        {
            for group in arrivals {
                self.arrive(group);
            }
            self.reap();
            self.admit();
            self.measure();
            if !self.rows.is_empty() {
                self.step();
            }
            // Again: the thread may sleep now.
            self.measure();
        }
        for waiting in self.waiting.iter().flatten() {
            waiting.client.end(End::ShuttingDown, Vec::new());
        }
        for row in &self.rows {
            row.client.end(End::ShuttingDown, row.generation.applied());
        }
        self.shared.metrics.running.set(0);
        self.shared.metrics.waiting.set(0);
    }

    /// Checks what is asked for and says what came of it.
    fn arrive(&mut self, group: Group) {
        let Group { asks, mut places, asked, reply } = group;
        // Who asked is gone.
        if reply.is_closed() {
            return;
        }
        let before: usize = self.waiting.iter().map(Vec::len).sum();
        let at_once = self.rows.len() + before + asks.len() <= self.shared.limits.rows;
        let mut running = Vec::with_capacity(asks.len());
        let mut waiting = Vec::with_capacity(asks.len());
        for ask in asks {
            let begun = if ask.copy && !at_once {
                None
            } else {
                match self.begin(&ask) {
                    Ok(generation) => at_once.then_some(generation),
                    Err(error) => {
                        let _ = reply.send(Err(error));
                        return;
                    }
                }
            };
            let (events, receiver) = mpsc::unbounded_channel();
            let place = Arc::new(places.split(1).expect("there is a place for each"));
            running.push(Running { _place: Arc::clone(&place), events: receiver });
            let client = Client { _place: place, events, asked };
            waiting.push(Waiting { ask, begun, client });
        }
        // Who went away meanwhile drops the receivers with the answer.
        let _ = reply.send(Ok(running));
        self.waiting.push_back(waiting);
    }

    fn begin(&mut self, ask: &Ask) -> Result<Generation<'s>, ApiError> {
        let begin = || self.batch.begin(&ask.prompt, &ask.plan, &ask.sampling);
        match catch_unwind(AssertUnwindSafe(begin)) {
            Ok(begun) => begun.map_err(|error: RuntimeError| (&error).into()),
            Err(_) => {
                self.renew();
                Err(ApiError::failed())
            }
        }
    }

    /// Frees the places of those who went away or whose time is up.
    fn reap(&mut self) {
        let time = self.shared.limits.time;
        let stays = |client: &Client, applied: &dyn Fn() -> Vec<InterventionReport>| {
            if client.events.is_closed() {
                return false;
            }
            let late = client.asked.elapsed() > time;
            if late {
                client.end(End::TimeOut, applied());
            }
            !late
        };
        for group in &mut self.waiting {
            group.retain(|waiting| stays(&waiting.client, &Vec::new));
        }
        self.waiting.retain(|group| !group.is_empty());
        self.rows.retain(|row| stays(&row.client, &|| row.generation.applied()));
    }

    /// Lets groups in, whole ones while there is room for them; one that is larger than all rows
    /// comes in parts.
    fn admit(&mut self) {
        while let Some(group) = self.waiting.front_mut() {
            let free = self.shared.limits.rows.max(1) - self.rows.len();
            if free < group.len() && !self.rows.is_empty() {
                return;
            }
            let entering: Vec<_> = group.drain(..free.min(group.len())).collect();
            if group.is_empty() {
                self.waiting.pop_front();
            }
            for Waiting { ask, begun, client } in entering {
                match begun.map_or_else(|| self.begin(&ask), Ok) {
                    Ok(generation) => self.rows.push(Row {
                        generation,
                        stops: StopStrings::new(ask.stop),
                        client,
                        started: None,
                        tokens: 0,
                    }),
                    // It was checked when it came.
                    Err(_) => client.end(End::Failed, Vec::new()),
                }
            }
        }
    }

    fn step(&mut self) {
        let mut generations: Vec<_> = self.rows.iter_mut().map(|row| &mut row.generation).collect();
        let step = AssertUnwindSafe(|| self.batch.step(&mut generations));
        let Ok(progress) = catch_unwind(step) else {
            // Which of them is to blame is not known, and what state they are in is not either.
            for row in self.rows.drain(..) {
                row.client.end(End::Failed, Vec::new());
            }
            self.renew();
            return;
        };
        let mut progress = progress.into_iter();
        let metrics = &self.shared.metrics;
        self.rows.retain_mut(|row| {
            let progress = progress.next().expect("there is progress of each generation");
            row.goes_on(progress, metrics)
        });
    }

    fn measure(&self) {
        let metrics = &self.shared.metrics;
        metrics.running.set(self.rows.len() as i64);
        metrics.waiting.set(self.waiting.iter().map(Vec::len).sum::<usize>() as i64);
    }

    /// A new batch, for one that a panic went through.
    fn renew(&mut self) {
        self.batch = Batch::new(&self.scope.model, self.shared.limits.prefix_cache);
    }
}

impl Row<'_> {
    /// Tells the client; whether there is more to come.
    fn goes_on(&mut self, progress: StepOutcome, metrics: &Metrics) -> bool {
        if matches!(progress, StepOutcome::Prompt) {
            return true;
        }
        if self.started.is_none() {
            self.start(metrics);
        }
        let why = match progress {
            StepOutcome::Prompt => return true,
            StepOutcome::Step(step) => {
                self.tokens += 1;
                metrics.tokens.inc();
                let tracked = step.features.values().map(SparseFeatures::nnz).sum::<usize>();
                metrics.features.inc_by(tracked as u64);
                let stopped = self.stops.push(&step.text).stopped;
                self.client.tell(Event::Step(step));
                if !stopped {
                    return true;
                }
                End::StopString
            }
            StepOutcome::End => {
                End::Model(self.generation.end().expect("what has ended has a reason"))
            }
        };
        metrics.ended(self.tokens, self.started.map(|started| started.elapsed()));
        self.client.end(why, self.generation.applied());
        false
    }

    fn start(&mut self, metrics: &Metrics) {
        self.started = Some(Instant::now());
        metrics.first_token.observe(self.client.asked.elapsed().as_secs_f64());
        let reused = self.generation.reused();
        metrics.reused(reused);
        let prompt_features = self.generation.prompt_features().clone();
        self.client.tell(Event::Started { reused, prompt_features });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn scheduler(rows: usize, queue: usize) -> Scheduler {
        let limits = Limits { rows, queue, ..Limits::default() };
        Scheduler::new(Arc::new(crate::samples::scope()), limits, Arc::new(Metrics::new())).unwrap()
    }

    fn short() -> Ask {
        let sampling = Sampling { max_tokens: 2, ..Sampling::default() };
        Ask { prompt: vec![1, 2], sampling, ..Ask::default() }
    }

    #[tokio::test]
    async fn a_request_that_the_thread_did_not_come_to_before_it_ended_is_answered() {
        let scheduler = scheduler(1, 1);
        let places = Arc::clone(&scheduler.shared.places).try_acquire_many_owned(1).unwrap();
        let (reply, answer) = oneshot::channel();
        {
            // Both at once, as when the two come between a look of the thread and the next.
            let mut door = scheduler.shared.door();
            door.arrivals.push(Group { asks: vec![short()], places, asked: Instant::now(), reply });
            door.closing = true;
        }
        scheduler.shared.wake.notify_one();

        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;

        assert!(answer.expect("an answer").is_err(), "it was let in");
        assert_eq!(scheduler.start(vec![short()]).await.unwrap_err(), ApiError::shutting_down());
    }

    #[tokio::test]
    async fn a_place_is_taken_until_what_was_written_in_it_is_read_or_given_up() {
        let scheduler = scheduler(1, 0);
        let mut running = scheduler.start(vec![short()]).await.unwrap();
        while running[0].next().await.is_some() {}

        let refused = scheduler.start(vec![short()]).await.unwrap_err();
        drop(running);
        let next = scheduler.start(vec![short()]).await;

        assert_eq!(refused.status, axum::http::StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(next.unwrap().len(), 1);
    }
}
