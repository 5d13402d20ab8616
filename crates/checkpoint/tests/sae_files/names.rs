//! Other names of files and of tensors: folders for an upload, wrappers of modules, endings.

use std::fs;
use std::path::PathBuf;

use nanoscope_checkpoint::{CheckpointError, LoadedSae, SaeFileError, load_sae};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Architecture;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{BARE, LINEARS, device, file, pt};

/// The configuration that nanochat-SAE writes beside an SAE prepared for Neuronpedia.
fn upload_config() -> Value {
    json!({
        "model_name": "nanochat", "model_version": "d20",
        "hook_point": "blocks.3.hook_resid_post", "d_in": 4, "d_sae": 8,
        "activation": "topk", "k": 2, "l1_coefficient": null, "normalize_decoder": true,
        "metadata": {"training": {"steps": 3}},
    })
}

fn upload(config: &Value) -> (TempDir, PathBuf) {
    let path = "layer_3/neuronpedia_upload/sae_weights.pt";
    let (dir, path) = file(path, &pt(None, &BARE));
    fs::write(path.with_file_name("config.json"), config.to_string()).unwrap();
    (dir, path)
}

#[test]
fn an_sae_prepared_for_neuronpedia_has_the_configuration_beside_it() {
    let (dir, path) = upload(&upload_config());
    for path in [path.as_path(), path.parent().unwrap(), dir.path()] {
        let loaded = load_sae(path, &device()).unwrap();
        assert_eq!(loaded.format, "nanochat-SAE");
        assert_eq!(loaded.hook().unwrap(), HookPoint::ResidPost(3));
        assert_eq!(loaded.sae.config().architecture(), Architecture::SignedTopK { k: 2 });
        assert_eq!(loaded.metadata["model_version"], "d20");
    }
    let changed = |key: &str, value: Value| {
        let mut config = upload_config();
        config[key] = value;
        let (_dir, path) = upload(&config);
        load_sae(&path, &device())
    };
    let relu = |config: &mut Value| {
        config["activation"] = json!("relu");
        config["k"] = Value::Null;
        config["l1_coefficient"] = json!(0.001);
    };
    let mut config = upload_config();
    relu(&mut config);
    let (_dir, path) = upload(&config);
    let loaded = load_sae(&path, &device()).unwrap();
    assert_eq!(loaded.sae.config().architecture(), Architecture::Relu);

    let error = changed("k", Value::Null).unwrap_err();
    assert!(matches!(error, CheckpointError::MissingKey { key: "k", .. }), "{error}");
    let error = changed("activation", json!("gated")).unwrap_err();
    assert!(error.to_string().contains("without its gate"), "{error}");
    let error = changed("scale", json!(2)).unwrap_err();
    assert!(matches!(error, CheckpointError::UnknownKey { .. }), "{error}");
}

type Wrap = fn(&str) -> String;

#[test]
fn wrappers_of_modules_in_the_names_of_tensors_are_left_out() {
    let plain = |name: &str| name.to_owned();
    let wraps: [(&str, Wrap); 5] = [
        ("compiled", |name| format!("_orig_mod.{name}")),
        ("parallel", |name| format!("module.{name}")),
        ("both", |name| format!("module._orig_mod.{name}")),
        ("twice", |name| format!("_orig_mod.module._orig_mod.{name}")),
        ("inner", |name| name.replacen("encoder.", "encoder._orig_mod.", 1)),
    ];
    let config = json!({"d_in": 4, "d_sae": 8, "activation": "relu"}).to_string();
    let load = |wrap: &dyn Fn(&str) -> String, tensors: &[(&str, &[usize])], name: &str, nested| {
        let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (wrap(name), *shape)).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        let bytes = pt(nested, &tensors);
        let (_dir, path) = file(name, &bytes);
        if nested.is_some() {
            fs::write(path.with_file_name("config.json"), &config).unwrap();
        }
        load_sae(&path, &device())
    };
    let goodfire = "x-SAE-l3.pt";
    for (case, wrap) in wraps {
        for (tensors, name, nested) in
            [(&LINEARS, goodfire, None), (&BARE, "sae_final.pt", Some("sae_state_dict"))]
        {
            let found = load(&wrap, tensors, name, nested).unwrap_or_else(|error| {
                panic!("{case}, {name}: {error}");
            });
            let expected = load(&plain, tensors, name, nested).unwrap();
            let shapes = |sae: &LoadedSae| sae.sae.weights().w_enc.dims();
            assert_eq!(shapes(&found), shapes(&expected), "{case}, {name}");
            assert_eq!(found.hooks, expected.hooks);
            assert_eq!(found.sae.config(), expected.sae.config());
        }
    }
    // Two tensors that would have one name keep theirs.
    let mut twice = BARE.to_vec();
    twice.push(("module.W_enc", &[4, 8]));
    let error = load(&plain, &twice, "sae_final.pt", Some("sae_state_dict")).unwrap_err();
    assert!(
        matches!(error, CheckpointError::SaeFile(SaeFileError::UnexpectedSaeTensor { .. })),
        "{error}"
    );
}

#[test]
fn dictionaries_around_the_weights_are_entered() {
    let plain = |prefix: &str, tensors: &[(&str, &[usize])], name: &str| {
        let tensors: Vec<_> =
            tensors.iter().map(|(name, shape)| (format!("{prefix}{name}"), *shape)).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
        // As beside the weights in a checkpoint of a training framework.
        file(name, &pt(None, &[tensors.as_slice(), &[("optimizer.exp_avg", &[4, 8])]].concat()))
    };
    for prefix in
        ["state_dict.", "model_state_dict.", "state_dict.sae.", "model.", "state_dict.module."]
    {
        let (dir, path) = plain(prefix, &LINEARS, "x-SAE-l3.pt");
        for path in [path.as_path(), dir.path()] {
            let loaded = load_sae(path, &device()).unwrap_or_else(|e| panic!("{prefix}: {e}"));
            assert_eq!(loaded.format, "Goodfire", "{prefix}");
            assert_eq!(loaded.sae.weights().w_enc.dims(), [4, 8], "{prefix}");
        }
        // What is only a guess without the dictionary is one with it.
        let (_dir, path) = plain(prefix, &LINEARS, "mine.ckpt");
        let error = load_sae(&path, &device()).unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::GuessedFormat { .. })),
            "{prefix}: {error}"
        );
    }
    let (_dir, path) = plain("weights_of_mine.", &LINEARS, "x-SAE-l3.pt");
    let error = load_sae(&path, &device()).unwrap_err();
    assert!(matches!(error, CheckpointError::SaeFile(SaeFileError::NotAnSae { .. })), "{error}");
}

#[test]
fn an_sae_is_found_by_its_content_under_every_common_ending() {
    let bytes = pt(Some("sae_state_dict"), &BARE);
    let config = json!({"d_in": 4, "d_sae": 8, "activation": "relu"});
    for name in ["a.pt", "a.PT", "a.pth", "a.Pth", "a.bin", "a.ckpt", "a.CKPT"] {
        let (dir, path) = file(name, &bytes);
        fs::write(path.with_file_name("config.json"), config.to_string()).unwrap();
        for path in [path.as_path(), dir.path()] {
            let loaded = load_sae(path, &device()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(loaded.format, "nanochat-SAE", "{name}");
        }
        // Something else with the ending is not an SAE.
        for (other, bytes) in [("b.bin", &b"text"[..]), ("c.ckpt", &pt(None, &[("w", &[2])]))] {
            fs::write(dir.path().join(other), bytes).unwrap();
        }
        assert!(load_sae(dir.path(), &device()).is_ok(), "{name}");
    }
    // The only file that could have been one is the error.
    let (dir, _path) = file("sae.bin", &bytes[..bytes.len() / 2]);
    let error = load_sae(dir.path(), &device()).unwrap_err().to_string();
    assert!(error.contains("sae.bin"), "{error}");
    let (dir, _path) = file("model.ckpt", &pt(None, &[("w", &[2])]));
    let error = load_sae(dir.path(), &device()).unwrap_err();
    assert!(matches!(error, CheckpointError::SaeFile(SaeFileError::NoSae { .. })), "{error}");
}
