//! The hook points of SAEs: one file at several, links, and Gemma Scope's embedding.

use std::fs;
use std::path::PathBuf;

use nanoscope_checkpoint::{
    CheckpointError, LoadedSae, SaeFileError, SaeOptions, SaePath, load_sae, load_sae_with,
    load_saes,
};
use nanoscope_hooks::HookPoint;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{device, file, fixture, root};

fn places(saes: &[LoadedSae]) -> Vec<HookPoint> {
    saes.iter().map(|sae| sae.hook().unwrap()).collect()
}

#[test]
fn one_file_at_two_hook_points_is_two_saes_and_at_one_it_is_one() {
    let path = root("models/demo/saes/layer_1");
    let at = |hook| SaePath { path: path.clone(), at: Some((hook, None)) };
    let (one, three) = (HookPoint::ResidPost(1), HookPoint::ResidPost(3));
    let own = load_sae(&path, &device()).unwrap().hook().unwrap();
    assert_eq!(own, one);
    let load = |paths: Vec<SaePath>| load_saes(paths, &device());

    assert_eq!(places(&load(vec![at(one), at(three)]).unwrap()), [one, three]);
    assert_eq!(places(&load(vec![at(three), path.clone().into()]).unwrap()), [one, three]);
    for twice in [
        vec![at(one), at(one)],
        vec![path.clone().into(), at(one)],
        vec![path.clone().into(), path.join("sae_weights.safetensors").into()],
    ] {
        assert_eq!(places(&load(twice).unwrap()), [one]);
    }
    // Another file, or another use of this one, is another SAE.
    let copied = root("models/demo/saes/layer_2");
    let elsewhere = SaePath { path: copied, at: Some((one, None)) };
    let transcoder = SaePath { path: path.clone(), at: Some((one, Some(HookPoint::MlpOut(1)))) };
    for other in [elsewhere, transcoder] {
        let error = load(vec![at(one), other]).unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::TwoSaes { hook, .. }) if hook == one),
            "{error}"
        );
    }
}

#[cfg(unix)]
#[test]
fn links_to_one_file_or_folder_are_saes_of_their_own() {
    use std::os::unix::fs::symlink;

    let dir = TempDir::new().unwrap();
    let demo = root("models/demo/saes/layer_1").canonicalize().unwrap();
    for layer in [1, 3] {
        let to = dir.path().join(format!("hub/l{layer}"));
        fs::create_dir_all(&to).unwrap();
        symlink(demo.join("sae_weights.safetensors"), to.join("sae_weights.safetensors")).unwrap();
        let cfg = json!({
            "d_in": 256, "d_sae": 1024, "hook_name": format!("blocks.{layer}.hook_resid_post"),
        });
        let mut known: Value =
            serde_json::from_slice(&fs::read(demo.join("cfg.json")).unwrap()).unwrap();
        known["metadata"]["hook_name"] = cfg["hook_name"].clone();
        fs::write(to.join("cfg.json"), known.to_string()).unwrap();
    }
    let loaded = load_saes([dir.path().join("hub")], &device()).unwrap();
    assert_eq!(places(&loaded), [HookPoint::ResidPost(1), HookPoint::ResidPost(3)]);

    // Two links to one folder, whose names are the only difference.
    let sparsify = fixture("sparsify/topk/layers.2").canonicalize().unwrap();
    for layer in [0, 4] {
        fs::create_dir_all(dir.path().join("runs")).unwrap();
        symlink(&sparsify, dir.path().join(format!("runs/layers.{layer}"))).unwrap();
    }
    let loaded = load_saes([dir.path().join("runs")], &device()).unwrap();
    assert_eq!(places(&loaded), [HookPoint::ResidPost(0), HookPoint::ResidPost(4)]);
}

#[cfg(unix)]
#[test]
fn links_that_multiply_folders_end() {
    use std::os::unix::fs::symlink;

    let dir = TempDir::new().unwrap();
    for depth in 0..14 {
        let inner = dir.path().join(format!("d{}", depth + 1));
        fs::create_dir_all(dir.path().join(format!("d{depth}"))).unwrap();
        fs::create_dir_all(&inner).unwrap();
        for name in ["a", "b"] {
            symlink(&inner, dir.path().join(format!("d{depth}/{name}"))).unwrap();
        }
    }
    let error = load_saes([dir.path().join("d0")], &device()).unwrap_err();
    assert!(error.to_string().contains("1024 links"), "{error}");
}

#[test]
fn a_gemma_scope_sae_belongs_to_the_embedding_only_by_its_own_folder_or_a_statement() {
    let own = |path: &str| -> (TempDir, PathBuf) {
        let from = "gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71/params.npz";
        file(path, &fs::read(fixture("gemma-scope/res").join(from)).unwrap())
    };
    let place = |path: &str, at: Option<HookPoint>| {
        let (_dir, path) = own(path);
        let at = at.map(|hook| (hook, None));
        load_sae_with(SaePath { path, at }, &device(), &SaeOptions::default())
    };
    let sum = |sae: &LoadedSae| sae.sae.weights().w_dec.abs().sum().into_scalar::<f32>();
    let plain = place("params.npz", None).unwrap();
    let (res, size) = ("gemma-scope-2b-pt-res", "width_16k/average_l0_71/params.npz");
    let layer_20 = Some("blocks.20.hook_resid_post");
    let embed = Some(HookPoint::Embed);
    for (path, at, hook, factor) in [
        (format!("{res}/layer_20/{size}"), None, layer_20, 1.0),
        (format!("embedding/{res}/layer_20/{size}"), None, layer_20, 1.0),
        (format!("embedding/saes/{size}"), None, None, 1.0),
        (format!("{res}/embedding/{size}"), None, Some("hook_embed"), 4.0),
        ("params.npz".to_owned(), embed, Some("hook_embed"), 4.0),
        (format!("{res}/embedding/{size}"), embed, Some("hook_embed"), 4.0),
    ] {
        let loaded = place(&path, at).unwrap();
        assert_eq!(loaded.hooks.hook.as_deref(), hook, "{path}");
        let off = sum(&loaded) / sum(&plain) - factor;
        assert!(off.abs() < 1e-4, "{path}: {off}");
    }
}
