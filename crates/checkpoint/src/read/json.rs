//! JSON files, and pickled values as JSON.

use std::io::Read;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::container::PlainValue;
use crate::error::CheckpointError;
use crate::files;
use crate::python_json;
use crate::read::lfs;

/// Maximum length in bytes. No configuration is longer; label files of large SAEs come close.
const MAX_BYTES: u64 = 64 << 20;

/// Reads the JSON file at `path`.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, CheckpointError> {
    read_at_most(path, MAX_BYTES)
}

/// Reads the JSON file at `path`, of at most `max` bytes.
pub(crate) fn read_at_most<T: DeserializeOwned>(
    path: &Path,
    max: u64,
) -> Result<T, CheckpointError> {
    let read = || {
        let mut bytes = Vec::new();
        files::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|source| CheckpointError::io(path, source))?;
    if bytes.len() as u64 > max {
        return Err(CheckpointError::FileTooLarge { path: path.to_owned(), max });
    }
    from_slice(path, &bytes)
}

/// Parses the JSON `bytes` of the file at `path`.
pub(crate) fn from_slice<T: DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
) -> Result<T, CheckpointError> {
    lfs::check(path, bytes)?;
    python_json::from_slice_naming_keys(bytes)
        .map_err(|source| CheckpointError::Json { path: path.to_owned(), source })
}

/// Converts `value`, which was read from the file at `path`.
pub(crate) fn from_value<T: DeserializeOwned>(
    path: &Path,
    value: Value,
) -> Result<T, CheckpointError> {
    python_json::from_value(value)
        .map_err(|source| CheckpointError::Json { path: path.to_owned(), source })
}

/// Checks that `value`, which was read from the file at `path`, has only `known` keys.
#[cfg(feature = "sae")]
pub(crate) fn check_keys(
    path: &Path,
    value: &Value,
    known: &[&str],
) -> Result<(), CheckpointError> {
    let mut keys = value.as_object().into_iter().flat_map(Map::keys);
    match keys.find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(CheckpointError::UnknownKey { path: path.to_owned(), key: key.clone() }),
        None => Ok(()),
    }
}

/// Converts a pickled value to JSON. A tensor or another Python object becomes the name of its type,
/// and a number that is not finite a marked string, as in [`python_json`].
pub(crate) fn from_pickle(value: &PlainValue) -> Value {
    match value {
        PlainValue::None => Value::Null,
        PlainValue::Bool(value) => Value::Bool(*value),
        PlainValue::Int(value) => Value::from(*value),
        PlainValue::Float(value) => python_json::number(*value),
        PlainValue::Text(value) => Value::String(value.clone()),
        PlainValue::List(items) => Value::Array(items.iter().map(from_pickle).collect()),
        PlainValue::Dict(entries) => {
            let entry = |(key, value): (&String, _)| (key.clone(), from_pickle(value));
            Value::Object(entries.iter().map(entry).collect::<Map<_, _>>())
        }
        PlainValue::Bytes(len) => Value::String(format!("{len} bytes")),
        PlainValue::Other(name) => Value::String(name.clone()),
    }
}
