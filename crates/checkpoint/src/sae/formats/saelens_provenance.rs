//! The origin of an SAE in SAELens's `cfg.json`.

use serde_json::Value;

use crate::python_json;
use crate::sae::metadata::Metadata;

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

/// Returns what `cfg.json` says about the origin of the SAE.
pub(super) fn provenance(description: &Value) -> Metadata {
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
