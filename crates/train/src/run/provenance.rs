//! The provenance of trained SAEs, which is saved with them.

use std::path::PathBuf;

use nanoscope_checkpoint::Metadata;
use nanoscope_corpus::StoredFrom;
use serde_json::{Value, json};

use super::config::{ActivationsFrom, RunConfig};

/// Returns what an SAE of this run came from, under SAELens's names: the model, the text, the tokens
/// until `step`, the recipe, and our version. `stored` is what the store of the run is from.
pub(crate) fn provenance(config: &RunConfig, stored: Option<&StoredFrom>, step: u64) -> Metadata {
    let mut recipe = json!(config.recipe);
    let details = recipe.as_object_mut();
    // Readers of checkpoints have integers of 64 bits with a sign.
    if let Some(seed) = details.and_then(|details| details.get_mut("seed"))
        && seed.as_i64().is_none()
    {
        *seed = Value::String(seed.to_string());
    }
    let mut entries = vec![
        ("nanoscope_version", json!(env!("CARGO_PKG_VERSION"))),
        ("training_tokens", json!(step.saturating_mul(config.recipe.batch as u64))),
        ("training_architecture", recipe["method"]["architecture"].clone()),
        ("training_architecture_details", recipe),
    ];
    entries.extend(of_source(&config.source, stored));
    let known = entries.into_iter().filter(|(_, value)| !value.is_null());
    known.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn of_source(source: &ActivationsFrom, stored: Option<&StoredFrom>) -> Vec<(&'static str, Value)> {
    let path = |path: &PathBuf| path.display().to_string();
    let mut entries = Vec::new();
    if let Some(store) = &source.store {
        entries.push(("activations_path", json!(path(store))));
        if let Some(stored) = stored {
            entries.push(("model_sha256", json!(stored.model_sha256)));
            entries.push(("model_era", json!(stored.model_era)));
            entries.push(("dataset_path", json!(stored.texts.join(", "))));
            entries.push(("context_size", json!(stored.context_length)));
        }
    } else if let Some(activations) = &source.activations {
        entries.push(("activations_path", json!(path(activations))));
    } else {
        let texts: Vec<String> = source.text.iter().map(path).collect();
        let demo = || "nanoscope demo".to_owned();
        entries.push(("model_name", json!(source.model.as_ref().map_or_else(demo, path))));
        entries.push(("dataset_path", json!(texts.join(", "))));
        entries.push(("context_size", json!(source.context)));
        entries.push(("prepend_bos", json!(true)));
    }
    entries
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::HookPoint;

    use super::*;
    use crate::{Method, Recipe};

    fn config(source: ActivationsFrom) -> RunConfig {
        let recipe = Recipe {
            seed: u64::MAX,
            ..Recipe::new(8, Method::TopK { k: 2, aux_k: crate::AuxK::default() }, 10)
        };
        RunConfig {
            hooks: vec![HookPoint::ResidPost(0)],
            device: "auto".to_owned(),
            source,
            recipe,
            run: crate::LoggingSettings::default(),
        }
    }

    #[test]
    fn the_provenance_names_model_text_tokens_and_recipe() {
        let text = vec![PathBuf::from("a.txt"), PathBuf::from("b.jsonl")];
        let of = |source| Value::Object(provenance(&config(source), None, 3));

        let found = of(ActivationsFrom {
            text: text.clone(),
            model: Some(PathBuf::from("base_checkpoints/d4")),
            context: Some(64),
            ..ActivationsFrom::default()
        });

        assert_eq!(found["model_name"], "base_checkpoints/d4");
        assert_eq!(found["dataset_path"], "a.txt, b.jsonl");
        assert_eq!(found["context_size"], 64);
        assert_eq!(found["prepend_bos"], true);
        assert_eq!(found["training_tokens"], 3 * 4096);
        assert_eq!(found["training_architecture"], "top-k");
        let details = &found["training_architecture_details"];
        assert_eq!(
            (&details["d-sae"], &details["seed"]),
            (&json!(8), &json!(u64::MAX.to_string()))
        );
        assert_eq!(found["nanoscope_version"], env!("CARGO_PKG_VERSION"));

        let found = of(ActivationsFrom { text, ..ActivationsFrom::default() });
        assert_eq!(found["model_name"], "nanoscope demo");
        assert!(found.get("context_size").is_none());
        let activations = Some(PathBuf::from("acts.safetensors"));
        let found = of(ActivationsFrom { activations, ..ActivationsFrom::default() });
        assert_eq!(found["activations_path"], "acts.safetensors");
        assert!(found.get("model_name").is_none());
    }
}
