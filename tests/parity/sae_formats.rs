//! SAEs of every format compute the same as the tool that wrote them.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::{
    ActivationScale, LoadedSae, SaeOptions, WeightDtype, load_sae, load_sae_with, save_saelens,
};
use nanoscope_sae::{Normalization, Sae};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::golden::{Arrays, assert_close, values};

pub(crate) const FEATURES_ATOL: f32 = 5e-5;
const RECONSTRUCTION_ATOL: f32 = 5e-5;

/// Rows of activations per case.
pub(crate) const ROWS: usize = 64;

#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    #[serde(rename = "case")]
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) hook: Option<String>,
    pub(crate) hook_out: Option<String>,
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/saes")
}

/// The cases of one format, as the manifest lists them.
pub(crate) fn cases(format: &str) -> Vec<Case> {
    let manifest = std::fs::read(root().join("manifest.json")).unwrap();
    let all: Vec<Case> = serde_json::from_slice(&manifest).unwrap();
    let cases: Vec<Case> =
        all.into_iter().filter(|case| case.name.starts_with(&format!("{format}/"))).collect();
    assert!(!cases.is_empty(), "no cases of {format}");
    cases
}

/// The options that a person must state for a case, because its files leave them open.
pub(crate) fn stated(case: &str) -> SaeOptions {
    let folded = Some(ActivationScale::Folded);
    let format = |name: &str| Some(name.parse().unwrap());
    match case {
        // Without a factor, SAELens takes the weights as they are.
        "saelens/standard_expected_average" | "saelens/flat_normalize_true" => {
            SaeOptions { activation_scale: folded, ..SaeOptions::default() }
        }
        "strides/dictionary_learning" => {
            SaeOptions { format: format("dictionary-learning"), ..SaeOptions::default() }
        }
        _ if case.starts_with("strides/goodfire") => {
            SaeOptions { format: format("goodfire"), ..SaeOptions::default() }
        }
        _ => SaeOptions::default(),
    }
}

pub(crate) fn load(case: &Case) -> LoadedSae {
    let device = nanoscope_testing::test_device();
    let path = root().join(&case.path);
    load_sae_with(path, &device, &stated(&case.name)).unwrap_or_else(|error| {
        panic!("{}: {error}: {:?}", case.name, std::error::Error::source(&error))
    })
}

/// Checks features, dense and sparse, and their reconstructions.
pub(crate) fn check(case: &Case) {
    let name = &case.name;
    let loaded = load(case);
    let sae = &loaded.sae;
    let expected = Arrays::read(&root().join(name).join("expected.safetensors"));
    let x = expected.floats("x");
    let d_in = sae.config().d_in();
    assert_eq!(x.shape, [ROWS, d_in], "{name}");
    let x = Tensor::<2>::from_data(
        TensorData::new(x.values.clone(), [ROWS, d_in]),
        &nanoscope_testing::test_device(),
    );
    let features = expected.floats("features");
    let reconstruction = expected.floats("reconstruction");

    let sparse = sae.encode_sparse(x.clone()).unwrap();
    for (way, found) in
        [("dense", values(sae.encode(x.clone()).unwrap())), ("sparse", sparse.to_dense())]
    {
        let active = |values: &[f32]| values.iter().map(|&v| v != 0.0).collect::<Vec<_>>();
        assert_eq!(active(&found), active(&features.values), "{name}, {way}: other features");
        let what = format!("{name}, {way} features");
        assert_close(what, &found, &features.values, FEATURES_ATOL);
    }
    for (way, found) in [
        ("dense", values(sae.decode(sae.encode(x.clone()).unwrap(), x.clone()))),
        ("sparse", values(sae.decode_sparse(&sparse, x))),
    ] {
        let what = format!("{name}, {way} reconstruction");
        assert_close(what, &found, &reconstruction.values, RECONSTRUCTION_ATOL);
    }
}

#[test]
fn saelens_files_of_every_version_compute_what_saelens_computes() {
    for case in cases("saelens") {
        check(&case);
        let loaded = load(&case);
        assert_eq!((loaded.hooks.hook, loaded.hooks.hook_out), (case.hook, case.hook_out));
        assert_eq!(loaded.format, "SAELens");
    }
}

#[test]
fn saelens_checkpoints_of_a_run_that_goes_on_compute_what_its_scaled_activations_give() {
    let device = nanoscope_testing::test_device();
    for case in [
        "standard_expected_average_only_in",
        "standard_covariance_whitening",
        "topk_expected_average_only_in",
        "topk_covariance_whitening",
    ] {
        for stage in ["mid", "final"] {
            let name = format!("{case}/{stage}");
            let dir = root().join("saelens/midrun").join(&name);
            let loaded = load_sae(&dir, &device).unwrap();
            let expected = Arrays::read(&dir.join("expected.safetensors"));
            let (x, features) = (expected.floats("x"), expected.floats("features"));
            let shape = [x.shape[0], x.shape[1]];
            let x = || Tensor::<2>::from_data(TensorData::new(x.values.clone(), shape), &device);
            let check = |what: &str, sae: &Sae| {
                let found = values(sae.encode(x()).unwrap());
                assert_close(format!("{name}, {what}"), &found, &features.values, FEATURES_ATOL);
            };
            check("loaded", &loaded.sae);

            // A converted SAE needs no file beside it.
            let saved = tempfile::tempdir().unwrap();
            let (hook, dtype) = (loaded.hook().unwrap(), WeightDtype::default());
            save_saelens(saved.path(), &loaded.sae, hook, None, dtype).unwrap();
            let converted = load_sae(saved.path(), &device).unwrap().sae;
            assert_eq!(converted.config().normalization(), Normalization::None, "{name}");
            check("converted", &converted);
            let reconstructed = |sae: &Sae| values(sae.decode(sae.encode(x()).unwrap(), x()));
            let (before, after) = (reconstructed(&loaded.sae), reconstructed(&converted));
            assert_close(format!("{name}, converted"), &after, &before, 2.0 * RECONSTRUCTION_ATOL);
        }
    }
}

/// Checks every case of `format`, which is called `name` here. `at` lists case, input hook point and
/// output hook point.
#[track_caller]
fn check_all(format: &str, name: &str, at: &[(&str, &str, Option<&str>)]) {
    let cases = cases(format);
    assert_eq!(cases.len(), at.len(), "{format}: another number of cases");
    for case in cases {
        check(&case);
        let loaded = load(&case);
        assert_eq!(loaded.format, name, "{}", case.name);
        let known = at.iter().find(|(known, ..)| case.name == format!("{format}/{known}"));
        let (_, hook, hook_out) = known.unwrap_or_else(|| panic!("no place for {}", case.name));
        let place = (loaded.hooks.hook.as_deref(), loaded.hooks.hook_out.as_deref());
        assert_eq!(place, (Some(*hook), *hook_out), "{}", case.name);
    }
}

/// The case called `name`.
pub(crate) fn case(name: &str) -> Case {
    let (format, _) = name.split_once('/').unwrap();
    cases(format).into_iter().find(|case| case.name == name).unwrap()
}

#[test]
fn gemma_scope_files_compute_what_saelens_computes_with_them() {
    check_all(
        "gemma-scope",
        "Gemma Scope",
        &[
            ("res", "blocks.20.hook_resid_post", None),
            ("mlp", "blocks.20.hook_mlp_out", None),
            ("att", "blocks.20.attn.hook_z", None),
            ("embedding", "hook_embed", None),
            ("transcoders", "blocks.20.ln2.hook_normalized", Some("blocks.20.hook_mlp_out")),
        ],
    );
}

#[test]
fn gemma_scope_2_files_compute_what_saelens_computes_with_them() {
    // SAELens calls a transcoder's input hook_mlp_in, which in TransformerLens is before the norm;
    // according to the file it is the norm's output.
    let read = "blocks.12.mlp.hook_in";
    check_all(
        "gemma-scope-2",
        "Gemma Scope 2",
        &[
            ("resid_post", "blocks.12.hook_resid_post", None),
            ("resid_post_no_config", "blocks.12.hook_resid_post", None),
            ("attn_out", "blocks.12.attn.hook_z", None),
            ("mlp_out", "blocks.12.hook_mlp_out", None),
            ("transcoder", read, Some("blocks.12.hook_mlp_out")),
            ("transcoder_affine", read, Some("blocks.12.hook_mlp_out")),
        ],
    );
}

#[test]
fn dictionary_learning_files_compute_what_load_dictionary_computes() {
    let at = "blocks.3.hook_resid_post";
    check_all(
        "dictionary-learning",
        "dictionary_learning",
        &[
            ("auto_encoder", at, None),
            ("auto_encoder_unnormalised", at, None),
            ("auto_encoder_new", at, None),
            ("gated", at, None),
            ("jumprelu", at, None),
            ("topk", at, None),
            ("topk_threshold", at, None),
            ("topk_without_k", "blocks.1.hook_resid_post", None),
            ("batch_topk", at, None),
            ("batch_topk_unset", at, None),
            ("matryoshka", at, None),
        ],
    );
}

#[test]
fn sparsify_files_compute_what_sparsify_computes() {
    let residual = "blocks.2.hook_resid_post";
    let (mlp_in, mlp_out) = ("blocks.2.mlp.hook_in", "blocks.2.mlp.hook_out");
    check_all(
        "sparsify",
        "sparsify",
        &[
            ("topk", residual, None),
            ("topk_bf16", residual, None),
            ("expansion", mlp_out, None),
            ("groupmax", "blocks.1.attn.hook_out", None),
            ("unnormalised", residual, None),
            ("transcode", mlp_in, Some(mlp_out)),
            ("transcode_skip", mlp_in, Some(mlp_out)),
            ("skip", "blocks.1.attn.hook_out", None),
            ("old_cfg", residual, None),
        ],
    );
}

#[test]
fn openai_files_compute_the_formulas_of_their_paper() {
    check_all(
        "openai",
        "OpenAI",
        &[("relu", "blocks.8.hook_mlp_out", None), ("topk", "blocks.8.hook_resid_post", None)],
    );
}

#[test]
fn llama_scope_files_compute_what_saelens_computes_with_them() {
    check_all(
        "llama-scope",
        "Llama Scope",
        &[
            ("Llama3_1-8B-Base-L15R-8x", "blocks.15.hook_resid_post", None),
            ("Llama3_1-8B-Base-L15M-8x", "blocks.15.hook_mlp_out", None),
            ("r1_distill", "blocks.15.hook_resid_post", None),
        ],
    );
}

#[test]
fn qwen_scope_files_compute_what_saelens_computes_with_them() {
    check_all("qwen-scope", "Qwen Scope", &[("Qwen3-8B-Base", "blocks.3.hook_resid_post", None)]);
}

#[test]
fn goodfire_and_qresearch_files_compute_what_saelens_computes_with_them() {
    check_all(
        "goodfire",
        "Goodfire",
        &[
            ("Llama-3.1-8B-Instruct", "blocks.19.hook_resid_post", None),
            ("Llama-3.3-70B-Instruct", "blocks.50.hook_resid_post", None),
            ("DeepSeek-R1-Distill-Llama-8B", "blocks.19.hook_resid_post", None),
        ],
    );
}

#[test]
fn circuit_tracer_files_compute_what_circuit_tracer_computes() {
    for (name, layer) in [("relu", 0), ("jumprelu_skip", 1)] {
        let case = case(&format!("circuit-tracer/{name}"));
        check(&case);
        let loaded = load(&case);
        assert_eq!(loaded.format, "circuit-tracer");
        assert_eq!(
            (loaded.hooks.hook.unwrap(), loaded.hooks.hook_out.unwrap()),
            (format!("blocks.{layer}.mlp.hook_in"), format!("blocks.{layer}.mlp.hook_out"))
        );
    }
}

/// Copies a case to a temporary folder, with `edit` applied to its configuration.
fn edited(case: &Case, config: &str, edit: impl Fn(&mut Value)) -> TempDir {
    let dir = TempDir::new().unwrap();
    copy(&root().join(&case.path), dir.path());
    let path = dir.path().join(config);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut value);
    std::fs::write(&path, serde_json::to_vec(&value).unwrap()).unwrap();
    dir
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn a_whole_number_that_python_wrote_as_a_float_is_that_number() {
    for (name, config, pointer) in [
        ("saelens/topk", "cfg.json", "/k"),
        ("saelens/abstopk", "cfg.json", "/k"),
        ("saelens/flat_topk", "cfg.json", "/activation_fn_kwargs/k"),
        ("saelens/topk", "cfg.json", "/d_sae"),
        ("saelens/checkpoint_batchtopk", "cfg.json", "/k"),
        ("saelens/matching_pursuit_small", "cfg.json", "/max_iterations"),
        ("sparsify/topk", "cfg.json", "/k"),
        ("sparsify/groupmax", "cfg.json", "/k"),
        ("dictionary-learning/topk", "config.json", "/trainer/k"),
        ("dictionary-learning/topk_without_k", "config.json", "/trainer/k"),
    ] {
        let case = case(name);
        let float = |value: &mut Value| {
            let value = value.pointer_mut(pointer).unwrap_or_else(|| panic!("{name}{pointer}"));
            *value = Value::from(value.as_f64().unwrap());
        };
        let dir = edited(&case, config, float);

        let found = load_sae(dir.path(), &nanoscope_testing::test_device());

        let found = found.unwrap_or_else(|error| panic!("{name}{pointer}: {error}"));
        assert_eq!(found.sae.config(), load(&case).sae.config(), "{name}{pointer}");
    }
}

#[test]
fn a_fraction_where_k_is_used_is_an_error_and_where_a_threshold_is_used_it_is_not() {
    let with = |name: &str, config: &str, pointer: &'static str| {
        let case = case(name);
        let dir = edited(&case, config, |value| *value.pointer_mut(pointer).unwrap() = 7.5.into());
        load_sae(dir.path(), &nanoscope_testing::test_device())
    };

    for (name, config, key) in [
        ("saelens/topk", "cfg.json", "/k"),
        ("saelens/flat_topk", "cfg.json", "/activation_fn_kwargs/k"),
        ("dictionary-learning/topk", "config.json", "/trainer/k"),
    ] {
        let error = with(name, config, key).unwrap_err().to_string();
        let key = key.trim_start_matches('/').replace('/', ".");
        let says = format!("{key} is `7.5` (expected a whole number)");
        assert!(error.ends_with(&says), "{name}: {error}");
    }
    for (name, config, key) in [
        ("saelens/checkpoint_batchtopk", "cfg.json", "/k"),
        ("dictionary-learning/batch_topk", "config.json", "/trainer/k"),
        ("dictionary-learning/matryoshka", "config.json", "/trainer/k"),
    ] {
        let found = with(name, config, key).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.sae.config(), load(&case(name)).sae.config(), "{name}");
    }
}

#[test]
fn a_temporal_sae_is_refused_by_its_name() {
    let path = root().join("refused/temporal");

    let error = load_sae(&path, &nanoscope_testing::test_device()).unwrap_err();

    let text = error.to_string();
    assert!(text.contains("architecture is `temporal`"), "{text}");
    assert!(text.contains("a temporal SAE depend on all earlier tokens"), "{text}");
}
