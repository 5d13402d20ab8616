//! Plans from keyword arguments.

use nanoscope::{Condition, HookPoint, Intervention, Microscope, Plan, SyntaxError, VectorName};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use serde::de::DeserializeOwned;

use crate::arrays::Floats;
use crate::errors::{exception, refused};
use crate::metadata::from_python;

/// The arguments of a pass or a generation that make its plan.
#[derive(Debug, Default)]
pub(crate) struct PlanArgs<'py> {
    pub(crate) track: Option<Bound<'py, PyAny>>,
    pub(crate) steer: Option<Bound<'py, PyAny>>,
    pub(crate) vectors: Option<Bound<'py, PyDict>>,
    pub(crate) capture: Option<Vec<String>>,
    pub(crate) stop_when: Option<Bound<'py, PyAny>>,
}

impl PlanArgs<'_> {
    /// The plan of these arguments for the model of `scope`.
    pub(crate) fn plan(self, py: Python<'_>, scope: &Microscope) -> PyResult<Plan> {
        let mut plan = Plan::new();
        match &self.track {
            None => plan.track_all = true,
            Some(all) if all.extract::<&str>().is_ok_and(|all| all == "all") => {
                plan.track_all = true;
            }
            Some(hooks) => {
                for hook in several(hooks)? {
                    plan.track.insert(self::hook(py, hook.extract()?)?);
                }
            }
        }
        for name in self.capture.iter().flatten() {
            plan.capture.insert(hook(py, name)?);
        }
        let default = plan.track.last().or(scope.model().saes().keys().next_back()).copied();
        if let Some(steer) = &self.steer {
            for one in several(steer)? {
                plan.interventions.push(intervention(&one, default)?);
            }
        }
        if let Some(vectors) = &self.vectors {
            for (name, values) in vectors {
                let name: String = name.extract()?;
                let parsed: Result<VectorName, SyntaxError> = name.parse();
                let name = parsed.map_err(|error| exception(py, error))?;
                plan.vectors.push((name, Floats::of(&values)?.values));
            }
        }
        if let Some(conditions) = &self.stop_when {
            for one in several(conditions)? {
                plan.stop_when.push(condition(&one)?);
            }
        }
        Ok(plan)
    }
}

/// The hook point of this name.
pub(crate) fn hook(py: Python<'_>, name: &str) -> PyResult<HookPoint> {
    name.parse().map_err(|error: nanoscope::HookError| exception(py, error))
}

/// The elements of a list, or the one that is given alone: a text or a dict.
fn several<'py>(object: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if object.cast::<PyString>().is_ok() || object.cast::<PyDict>().is_ok() {
        return Ok(vec![object.clone()]);
    }
    object.try_iter()?.collect()
}

/// An intervention in its text form, or as a dict with the keys of the JSON form.
fn intervention(object: &Bound<'_, PyAny>, default: Option<HookPoint>) -> PyResult<Intervention> {
    let py = object.py();
    match object.cast::<PyString>() {
        Ok(text) => {
            Intervention::parse_at(text.to_str()?, default).map_err(|error| exception(py, error))
        }
        Err(_) => from_json(object),
    }
}

/// A condition in its text form, or as a dict with the keys of the JSON form.
fn condition(object: &Bound<'_, PyAny>) -> PyResult<Condition> {
    let py = object.py();
    match object.cast::<PyString>() {
        Ok(text) => text.to_str()?.parse().map_err(|error: SyntaxError| exception(py, error)),
        Err(_) => from_json(object),
    }
}

fn from_json<T: DeserializeOwned>(object: &Bound<'_, PyAny>) -> PyResult<T> {
    let value = from_python(object)?;
    serde_json::from_value(value).map_err(|error| refused(object.py(), error.to_string()))
}
