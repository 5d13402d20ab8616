//! The worker, which runs all generations as one batch, one step at a time.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};

use nanoscope_runtime::{
    Batch, EndReason, Generation, InterpretableModel, InterventionReport, RuntimeError, StepOutcome,
};
use nanoscope_sae::SparseFeatures;
use tokio::sync::mpsc;
use web_time::Instant;

use super::inbox::{RequestGroup, Shared};
use super::request::{End, Event, GenerationHandle, GenerationRequest};
use super::stop_strings::{Released, StopStrings};
use super::waiting::{FreeRows, WaitingGroups};
use crate::clients::{ClientId, Held, Ledger};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::served_model::ServedModel;

/// The state of the worker.
pub(crate) struct Worker<'s> {
    shared: &'s Shared,
    served: &'s ServedModel,
    batch: Batch<'s>,
    /// Groups that were accepted and wait for rows.
    waiting: WaitingGroups<Waiting<'s>>,
    rows: Vec<Row<'s>>,
    endings: VecDeque<Ending<'s>>,
}

/// A generation that waits for a row.
struct Waiting<'s> {
    request: GenerationRequest,
    /// The generation, if a row is free already. Otherwise it is begun again when admitted, because
    /// more of its prompt may be in the prefix cache by then.
    begun: Option<Generation<'s>>,
    client: Client<'s>,
}

/// A generation that runs.
struct Row<'s> {
    generation: Generation<'s>,
    stops: StopStrings,
    skips_special: bool,
    client: Client<'s>,
    started: Option<Instant>,
    tokens: usize,
    text: RowText,
}

/// A steered text that has ended, and is read again by the unsteered model.
struct Ending<'s> {
    client: Client<'s>,
    row: RowText,
    /// The rest of its end.
    text: String,
    why: End,
    applied: Vec<InterventionReport>,
}

/// A row after a step.
enum Advanced {
    Goes,
    Ended,
    /// It has ended for the reason, and its steered text is to be read again.
    Rereads(End),
}

/// The tokens of a generation, for its negative log-likelihood.
struct RowText {
    /// The prompt and the text so far if the generation is steered; empty otherwise.
    tokens: Vec<u32>,
    prompt_len: usize,
    /// The sum of the log probabilities of the generated tokens, under the model as it is steered.
    logprobs: f64,
    generated: usize,
}

impl RowText {
    fn new(request: &GenerationRequest) -> Self {
        let is_steered = !request.plan.interventions.is_empty();
        let tokens = if is_steered { request.prompt.clone() } else { Vec::new() };
        Self { tokens, prompt_len: request.prompt.len(), logprobs: 0.0, generated: 0 }
    }

    fn push(&mut self, token: u32, logprob: f32) {
        self.generated += 1;
        self.logprobs += f64::from(logprob);
        if !self.tokens.is_empty() {
            self.tokens.push(token);
        }
    }

    /// Returns whether the unsteered model has to read the text for its negative log-likelihood.
    fn rereads(&self) -> bool {
        self.generated > 0 && !self.tokens.is_empty()
    }

    /// The mean negative log-likelihood under the unsteered model of a text that was not steered.
    fn unsteered_nll(&self) -> Option<f64> {
        let is_known = self.generated > 0 && self.tokens.is_empty();
        is_known.then(|| -self.logprobs / self.generated as f64)
    }

    /// The mean negative log-likelihood under the unsteered model, which reads the text again.
    fn steered_nll(&self, model: &InterpretableModel) -> Option<f64> {
        // A panic of a kernel ends only the figure.
        let read = AssertUnwindSafe(|| model.mean_nll(&self.tokens, self.prompt_len));
        catch_unwind(read).ok()?.ok()?
    }
}

/// The receiving end of a generation's events.
struct Client<'s> {
    ledger: &'s Ledger,
    id: ClientId,
    /// The generation's place, until it ends: what is left to read takes only bytes.
    place: Option<Held>,
    events: mpsc::UnboundedSender<(Event, Held)>,
    requested_at: Instant,
}

impl Client<'_> {
    /// Sends an event, which counts as unread from now on.
    fn send(&mut self, event: Event) {
        if matches!(event, Event::End { .. }) {
            // Before the event, so that whoever receives it finds the place free.
            self.place = None;
        }
        let unread = self.ledger.add_unread(self.id, event.bytes());
        // A client that has disconnected is removed before the next step.
        let _ = self.events.send((event, unread));
    }

    /// True if the client reads too little for the text to go on.
    fn reads_too_little(&self) -> bool {
        self.ledger.reads_too_little(self.id)
    }

    /// Ends a generation that has no row, and therefore no text.
    fn end(&mut self, why: End) {
        self.send(Event::End { text: String::new(), why, applied: Vec::new(), nll: None });
    }
}

impl<'s> Worker<'s> {
    /// A worker without generations.
    pub(crate) fn new(shared: &'s Shared, served: &'s ServedModel) -> Self {
        let batch = Batch::new(&served.model, shared.limits.prefix_cache);
        let (waiting, rows, endings) = (WaitingGroups::new(), Vec::new(), VecDeque::new());
        Self { shared, served, batch, waiting, rows, endings }
    }

    /// Runs until the scheduler is closed, then ends every generation. Blocks the thread.
    #[cfg_attr(target_arch = "wasm32", allow(dead_code))] // there is no second thread
    pub(crate) fn run(mut self) {
        while let Some(arrivals) = self.shared.arrivals(self.is_idle()) {
            self.round(arrivals);
            self.reread_one();
            // The worker may wait now.
            self.update_gauges();
        }
        self.end_all();
    }

    /// As [`run`](Self::run), and waits for `pause` after each step, in which the thread does other work. `pause` is
    /// told whether a text is read again next, which takes longer than a step: its tokens can be sent before.
    pub(crate) async fn run_with_pauses(mut self, pause: impl AsyncFn(bool)) {
        while let Some(arrivals) = self.shared.next_arrivals(self.is_idle()).await {
            {
                #[cfg(target_arch = "wasm32")]
                let _turn = crate::platform::turn().await;
                self.round(arrivals);
            }
            let rereads = !self.endings.is_empty();
            pause(rereads).await;
            if rereads {
                #[cfg(target_arch = "wasm32")]
                let _turn = crate::platform::turn().await;
                self.reread_one();
            }
            self.update_gauges();
        }
        self.end_all();
    }

    fn is_idle(&self) -> bool {
        self.rows.is_empty() && self.waiting.is_empty() && self.endings.is_empty()
    }

    /// Takes in the groups that have arrived, and runs one step.
    fn round(&mut self, arrivals: Vec<RequestGroup>) {
        for group in arrivals {
            self.accept(group);
        }
        self.reap();
        self.admit();
        self.update_gauges();
        if !self.rows.is_empty() {
            self.step();
        }
    }

    fn end_all(&mut self) {
        for waiting in self.waiting.iter_mut() {
            waiting.client.end(End::ShuttingDown);
        }
        for row in &mut self.rows {
            row.end(End::ShuttingDown, &self.shared.metrics);
        }
        for ending in self.endings.drain(..) {
            ending.send(None);
        }
        self.shared.metrics.running.set(0);
        self.shared.metrics.waiting.set(0);
    }

    /// Checks a group's requests and replies with handles, or with the first error.
    fn accept(&mut self, group: RequestGroup) {
        let RequestGroup { requests, mut places, requested_at, reply } = group;
        // The client has disconnected.
        if reply.is_closed() {
            return;
        }
        let (client, ledger, limits) = (places.client(), &self.shared.ledger, &self.shared.limits);
        let of_client = self.rows_of_client(client) + self.waiting.len_of(client) + requests.len();
        let at_once = self.rows.len() + self.waiting.len() + requests.len() <= limits.rows
            && of_client <= limits.share_of(limits.rows);
        let mut handles = Vec::with_capacity(requests.len());
        let mut waiting = Vec::with_capacity(requests.len());
        for request in requests {
            let begun = if request.copy && !at_once {
                None
            } else {
                match self.begin(&request) {
                    Ok(generation) => at_once.then_some(generation),
                    Err(error) => {
                        let _ = reply.send(Err(error));
                        return;
                    }
                }
            };
            let (events, receiver) = mpsc::unbounded_channel();
            let place = Some(places.split_one().expect("there is a place for each"));
            handles.push(GenerationHandle::new(receiver));
            let client = Client { ledger, id: client, place, events, requested_at };
            waiting.push(Waiting { request, begun, client });
        }
        // If the client has disconnected meanwhile, this drops the handles.
        let _ = reply.send(Ok(handles));
        self.waiting.push(client, waiting);
    }

    fn begin(&mut self, request: &GenerationRequest) -> Result<Generation<'s>, ApiError> {
        let begin = || self.batch.begin(&request.prompt, &request.plan, &request.sampling);
        match catch_unwind(AssertUnwindSafe(begin)) {
            Ok(begun) => begun.map_err(|error: RuntimeError| (&error).into()),
            Err(_) => {
                self.reset_batch();
                Err(ApiError::internal())
            }
        }
    }

    /// Removes generations whose client has disconnected or whose time is up.
    fn reap(&mut self) {
        let time = self.shared.limits.request_timeout;
        self.waiting.retain_mut(|waiting| {
            let late = waiting.client.requested_at.elapsed() > time;
            if late {
                waiting.client.end(End::TimeOut);
            }
            !late && !waiting.client.events.is_closed()
        });
        self.rows.retain_mut(|row| {
            let late = row.client.requested_at.elapsed() > time;
            if late {
                row.end(End::TimeOut, &self.shared.metrics);
            } else if row.client.events.is_closed() {
                row.record(&self.shared.metrics);
            }
            !late && !row.client.events.is_closed()
        });
        self.endings.retain(|ending| !ending.client.events.is_closed());
    }

    /// Moves waiting groups into free rows.
    fn admit(&mut self) {
        let limits = &self.shared.limits;
        let (rows, of_client) = (limits.rows.max(1), limits.share_of(limits.rows));
        let mut running: HashMap<ClientId, usize> = HashMap::new();
        for row in &self.rows {
            *running.entry(row.client.id).or_default() += 1;
        }
        loop {
            let free = FreeRows { free: rows - self.rows.len(), of_client };
            let Some(entering) = self.waiting.take_next(free, &running) else {
                return;
            };
            for Waiting { request, begun, mut client } in entering {
                *running.entry(client.id).or_default() += 1;
                match begun.map_or_else(|| self.begin(&request), Ok) {
                    Ok(generation) => self.rows.push(Row {
                        generation,
                        text: RowText::new(&request),
                        stops: StopStrings::new(request.stop),
                        skips_special: request.skips_special,
                        client,
                        started: None,
                        tokens: 0,
                    }),
                    // The request was checked on arrival, so this is not the client's error.
                    Err(_) => client.end(End::Failed),
                }
            }
        }
    }

    /// Runs one step of all rows.
    fn step(&mut self) {
        let mut generations: Vec<_> = self.rows.iter_mut().map(|row| &mut row.generation).collect();
        let began = Instant::now();
        let step = AssertUnwindSafe(|| self.batch.step(&mut generations));
        // Every row was begun by this batch, so an error of the step is a panic's equal.
        let Ok(Ok(progress)) = catch_unwind(step) else {
            // It is unknown which generation caused the panic, and what state the others are in.
            for mut row in self.rows.drain(..) {
                row.record(&self.shared.metrics);
                row.client.end(End::Failed);
            }
            self.reset_batch();
            return;
        };
        let metrics = &self.shared.metrics;
        let tokenizer = self.served.model.tokenizer();
        let is_special = |id| tokenizer.is_some_and(|tokenizer| tokenizer.is_special(id));
        for (mut row, progress) in std::mem::take(&mut self.rows).into_iter().zip(progress) {
            match row.advance(progress, began, metrics, is_special) {
                Advanced::Goes => self.rows.push(row),
                Advanced::Ended => {}
                Advanced::Rereads(why) => self.endings.push_back(row.into_ending(why)),
            }
        }
    }

    /// Reads one of the steered texts that have ended again. Several that end at once would hold up the others.
    fn reread_one(&mut self) {
        if let Some(ending) = self.endings.pop_front() {
            let nll = ending.row.steered_nll(&self.served.model);
            ending.send(nll);
        }
    }

    fn rows_of_client(&self, client: ClientId) -> usize {
        self.rows.iter().filter(|row| row.client.id == client).count()
    }

    fn update_gauges(&self) {
        let metrics = &self.shared.metrics;
        metrics.running.set(self.rows.len() as i64);
        metrics.waiting.set(self.waiting.len() as i64);
    }

    /// Replaces the batch after a panic.
    fn reset_batch(&mut self) {
        self.batch = Batch::new(&self.served.model, self.shared.limits.prefix_cache);
        // The old batch's generations cannot be stepped by the new one.
        for waiting in self.waiting.iter_mut() {
            waiting.begun = None;
        }
    }
}

impl Ending<'_> {
    /// Sends the end, with the mean negative log-likelihood of the text.
    fn send(mut self, nll: Option<f64>) {
        let Self { text, why, applied, .. } = self;
        self.client.send(Event::End { text, why, applied, nll });
    }
}

impl<'s> Row<'s> {
    /// Sends the progress of a step that began at `began` to the client.
    fn advance(
        &mut self,
        progress: StepOutcome,
        began: Instant,
        metrics: &Metrics,
        is_special: impl Fn(u32) -> bool,
    ) -> Advanced {
        if matches!(progress, StepOutcome::Prompt) {
            return Advanced::Goes;
        }
        // A prompt that failed has not been run, and not all of it has features.
        if self.started.is_none() && self.generation.error().is_none() {
            self.start(began, metrics);
        }
        let why = match progress {
            StepOutcome::Prompt => return Advanced::Goes,
            StepOutcome::Step(mut step) => {
                self.tokens += 1;
                self.text.push(step.token_id, step.logprob);
                metrics.tokens.inc();
                let tracked = step.features.values().map(SparseFeatures::nnz).sum::<usize>();
                metrics.features.inc_by(tracked as u64);
                if self.skips_special && is_special(step.token_id) {
                    step.text.clear();
                }
                let Released { text, stopped } = self.stops.push(&step.text);
                self.client.send(Event::Token { step, text });
                if stopped {
                    End::StopString
                } else if self.client.reads_too_little() {
                    self.end(End::Unread, metrics);
                    return Advanced::Ended;
                } else {
                    return Advanced::Goes;
                }
            }
            StepOutcome::End => {
                End::Model(self.generation.end().expect("a generation that has ended has a reason"))
            }
        };
        // The figure of a text that ends with a number that is not finite is not shown.
        let is_finite = !matches!(why, End::Model(EndReason::NotFinite(_)));
        if is_finite && self.text.rereads() {
            self.record(metrics);
            return Advanced::Rereads(why);
        }
        let nll = self.text.unsteered_nll();
        self.record(metrics);
        self.end_with(why, nll);
        Advanced::Ended
    }

    /// Records the time that the text has taken.
    fn record(&self, metrics: &Metrics) {
        metrics.record_generation(self.tokens, self.started.map(|started| started.elapsed()));
    }

    /// Records and sends the end of a text that was cut off.
    fn end(&mut self, why: End, metrics: &Metrics) {
        self.record(metrics);
        self.end_with(why, None);
    }

    /// Gives up the generation and its cache.
    fn into_ending(mut self, why: End) -> Ending<'s> {
        let (text, applied) = (self.stops.finish(), self.generation.applied());
        Ending { client: self.client, row: self.text, text, why, applied }
    }

    /// Sends the end, with the text that was held back.
    fn end_with(&mut self, why: End, nll: Option<f64>) {
        let (text, applied) = (self.stops.finish(), self.generation.applied());
        self.client.send(Event::End { text, why, applied, nll });
    }

    /// Records and sends the start, once the prompt has been run. The first token's step began at `began`.
    fn start(&mut self, began: Instant, metrics: &Metrics) {
        self.started = Some(began);
        metrics.first_token.observe(self.client.requested_at.elapsed().as_secs_f64());
        let reused = self.generation.reused();
        metrics.record_reuse(reused);
        let prompt_features = self.generation.prompt_features().clone();
        self.client.send(Event::Started { reused, prompt_features });
    }
}

/// Closes the inbox when the worker ends, even by a panic, and rejects the requests left in it.
pub(crate) struct CloseOnDrop<'s>(pub(crate) &'s Shared);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox();
        inbox.closing = true;
        // Dropping the groups drops their reply channels, which wakes their handlers.
        inbox.arrivals.clear();
    }
}
