//! The origin of an SAE in SAELens's `cfg.json`.

use std::path::Path;

use serde_json::{Value, json};

use crate::python_json;
use crate::sae::metadata::Metadata;
use crate::sae::path_names::names;
use crate::sae::weight_processing::{CENTER_WRITING_WEIGHTS, PROCESSING};

/// The keys of `metadata` that decide places and versions; the others are the SAE's provenance.
pub(crate) const PLACE_KEYS: [&str; 5] =
    ["hook_name", "hook_name_out", "hook_head_index", "hook_head_index_out", "sae_lens_version"];

/// The keys of an SAE's provenance before version 6, where all keys were side by side.
const OLD_PROVENANCE: [&str; 9] = [
    "model_name",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "dataset_path",
    "context_size",
    "prepend_bos",
    "seqpos_slice",
    "neuronpedia_id",
    "sae_lens_training_version",
];

/// The repositories of GPT-2's SAEs that were trained on a centred stream, which only SAELens's
/// registry says of them.
const CENTRED: [&str; 3] = [
    "GPT2-Small-SAEs-Reformatted",
    "GPT2-Small-Feature-Splitting-Experiment-Layer-8",
    "gpt2-small-mlp-out-saes",
];

/// Returns what `cfg.json`, and for the file at `path` the registry, says about the origin of the SAE.
pub(super) fn provenance(path: &Path, description: &Value) -> Metadata {
    let mut metadata = in_config(description);
    let is_in = |name: &String| {
        let repository = name.rsplit("--").next();
        repository.is_some_and(|repository| CENTRED.contains(&repository))
    };
    let is_centred = names(path).iter().any(is_in);
    if is_centred {
        let stated = metadata.entry(PROCESSING).or_insert_with(|| json!({}));
        if let Some(stated) = stated.as_object_mut() {
            stated.entry(CENTER_WRITING_WEIGHTS).or_insert(Value::Bool(true));
        }
    }
    metadata
}

fn in_config(description: &Value) -> Metadata {
    let entries = |value: &Value, is_wanted: &dyn Fn(&str) -> bool| {
        let entries = value.as_object().into_iter().flatten();
        entries
            .filter(|(key, value)| is_wanted(key) && !value.is_null())
            .map(|(key, value)| (key.clone(), python_json::finite(value.clone())))
            .collect::<Vec<_>>()
    };
    let old = entries(description, &|key| OLD_PROVENANCE.contains(&key));
    let new = entries(&description["metadata"], &|key| !PLACE_KEYS.contains(&key));
    old.into_iter().chain(new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sae::weight_processing::WeightProcessing;

    #[test]
    fn the_stream_is_centred_as_the_file_or_the_registry_says() {
        let cache = "/hub/models--jbloom--GPT2-Small-SAEs-Reformatted/snapshots/aa/blocks.1/w";
        let copy = "/saes/gpt2-small-mlp-out-saes/w";
        let of = |path: &str, config: &str| {
            let description: Value = serde_json::from_str(config).unwrap();
            WeightProcessing::of(&provenance(Path::new(path), &description)).unwrap().centred
        };
        let stated = r#"{"model_from_pretrained_kwargs": {"center_writing_weights": false}}"#;
        let version_6 =
            r#"{"metadata": {"model_from_pretrained_kwargs": {"center_writing_weights": true}}}"#;

        assert!(of(cache, "{}"));
        assert!(of(copy, r#"{"model_from_pretrained_kwargs": {}}"#));
        assert!(!of(cache, stated));
        assert!(of("/saes/mine/w", version_6));
        assert!(!of("/saes/mine/w", "{}"));
    }
}
