//! Models of other families against a reference in float64, and against their other spellings.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Int, Tensor, TensorData};
use nanoscope_checkpoint::{CheckpointError, LoadOptions, MatrixDtype, ModelFiles, WeightDtype};
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_runtime::{InterpretableModel, Plan, RuntimeError, Sampling, logit_effects};
use nanoscope_transformer::{Gpt, Logits, ParamSpec, TokenBatch, Weight, WeightSource};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value as Json;
use tempfile::TempDir;

use crate::golden::{
    self, Arrays, FAMILIES, Golden, NANOCHAT, assert_close, assert_same, tolerance, values,
};

const LOGITS_ATOL: f32 = 5e-5;

/// Tolerance of a hook point, relative to its largest absolute value.
const HOOK_RTOL: f32 = 1e-4;

fn logits(model: &Gpt, tokens: &TokenBatch) -> Vec<f32> {
    values(model.forward(tokens, Logits::All, &mut ()).unwrap())
}

#[test]
fn logits_are_those_of_the_reference() {
    for golden in FAMILIES {
        let model = golden.model().gpt;

        let found = logits(&model, &golden.tokens());

        assert_close(golden, &found, &golden.expected().floats("logits").values, LOGITS_ATOL);
    }
}

#[test]
fn every_hook_point_is_that_of_the_reference() {
    for golden in FAMILIES {
        let model = golden.model().gpt;
        let manifest = golden.manifest();
        let files = [golden.expected(), Arrays::read(&golden.dir().join("extra.safetensors"))];
        let points: Vec<HookPoint> = model.config().hook_points().collect();
        let mut recorder = ActivationRecorder::new(points.iter().copied());
        model.forward(&golden.tokens(), Logits::All, &mut recorder).unwrap();
        let cache = recorder.finish().unwrap();

        let mut compared = 0;
        for point in points {
            let name = point.to_string();
            // A tensor that equals another one is stored once.
            let stored = manifest["same"][&name].as_str().unwrap_or(&name);
            let Some(expected) = files.iter().find_map(|file| file.find(stored)) else {
                continue;
            };
            compared += 1;
            let found = cache.get(point).unwrap().to_vec();
            assert_eq!(found.len(), expected.values.len(), "{golden}, {point}");
            let finite = expected.values.iter().filter(|value| value.is_finite());
            let largest = finite.fold(0.0_f32, |largest, value| largest.max(value.abs()));
            for (found, expected) in found.iter().zip(&expected.values) {
                let near = (found - expected).abs() <= tolerance(HOOK_RTOL * largest);
                assert!(found == expected || near, "{golden}, {point}: {found}, not {expected}");
            }
        }
        let named = manifest["hooks"].as_object().unwrap().len();
        assert!(compared >= named, "{golden}: {compared} of {named} hook points were compared");
    }
}

#[test]
fn a_point_that_a_family_lacks_is_refused_with_the_reason() {
    for golden in FAMILIES {
        let model = InterpretableModel::new(golden.model().gpt);
        for absent in golden.manifest()["absent_hooks"].as_array().into_iter().flatten() {
            let name = absent.as_str().unwrap();
            let point: HookPoint = name.parse().unwrap();

            let error = model.run(&golden.tokens(), &Plan::new().capture(point)).unwrap_err();

            assert!(matches!(error, RuntimeError::AbsentHook { .. }), "{golden}, {name}: {error}");
            assert!(error.to_string().starts_with(&format!("the model has no {name}: ")));
        }
    }
}

#[test]
fn greedy_text_with_the_cache_is_that_of_transformers() {
    for golden in FAMILIES {
        let greedy = &golden.manifest()["greedy"];
        let ids = |key: &str| -> Vec<u32> {
            let ids = greedy[key].as_array().unwrap();
            ids.iter().map(|id| u32::try_from(id.as_u64().unwrap()).unwrap()).collect()
        };
        let model = InterpretableModel::new(golden.model().gpt);
        let (prompt, expected) = (ids("prompt"), ids("ids"));

        let sampling = Sampling::greedy(expected.len());
        let generation = model.generate(&prompt, &Plan::new(), &sampling).unwrap();

        let found: Vec<u32> = generation.map(|step| step.token_id).collect();
        assert_eq!(found, expected, "{golden}");
    }
}

/// A copy of the model's folder with another `config.json`.
fn with_config(golden: Golden, config: &Path) -> TempDir {
    let dir = TempDir::new().unwrap();
    for entry in fs::read_dir(golden.model_dir()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    fs::copy(config, dir.path().join("config.json")).unwrap();
    dir
}

/// The configurations in a folder beside the model.
fn configs(golden: Golden, folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(golden.dir().join(folder)) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect()
}

#[test]
fn another_spelling_of_a_configuration_is_the_same_model() {
    let mut spellings = 0;
    for golden in FAMILIES {
        let expected = logits(&golden.model().gpt, &golden.tokens());
        for config in configs(golden, "alt") {
            let dir = with_config(golden, &config);

            let found = logits(&golden::load(dir.path(), None).gpt, &golden.tokens());

            assert_same(config.display(), &found, &expected);
            spellings += 1;
        }
    }
    assert!(spellings >= 12, "{spellings}");
}

#[test]
fn another_meaning_of_a_configuration_is_computed_or_refused_by_the_key() {
    let mut meanings = 0;
    for golden in FAMILIES {
        for config in configs(golden, "either") {
            meanings += 1;
            let name = config.file_stem().unwrap().to_str().unwrap().to_owned();
            let dir = with_config(golden, &config);
            let device = nanoscope_testing::test_device();
            let loaded = ModelFiles::find(dir.path()).and_then(|files| files.load(&device));
            match loaded {
                Ok(loaded) => {
                    let expected = Arrays::read(&config.with_file_name("logits.safetensors"));
                    let found = logits(&loaded.gpt, &golden.tokens());
                    let what = format!("{golden}, {name}");
                    assert_close(what, &found, &expected.floats(&name).values, LOGITS_ATOL);
                }
                Err(error) => {
                    let is_by_key = matches!(
                        error,
                        CheckpointError::UnknownKey { .. } | CheckpointError::UnknownValue { .. }
                    );
                    assert!(is_by_key, "{golden}, {name}: {error}");
                }
            }
        }
    }
    assert!(meanings >= 7, "{meanings}");
}

/// The weights of a model with its matrices rounded to a type.
struct Rounded {
    weights: HashMap<String, Vec<f32>>,
    dtype: MatrixDtype,
}

impl WeightSource for Rounded {
    type Error = Infallible;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Infallible> {
        let values = &self.weights[&spec.name];
        let values = if spec.is_matrix() {
            golden::rounded(values, spec.shape[1], spec.is_table(), self.dtype)
        } else {
            values.clone()
        };
        let data = TensorData::new(values, spec.shape.clone());
        Ok(Tensor::from_data(data, &nanoscope_testing::test_device()))
    }
}

#[test]
fn a_model_in_another_type_computes_with_its_rounded_matrices() {
    let device = nanoscope_testing::test_device();
    for golden in FAMILIES.into_iter().chain(NANOCHAT) {
        let files = ModelFiles::find(&golden.model_dir()).unwrap();
        let original = golden.model();
        let weights = || original.gpt.weights().into_iter();
        for (dtype, of) in [
            (WeightDtype::F32.into(), DType::F32),
            (WeightDtype::BF16.into(), DType::BF16),
            (WeightDtype::F16.into(), DType::F16),
            (MatrixDtype::Int8, DType::I8),
        ] {
            let options = LoadOptions { era: golden.era, dtype: Some(dtype), ..Default::default() };
            if dtype == MatrixDtype::Int8 && golden::on_gpu() {
                let error = files.load_with(&device, options).unwrap_err();
                assert!(matches!(error, CheckpointError::DeviceDtype { .. }), "{error}");
                continue;
            }
            if dtype != MatrixDtype::Int8 && !device.supports_dtype(of) {
                continue;
            }
            let flat = |weight: Weight| values(weight.flattened(&device));
            let weights = weights().map(|(spec, weight)| (spec.name, flat(weight))).collect();
            let config = original.gpt.config().clone();
            let Ok(expected) = Gpt::load(config, &mut Rounded { weights, dtype }, &device);

            let found = files.load_with(&device, options).unwrap().gpt;

            let (found, expected) =
                (logits(&found, &golden.tokens()), logits(&expected, &golden.tokens()));
            assert_close(format!("{golden}, {dtype}"), &found, &expected, LOGITS_ATOL);
        }
    }
}

#[test]
fn a_family_converted_to_our_own_form_is_the_same() {
    for golden in FAMILIES.into_iter().chain(NANOCHAT) {
        let original = golden.model();
        let dir = TempDir::new().unwrap();

        nanoscope_checkpoint::save_model(dir.path(), &original.gpt, original.kind).unwrap();

        let converted = golden::load(dir.path(), None);
        assert_eq!(converted.gpt.config(), original.gpt.config(), "{golden}");
        assert_eq!(converted.kind, original.kind, "{golden}");
        let tokens = golden.tokens();
        let (found, expected) = (logits(&converted.gpt, &tokens), logits(&original.gpt, &tokens));
        if is_multiplied_by_input(golden, &original.gpt) {
            // The converted model's sums have another order.
            assert_close(golden, &found, &expected, LOGITS_ATOL);
        } else {
            assert_same(golden, &found, &expected);
        }
    }
}

/// Returns whether the model's linear layers are float32, and packed or not in PyTorch's order in its file.
fn is_multiplied_by_input(golden: Golden, gpt: &Gpt) -> bool {
    let is_float32 = |(spec, weight): &(ParamSpec, Weight)| match weight {
        Weight::Matrix(matrix) => spec.name.contains("c_fc") && matrix.dtype() == DType::F32,
        Weight::Vector(_) => false,
    };
    let is_of_family = ["gpt2", "neox", "pythia"].iter().any(|name| golden.folder.contains(name));
    is_of_family && gpt.weights().iter().any(is_float32)
}

/// Rewrites a model in our own form as a former version of it: float32, linear layers `[d_in, d_out]`.
fn as_former_version(dir: &Path, gpt: &Gpt, version: u32) {
    let weights: Vec<_> = gpt
        .weights()
        .into_iter()
        .map(|(spec, weight)| {
            let numbers = values(weight.flattened(gpt.device()));
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            (spec, bytes)
        })
        .collect();
    let views = weights.iter().map(|(spec, bytes)| {
        (&spec.name, TensorView::new(Dtype::F32, spec.shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
    let config = dir.join("config.json");
    let mut json: Json = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    assert_eq!(json["version"], 3);
    json["version"] = version.into();
    fs::write(config, json.to_string()).unwrap();
}

#[test]
fn a_model_in_8_bits_is_saved_in_float32() {
    if golden::on_gpu() {
        return;
    }
    let device = nanoscope_testing::test_device();
    let golden = NANOCHAT[5];
    let files = ModelFiles::find(&golden.model_dir()).unwrap();
    let dtype = Some(MatrixDtype::Int8);
    let options = LoadOptions { era: golden.era, dtype, ..Default::default() };
    let original = files.load_with(&device, options).unwrap();
    let dir = TempDir::new().unwrap();

    nanoscope_checkpoint::save_model(dir.path(), &original.gpt, original.kind).unwrap();

    let saved = golden::load(dir.path(), None).gpt;
    for ((spec, saved), (_, original)) in saved.weights().iter().zip(original.gpt.weights()) {
        if let Weight::Matrix(matrix) = saved {
            assert_eq!(matrix.dtype(), DType::F32, "{}", spec.name);
        }
        let numbers = |weight: &Weight| values(weight.flattened(&device));
        assert_same(&spec.name, &numbers(saved), &numbers(&original));
    }
}

#[test]
fn former_versions_of_our_own_form_are_read() {
    for golden in FAMILIES.into_iter().chain(NANOCHAT) {
        let original = golden.model();
        let version = if original.kind.era().is_some() { 1 } else { 2 };
        let dir = TempDir::new().unwrap();
        nanoscope_checkpoint::save_model(dir.path(), &original.gpt, original.kind).unwrap();
        as_former_version(dir.path(), &original.gpt, version);

        let former = golden::load(dir.path(), None);

        assert_eq!(former.gpt.config(), original.gpt.config(), "{golden}");
        assert_eq!(former.kind, original.kind, "{golden}");
        let tokens = golden.tokens();
        let (found, expected) = (logits(&former.gpt, &tokens), logits(&original.gpt, &tokens));
        assert_close(golden, &found, &expected, LOGITS_ATOL);
    }
}

#[test]
fn what_changes_numbers_and_is_not_computed_is_refused_by_its_key() {
    let cases: [(&str, &str, Json); 12] = [
        ("gpt2", "add_cross_attention", true.into()),
        ("gpt2", "scale_attn_by_inverse_layer_idx", true.into()),
        ("llama31", "quantization_config", serde_json::json!({"bits": 4})),
        ("llama31", "hidden_act", "mish".into()),
        ("llama31", "num_attention_heads", (-6).into()),
        ("llama31", "invented_key", 1.into()),
        ("qwen2", "use_mrope", true.into()),
        ("gemma2", "use_bidirectional_attention", true.into()),
        ("gemma2", "layer_types", serde_json::json!(["sliding_attention"])),
        ("mistral", "sliding_window", 0.into()),
        ("qwen3", "head_dim", serde_json::json!([1])),
        ("pythia", "hidden_size", "wide".into()),
    ];
    for (folder, key, value) in cases {
        let golden = FAMILIES.into_iter().find(|g| g.folder.ends_with(&format!("/{folder}")));
        let golden = golden.unwrap();
        let path = golden.model_dir().join("config.json");
        let mut config: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        config[key] = value;
        let scratch = TempDir::new().unwrap();
        let changed = scratch.path().join("config.json");
        fs::write(&changed, config.to_string()).unwrap();
        let dir = with_config(golden, &changed);

        let error = ModelFiles::find(dir.path())
            .and_then(|files| files.load(&nanoscope_testing::test_device()))
            .unwrap_err();

        assert!(error.to_string().contains(key), "{folder}, {key}: {error}");
    }
}

#[test]
fn the_effect_on_the_logits_is_without_the_mean_that_a_layer_norm_subtracts() {
    let golden = |name: &str| FAMILIES.into_iter().find(|g| g.folder.ends_with(name)).unwrap();
    for (name, subtracts) in [("/gpt2", true), ("/pythia", true), ("/llama31", false)] {
        let gpt = golden(name).model().gpt;
        let direction = |shift: f64| {
            let width = gpt.config().shape.n_embd as i64;
            let device = nanoscope_testing::test_device();
            let direction = Tensor::<1, Int>::arange(0..width, &device).float().sin() + shift;
            direction.unsqueeze::<2>()
        };
        let effects = |hook, shift| values(logit_effects(&gpt, hook, direction(shift)).unwrap());
        let apart = |hook| {
            let (plain, shifted) = (effects(hook, 0.0), effects(hook, 3.0));
            let differences = plain.iter().zip(&shifted).map(|(a, b)| (a - b).abs());
            differences.fold(0.0_f32, f32::max)
        };

        assert_eq!(apart(HookPoint::ResidPost(0)) < 1e-4, subtracts, "{name}");
        assert!(apart(HookPoint::FinalNormalized) > 1e-2, "{name}");
    }
}
