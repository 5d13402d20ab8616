//! SAELens's checkpoints from the middle of a run, and keys without a default.

use std::fs;
use std::path::Path;

use nanoscope_checkpoint::{
    ActivationScale, CheckpointError, SaeFileError, SaeOptions, inspect, load_sae, load_sae_with,
    load_saes_with,
};
use nanoscope_sae::Normalization;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{device, fixture, root};

/// A copy of a mid-training checkpoint of SAELens, with changes.
fn midrun(case: &str, change: impl FnOnce(&Path)) -> TempDir {
    let dir = TempDir::new().unwrap();
    let from = fixture("saelens/midrun").join(case);
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
    }
    change(dir.path());
    dir
}

fn set(path: &Path, key: &str, value: Value) {
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config[key] = value;
    fs::write(path, config.to_string()).unwrap();
}

const AVERAGE: &str = "standard_expected_average_only_in/mid";

const WHITENED: &str = "standard_covariance_whitening/mid";

#[test]
fn the_factor_of_a_run_is_applied_whatever_the_key_says_and_never_called_folded() {
    for key in [json!("expected_average_only_in"), json!("none")] {
        let dir =
            midrun(AVERAGE, |dir| set(&dir.join("cfg.json"), "normalize_activations", key.clone()));
        let normalization = load_sae(dir.path(), &device()).unwrap().sae.config().normalization();
        let scale = 0.111_560_37;
        assert_eq!(normalization, Normalization::ExpectedAverageOnlyIn { scale }, "{key}");
        let facts = inspect(dir.path(), None).unwrap().remove(0).facts;
        let facts = format!("{facts:?}");
        assert!(facts.contains("x · 0.11156037"), "{facts}");
        assert!(facts.contains("from activation_scaler.json: not folded"), "{facts}");
    }
    let dir = midrun("standard_expected_average_only_in/final", |_| {});
    let facts = format!("{:?}", inspect(dir.path(), None).unwrap().remove(0).facts);
    assert!(facts.contains("\"normalisation\", \"none\"") && !facts.contains("folded"), "{facts}");
}

#[test]
fn an_estimated_normalisation_without_its_factor_is_refused_until_it_is_stated() {
    let without = |dir: &Path| fs::remove_file(dir.join("activation_scaler.json")).unwrap();
    let null = |dir: &Path| set(&dir.join("activation_scaler.json"), "scaling_factor", Value::Null);
    let unwhitened =
        |dir: &Path| set(&dir.join("activation_scaler.json"), "has_whitening", json!(false));
    let average = [midrun(AVERAGE, without), midrun(AVERAGE, null)];
    let whitened = [midrun(WHITENED, without), midrun(WHITENED, unwhitened)];
    for (dir, name) in average
        .iter()
        .map(|dir| (dir, "expected_average_only_in"))
        .chain(whitened.iter().map(|dir| (dir, "covariance_whitening")))
    {
        let with = |scale| {
            let options = SaeOptions { activation_scale: scale, ..SaeOptions::default() };
            load_sae_with(dir.path(), &device(), &options)
        };
        let error = with(None).unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::UnknownActivationScale { .. })),
            "{error}"
        );
        assert!(error.to_string().contains(name), "{error}");
        let facts = format!("{:?}", inspect(dir.path(), None).unwrap().remove(0).facts);
        assert!(facts.contains(&format!("{name}, not known whether folded")), "{facts}");

        let folded = with(Some(ActivationScale::Folded)).unwrap();
        assert_eq!(folded.sae.config().normalization(), Normalization::None);
        let by_factor = with(Some(ActivationScale::Factor(0.5)));
        if name == "covariance_whitening" {
            let error = by_factor.unwrap_err();
            assert!(matches!(error, CheckpointError::Unsupported { .. }), "{error}");
        } else {
            let normalization = by_factor.unwrap().sae.config().normalization();
            assert_eq!(normalization, Normalization::ExpectedAverageOnlyIn { scale: 0.5 });
        }
    }
}

#[test]
fn a_stated_scale_that_no_file_leaves_open_is_refused() {
    let demo = root("models/demo/saes/layer_0");
    let known = midrun(AVERAGE, |_| {});
    for path in [demo.as_path(), known.path()] {
        let activation_scale = Some(ActivationScale::Folded);
        let options = SaeOptions { activation_scale, ..SaeOptions::default() };
        for result in [
            load_sae_with(path, &device(), &options).map(|_| ()),
            load_saes_with([path], &device(), &options).map(|_| ()),
        ] {
            let error = result.unwrap_err();
            assert!(
                matches!(
                    error,
                    CheckpointError::SaeFile(SaeFileError::ActivationScaleNotUsed { .. })
                ),
                "{error}"
            );
        }
    }
}

#[test]
fn a_scaler_that_contradicts_the_configuration_is_refused() {
    let scaler = |key: &'static str, value: Value| {
        move |dir: &Path| set(&dir.join("activation_scaler.json"), key, value)
    };
    let cfg = |value: &'static str| {
        move |dir: &Path| set(&dir.join("cfg.json"), "normalize_activations", json!(value))
    };
    for (case, dir, says) in [
        ("both", midrun(WHITENED, scaler("scaling_factor", json!(0.1))), "both a factor and a"),
        ("factor", midrun(AVERAGE, cfg("covariance_whitening")), "another factor"),
        ("whitening", midrun(WHITENED, cfg("expected_average_only_in")), "another whitening"),
        ("layer norm", midrun(AVERAGE, cfg("layer_norm")), "another factor"),
    ] {
        let error = load_sae(dir.path(), &device()).unwrap_err();
        assert!(matches!(error, CheckpointError::Unsupported { .. }), "{case}: {error}");
        assert!(error.to_string().contains(says), "{case}: {error}");
    }
    for bad in [json!(0.0), json!(-0.1)] {
        let dir = midrun(AVERAGE, scaler("scaling_factor", bad));
        let error = load_sae(dir.path(), &device()).unwrap_err();
        assert!(matches!(error, CheckpointError::SaeFile(SaeFileError::Sae { .. })), "{error}");
    }
    let lost = midrun(WHITENED, |dir| {
        fs::remove_file(dir.join("activation_whitening.safetensors")).unwrap();
    });
    let error = load_sae(lost.path(), &device()).unwrap_err();
    assert!(error.to_string().contains("activation_whitening.safetensors"), "{error}");
}

#[test]
fn the_factor_of_a_run_of_version_5_is_in_the_state_of_its_texts() {
    let factor = 0.25_f64.to_le_bytes();
    let view = |bytes| {
        safetensors::tensor::TensorView::new(safetensors::Dtype::F64, Vec::new(), bytes).unwrap()
    };
    for (name, expected) in [("estimated_norm_scaling_factor", Some(0.25)), ("n_dataset", None)] {
        let dir = midrun(AVERAGE, |dir| {
            fs::remove_file(dir.join("activation_scaler.json")).unwrap();
            let bytes = safetensors::serialize([(name, view(&factor))], None).unwrap();
            fs::write(dir.join("activations_store_state.safetensors"), bytes).unwrap();
        });
        let loaded = load_sae(dir.path(), &device());
        match expected {
            Some(scale) => assert_eq!(
                loaded.unwrap().sae.config().normalization(),
                Normalization::ExpectedAverageOnlyIn { scale }
            ),
            None => assert!(matches!(
                loaded.unwrap_err(),
                CheckpointError::SaeFile(SaeFileError::UnknownActivationScale { .. })
            )),
        }
    }
}

#[test]
fn a_flat_top_k_configuration_without_k_is_refused() {
    let dir = TempDir::new().unwrap();
    for name in ["cfg.json", "sae_weights.safetensors"] {
        fs::copy(fixture("saelens/flat_topk").join(name), dir.path().join(name)).unwrap();
    }
    assert!(load_sae(dir.path(), &device()).is_ok());
    set(&dir.path().join("cfg.json"), "activation_fn_kwargs", json!({}));

    let error = load_sae(dir.path(), &device()).unwrap_err();

    assert!(matches!(error, CheckpointError::MissingKey { key: "k", .. }), "{error}");
}
