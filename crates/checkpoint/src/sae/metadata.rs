//! Further entries of a checkpoint, beside the weights and the configuration.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{CheckpointError, SaeFileError};

/// Further entries of an SAE's checkpoint, by key: numbers, strings, booleans and null, and lists
/// and maps of these.
///
/// Its provenance has SAELens's names: `model_name`, `dataset_path`, `context_size` (tokens),
/// `prepend_bos`, `training_tokens`, `training_architecture` and `training_architecture_details`, and
/// `nanoscope_version` if we wrote the file.
///
/// A checkpoint can contain numbers that are not finite, such as the best validation loss of a run
/// that was never validated. JSON has no such numbers; they are read as null.
pub type Metadata = Map<String, Value>;

/// Maximum nesting depth of metadata that is written.
const MAX_DEPTH: usize = 32;

/// Checks that `metadata` can be written to the checkpoint at `path` and read back unchanged.
/// `reserved` are the keys of the checkpoint's other entries.
pub(crate) fn check(
    metadata: &Metadata,
    reserved: &[&str],
    path: &Path,
) -> Result<(), CheckpointError> {
    for (key, value) in metadata {
        let refused = |reason: String| {
            CheckpointError::SaeFile(SaeFileError::Metadata {
                path: path.to_owned(),
                key: key.clone(),
                reason,
            })
        };
        if reserved.contains(&key.as_str()) {
            return Err(refused("the checkpoint has an entry of this name".to_owned()));
        }
        check_value(value, 0).map_err(refused)?;
    }
    Ok(())
}

fn check_value(value: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("it is nested more than {MAX_DEPTH} levels deep"));
    }
    match value {
        // Python has longer integers, but readers of checkpoints, ours included, do not.
        Value::Number(number) if number.is_u64() && number.as_i64().is_none() => {
            Err(format!("the integer {number} does not fit 64 bits with a sign"))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, depth + 1)),
        Value::Object(entries) => {
            entries.values().try_for_each(|item| check_value(item, depth + 1))
        }
    }
}
