//! JSON values as Python objects and back, through Python's own `json`.

use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use crate::errors::refused;

/// `value` as dicts, lists, numbers, strings, booleans and None.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    py.import("json")?.call_method1("loads", (value.to_string(),))
}

/// The JSON value of `object`. Scalars of NumPy and torch are the numbers that they hold.
pub(crate) fn from_python(object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let py = object.py();
    let json = py.import("json")?;
    let options = PyDict::new(py);
    let item = py.import("operator")?.call_method1("methodcaller", ("item",))?;
    options.set_item("default", item)?;
    let text: String = json.call_method("dumps", (object,), Some(&options))?.extract()?;
    serde_json::from_str(&text).map_err(|error| refused(py, error.to_string()))
}
