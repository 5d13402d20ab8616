//! nanochat-SAE's checkpoints: their metadata, and loading them by hook point.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use nanoscope_checkpoint::{
    CheckpointError, Metadata, SaeFileError, SaeOptions, SaePath, WeightDtype, load_sae, load_saes,
    load_saes_with, save_nanochat_sae, save_nanochat_sae_with_metadata,
};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use serde_json::{Value, json};

fn device() -> Device {
    nanoscope_testing::test_device()
}

fn small_sae() -> Sae {
    let device = device();
    let weights = SaeWeights::new(
        Tensor::ones([2, 3], &device) * 0.25,
        Tensor::zeros([3], &device),
        Tensor::ones([3, 2], &device) * 0.75,
        Tensor::zeros([2], &device),
    );
    Sae::new(SaeConfig::new(2, 3, Architecture::Relu).unwrap(), weights).unwrap()
}

fn save(path: &Path, metadata: Value) -> Result<(), CheckpointError> {
    let Value::Object(metadata) = metadata else { panic!("metadata is an object") };
    let hook = HookPoint::ResidPost(1);
    save_nanochat_sae_with_metadata(path, &small_sae(), hook, None, WeightDtype::F32, &metadata)
}

fn nested(depth: usize) -> Value {
    // Not `json!`, which serialises the inner value again, recursively, at each level.
    (0..depth).fold(json!(1), |value, at| {
        if at % 2 == 0 {
            Value::Array(vec![value])
        } else {
            Value::Object([("a".to_owned(), value)].into_iter().collect())
        }
    })
}

fn hooks(points: &[HookPoint]) -> SaeOptions {
    SaeOptions { hooks: Some(points.to_vec()), ..SaeOptions::default() }
}

#[test]
fn metadata_is_read_back_as_it_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sae.pt");
    let metadata = json!({
        "training_steps": 20_000,
        "best_val_loss": 0.012_345_678_901_234_5,
        "note": "ünïcode, \"quotes\",\nlines and \u{0}",
        "": true,
        "none": null,
        "sae_state_dict.W_enc": "not a tensor",
        "smallest": i64::MIN,
        "largest": i64::MAX,
        "negative zero": -0.0,
        "tiny": 5e-324,
        "huge": f64::MAX,
        "nested": {"list": [1, -1, 2.5, "a", [], {}], "map": {"k": {"deeper": [null, false]}}},
        "deep": nested(32),
    });

    save(&path, metadata.clone()).unwrap();
    let loaded = load_sae(&path, &device()).unwrap();

    assert_eq!(loaded.sae.config(), small_sae().config());
    assert_eq!(loaded.hook().unwrap(), HookPoint::ResidPost(1));
    assert_eq!(Value::Object(loaded.metadata), metadata);
}

#[test]
fn an_sae_saved_without_metadata_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sae.pt");
    let hook = HookPoint::MlpOut(0);

    save_nanochat_sae(&path, &small_sae(), hook, None, WeightDtype::F32).unwrap();

    assert_eq!(load_sae(&path, &device()).unwrap().metadata, Metadata::new());
}

#[test]
fn metadata_that_could_not_be_read_back_is_refused_and_the_old_file_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sae.pt");
    save(&path, json!({"kept": 1})).unwrap();
    let before = fs::read(&path).unwrap();
    for (metadata, says) in [
        (json!({"sae_state_dict": {}}), "metadata `sae_state_dict`"),
        (json!({"a": 1, "config": {}}), "metadata `config`"),
        (json!({"seed": u64::MAX}), "the integer 18446744073709551615 does not fit 64 bits"),
        (json!({"seeds": [{"a": 1_u64 << 63}]}), "metadata `seeds`"),
        (json!({"deep": nested(33)}), "metadata `deep`: it is nested more than 32 levels deep"),
        (json!({"deep": nested(200)}), "nested more than 32 levels"),
    ] {
        let error = save(&path, metadata).unwrap_err();

        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::Metadata { .. })),
            "{error:?}"
        );
        let text = error.to_string();
        assert!(text.contains(says) && text.contains("sae.pt"), "{text}");
    }
    for metadata in [json!({"many": vec![0; 1 << 18]}), json!({"long": "a".repeat(17 << 20)})] {
        let error = save(&path, metadata).unwrap_err();

        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::MetadataTooLarge { .. })),
            "{error:?}"
        );
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "temporary files remain");
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/golden/head/saes").join(name)
}

#[test]
fn the_metadata_of_nanochat_sae_is_read() {
    for name in ["topk", "relu", "gated"] {
        let path = fixture(name).join("blocks_1_hook_resid_post/best_model.pt");
        let metadata = load_sae(&path, &device()).unwrap().metadata;

        let expected = json!({"best_val_loss": 0.5, "training_steps": 3});
        assert_eq!(Value::Object(metadata), expected, "{name}");
    }
}

#[test]
fn only_saes_of_wanted_hook_points_are_loaded() {
    let all = load_saes([fixture("topk")], &device()).unwrap();
    assert_eq!(all.len(), 3);

    let wanted = [HookPoint::MlpOut(2), HookPoint::ResidPost(1)];
    let some = load_saes_with([fixture("topk")], &device(), &hooks(&wanted)).unwrap();

    let found: Vec<_> = some.iter().map(|loaded| loaded.hook().unwrap()).collect();
    assert_eq!(found, [HookPoint::ResidPost(1), HookPoint::MlpOut(2)]);
    let none = load_saes_with([fixture("topk")], &device(), &hooks(&[])).unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_wanted_hook_point_without_an_sae_is_an_error_that_names_the_others() {
    let wanted = hooks(&[HookPoint::ResidPost(1), HookPoint::ResidPost(3)]);
    let error = load_saes_with([fixture("topk")], &device(), &wanted).unwrap_err();

    assert_eq!(
        error.to_string(),
        "no SAE belongs to hook point blocks.3.hook_resid_post; there are SAEs for \
         blocks.1.hook_resid_post, blocks.2.hook_attn_out, blocks.2.hook_mlp_out"
    );
}

#[test]
fn the_weights_of_unwanted_saes_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (good, bad) = (dir.path().join("good/best_model.pt"), dir.path().join("bad/best_model.pt"));
    let save = |path: &Path, hook| {
        save_nanochat_sae(path, &small_sae(), hook, None, WeightDtype::F32).unwrap();
    };
    save(&good, HookPoint::ResidPost(0));
    save(&bad, HookPoint::ResidPost(1));
    let mut bytes = fs::read(&bad).unwrap();
    let weight = 0.75_f32.to_le_bytes();
    let at = bytes.windows(4).position(|window| window == weight).unwrap();
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&bad, bytes).unwrap();

    load_saes([dir.path()], &device()).unwrap_err();
    let wanted = hooks(&[HookPoint::ResidPost(0)]);
    let loaded = load_saes_with([dir.path()], &device(), &wanted).unwrap();

    assert_eq!(loaded.len(), 1);
    assert_eq!(loaded[0].path, good);
}

#[test]
fn a_hook_point_given_with_the_path_counts_as_the_saes_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sae.pt");
    save(&path, json!({})).unwrap();
    let moved = SaePath { path, at: Some((HookPoint::ResidPost(2), None)) };

    let loaded = load_saes_with([moved.clone()], &device(), &hooks(&[HookPoint::ResidPost(2)]));
    assert_eq!(loaded.unwrap().len(), 1);
    let error = load_saes_with([moved], &device(), &hooks(&[HookPoint::ResidPost(1)]));
    assert!(matches!(
        error.unwrap_err(),
        CheckpointError::SaeFile(SaeFileError::NoSaeForHook { found, .. }) if found == ["blocks.2.hook_resid_post"]
    ));
}

#[test]
fn an_sae_without_a_hook_point_of_ours_is_skipped_if_others_are_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good/best_model.pt");
    let hook = HookPoint::ResidPost(0);
    save_nanochat_sae(&good, &small_sae(), hook, None, WeightDtype::F32).unwrap();
    // A file without its configuration, and so without a hook point.
    let foreign = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/saes/dictionary-learning/gated/trainer_0/ae.pt");
    fs::create_dir(dir.path().join("foreign")).unwrap();
    fs::copy(foreign, dir.path().join("foreign/a.pt")).unwrap();

    assert!(matches!(
        load_saes([dir.path()], &device()).unwrap_err(),
        CheckpointError::SaeFile(SaeFileError::NoHook { .. })
    ));
    assert_eq!(load_saes_with([dir.path()], &device(), &hooks(&[hook])).unwrap().len(), 1);
}
