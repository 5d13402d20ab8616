//! The thread that runs all generations together, one step at a time.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use nanoscope_runtime::{Batch, Generation, Progress, RuntimeError};
use nanoscope_sae::SparseFeatures;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::inbox::{RequestGroup, Shared};
use super::request::{End, Event, GenerationHandle, GenerationRequest};
use super::stop_strings::{Certain, StopStrings};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// The thread's own.
pub(crate) struct Worker<'s> {
    shared: &'s Shared,
    served: &'s ServedModel,
    batch: Batch<'s>,
    /// Checked, and told so.
    waiting: VecDeque<Vec<Waiting<'s>>>,
    rows: Vec<Row<'s>>,
}

struct Waiting<'s> {
    ask: GenerationRequest,
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

    /// Ends a generation that has no row, and so no text.
    fn end(&self, why: End) {
        self.tell(Event::End { text: String::new(), why, applied: Vec::new() });
    }
}

impl<'s> Worker<'s> {
    pub(crate) fn new(shared: &'s Shared, served: &'s ServedModel) -> Self {
        let batch = Batch::new(&served.model, shared.limits.prefix_cache);
        Self { shared, served, batch, waiting: VecDeque::new(), rows: Vec::new() }
    }

    pub(crate) fn work(mut self) {
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
            waiting.client.end(End::ShuttingDown);
        }
        for row in &mut self.rows {
            row.end(End::ShuttingDown);
        }
        self.shared.metrics.running.set(0);
        self.shared.metrics.waiting.set(0);
    }

    /// Checks what is asked for and says what came of it.
    fn arrive(&mut self, group: RequestGroup) {
        let RequestGroup { asks, mut places, asked, reply } = group;
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
            running.push(GenerationHandle::new(Arc::clone(&place), receiver));
            let client = Client { _place: place, events, asked };
            waiting.push(Waiting { ask, begun, client });
        }
        // Who went away meanwhile drops the receivers with the answer.
        let _ = reply.send(Ok(running));
        self.waiting.push_back(waiting);
    }

    fn begin(&mut self, ask: &GenerationRequest) -> Result<Generation<'s>, ApiError> {
        let begin = || self.batch.begin(&ask.prompt, &ask.plan, &ask.sampling);
        match catch_unwind(AssertUnwindSafe(begin)) {
            Ok(begun) => begun.map_err(|error: RuntimeError| (&error).into()),
            Err(_) => {
                self.renew();
                Err(ApiError::internal())
            }
        }
    }

    /// Frees the places of those who went away or whose time is up.
    fn reap(&mut self) {
        let time = self.shared.limits.request_timeout;
        for group in &mut self.waiting {
            group.retain(|waiting| {
                let late = waiting.client.asked.elapsed() > time;
                if late {
                    waiting.client.end(End::TimeOut);
                }
                !late && !waiting.client.events.is_closed()
            });
        }
        self.waiting.retain(|group| !group.is_empty());
        self.rows.retain_mut(|row| {
            let late = row.client.asked.elapsed() > time;
            if late {
                row.end(End::TimeOut);
            }
            !late && !row.client.events.is_closed()
        });
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
                    Err(_) => client.end(End::Failed),
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
                row.client.end(End::Failed);
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
        self.batch = Batch::new(&self.served.model, self.shared.limits.prefix_cache);
    }
}

impl Row<'_> {
    /// Tells the client; whether there is more to come.
    fn goes_on(&mut self, progress: Progress, metrics: &Metrics) -> bool {
        if matches!(progress, Progress::Prompt) {
            return true;
        }
        if self.started.is_none() {
            self.start(metrics);
        }
        let why = match progress {
            Progress::Prompt => return true,
            Progress::Step(step) => {
                self.tokens += 1;
                metrics.tokens.inc();
                let tracked = step.features.values().map(SparseFeatures::nnz).sum::<usize>();
                metrics.features.inc_by(tracked as u64);
                let Certain { text, stopped } = self.stops.push(&step.text);
                self.client.tell(Event::Token { step, text });
                if !stopped {
                    return true;
                }
                End::StopString
            }
            Progress::End => {
                End::Model(self.generation.end().expect("what has ended has a reason"))
            }
        };
        metrics.record_generation(self.tokens, self.started.map(|started| started.elapsed()));
        self.end(why);
        false
    }

    /// Sends the end, with the text that was held back.
    fn end(&mut self, why: End) {
        let (text, applied) = (self.stops.finish(), self.generation.applied());
        self.client.tell(Event::End { text, why, applied });
    }

    fn start(&mut self, metrics: &Metrics) {
        self.started = Some(Instant::now());
        metrics.first_token.observe(self.client.asked.elapsed().as_secs_f64());
        let reused = self.generation.reused();
        metrics.record_reuse(reused);
        let prompt_features = self.generation.prompt_features().clone();
        self.client.tell(Event::Started { reused, prompt_features });
    }
}

/// Refuses those whom the thread did not come to, when it ends, be it by a panic.
pub(crate) struct CloseOnDrop<'s>(pub(crate) &'s Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox();
        inbox.closing = true;
        // What they wait on for their answers goes with them.
        inbox.arrivals.clear();
    }
}
