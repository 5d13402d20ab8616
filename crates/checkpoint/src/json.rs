//! JSON files, and what a pickle holds in the form of JSON.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pytorch_reader::PickleValue;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::error::CheckpointError;

/// No description of a model or an SAE is longer; label files of large SAEs come near.
const MOST_BYTES: u64 = 64 << 20;

/// Reads the JSON file at `path`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| CheckpointError::io(path, source))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(CheckpointError::FileTooLarge { path: path.to_owned(), max: MOST_BYTES });
    }
    serde_json::from_slice(&bytes)
        .map_err(|source| CheckpointError::Json { path: path.to_owned(), source })
}

/// Makes a `T` of `value`, which was found in the file at `path`.
pub(crate) fn from_value<T: DeserializeOwned>(
    path: &Path,
    value: Value,
) -> Result<T, CheckpointError> {
    serde_json::from_value(value)
        .map_err(|source| CheckpointError::Json { path: path.to_owned(), source })
}

/// The JSON that says what `value` says. A tensor or another Python object becomes its type's name.
pub(crate) fn from_pickle(value: &PickleValue) -> Value {
    match value {
        PickleValue::None => Value::Null,
        PickleValue::Bool(value) => Value::Bool(*value),
        PickleValue::Int(value) => Value::from(*value),
        PickleValue::Float(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
        PickleValue::String(value) => Value::String(value.clone()),
        PickleValue::List(items) => Value::Array(items.iter().map(from_pickle).collect()),
        PickleValue::Dict(entries) => {
            let mut keys: Vec<_> = entries.keys().collect();
            keys.sort();
            let entry = |key: &String| (key.clone(), from_pickle(&entries[key]));
            Value::Object(keys.into_iter().map(entry).collect::<Map<_, _>>())
        }
        PickleValue::Bytes(bytes) => Value::String(format!("{} bytes", bytes.len())),
        PickleValue::Unsupported(name) => Value::String(name.clone()),
    }
}
