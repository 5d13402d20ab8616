//! Sparse autoencoders.

use std::path::PathBuf;
use std::sync::Arc;

use nanoscope::burn::tensor::Tensor;
use nanoscope::{
    HookPoint, LoadedSae, Metadata, Normalization, SaeConfig, SaeHooks, SaeWeights, SaveForm,
    SparseFeatures, WeightDtype, save_nanochat_sae_with_metadata, save_sae,
    save_saelens_with_metadata,
};
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::arrays::{Floats, array, to_host};
use crate::errors::{exception, refused, without_gil};
use crate::features::Features;
use crate::metadata::{from_python, to_python};
use crate::plan::hook;

/// The path of an SAE that no file has, as errors print it.
pub(crate) const IN_MEMORY: &str = "the SAE in memory";

/// A sparse autoencoder: features of an activation, and the activation of features.
///
/// `load_sae` and `load_saes` read files; `Sae.from_weights` takes arrays. The weights do not change.
#[pyclass(frozen, module = "nanoscope")]
#[derive(Debug)]
pub(crate) struct Sae {
    // Tensors are aligned to 64 bytes, and Python allocates objects at multiples of 16.
    loaded: Box<LoadedSae>,
}

impl Sae {
    pub(crate) fn new(loaded: LoadedSae) -> Self {
        Self { loaded: Box::new(loaded) }
    }

    /// The same SAE, with shared weights, at the hook point `at` if that is given.
    pub(crate) fn copy_at(&self, at: Option<HookPoint>) -> LoadedSae {
        let LoadedSae { sae, hooks, overruled, path, format, labels, metadata } = &*self.loaded;
        let copy = LoadedSae {
            sae: sae.clone(),
            hooks: hooks.clone(),
            overruled: overruled.clone(),
            path: path.clone(),
            format,
            labels: labels.clone(),
            metadata: metadata.clone(),
        };
        match at {
            Some(at) => copy.placed_at(at),
            None => copy,
        }
    }

    fn config_value(&self) -> Value {
        serde_json::to_value(self.loaded.sae.config()).expect("a configuration is JSON")
    }
}

#[pymethods]
impl Sae {
    /// Makes an SAE of arrays.
    ///
    /// `config` has the keys `d_in`, `d_sae` and `architecture`, such as `{"type": "topk", "k": 32}`, and those of
    /// docs/formats.md that differ from their defaults. `weights` has `W_enc` [d_in, d_sae], `b_enc` [d_sae], `W_dec`
    /// [d_sae, d_out] and `b_dec` [d_out], and what the architecture needs: `threshold` [d_sae]; `r_mag` and `b_mag`
    /// [d_sae]; `W_gate` [d_in, d_sae] and `b_gate` [d_sae]; `W_skip` [d_in, d_out].
    #[staticmethod]
    #[pyo3(signature = (weights, config, hook_point = None, device = "auto"))]
    fn from_weights(
        py: Python<'_>,
        weights: &Bound<'_, PyDict>,
        config: &Bound<'_, PyAny>,
        hook_point: Option<&str>,
        device: &str,
    ) -> PyResult<Self> {
        let config: Result<SaeConfig, _> = serde_json::from_value(from_python(config)?);
        let config = config.map_err(|error| refused(py, error.to_string()))?;
        let device = nanoscope::device(device).map_err(|error| exception(py, error))?;
        let point = hook_point.map(|name| hook(py, name)).transpose()?;
        let take = Weights { weights: weights.copy()?, device };
        let mut of_sae = SaeWeights::new(
            take.needed("W_enc")?,
            take.needed("b_enc")?,
            take.needed("W_dec")?,
            take.needed("b_dec")?,
        );
        of_sae.threshold = take.next("threshold")?;
        of_sae.w_skip = take.next("W_skip")?;
        of_sae.magnitude = match (take.next("r_mag")?, take.next("b_mag")?) {
            (Some(r_mag), Some(b_mag)) => Some(nanoscope::MagnitudeWeights { r_mag, b_mag }),
            (None, None) => None,
            _ => return Err(refused(py, "`r_mag` and `b_mag` belong together")),
        };
        of_sae.gate = match (take.next("W_gate")?, take.next("b_gate")?) {
            (Some(w_gate), Some(b_gate)) => Some(nanoscope::GateWeights { w_gate, b_gate }),
            (None, None) => None,
            _ => return Err(refused(py, "`W_gate` and `b_gate` belong together")),
        };
        if let Some((name, _)) = take.weights.iter().next() {
            return Err(refused(py, format!("unknown weight `{name}`")));
        }
        let sae = nanoscope::Sae::new(config, of_sae).map_err(|error| exception(py, error))?;
        let hooks = SaeHooks { hook: point.map(|point| point.to_string()), hook_out: None };
        let loaded = LoadedSae {
            sae,
            hooks,
            overruled: None,
            path: PathBuf::from(IN_MEMORY),
            format: "",
            labels: nanoscope::Labels::default(),
            metadata: Metadata::new(),
        };
        Ok(Self::new(loaded))
    }

    /// The width of the activations that are encoded.
    #[getter]
    fn d_in(&self) -> usize {
        self.loaded.sae.config().d_in()
    }

    /// The number of features.
    #[getter]
    fn d_sae(&self) -> usize {
        self.loaded.sae.config().d_sae()
    }

    /// The width of the activations that are decoded.
    #[getter]
    fn d_out(&self) -> usize {
        self.loaded.sae.config().d_out()
    }

    /// A short name of the architecture.
    #[getter]
    fn architecture(&self) -> &'static str {
        self.loaded.sae.config().architecture().name()
    }

    /// The configuration, as `from_weights` takes it.
    #[getter]
    fn config<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &self.config_value())
    }

    /// The hook point of the activations that it reads; None if its files do not name one of ours.
    #[getter]
    fn hook_point(&self) -> Option<String> {
        Some(self.loaded.hook().ok()?.to_string())
    }

    /// The hook point that a transcoder writes.
    #[getter]
    fn hook_out(&self) -> Option<String> {
        Some(self.loaded.hook_out().ok()??.to_string())
    }

    /// The file that it was read from; None for one made of arrays.
    #[getter]
    fn path(&self) -> Option<PathBuf> {
        Some(self.loaded.path.clone()).filter(|path| path.as_os_str() != IN_MEMORY)
    }

    /// The tool that wrote the file, for people.
    #[getter]
    fn format(&self) -> &'static str {
        self.loaded.format
    }

    /// Further entries of its file, such as `training_steps`.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        to_python(py, &Value::Object(self.loaded.metadata.clone()))
    }

    /// The weights by name, as `from_weights` takes them: float32, copied.
    fn weights<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let out = PyDict::new(py);
        let SaeWeights { w_enc, b_enc, w_dec, b_dec, threshold, magnitude, gate, w_skip } =
            py.detach(|| self.loaded.sae.weights());
        put(&out, "W_enc", Some(w_enc))?;
        put(&out, "b_enc", Some(b_enc))?;
        put(&out, "W_dec", Some(w_dec))?;
        put(&out, "b_dec", Some(b_dec))?;
        put(&out, "threshold", threshold)?;
        if let Some(magnitude) = magnitude {
            put(&out, "r_mag", Some(magnitude.r_mag))?;
            put(&out, "b_mag", Some(magnitude.b_mag))?;
        }
        if let Some(gate) = gate {
            put(&out, "W_gate", Some(gate.w_gate))?;
            put(&out, "b_gate", Some(gate.b_gate))?;
        }
        put(&out, "W_skip", w_skip)?;
        Ok(out)
    }

    /// The features of the activations `x` [..., d_in].
    fn encode(&self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<Features> {
        let sae = &self.loaded.sae;
        let (x, leading) = Floats::of(x)?.rows(py, "x", self.d_in(), &sae.device())?;
        let sparse = without_gil(py, || sae.encode_sparse(x))?;
        Ok(Features::new(sparse, leading))
    }

    /// The activations [..., d_out] of `features`: those of `encode`, or an array [..., d_sae] with the zeros.
    ///
    /// `x` [..., d_in] are the activations that were encoded. Only an SAE that normalises each activation, or has a
    /// skip connection, needs them.
    #[pyo3(signature = (features, x = None))]
    fn decode<'py>(
        &self,
        py: Python<'py>,
        features: &Bound<'py, PyAny>,
        x: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyArrayDyn<f32>>> {
        let (sae, device) = (&self.loaded.sae, self.loaded.sae.device());
        let (d_in, d_sae, d_out) = (self.d_in(), self.d_sae(), self.d_out());
        let (input, leading) = match features.cast::<Features>() {
            Ok(features) => {
                let features = features.get();
                if features.sparse.d_sae() != d_sae {
                    let found = features.sparse.d_sae();
                    let text = format!("the features are of an SAE with {found}, not {d_sae}");
                    return Err(refused(py, text));
                }
                (Input::Sparse(features.sparse.clone()), features.leading.clone())
            }
            Err(_) => {
                let (dense, leading) =
                    Floats::of(features)?.rows(py, "features", d_sae, &device)?;
                (Input::Dense(Box::new(dense)), leading)
            }
        };
        let rows = input.rows();
        let x = match x {
            Some(x) => {
                let (x, _) = Floats::of(x)?.rows(py, "x", d_in, &device)?;
                let [found, _] = x.dims();
                if found != rows {
                    return Err(refused(py, format!("x has {found} rows, the features {rows}")));
                }
                x
            }
            None if needs_input(sae.config()) => {
                return Err(refused(
                    py,
                    "this SAE decodes with the activations too: decode(features, x)",
                ));
            }
            None => Tensor::zeros([rows, d_in], &device),
        };
        let values = py.detach(|| match input {
            Input::Sparse(features) => to_host(sae.decode_sparse(&features, x)),
            Input::Dense(dense) => to_host(sae.decode(*dense, x)),
        });
        array(py, values, &[leading, vec![d_out]].concat())
    }

    /// Writes the SAE to `path`, as `nanochat-sae` (a `.pt` file), `saelens` or `nanoscope-sae` (a folder).
    ///
    /// `dtype` is that of the matrices in the file: f32, f16 or bf16. `metadata` is a dict of further entries. A file
    /// that the tool would read with other numbers is refused.
    #[pyo3(signature = (path, format = "nanochat-sae", *, hook_point = None, dtype = "f32", metadata = None))]
    fn save(
        &self,
        py: Python<'_>,
        path: PathBuf,
        format: &str,
        hook_point: Option<&str>,
        dtype: &str,
        metadata: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let point = match hook_point {
            Some(name) => hook(py, name)?,
            None => self.loaded.hook().map_err(|error| exception(py, error))?,
        };
        let hook_out = self.loaded.hook_out().map_err(|error| exception(py, error))?;
        let (form, dtype) = (form(py, format)?, number(py, dtype)?);
        let metadata = match metadata.map(from_python).transpose()? {
            None => self.loaded.metadata.clone(),
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(refused(py, "`metadata` must be a dict")),
        };
        let sae = &self.loaded.sae;
        without_gil(py, || match form {
            SaveForm::SaeLens => {
                save_saelens_with_metadata(&path, sae, point, hook_out, dtype, &metadata)
            }
            SaveForm::NanochatSae => {
                save_nanochat_sae_with_metadata(&path, sae, point, hook_out, dtype, &metadata)
            }
            _ => save_sae(&path, sae, point, hook_out, dtype, &metadata),
        })
    }

    fn __repr__(&self) -> String {
        let hook = self.hook_point().map(|hook| format!(", hook_point='{hook}'"));
        format!(
            "Sae(d_in={}, d_sae={}, architecture='{}'{})",
            self.d_in(),
            self.d_sae(),
            self.architecture(),
            hook.unwrap_or_default()
        )
    }
}

/// Features to decode.
enum Input {
    Sparse(Arc<SparseFeatures>),
    Dense(Box<Tensor<2>>),
}

impl Input {
    fn rows(&self) -> usize {
        match self {
            Self::Sparse(features) => features.rows(),
            Self::Dense(features) => features.dims()[0],
        }
    }
}

/// The arrays of `from_weights`, each of which is taken once.
struct Weights<'py> {
    weights: Bound<'py, PyDict>,
    device: nanoscope::burn::tensor::Device,
}

impl Weights<'_> {
    /// Takes the array `name` as a tensor of rank `D`; `None` if there is none.
    fn next<const D: usize>(&self, name: &str) -> PyResult<Option<Tensor<D>>> {
        let Some(found) = self.weights.get_item(name)? else { return Ok(None) };
        self.weights.del_item(name)?;
        Floats::of(&found)?.tensor(found.py(), name, &self.device).map(Some)
    }

    /// Takes the array `name`, without which there is no SAE.
    fn needed<const D: usize>(&self, name: &str) -> PyResult<Tensor<D>> {
        let missing = || refused(self.weights.py(), format!("`weights` has no `{name}`"));
        self.next(name)?.ok_or_else(missing)
    }
}

fn put<const D: usize>(
    out: &Bound<'_, PyDict>,
    name: &str,
    weight: Option<Tensor<D>>,
) -> PyResult<()> {
    let Some(weight) = weight else { return Ok(()) };
    let shape = weight.dims();
    out.set_item(name, array(out.py(), to_host(weight), &shape)?)
}

/// Returns whether decoding depends on the activations that were encoded.
fn needs_input(config: &SaeConfig) -> bool {
    config.skip()
        || matches!(
            config.normalization(),
            Normalization::ConstantNormRescale | Normalization::LayerNorm
        )
}

/// The form in which an SAE is saved by this name.
fn form(py: Python<'_>, name: &str) -> PyResult<SaveForm> {
    const FORMS: [SaveForm; 3] = [SaveForm::NanochatSae, SaveForm::SaeLens, SaveForm::Nanoscope];
    let known = FORMS.map(|form| form.to_string()).join(", ");
    let found = FORMS.into_iter().find(|form| form.to_string() == name);
    found.ok_or_else(|| refused(py, format!("unknown format `{name}` (expected {known})")))
}

/// The number type of this name.
pub(crate) fn number(py: Python<'_>, name: &str) -> PyResult<WeightDtype> {
    match name {
        "f32" | "float32" => Ok(WeightDtype::F32),
        "f16" | "float16" => Ok(WeightDtype::F16),
        "bf16" | "bfloat16" => Ok(WeightDtype::BF16),
        _ => Err(refused(py, format!("unknown dtype `{name}` (expected f32, f16, bf16)"))),
    }
}
