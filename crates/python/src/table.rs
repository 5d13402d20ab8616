//! Features of tokens as a tidy table: the columns of `nanoscope generate --table`.

use std::collections::BTreeMap;

use nanoscope::{HookPoint, Microscope};
use numpy::PyArray1;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::features::ByHook;

/// A token of a result.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_field_names, reason = "the columns' names")]
pub(crate) struct Token<'t> {
    /// The row of the batch; 0 for a generation.
    pub(crate) row: usize,
    pub(crate) position: usize,
    pub(crate) token_id: u32,
    pub(crate) is_prompt: bool,
    /// The log probability that the model gave the token; none for tokens of a prompt.
    pub(crate) logprob: Option<f32>,
    pub(crate) features: &'t ByHook,
    /// The row of `features` that is about the token.
    pub(crate) features_row: usize,
}

/// A row for each token, hook point and active feature, the strongest first: the `top` strongest, or all of them.
pub(crate) fn table<'py>(
    py: Python<'py>,
    scope: &Microscope,
    tokens: &[Token<'_>],
    top: Option<usize>,
) -> PyResult<Bound<'py, PyDict>> {
    let columns = py.detach(|| Columns::of(scope, tokens, top));
    let text = |text: &str| PyString::new(py, text).into_any().unbind();
    // Texts that many rows have in common are one object each.
    let texts: Vec<_> =
        tokens.iter().map(|token| scope.model().token_text(token.token_id)).collect();
    let texts: Vec<_> = texts.iter().map(|token| text(token)).collect();
    let hooks: BTreeMap<HookPoint, Py<PyAny>> =
        scope.model().saes().keys().map(|hook| (*hook, text(&hook.to_string()))).collect();
    let token = columns.token.iter().map(|&at| texts[at].clone_ref(py)).collect();
    let hook = columns.hook.iter().map(|hook| hooks[hook].clone_ref(py)).collect();
    let label =
        columns.label.iter().map(|label| label.as_deref().map_or(py.None(), text)).collect();

    let out = PyDict::new(py);
    out.set_item("row", PyArray1::from_vec(py, columns.row))?;
    out.set_item("position", PyArray1::from_vec(py, columns.position))?;
    out.set_item("token_id", PyArray1::from_vec(py, columns.token_id))?;
    out.set_item("token", PyArray1::<Py<PyAny>>::from_vec(py, token))?;
    out.set_item("is_prompt", PyArray1::from_vec(py, columns.is_prompt))?;
    out.set_item("logprob", PyArray1::from_vec(py, columns.logprob))?;
    out.set_item("hook", PyArray1::<Py<PyAny>>::from_vec(py, hook))?;
    out.set_item("feature", PyArray1::from_vec(py, columns.feature))?;
    out.set_item("activation", PyArray1::from_vec(py, columns.activation))?;
    out.set_item("label", PyArray1::<Py<PyAny>>::from_vec(py, label))?;
    Ok(out)
}

/// The columns before they are Python's.
#[derive(Default)]
struct Columns {
    row: Vec<i32>,
    position: Vec<i32>,
    token_id: Vec<u32>,
    /// The index of the token.
    token: Vec<usize>,
    is_prompt: Vec<bool>,
    logprob: Vec<f32>,
    hook: Vec<HookPoint>,
    feature: Vec<u32>,
    activation: Vec<f32>,
    label: Vec<Option<nanoscope::SharedText>>,
}

impl Columns {
    fn of(scope: &Microscope, tokens: &[Token<'_>], top: Option<usize>) -> Self {
        let mut columns = Self::default();
        for (at, token) in tokens.iter().enumerate() {
            for (&hook, features) in token.features {
                let strongest = features.strongest(token.features_row, top.unwrap_or(usize::MAX));
                // Only a feature that the SAE does not have is an error, and it is none of these.
                let _ = scope.prepare_names(hook, strongest.iter().map(|&(feature, _)| feature));
                for (feature, activation) in strongest {
                    columns.row.push(token.row as i32);
                    columns.position.push(token.position as i32);
                    columns.token_id.push(token.token_id);
                    columns.token.push(at);
                    columns.is_prompt.push(token.is_prompt);
                    columns.logprob.push(token.logprob.unwrap_or(f32::NAN));
                    columns.hook.push(hook);
                    columns.feature.push(feature);
                    columns.activation.push(activation);
                    columns.label.push(scope.name(hook, feature).map(|name| name.text));
                }
            }
        }
        columns
    }
}
