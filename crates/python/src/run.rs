//! The results of one pass.

use std::sync::Arc;

use nanoscope::{InterventionReport, Microscope, RunOutput, TokenBatch};
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::arrays::{array, to_host};
use crate::features::{ByHook, shared};
use crate::heatmap::html;
use crate::table::{Token, table};

/// The results of `Model.run`.
#[pyclass(frozen, module = "nanoscope")]
#[derive(Debug)]
pub(crate) struct Run {
    scope: Arc<Microscope>,
    rows: Vec<Vec<u32>>,
    by_hook: ByHook,
    /// The token ids: int64, `[batch, seq]`.
    #[pyo3(get)]
    tokens: Py<PyArrayDyn<i64>>,
    /// The logits: float32, `[batch, seq, vocab_size]`.
    #[pyo3(get)]
    logits: Py<PyArrayDyn<f32>>,
    /// The features of each tracked hook point, a row per token: row `b * seq + t` is position `t` of row `b`.
    #[pyo3(get)]
    features: Py<PyDict>,
    /// The captured activations by hook point: float32, `[batch, seq, ...]`.
    #[pyo3(get)]
    captured: Py<PyDict>,
    /// A report for each intervention: a dict with `intervention`, `positions` (the number at which it was applied),
    /// `changed` (the number at which it changed something) and `moved` (the distance relative to the activation's
    /// norm, averaged over `positions`).
    #[pyo3(get)]
    applied: Py<PyAny>,
}

impl Run {
    pub(crate) fn new(
        py: Python<'_>,
        scope: &Arc<Microscope>,
        tokens: &TokenBatch,
        run: RunOutput,
    ) -> PyResult<Self> {
        let RunOutput { logits, features, captured, applied } = run;
        let shape = logits.dims();
        let logits = array(py, py.detach(|| to_host(logits)), &shape)?.unbind();
        let leading = |_| vec![tokens.batch(), tokens.seq()];
        let (features, by_hook) = shared(py, features, leading)?;
        let of_captured = PyDict::new(py);
        for (hook, activation) in captured.iter() {
            let values = py.detach(|| activation.to_vec());
            of_captured.set_item(hook.to_string(), array(py, values, activation.shape())?)?;
        }
        let ids = tokens.rows().flatten().map(|&id| i64::from(id)).collect();
        Ok(Self {
            scope: scope.clone(),
            rows: tokens.rows().map(<[u32]>::to_vec).collect(),
            by_hook,
            tokens: array(py, ids, &[tokens.batch(), tokens.seq()])?.unbind(),
            logits,
            features,
            captured: of_captured.unbind(),
            applied: reports(py, &applied)?,
        })
    }

    fn each_token(&self) -> Vec<Token<'_>> {
        let tokens = self.rows.iter().enumerate().flat_map(|(row, ids)| {
            ids.iter().enumerate().map(move |(position, &token_id)| Token {
                row,
                position,
                token_id,
                is_prompt: true,
                logprob: None,
                features: &self.by_hook,
                features_row: row * ids.len() + position,
            })
        });
        tokens.collect()
    }
}

#[pymethods]
impl Run {
    /// The active features as a dict of arrays, one row per token, hook point and feature: the `top` strongest of each
    /// token and hook point, or all. `pandas.DataFrame(run.table())` takes it; the columns are those of docs/tables.md.
    #[pyo3(signature = (top = None))]
    fn table<'py>(&self, py: Python<'py>, top: Option<usize>) -> PyResult<Bound<'py, PyDict>> {
        table(py, &self.scope, &self.each_token(), top)
    }

    /// A heat map of the `rows` strongest features per hook point over the tokens, as HTML.
    #[pyo3(signature = (rows = 12))]
    fn heatmap(&self, py: Python<'_>, rows: usize) -> String {
        py.detach(|| html(&self.scope, &self.each_token(), Some(rows)))
    }

    fn _repr_html_(&self, py: Python<'_>) -> String {
        py.detach(|| html(&self.scope, &self.each_token(), None))
    }

    fn __repr__(&self) -> String {
        let hooks: Vec<_> = self.by_hook.keys().map(ToString::to_string).collect();
        let seq = self.rows.first().map_or(0, Vec::len);
        format!("Run(batch={}, seq={seq}, tracked={hooks:?})", self.rows.len())
    }
}

/// Reports as a list of dicts.
pub(crate) fn reports(py: Python<'_>, applied: &[InterventionReport]) -> PyResult<Py<PyAny>> {
    let mut dicts = Vec::with_capacity(applied.len());
    for InterventionReport { intervention, positions, changed, moved } in applied {
        let dict = PyDict::new(py);
        dict.set_item("intervention", intervention.to_string())?;
        dict.set_item("positions", positions)?;
        dict.set_item("changed", changed)?;
        dict.set_item("moved", moved)?;
        dicts.push(dict);
    }
    Ok(pyo3::types::PyList::new(py, dicts)?.into_any().unbind())
}
