//! Errors as Python exceptions, with the texts that the command line prints.

use std::error::Error;

use nanoscope::{RuntimeError, SaeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

/// The exception for `error`: `FeatureIndexError` if it is about a feature that an SAE lacks, `NanoscopeError`
/// otherwise. Its text is that of the error and of its causes, separated by `: `.
pub(crate) fn exception(py: Python<'_>, error: impl Into<nanoscope::Error>) -> PyErr {
    let error = error.into();
    let name = if is_about_an_index(&error) { "FeatureIndexError" } else { "NanoscopeError" };
    named(py, name, chain(&error))
}

/// A `NanoscopeError` with the text `text`.
pub(crate) fn refused(py: Python<'_>, text: impl Into<String>) -> PyErr {
    named(py, "NanoscopeError", text.into())
}

/// The text of `error` and of its causes. A cause that repeats the text before it is left out.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let of_cause = cause.to_string();
        let without_number = of_cause.split(" (os error ").next().unwrap_or(&of_cause);
        if !text.to_lowercase().contains(&without_number.to_lowercase()) {
            text = format!("{text}: {of_cause}");
        }
        source = cause.source();
    }
    text
}

/// Runs `work` without the GIL, and makes an exception of its error.
pub(crate) fn without_gil<T: Send, E: Into<nanoscope::Error> + Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, E> + Send,
) -> PyResult<T> {
    py.detach(work).map_err(|error| exception(py, error))
}

fn named(py: Python<'_>, name: &str, text: String) -> PyErr {
    static NANOSCOPE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static INDEX: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let class = if name == "FeatureIndexError" { &INDEX } else { &NANOSCOPE };
    match class.import(py, "nanoscope._errors", name) {
        Ok(class) => PyErr::from_type(class.clone(), text),
        Err(error) => error,
    }
}

fn is_about_an_index(error: &nanoscope::Error) -> bool {
    let sae = match error {
        nanoscope::Error::Sae(error) => error,
        nanoscope::Error::Runtime(error) => match &**error {
            RuntimeError::Feature { source, .. }
            | RuntimeError::NoSuchFeature { source, .. }
            | RuntimeError::ConditionFeature { source, .. } => source,
            _ => return false,
        },
        _ => return false,
    };
    matches!(sae, SaeError::FeatureOutOfRange { .. })
}
