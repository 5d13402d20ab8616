//! Models with their SAEs.

use std::path::PathBuf;
use std::sync::Arc;

use nanoscope::{Microscope, SaeOptions, Sampling};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::arrays::{ids, tokens};
use crate::errors::{exception, refused, without_gil};
use crate::generation::Generation;
use crate::given::Given;
use crate::plan::{PlanArgs, hook};
use crate::run::Run;
use crate::sae::{IN_MEMORY, Sae};

/// A language model with its tokenizer and with SAEs at some of its hook points; `load` opens one.
///
/// It does not change: what to track and to change is an argument of a call, and any number of calls can run at once.
/// The GIL is released while they compute.
#[pyclass(frozen, module = "nanoscope")]
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) scope: Arc<Microscope>,
}

impl Model {
    pub(crate) fn new(scope: Arc<Microscope>) -> Self {
        Self { scope }
    }
}

#[pymethods]
impl Model {
    /// The hook points that have an SAE, in the order in which the model computes them.
    #[getter]
    fn hook_points(&self) -> Vec<String> {
        self.scope.model().saes().keys().map(ToString::to_string).collect()
    }

    /// The number of blocks.
    #[getter]
    fn n_layer(&self) -> usize {
        self.scope.model().gpt().config().shape.n_layer
    }

    /// The width of the residual stream.
    #[getter]
    fn d_model(&self) -> usize {
        self.scope.model().gpt().config().shape.n_embd
    }

    /// The number of tokens that the model distinguishes, which is the last axis of its logits.
    #[getter]
    fn vocab_size(&self) -> usize {
        self.scope.model().gpt().config().shape.vocab_size
    }

    /// The number of positions in a sequence, prompt and generated tokens together.
    #[getter]
    fn context_len(&self) -> usize {
        self.scope.model().context_len()
    }

    /// The file of the weights.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        Some(self.scope.origin()?.files.weights.clone())
    }

    /// Signs that SAEs were trained on another model, for people.
    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.scope.warnings().to_vec()
    }

    /// A second model with the SAEs `saes`, as `load` takes them, in place of those that this one has. The weights are
    /// shared.
    fn with_saes(&self, py: Python<'_>, saes: &Bound<'_, PyAny>) -> PyResult<Self> {
        let given = Given::of(saes)?;
        let scope = self.scope.without_saes();
        let scope = without_gil(py, || given.add_to(scope, &SaeOptions::default()))?;
        Ok(Self::new(Arc::new(scope)))
    }

    /// The SAE at `hook_point`.
    fn sae(&self, py: Python<'_>, hook_point: &str) -> PyResult<Sae> {
        let point = hook(py, hook_point)?;
        let model = self.scope.model();
        let sae = model.sae(point).map_err(|error| exception(py, error))?;
        let write = Some(model.write_point(point)).filter(|write| *write != point);
        let labels = self.scope.labels().get(&point).cloned().unwrap_or_default();
        let path = labels.sae_file().map_or_else(|| IN_MEMORY.into(), ToOwned::to_owned);
        Ok(Sae::new(nanoscope::LoadedSae {
            sae: sae.clone(),
            hooks: nanoscope::SaeHooks::new(point, write),
            overruled: None,
            path,
            format: "",
            labels,
            metadata: nanoscope::Metadata::new(),
        }))
    }

    /// The token ids of `text`, after what the tokenizer puts in front of a text, such as `<|bos|>`: int64, `[seq]`.
    ///
    /// With `special_tokens` the text of a special token becomes that token, and nothing is put in front.
    #[pyo3(signature = (text, special_tokens = false))]
    fn encode<'py>(
        &self,
        py: Python<'py>,
        text: &str,
        special_tokens: bool,
    ) -> PyResult<Bound<'py, PyArray1<i64>>> {
        let ids = without_gil(py, || -> nanoscope::Result<Vec<u32>> {
            if special_tokens {
                Ok(self.scope.tokenizer()?.encode_with_special_tokens(text)?)
            } else {
                self.scope.encode(text)
            }
        })?;
        Ok(PyArray1::from_vec(py, ids.into_iter().map(i64::from).collect()))
    }

    /// The text of token ids `[seq]`.
    fn decode(&self, py: Python<'_>, tokens: &Bound<'_, PyAny>) -> PyResult<String> {
        let rows = ids(tokens)?;
        let tokenizer = self.scope.tokenizer().map_err(|error| exception(py, error))?;
        tokenizer.decode(&rows.concat()).map_err(|error| exception(py, error))
    }

    /// The text of one token, or `<id>` without a tokenizer.
    fn token_text(&self, token: u32) -> String {
        self.scope.model().token_text(token)
    }

    /// The name of a feature: a person's label, or an automatic name such as `fires on ·dog · promotes ·wagged`.
    fn feature_name(
        &self,
        py: Python<'_>,
        hook_point: &str,
        feature: u32,
    ) -> PyResult<Option<String>> {
        let point = hook(py, hook_point)?;
        without_gil(py, || self.scope.prepare_names(point, [feature]))?;
        Ok(self.scope.name(point, feature).map(|name| name.text.to_string()))
    }

    /// Runs `tokens` in one pass.
    ///
    /// `tokens` is a text, a list of texts of equally many tokens, or ids in an array of shape `[seq]` or `[batch, seq]`.
    /// `track` is a list of hook points whose features are returned, by default all that have an SAE. `steer` is a list
    /// of interventions, in the text form of docs/steering.md or as dicts; the hook point can be left out for the
    /// deepest tracked one. `vectors` are steering vectors by name, `capture` a list of hook points whose activations
    /// are returned. Tokens from position `prompt_len` on count as generated; by default none.
    #[pyo3(signature = (tokens, *, track = None, steer = None, vectors = None, capture = None, prompt_len = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn run<'py>(
        &self,
        py: Python<'py>,
        tokens: &Bound<'py, PyAny>,
        track: Option<Bound<'py, PyAny>>,
        steer: Option<Bound<'py, PyAny>>,
        vectors: Option<Bound<'py, PyDict>>,
        capture: Option<Vec<String>>,
        prompt_len: Option<usize>,
    ) -> PyResult<Run> {
        let batch = self::tokens(&self.scope, tokens)?;
        let args = PlanArgs { track, steer, vectors, capture, stop_when: None };
        let plan = args.plan(py, &self.scope)?;
        let model = self.scope.model();
        let prompt_len = prompt_len.unwrap_or(batch.seq());
        let run = without_gil(py, || model.run_generated(&batch, prompt_len, &plan))?;
        Run::new(py, &self.scope, &batch, run)
    }

    /// Runs `tokens` with one feature, `(hook_point, index)`, multiplied by `strength`, as nanochat-SAE does: at every
    /// position, and with the activation replaced by the SAE's reconstruction.
    fn steer(
        &self,
        py: Python<'_>,
        tokens: &Bound<'_, PyAny>,
        feature: (String, usize),
        strength: f32,
    ) -> PyResult<Run> {
        let batch = self::tokens(&self.scope, tokens)?;
        let feature = (hook(py, &feature.0)?, feature.1);
        let model = self.scope.model();
        let run = without_gil(py, || model.steer(&batch, feature, strength))?;
        Run::new(py, &self.scope, &batch, run)
    }

    /// Generates text after `prompt`, a token at a time; the result is an iterator of `Step`s.
    ///
    /// `prompt` is a text or ids of shape `[seq]`; with `chat` it is a user's message, and the text is the answer.
    /// `temperature` 0 chooses the most likely token. `track`, `steer` and `vectors` are those of `run`; `stop_when` is
    /// a list of conditions `HOOK:FEATURE>T` that end the text.
    #[pyo3(signature = (prompt, *, max_tokens = 64, temperature = 1.0, top_k = None, top_p = None, seed = 42,
        frequency_penalty = 0.0, presence_penalty = 0.0, top_logprobs = 0, chat = false, track = None,
        steer = None, vectors = None, stop_when = None))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn generate<'py>(
        &self,
        py: Python<'py>,
        prompt: &Bound<'py, PyAny>,
        max_tokens: usize,
        temperature: f32,
        top_k: Option<usize>,
        top_p: Option<f32>,
        seed: u64,
        frequency_penalty: f32,
        presence_penalty: f32,
        top_logprobs: usize,
        chat: bool,
        track: Option<Bound<'py, PyAny>>,
        steer: Option<Bound<'py, PyAny>>,
        vectors: Option<Bound<'py, PyDict>>,
        stop_when: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Generation> {
        let sampling = Sampling {
            temperature,
            top_k,
            top_p,
            seed,
            max_tokens,
            frequency_penalty,
            presence_penalty,
            top_logprobs,
        };
        let args = PlanArgs { track, steer, vectors, capture: None, stop_when };
        let plan = args.plan(py, &self.scope)?;
        let ids = match prompt.cast::<PyString>() {
            Ok(text) if chat => {
                let tokenizer = self.scope.tokenizer().map_err(|error| exception(py, error))?;
                let ids = tokenizer.chat_prompt(text.to_str()?);
                ids.map_err(|error| exception(py, error))?
            }
            _ => {
                let batch = tokens(&self.scope, prompt)?;
                if batch.batch() != 1 {
                    let text = format!("a generation has one prompt, found {}", batch.batch());
                    return Err(refused(py, text));
                }
                batch.rows().flatten().copied().collect()
            }
        };
        Generation::start(py, self.scope.clone(), ids, plan, sampling)
    }

    fn __repr__(&self) -> String {
        let shape = self.scope.model().gpt().config().shape;
        format!(
            "Model(n_layer={}, d_model={}, vocab_size={}, hook_points={:?})",
            shape.n_layer,
            shape.n_embd,
            shape.vocab_size,
            self.hook_points()
        )
    }
}
