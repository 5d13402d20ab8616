//! The scheduler, through which handlers start generations.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};
use web_time::Instant;

use super::inbox::{RequestGroup, Shared};
use super::request::{GenerationHandle, GenerationRequest};
use super::worker::{CloseOnDrop, Worker};
use crate::clients::{ClientId, Ledger, Refused, Resource};
use crate::config::Limits;
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// Starts generations on the worker. Clones share one worker.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    shared: Arc<Shared>,
    /// The client whose generations it starts.
    pub(crate) client: ClientId,
}

/// A worker that has not been started yet. Requests wait for it.
#[derive(Debug)]
pub(crate) struct IdleWorker {
    shared: Arc<Shared>,
    served: Arc<ServedModel>,
    /// Dropped when the worker has ended.
    life: watch::Sender<()>,
}

impl IdleWorker {
    /// Starts the worker on a thread of its own.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        let Self { shared, served, life } = self;
        let thread = std::thread::Builder::new().name("scheduler".to_owned());
        thread.spawn(move || {
            let _life = life;
            let _closing = CloseOnDrop(&shared);
            Worker::new(&shared, &served).run();
        })?;
        Ok(())
    }

    /// Runs the worker on this thread, which does other work while `pause` waits, after each step. `pause` is told
    /// whether a text is read again next.
    pub(crate) async fn run_with_pauses(self, pause: impl AsyncFn(bool)) {
        let Self { shared, served, life } = self;
        let _life = life;
        let _closing = CloseOnDrop(&shared);
        Worker::new(&shared, &served).run_with_pauses(pause).await;
    }
}

impl Scheduler {
    /// A scheduler, with its worker.
    pub(crate) fn new(
        served: Arc<ServedModel>,
        limits: Limits,
        metrics: Arc<Metrics>,
        ledger: Ledger,
    ) -> (Self, IdleWorker) {
        let (life, alive) = watch::channel(());
        let shared = Arc::new(Shared::new(limits, metrics, ledger, alive));
        let client = ClientId::of_address(std::net::Ipv4Addr::LOCALHOST.into());
        (Self { shared: Arc::clone(&shared), client }, IdleWorker { shared, served, life })
    }

    /// Starts all of `requests`, or none of them.
    ///
    /// # Errors
    /// 429 if the queue is full, the client has its share of it, or it has not read its other answers; 400
    /// if there are more requests than the queue can ever hold or one of them is invalid; 503 while
    /// shutting down.
    pub(crate) async fn start(
        &self,
        requests: Vec<GenerationRequest>,
    ) -> Result<Vec<GenerationHandle>, ApiError> {
        self.check(requests.len())?;
        let Shared { ledger, limits, .. } = &*self.shared;
        if ledger.reads_too_little(self.client) {
            return Err(ApiError::unread());
        }
        let places = ledger.take(self.client, Resource::Generations, requests.len());
        let places = places.map_err(|refused| {
            let waiting = ledger.held(Resource::Generations);
            let retry_after = 1 + waiting / limits.rows.max(1);
            let message = match refused {
                Refused::Client => "too many requests of this client are waiting",
                Refused::Everyone => "too many requests are waiting",
            };
            ApiError::too_many_requests(message, retry_after as u64)
        })?;
        let (reply, answer) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox();
            if inbox.closing {
                return Err(ApiError::shutting_down());
            }
            inbox.arrivals.push(RequestGroup {
                requests,
                places,
                requested_at: Instant::now(),
                reply,
            });
        }
        self.shared.wake();
        answer.await.unwrap_or_else(|_| Err(ApiError::shutting_down()))
    }

    /// Checks that `found` generations fit into an empty queue. Callers can check this before they
    /// build the requests.
    ///
    /// # Errors
    /// 400 if they do not fit.
    pub(crate) fn check(&self, found: usize) -> Result<(), ApiError> {
        let limits = &self.shared.limits;
        let capacity = limits.share_of(limits.rows + limits.queue);
        if found <= capacity {
            return Ok(());
        }
        let message =
            format!("{found} texts requested at once, but this server takes at most {capacity}");
        Err(ApiError::bad_request(message))
    }

    /// Ends all generations with [`End::ShuttingDown`](super::End::ShuttingDown) and rejects new ones.
    pub(crate) fn close(&self) {
        self.shared.inbox().closing = true;
        self.shared.wake();
    }

    /// Waits until the worker has ended.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) async fn closed(&self) {
        // Nothing is ever sent; the channel closes when the thread drops the sender.
        while self.shared.alive.clone().changed().await.is_ok() {}
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::time::Duration;

    use nanoscope_runtime::{Plan, Sampling};

    use super::*;
    use crate::generation::{End, Event};

    fn scheduler(rows: usize, queue: usize) -> Scheduler {
        scheduler_with(Limits { rows, queue, ..Limits::default() })
    }

    fn scheduler_with(limits: Limits) -> Scheduler {
        let ledger = Ledger::new(&limits, 1);
        let served = Arc::new(crate::server_fixture::served_model());
        let (scheduler, worker) = Scheduler::new(served, limits, Arc::new(Metrics::new()), ledger);
        worker.spawn().unwrap();
        scheduler
    }

    fn short() -> GenerationRequest {
        let sampling = Sampling { max_tokens: 2, ..Sampling::default() };
        GenerationRequest { prompt: vec![1, 2], sampling, ..GenerationRequest::default() }
    }

    #[tokio::test]
    async fn steered_texts_that_end_at_once_are_read_again_one_at_a_time() {
        let limits = Limits { rows: 4, queue: 4, ..Limits::default() };
        let ledger = Ledger::new(&limits, 1);
        let served = Arc::new(crate::server_fixture::served_model());
        let (scheduler, worker) = Scheduler::new(served, limits, Arc::new(Metrics::new()), ledger);
        let plan = Plan::new().intervene("blocks.1.hook_resid_post:5:add:1@all".parse().unwrap());
        let requests = vec![GenerationRequest { plan, ..short() }; 3];
        let (tokens, ended, before) = (Cell::new(0), Cell::new(0), RefCell::new(Vec::new()));
        let ends = async {
            let texts = scheduler.start(requests).await.unwrap().into_iter();
            let ends = texts.map(async |mut text| {
                loop {
                    match text.next().await.expect("there is an end") {
                        Event::End { nll, .. } => {
                            ended.set(ended.get() + 1);
                            return nll;
                        }
                        _ => tokens.set(tokens.get() + 1),
                    }
                }
            });
            futures_util::future::join_all(ends).await
        };
        let pause = async |rereads_next: bool| {
            // Until each text has been asked for its events.
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            before.borrow_mut().extend(rereads_next.then(|| (tokens.get(), ended.get())));
        };

        let ends = tokio::select! {
            () = worker.run_with_pauses(pause) => panic!("the worker ended"),
            ends = ends => ends,
        };

        assert!(ends.iter().all(Option::is_some));
        // Every token is there before the first text is read again, and each end before the next one is.
        let all = tokens.get();
        assert_eq!(*before.borrow(), [(all, 0), (all, 1), (all, 2)]);
    }

    #[tokio::test]
    async fn a_request_that_the_thread_has_not_picked_up_when_it_ends_is_answered() {
        let scheduler = scheduler(1, 1);
        let places =
            scheduler.shared.ledger.take(scheduler.client, Resource::Generations, 1).unwrap();
        let (reply, answer) = oneshot::channel();
        {
            // Both at once, as if they arrived between two iterations of the thread's loop.
            let mut inbox = scheduler.shared.inbox();
            inbox.arrivals.push(RequestGroup {
                requests: vec![short()],
                places,
                requested_at: Instant::now(),
                reply,
            });
            inbox.closing = true;
        }
        scheduler.shared.wake();

        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;

        assert!(answer.expect("an answer").is_err(), "it was accepted");
        assert_eq!(scheduler.start(vec![short()]).await.unwrap_err(), ApiError::shutting_down());
    }

    #[tokio::test]
    async fn a_text_that_has_ended_and_was_not_read_has_no_place() {
        let scheduler = scheduler(1, 0);
        let mut first = scheduler.start(vec![short()]).await.unwrap();
        while scheduler.shared.ledger.held(Resource::Generations) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        let mut second = scheduler.start(vec![short()]).await.unwrap();

        for handles in [&mut first, &mut second] {
            let mut tokens = 0;
            while let Some(event) = handles[0].next().await {
                tokens += usize::from(matches!(event, Event::Token { .. }));
            }
            assert_eq!(tokens, 2);
        }
        assert_eq!(scheduler.shared.ledger.held(Resource::UnreadBytes), 0);
    }

    #[tokio::test]
    async fn events_of_an_answer_that_is_sent_at_its_end_count_until_then() {
        let scheduler = scheduler(1, 0);
        let mut handles = scheduler.start(vec![short()]).await.unwrap();
        handles[0].count_until_dropped();

        while handles[0].next().await.is_some() {}

        let held = scheduler.shared.ledger.held(Resource::UnreadBytes);
        assert!(held > 2 * size_of::<Event>(), "{held}");
        drop(handles);
        assert_eq!(scheduler.shared.ledger.held(Resource::UnreadBytes), 0);
    }

    #[tokio::test]
    async fn a_text_whose_client_does_not_read_ends_and_that_of_another_client_does_not() {
        // A client may have six events.
        let limits = Limits { unread: 8 * (size_of::<Event>() + 8), ..Limits::default() };
        let scheduler = scheduler_with(limits);
        let texts = (0..8).map(|first| {
            let sampling = Sampling { max_tokens: 40, ..Sampling::default() };
            GenerationRequest { prompt: vec![first, 2], sampling, ..GenerationRequest::default() }
        });
        let other = Scheduler { client: ClientId::Key(1), ..scheduler.clone() };
        let mut unread = scheduler.start(texts.collect()).await.unwrap();
        while scheduler.shared.ledger.held(Resource::Generations) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }

        let refused = scheduler.start(vec![short()]).await.unwrap_err();
        let mut read = other.start(vec![short()]).await.unwrap();

        assert_eq!(refused, ApiError::unread());
        let (tokens, why) = drain(&mut read[0]).await;
        assert_eq!((tokens, why), (2, End::Model(nanoscope_runtime::EndReason::MaxTokens)));
        let mut ends = Vec::new();
        for handle in &mut unread {
            ends.push(drain(handle).await);
        }
        let cut: Vec<_> = ends.iter().filter(|(_, why)| *why == End::Unread).collect();
        assert!(!cut.is_empty() && cut.iter().all(|(tokens, _)| *tokens < 40), "{ends:?}");
        scheduler.start(vec![short()]).await.expect("it has read its answer");
    }

    #[tokio::test]
    async fn a_worker_that_is_gone_is_an_error_and_no_empty_text() {
        let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
        let mut handle = GenerationHandle::new(receiver);
        drop(events);

        assert_eq!(handle.begin().await, Err(ApiError::internal()));
        assert_eq!(drain(&mut handle).await, (0, End::Failed));
    }

    /// The number of tokens of a text, and the reason for its end.
    async fn drain(handle: &mut GenerationHandle) -> (usize, End) {
        let (mut tokens, mut ends) = (0, Vec::new());
        while let Some(event) = handle.next().await {
            match event {
                Event::Token { .. } => tokens += 1,
                Event::End { why, .. } => ends.push(why),
                Event::Started { .. } => {}
            }
        }
        assert_eq!(ends.len(), 1, "{ends:?}");
        (tokens, ends.remove(0))
    }
}
