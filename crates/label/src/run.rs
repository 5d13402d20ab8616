//! The questions about all features, several at a time.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::LabelError;
use crate::answer::{explanation, verdicts};
use crate::client::Client;
use crate::explained::Explained;
use crate::explanation_file::ExplanationFile;
use crate::material::Material;
use crate::prompt::{detect, explain};
use crate::score::Detection;

/// The number of contexts that one question is about. Weak models lose count in longer ones.
pub(crate) const CONTEXTS_PER_REQUEST: usize = 10;
/// The number of answers without an explanation in a row after which a run ends.
const MAX_UNUSABLE: usize = 5;
/// The longest beginning of an answer that an error shows, in characters.
const SHOWN_CHARS: usize = 80;
/// The time between calls while nothing happens.
const TICK: Duration = Duration::from_millis(100);

/// An event in a run.
#[derive(Debug)]
pub enum Event<'e> {
    /// Nothing; called a few times per second.
    Waiting,
    /// A feature has a label, which is in the file.
    Labelled(&'e Explained),
    /// An answer had no explanation.
    Unusable {
        /// The feature.
        feature: u32,
        /// The beginning of the answer.
        answer: &'e str,
    },
}

/// Asks for labels of all features in `work`, `concurrency` at a time, and appends each to `file` when its
/// score is known.
///
/// `each` is called with every event and can end the run: at once, without the features that are being
/// asked about. After an error the features that are being asked about are finished, if their questions do
/// not fail too.
///
/// # Errors
/// Those of [`Client::ask`] and of the file, [`LabelError::NoExplanations`] after five answers in a row
/// without one, [`LabelError::Interrupted`] if `each` breaks.
pub fn label(
    client: Client,
    work: Vec<Material>,
    concurrency: usize,
    file: &mut ExplanationFile,
    each: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
) -> Result<(), LabelError> {
    let concurrency = concurrency.clamp(1, work.len().max(1));
    let shared =
        Arc::new(Shared { client, work: Mutex::new(work.into()), stopped: AtomicBool::new(false) });
    let (sender, results) = mpsc::channel();
    for _ in 0..concurrency {
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        // Not scoped, so that an interruption does not wait for answers.
        thread::spawn(move || shared.work(&sender));
    }
    drop(sender);

    let mut wrong = None;
    let mut unusable = 0;
    loop {
        let event = match results.recv_timeout(TICK) {
            Err(RecvTimeoutError::Disconnected) => return wrong.map_or(Ok(()), Err),
            Err(RecvTimeoutError::Timeout) => each(Event::Waiting),
            Ok(Ok(Outcome::Explained(explained))) => {
                unusable = 0;
                match file.append(&explained, shared.client.model()) {
                    Ok(()) => each(Event::Labelled(&explained)),
                    Err(error) => {
                        shared.stop();
                        return Err(error);
                    }
                }
            }
            Ok(Ok(Outcome::Unusable { feature, answer })) => {
                unusable += 1;
                if unusable >= MAX_UNUSABLE && wrong.is_none() {
                    shared.stop();
                    let last = answer.clone();
                    wrong = Some(LabelError::NoExplanations { count: unusable, last });
                }
                each(Event::Unusable { feature, answer: &answer })
            }
            Ok(Err(LabelError::Interrupted)) => ControlFlow::Continue(()),
            Ok(Err(error)) => {
                shared.stop();
                wrong.get_or_insert(error);
                ControlFlow::Continue(())
            }
        };
        if event.is_break() {
            shared.stop();
            return Err(wrong.unwrap_or(LabelError::Interrupted));
        }
    }
}

/// State that the threads of a run share.
#[derive(Debug)]
struct Shared {
    client: Client,
    work: Mutex<VecDeque<Material>>,
    stopped: AtomicBool,
}

/// The result of the questions about one feature.
enum Outcome {
    Explained(Explained),
    Unusable { feature: u32, answer: String },
}

impl Shared {
    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Asks about one feature after another until none is left.
    fn work(&self, results: &Sender<Result<Outcome, LabelError>>) {
        loop {
            let next = self.work.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(material) = next.filter(|_| !self.stopped.load(Ordering::Relaxed)) else {
                return;
            };
            let result = self.explain(&material);
            if result.is_err() {
                // Before this thread could ask about another feature.
                self.stop();
            }
            if results.send(result).is_err() {
                return;
            }
        }
    }

    /// Asks for an explanation and tests it.
    fn explain(&self, material: &Material) -> Result<Outcome, LabelError> {
        let ask = |messages: &[_]| self.client.ask(messages, &self.stopped);
        let answer = ask(&explain(&material.shown, material.max))?;
        let mut usage = answer.usage;
        let feature = material.feature;
        let Some(explanation) = explanation(&answer.text) else {
            let answer = answer.text.chars().take(SHOWN_CHARS).collect();
            return Ok(Outcome::Unusable { feature, answer });
        };
        let mut detection = Detection::default();
        for contexts in material.contexts.chunks(CONTEXTS_PER_REQUEST) {
            let excerpts = contexts.iter().map(|context| &context.excerpt);
            let answer = ask(&detect(&explanation, excerpts))?;
            usage += answer.usage;
            // An answer that is not a list of verdicts counts neither for nor against the explanation.
            for (context, verdict) in
                contexts.iter().zip(verdicts(&answer.text, contexts.len()).unwrap_or_default())
            {
                detection.add(context.fires, verdict);
            }
        }
        let density = material.density;
        Ok(Outcome::Explained(Explained { feature, density, explanation, detection, usage }))
    }
}
