//! Every SAE can be saved in some form, and is read back with the same numbers.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::{
    CheckpointError, LoadedSae, Metadata, SaeFileError, SaveForm, WeightDtype, load_sae,
    load_sae_with, save_nanochat_sae_with_metadata, save_sae, save_saelens_with_metadata,
};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{
    Architecture, GateWeights, MagnitudeWeights, Normalization, Sae, SaeConfig, SaeWeights,
};
use nanoscope_testing::{noise, test_device};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::golden::{self, Arrays, assert_close, values};
use crate::sae_formats::stated;

const ATOL: f32 = 5e-5;
const FORMS: [SaveForm; 3] = [SaveForm::SaeLens, SaveForm::NanochatSae, SaveForm::Nanoscope];
const SITE: HookPoint = HookPoint::ResidPost(1);
const TRANSCODED: (HookPoint, Option<HookPoint>) =
    (HookPoint::Ln2Normalized(1), Some(HookPoint::MlpOut(1)));

/// Saves `sae` in a form, and loads it.
fn saved(
    form: SaveForm,
    sae: &Sae,
    (hook, hook_out): (HookPoint, Option<HookPoint>),
    metadata: &Metadata,
) -> Result<LoadedSae, CheckpointError> {
    let dir = TempDir::new().unwrap();
    let (path, dtype) = (dir.path().join("sae"), WeightDtype::F32);
    let path = match form {
        SaveForm::SaeLens => {
            save_saelens_with_metadata(&path, sae, hook, hook_out, dtype, metadata)?;
            path
        }
        SaveForm::Nanoscope => {
            save_sae(&path, sae, hook, hook_out, dtype, metadata)?;
            path
        }
        _ => {
            let path = path.join("sae.pt");
            save_nanochat_sae_with_metadata(&path, sae, hook, hook_out, dtype, metadata)?;
            path
        }
    };
    let loaded = load_sae(&path, &test_device()).unwrap();
    assert_eq!(loaded.hook().unwrap(), hook, "{form}");
    assert_eq!(loaded.hook_out().unwrap().unwrap_or(hook), hook_out.unwrap_or(hook), "{form}");
    Ok(loaded)
}

/// Checks that `found` has the features and the reconstruction of `expected`.
#[track_caller]
fn assert_same(what: &str, found: &Sae, expected: &Sae, x: &Tensor<2>) {
    let features = |sae: &Sae| values(sae.encode(x.clone()).unwrap());
    let active = |sae: &Sae| features(sae).iter().map(|&f| f != 0.0).collect::<Vec<_>>();
    assert!(active(expected).contains(&true), "{what}: nothing fires");
    assert_eq!(active(found), active(expected), "{what}: other features");
    assert_close(what, &features(found), &features(expected), ATOL);
    let decoded = |sae: &Sae| values(sae.decode(sae.encode(x.clone()).unwrap(), x.clone()));
    assert_close(what, &decoded(found), &decoded(expected), ATOL);
}

/// Saves `sae` in every form. Where one cannot hold it, the form that the error names has to. Returns
/// the forms that could.
#[track_caller]
fn check(
    what: &str,
    sae: &Sae,
    at: (HookPoint, Option<HookPoint>),
    x: &Tensor<2>,
) -> Vec<SaveForm> {
    let nothing = Metadata::new();
    let mut could = Vec::new();
    for form in FORMS {
        let loaded = match saved(form, sae, at, &nothing) {
            Ok(loaded) => {
                could.push(form);
                loaded
            }
            Err(error) => {
                let text = error.to_string();
                let CheckpointError::SaeFile(
                    SaeFileError::NotExpressible { instead, .. }
                    | SaeFileError::HookNotInReference { instead, .. },
                ) = error
                else {
                    panic!("{what} as {form}: {text}")
                };
                assert!(text.ends_with(&format!("the form `{instead}` can hold it")), "{text}");
                assert_ne!(instead, form, "{what}: {text}");
                saved(instead, sae, at, &nothing).unwrap_or_else(|error| {
                    panic!("{what} as {instead} instead of {form}: {error}")
                })
            }
        };
        assert_same(&format!("{what} as {form}"), &loaded.sae, sae, x);
    }
    assert!(could.contains(&SaveForm::Nanoscope), "{what}");
    could
}

#[test]
fn every_fixture_is_saved_in_every_form_or_in_the_one_that_the_refusal_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/saes");
    let manifest = std::fs::read(root.join("manifest.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let mut saves = 0;
    for case in cases {
        if case["architecture"] == "cross_layer_transcoder" {
            continue;
        }
        let name = case["case"].as_str().unwrap();
        let path = root.join(case["path"].as_str().unwrap());
        let loaded = load_sae_with(path, &test_device(), &stated(name))
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let config = loaded.sae.config();
        // Some files name activations that our models do not have.
        let at = match (loaded.hook(), loaded.hook_out()) {
            (Ok(hook), Ok(hook_out)) => (hook, hook_out),
            _ if config.is_transcoder() => TRANSCODED,
            _ => (SITE, None),
        };
        let x = Arrays::read(&root.join(name).join("expected.safetensors"));
        let x = TensorData::new(x.floats("x").values.clone(), [64, config.d_in()]);
        let x = Tensor::from_data(x, &test_device());
        saves += check(name, &loaded.sae, at, &x).len();
    }
    assert!(saves > 150, "{saves}");
}

#[test]
fn the_demos_and_nanochat_saes_own_are_saved_in_some_form() {
    // Each of the demo's SAEs has the same configuration.
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/saes/layer_0");
    let mut paths: Vec<PathBuf> = vec![demo];
    for golden in golden::WITH_SAES {
        for entry in golden.manifest()["saes"].as_array().unwrap() {
            paths.push(golden.dir().join(entry["checkpoint"].as_str().unwrap()));
        }
    }
    for path in paths {
        let loaded = load_sae(&path, &test_device()).unwrap();
        let d_in = loaded.sae.config().d_in();
        let x = Tensor::from_data(TensorData::new(noise(7, 8 * d_in), [8, d_in]), &test_device());
        let could = check(&path.display().to_string(), &loaded.sae, (SITE, None), &(x * 10.0));
        assert!(could.len() >= 2, "{}: {could:?}", path.display());
    }
}

const D_IN: usize = 4;
const D_SAE: usize = 8;

fn numbers<const D: usize>(seed: u32, shape: [usize; D]) -> Tensor<D> {
    let data = TensorData::new(noise(seed, shape.iter().product()), shape);
    Tensor::from_data(data, &test_device())
}

fn sae_of(config: SaeConfig) -> Sae {
    let d_out = config.d_out();
    let (jump, gated) = (Architecture::JumpRelu, Architecture::Gated);
    let weights = SaeWeights {
        threshold: (config.architecture() == jump).then(|| numbers(5, [D_SAE]) * 0.3),
        magnitude: (config.architecture() == gated)
            .then(|| MagnitudeWeights { r_mag: numbers(6, [D_SAE]), b_mag: numbers(7, [D_SAE]) }),
        gate: (config.architecture() == Architecture::SignedGated).then(|| GateWeights {
            w_gate: numbers(8, [D_IN, D_SAE]),
            b_gate: numbers(9, [D_SAE]),
        }),
        w_skip: config.skip().then(|| numbers(10, [D_IN, d_out])),
        ..SaeWeights::new(
            numbers(1, [D_IN, D_SAE]),
            numbers(2, [D_SAE]),
            numbers(3, [D_SAE, d_out]),
            numbers(4, [d_out]),
        )
    };
    Sae::new(config, weights).unwrap()
}

#[test]
fn every_configuration_is_saved_in_some_form() {
    let architectures = [
        Architecture::Relu,
        Architecture::JumpRelu,
        Architecture::TopK { k: 3, rescale_acts_by_decoder_norm: false },
        Architecture::TopK { k: 3, rescale_acts_by_decoder_norm: true },
        Architecture::AbsTopK { k: 3, rescale_acts_by_decoder_norm: false },
        Architecture::AbsTopK { k: 3, rescale_acts_by_decoder_norm: true },
        Architecture::GroupMax { k: 4 },
        Architecture::Gated,
        Architecture::SignedTopK { k: 3 },
        Architecture::SignedGated,
        Architecture::MatchingPursuit {
            residual_threshold: 0.3,
            max_iterations: 3,
            stop_on_duplicate_support: true,
        },
    ];
    let normalizations = [
        Normalization::None,
        Normalization::ExpectedAverageOnlyIn { scale: 0.5 },
        Normalization::ConstantNormRescale,
        Normalization::LayerNorm,
    ];
    let x = numbers(11, [16, D_IN]) * 3.0;
    for architecture in architectures {
        for normalization in normalizations {
            let plain = SaeConfig::new(D_IN, D_SAE, architecture)
                .and_then(|config| config.with_normalization(normalization))
                .unwrap();
            let transcoder = plain.clone().into_transcoder();
            // Matching pursuit cannot have two widths.
            let wide = plain.clone().with_d_out(6).ok().map(|config| (config, TRANSCODED));
            for (config, at) in [
                (plain.clone(), (SITE, None)),
                (plain.clone(), (HookPoint::ResidPre(0), None)),
                (plain.clone().with_apply_b_dec_to_input(true).unwrap(), (SITE, None)),
                (plain.clone().with_skip(), (SITE, None)),
                (transcoder.clone(), TRANSCODED),
                (transcoder.with_skip(), TRANSCODED),
            ]
            .into_iter()
            .chain(wide)
            {
                let sae = sae_of(config.clone());
                let what = format!("{config:?} at {at:?}");
                check(&what, &sae, at, &x);
                // Our own form keeps everything.
                let loaded = saved(SaveForm::Nanoscope, &sae, at, &Metadata::new()).unwrap();
                assert_eq!(loaded.sae.config(), &config);
            }
        }
    }
}

#[test]
fn a_transcoder_is_not_saved_without_the_hook_point_that_it_writes() {
    let config = SaeConfig::new(D_IN, D_SAE, Architecture::Relu).unwrap().into_transcoder();
    let sae = sae_of(config);
    for form in [SaveForm::SaeLens, SaveForm::Nanoscope] {
        let error = saved(form, &sae, (SITE, None), &Metadata::new()).unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::NoOutputHook { .. })),
            "{form}: {error}"
        );
    }
}

#[test]
fn an_saes_provenance_is_saved_under_saelens_names_and_read_back() {
    let sae = sae_of(SaeConfig::new(D_IN, D_SAE, Architecture::Relu).unwrap());
    let Value::Object(metadata) = json!({
        "model_name": "d20", "dataset_path": "fineweb.parquet", "context_size": 512,
        "prepend_bos": false, "training_tokens": 1_000_000, "nanoscope_version": "0.0.1",
        "training_architecture_details": {"lr": 3e-4, "steps": 12},
    }) else {
        unreachable!()
    };
    for form in FORMS {
        let loaded = saved(form, &sae, (SITE, None), &metadata).unwrap();
        assert_eq!(loaded.metadata, metadata, "{form}");
    }
    let loaded = saved(SaveForm::SaeLens, &sae, (SITE, None), &Metadata::new()).unwrap();
    assert_eq!(loaded.metadata["nanoscope_version"], env!("CARGO_PKG_VERSION"));

    // The place is what `hook` says.
    let Value::Object(place) = json!({"hook_name": "blocks.9.hook_resid_post"}) else {
        unreachable!()
    };
    let error = saved(SaveForm::SaeLens, &sae, (SITE, None), &place).unwrap_err();
    assert!(matches!(error, CheckpointError::SaeFile(SaeFileError::Metadata { .. })), "{error}");
}

#[test]
fn what_the_files_of_other_tools_say_of_an_saes_origin_is_metadata() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/saes");
    let of = |path: &str| load_sae(&root.join(path), &test_device()).unwrap().metadata;

    let saelens = of("saelens/standard");
    assert_eq!(saelens["model_name"], "gpt2");
    assert_eq!(saelens["dataset_path"], "monology/pile-uncopyrighted");
    assert_eq!((&saelens["context_size"], &saelens["prepend_bos"]), (&json!(128), &json!(true)));
    assert!(saelens.get("hook_name").is_none());
    assert_eq!(of("saelens/flat_standard")["model_name"], "gpt2-small");
    let dictionary = of("dictionary-learning/topk/trainer_0");
    assert_eq!(dictionary["model_name"], "EleutherAI/pythia-70m-deduped");
    assert_eq!(dictionary["training_architecture_details"]["k"], 6);
}
