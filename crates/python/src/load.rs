//! Loading of models and SAEs.

use std::path::PathBuf;
use std::sync::Arc;

use nanoscope::{ConfigError, Era, MatrixDtype, Microscope, SaeOptions, SaePath};
use nanoscope_cli::demo_folder;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{exception, refused, without_gil};
use crate::given::Given;
use crate::model::Model;
use crate::plan::hook;
use crate::sae::{Sae, number};

/// Opens a model, with its tokenizer and its SAEs.
///
/// `model` is a weights file, a checkpoint folder, nanochat's base folder or a folder in the layout of transformers;
/// without it the built-in demo is opened, with its SAEs if none are given. `saes` is a file, a folder that is searched
/// with all folders in it, a list of these or of `Sae`s, or a dict of them by hook point. `hook_points` selects some of
/// them. `device` is one of `available_devices()` or "auto"; `dtype` and `sae_dtype` are the types of the matrices in
/// memory: f32, f16, bf16 or int8. Everything is computed in float32.
#[pyfunction]
#[pyo3(signature = (model = None, saes = None, *, hook_points = None, device = "auto", dtype = None,
    sae_dtype = None, tokenizer = None, era = None))]
#[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
pub(crate) fn load(
    py: Python<'_>,
    model: Option<PathBuf>,
    saes: Option<&Bound<'_, PyAny>>,
    hook_points: Option<Vec<String>>,
    device: &str,
    dtype: Option<&str>,
    sae_dtype: Option<&str>,
    tokenizer: Option<PathBuf>,
    era: Option<&str>,
) -> PyResult<Model> {
    let of_device = nanoscope::device(device).map_err(|error| exception(py, error))?;
    let dtype = dtype.map(|name| matrix_number(py, name)).transpose()?;
    let era: Option<Era> = match era.map(str::parse).transpose() {
        Ok(era) => era,
        Err(error) => return Err(refused(py, ConfigError::to_string(&error))),
    };
    let demo = match &model {
        Some(_) => None,
        None => Some(demo_folder().map_err(|error| refused(py, format!("{error:#}")))?),
    };
    let path = model.or_else(|| demo.clone()).expect("the demo is opened where no model is given");
    let open = || {
        let mut options = Microscope::options();
        if let Some(era) = era {
            options = options.era(era);
        }
        if let Some(dir) = tokenizer {
            options = options.tokenizer(dir);
        }
        if let Some(dtype) = dtype {
            options = options.dtype(dtype);
        }
        options.open(&path, &of_device)
    };
    let scope = without_gil(py, open)?;
    let given = match (saes, demo) {
        (Some(saes), _) => Given::of(saes)?,
        (None, Some(demo)) => Given { paths: vec![demo.join("saes").into()], loaded: Vec::new() },
        (None, None) => Given::default(),
    };
    let options = sae_options(py, hook_points, sae_dtype)?;
    let scope = without_gil(py, || given.add_to(scope, &options))?;
    Ok(Model::new(Arc::new(scope)))
}

/// Loads the SAE at `path`, a file or a folder with one.
///
/// `dtype` is the type of its matrices in memory: f32, f16, bf16 or int8.
#[pyfunction]
#[pyo3(signature = (path, *, device = "auto", dtype = None))]
pub(crate) fn load_sae(
    py: Python<'_>,
    path: PathBuf,
    device: &str,
    dtype: Option<&str>,
) -> PyResult<Sae> {
    let device = nanoscope::device(device).map_err(|error| exception(py, error))?;
    let options = sae_options(py, None, dtype)?;
    let loaded = without_gil(py, || nanoscope::load_sae_with(&path, &device, &options))?;
    Ok(Sae::new(loaded))
}

/// Loads every SAE at `paths`, a file, a folder that is searched with all folders in it, or a list of these.
///
/// `hook_points` selects some of them; a hook point that no SAE has is an error. Returns a dict by hook point. Two SAEs
/// for one hook point are an error, and so is a path without an SAE.
#[pyfunction]
#[pyo3(signature = (paths, *, hook_points = None, device = "auto", dtype = None))]
pub(crate) fn load_saes<'py>(
    py: Python<'py>,
    paths: &Bound<'py, PyAny>,
    hook_points: Option<Vec<String>>,
    device: &str,
    dtype: Option<&str>,
) -> PyResult<Bound<'py, PyDict>> {
    let device = nanoscope::device(device).map_err(|error| exception(py, error))?;
    let options = sae_options(py, hook_points, dtype)?;
    let paths = self::paths(paths)?;
    let loaded = without_gil(py, || nanoscope::load_saes_with(paths, &device, &options))?;
    let saes = PyDict::new(py);
    for loaded in loaded {
        let hook = loaded.hook().map_err(|error| exception(py, error))?.to_string();
        saes.set_item(hook, Sae::new(loaded))?;
    }
    Ok(saes)
}

fn paths(object: &Bound<'_, PyAny>) -> PyResult<Vec<SaePath>> {
    if let Ok(path) = object.extract::<PathBuf>() {
        return Ok(vec![path.into()]);
    }
    object.try_iter()?.map(|path| Ok(path?.extract::<PathBuf>()?.into())).collect()
}

fn sae_options(
    py: Python<'_>,
    hook_points: Option<Vec<String>>,
    dtype: Option<&str>,
) -> PyResult<SaeOptions> {
    let points = |names: Vec<String>| names.iter().map(|name| hook(py, name)).collect();
    let mut options =
        SaeOptions { hooks: hook_points.map(points).transpose()?, ..SaeOptions::default() };
    if let Some(dtype) = dtype {
        options.dtype = Some(matrix_number(py, dtype)?);
    }
    Ok(options)
}

/// The type of a matrix in memory by this name.
fn matrix_number(py: Python<'_>, name: &str) -> PyResult<MatrixDtype> {
    match name {
        "int8" => Ok(MatrixDtype::Int8),
        _ => match number(py, name) {
            Ok(number) => Ok(number.into()),
            Err(_) => {
                let text = format!("unknown dtype `{name}` (expected f32, f16, bf16, int8)");
                Err(refused(py, text))
            }
        },
    }
}
