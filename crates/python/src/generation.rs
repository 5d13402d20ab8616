//! Generations, whose tokens another thread computes.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use nanoscope::{
    HookPoint, InterventionReport, Microscope, Plan, RuntimeError, Sampling, SparseFeatures,
};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{exception, refused};
use crate::features::{ByHook, shared};
use crate::heatmap::html;
use crate::run::reports;
use crate::table::{Token, table};

/// One generated token.
#[pyclass(frozen, module = "nanoscope")]
#[derive(Debug)]
pub(crate) struct Step {
    inner: nanoscope::Step,
    by_hook: ByHook,
    /// The features of each tracked hook point at the token's own position, in one row.
    #[pyo3(get)]
    features: Py<PyDict>,
}

/// A text being generated. Iterate over it for one `Step` per token; `finish()` takes all that are left.
///
/// The next token is computed while the last one is looked at. A text that nobody iterates over any more computes one
/// token beyond the last that was taken.
#[pyclass(frozen, module = "nanoscope")]
#[derive(Debug)]
pub(crate) struct Generation {
    scope: Arc<Microscope>,
    prompt: Vec<u32>,
    prompt_by_hook: ByHook,
    /// The features of the prompt's tokens by hook point, a row per token.
    #[pyo3(get)]
    prompt_features: Py<PyDict>,
    messages: Mutex<Option<Receiver<Message>>>,
    taken: Mutex<Vec<Py<Step>>>,
    ended: Mutex<Option<Ended>>,
}

/// A message of the computing thread.
enum Message {
    Prompt(BTreeMap<HookPoint, SparseFeatures>),
    Step(Box<nanoscope::Step>),
    Ended(Ended),
    Refused(Box<RuntimeError>),
}

/// The end of a generation.
#[derive(Debug)]
struct Ended {
    reason: String,
    applied: Vec<InterventionReport>,
    /// The error that ended it, which is raised once.
    error: Option<RuntimeError>,
}

impl Generation {
    /// Starts a generation and runs its prompt.
    pub(crate) fn start(
        py: Python<'_>,
        scope: Arc<Microscope>,
        prompt: Vec<u32>,
        plan: Plan,
        sampling: Sampling,
    ) -> PyResult<Self> {
        // Without room in the channel the thread is never more than one token ahead.
        let (sender, receiver) = sync_channel(0);
        let (of_thread, ids) = (scope.clone(), prompt.clone());
        let work = move || generate(&of_thread, &ids, &plan, &sampling, &sender);
        let spawned = thread::Builder::new().name("generation".to_owned()).spawn(work);
        spawned.map_err(|error| refused(py, format!("could not start a thread: {error}")))?;
        let (first, receiver) = py.detach(move || (receiver.recv(), receiver));
        let features = match first {
            Ok(Message::Prompt(features)) => features,
            Ok(Message::Refused(error)) => return Err(exception(py, *error)),
            Ok(Message::Step(_) | Message::Ended(_)) => unreachable!("the prompt comes first"),
            Err(_) => return Err(refused(py, "the generation ended unexpectedly")),
        };
        let (prompt_features, prompt_by_hook) = shared(py, features, |rows| vec![rows])?;
        Ok(Self {
            scope,
            prompt,
            prompt_by_hook,
            prompt_features,
            messages: Mutex::new(Some(receiver)),
            taken: Mutex::default(),
            ended: Mutex::default(),
        })
    }

    /// The next token; `None` at the end.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Py<Step>>> {
        let received = py.detach(|| {
            let mut messages = lock(&self.messages);
            let message = messages.as_ref()?.recv();
            if !matches!(message, Ok(Message::Step(_))) {
                *messages = None;
            }
            Some(message)
        });
        match received {
            None => Ok(None),
            Some(Ok(Message::Step(mut step))) => {
                let (features, by_hook) =
                    shared(py, std::mem::take(&mut step.features), |rows| vec![rows])?;
                let step = Py::new(py, Step { inner: *step, by_hook, features })?;
                lock(&self.taken).push(step.clone_ref(py));
                Ok(Some(step))
            }
            Some(Ok(Message::Ended(mut end))) => {
                let error = end.error.take();
                *lock(&self.ended) = Some(end);
                error.map_or(Ok(None), |error| Err(exception(py, error)))
            }
            Some(Ok(Message::Prompt(_) | Message::Refused(_))) => {
                unreachable!("the prompt came first")
            }
            Some(Err(_)) => Err(refused(py, "the generation ended unexpectedly")),
        }
    }

    /// Generates the rest of the text.
    fn take_rest(&self, py: Python<'_>) -> PyResult<()> {
        while self.take(py)?.is_some() {
            py.check_signals()?;
        }
        Ok(())
    }

    /// The prompt's tokens and those taken so far.
    fn with_tokens<T>(&self, py: Python<'_>, use_them: impl FnOnce(&[Token<'_>]) -> T) -> T {
        let taken: Vec<Py<Step>> =
            lock(&self.taken).iter().map(|step| step.clone_ref(py)).collect();
        let prompt = self.prompt.iter().enumerate().map(|(position, &token_id)| Token {
            row: 0,
            position,
            token_id,
            is_prompt: true,
            logprob: None,
            features: &self.prompt_by_hook,
            features_row: position,
        });
        let steps = taken.iter().map(|step| {
            let Step { inner, by_hook, .. } = step.get();
            Token {
                row: 0,
                position: inner.position,
                token_id: inner.token_id,
                is_prompt: false,
                logprob: Some(inner.logprob),
                features: by_hook,
                features_row: 0,
            }
        });
        use_them(&prompt.chain(steps).collect::<Vec<_>>())
    }
}

#[pymethods]
impl Generation {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<Step>>> {
        self.take(py)
    }

    /// Generates the rest of the text, and returns the generation.
    fn finish(this: PyRef<'_, Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        this.take_rest(py)?;
        Ok(this.into())
    }

    /// The text generated so far, without the prompt.
    #[getter]
    fn text(&self) -> String {
        lock(&self.taken).iter().map(|step| step.get().inner.text.as_str()).collect()
    }

    /// The tokens taken so far.
    #[getter]
    fn steps(&self, py: Python<'_>) -> Vec<Py<Step>> {
        lock(&self.taken).iter().map(|step| step.clone_ref(py)).collect()
    }

    /// The ids of the prompt and of the tokens taken so far: int64, `[seq]`.
    #[getter]
    fn tokens<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<i64>> {
        let taken = lock(&self.taken);
        let generated = taken.iter().map(|step| step.get().inner.token_id);
        let ids = self.prompt.iter().copied().chain(generated).map(i64::from).collect();
        PyArray1::from_vec(py, ids)
    }

    /// The number of tokens of the prompt.
    #[getter]
    fn prompt_len(&self) -> usize {
        self.prompt.len()
    }

    /// The reason for which the text ended: max_tokens, stop, stop_when, context_full or not_finite; None before.
    #[getter]
    fn end(&self) -> Option<String> {
        Some(lock(&self.ended).as_ref()?.reason.clone())
    }

    /// A report for each intervention, as those of `Run.applied`; None before the text has ended.
    #[getter]
    fn applied(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        lock(&self.ended).as_ref().map(|end| reports(py, &end.applied)).transpose()
    }

    /// The active features of the prompt and of the tokens taken so far, as `Run.table` gives them.
    #[pyo3(signature = (top = None))]
    fn table<'py>(&self, py: Python<'py>, top: Option<usize>) -> PyResult<Bound<'py, PyDict>> {
        self.with_tokens(py, |tokens| table(py, &self.scope, tokens, top))
    }

    /// A heat map of the `rows` strongest features per hook point over the tokens taken so far, as HTML.
    #[pyo3(signature = (rows = 12))]
    fn heatmap(&self, py: Python<'_>, rows: usize) -> String {
        self.with_tokens(py, |tokens| py.detach(|| html(&self.scope, tokens, Some(rows))))
    }

    /// The heat map of the whole text, which is generated to its end.
    fn _repr_html_(this: PyRef<'_, Self>, py: Python<'_>) -> PyResult<String> {
        this.take_rest(py)?;
        let scope = &this.scope;
        Ok(this.with_tokens(py, |tokens| py.detach(|| html(scope, tokens, None))))
    }

    fn __repr__(&self) -> String {
        let end = self.end().map_or_else(|| "None".to_owned(), |end| format!("'{end}'"));
        format!("Generation(text={:?}, end={end})", self.text())
    }
}

#[pymethods]
impl Step {
    /// The position in the sequence, counted from the start of the prompt.
    #[getter]
    fn position(&self) -> usize {
        self.inner.position
    }

    /// The token's id.
    #[getter]
    fn token_id(&self) -> u32 {
        self.inner.token_id
    }

    /// The text that the token completes. The bytes of an incomplete character come with the token that completes it.
    #[getter]
    fn text(&self) -> &str {
        &self.inner.text
    }

    /// The natural logarithm of the model's probability for the token, before temperature, top-k and top-p.
    #[getter]
    fn logprob(&self) -> f32 {
        self.inner.logprob
    }

    /// The `top_logprobs` most likely tokens at this position, as `(token_id, logprob)`, most likely first.
    #[getter]
    fn top_logprobs(&self) -> Vec<(u32, f32)> {
        self.inner.top_logprobs.clone()
    }

    fn __repr__(&self) -> String {
        let nanoscope::Step { position, token_id, text, logprob, .. } = &self.inner;
        format!(
            "Step(position={position}, token_id={token_id}, text={text:?}, logprob={logprob:.3})"
        )
    }
}

/// Generates in a thread of its own, until the text or the interest in it ends.
fn generate(
    scope: &Microscope,
    prompt: &[u32],
    plan: &Plan,
    sampling: &Sampling,
    sender: &SyncSender<Message>,
) {
    let mut generation = match scope.model().generate(prompt, plan, sampling) {
        Ok(generation) => generation,
        Err(error) => {
            let _ = sender.send(Message::Refused(Box::new(error)));
            return;
        }
    };
    let features = generation.prompt_features().clone();
    if sender.send(Message::Prompt(features)).is_err() {
        return;
    }
    for step in generation.by_ref() {
        if sender.send(Message::Step(Box::new(step))).is_err() {
            return;
        }
    }
    let reason = generation.end().map(|end| end.to_string()).unwrap_or_default();
    let (applied, error) = (generation.applied(), generation.error());
    let _ = sender.send(Message::Ended(Ended { reason, applied, error }));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
