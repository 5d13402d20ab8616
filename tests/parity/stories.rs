//! The small Llama of stories in `models/`, against llama2.c, transformers and SAELens.

use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use nanoscope::Microscope;
use nanoscope_checkpoint::SaeOptions;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Plan, Sampling};
use nanoscope_testing::test_device;
use nanoscope_transformer::TokenBatch;
use serde_json::Value as Json;

use crate::golden::{Arrays, assert_close, values};

const LOGITS_ATOL: f32 = 5e-5;
const HOOK_RTOL: f32 = 1e-4;
const FEATURES_ATOL: f32 = 5e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/stories260K").join(name)
}

fn scope() -> Microscope {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/stories260K");
    Microscope::open(model, &test_device()).unwrap()
}

fn expected() -> Json {
    serde_json::from_slice(&std::fs::read(fixture("expected.json")).unwrap()).unwrap()
}

fn ids(of: &Json) -> Vec<u32> {
    serde_json::from_value(of.clone()).unwrap()
}

/// The ids and the text of a greedy generation.
fn greedy(scope: &Microscope, prompt: &[u32], plan: &Plan, tokens: usize) -> (Vec<u32>, String) {
    let mut generation = scope.model().generate(prompt, plan, &Sampling::greedy(tokens)).unwrap();
    let ids: Vec<u32> = generation.by_ref().map(|step| step.token_id).collect();
    let tokenizer = scope.model().tokenizer().unwrap();
    let text = tokenizer.decode(&[&prompt[1..], &ids].concat()).unwrap();
    (ids, text)
}

#[test]
fn the_story_is_the_known_one() {
    let (scope, expected) = (scope(), expected());

    let (found, text) = greedy(&scope, &[1], &Plan::new(), 200);

    let story = &expected["story"];
    assert_eq!(found, ids(&story["ids"]));
    assert_eq!(text, story["text"].as_str().unwrap());
    for (text, continued) in expected["prompts"].as_object().unwrap() {
        let prompt = scope.encode(text).unwrap();
        assert_eq!(prompt, ids(&continued["prompt"]), "{text}");

        let (found, whole) = greedy(&scope, &prompt, &Plan::new(), 40);

        assert_eq!(found, ids(&continued["ids"]), "{text}");
        assert_eq!(whole, continued["text"].as_str().unwrap(), "{text}");
    }
}

#[test]
fn logits_and_the_residual_stream_are_those_of_transformers() {
    let (scope, expected) = (scope(), Arrays::read(&fixture("expected.safetensors")));
    let rows = expected.ints("tokens").rows();
    let rows: Vec<Vec<u32>> =
        rows.map(|row| row.iter().map(|&id| u32::try_from(id).unwrap()).collect()).collect();
    let layers = (0..scope.model().gpt().config().shape.n_layer).map(HookPoint::ResidPost);
    let points: Vec<HookPoint> =
        [HookPoint::Embed, HookPoint::FinalNormalized].into_iter().chain(layers).collect();
    let plan = points.iter().fold(Plan::new(), |plan, &point| plan.capture(point));

    let run = scope.model().run(&TokenBatch::new(&rows).unwrap(), &plan).unwrap();

    assert_close("logits", &values(run.logits), &expected.floats("logits").values, LOGITS_ATOL);
    for point in points {
        let expected = &expected.floats(&point.to_string()).values;
        let largest = expected.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
        let found = run.captured.get(point).unwrap().to_vec();
        assert_close(point, &found, expected, HOOK_RTOL * largest);
    }
}

#[test]
fn features_and_reconstructions_are_those_of_sae_lens() {
    let mut scope = scope();
    scope.add_saes([fixture("saes")], &SaeOptions::default()).unwrap();
    let expected = Arrays::read(&fixture("saes_expected.safetensors"));
    let prompt = ids(&self::expected()["tokens"]);
    let tokens = TokenBatch::new(&[prompt]).unwrap();
    for layer in [2, 4] {
        let hook = HookPoint::ResidPost(layer);

        let run = scope.model().run(&tokens, &Plan::new().track(hook).capture(hook)).unwrap();

        let name = |what: &str| format!("layer_{layer}/{what}");
        let features = &expected.floats(&name("features")).values;
        assert_close(name("features"), &run.features[&hook].to_dense(), features, FEATURES_ATOL);
        let sae = scope.model().sae(hook).unwrap();
        let x: Tensor<3> = run.captured.get(hook).unwrap().tensor();
        let x = x.reshape([-1, sae.config().d_in() as i32]);
        let reconstruction = sae.decode(sae.encode(x.clone()).unwrap(), x);
        let expected = &expected.floats(&name("reconstruction")).values;
        assert_close(name("reconstruction"), &values(reconstruction), expected, FEATURES_ATOL);
    }
}

#[test]
fn a_feature_that_is_added_changes_the_story_as_in_the_reference() {
    let mut scope = scope();
    scope.add_saes([fixture("saes")], &SaeOptions::default()).unwrap();
    for case in expected()["steering"].as_array().unwrap() {
        let (hook, feature, add) = (&case["hook"], &case["feature"], &case["add"]);
        let spec = format!("{}:{feature}:add:{add}@all", hook.as_str().unwrap());
        let prompt = scope.encode(case["prompt"].as_str().unwrap()).unwrap();
        let expected = ids(&case["ids"]);

        let plan = Plan::new().intervene(spec.parse().unwrap());
        let (found, text) = greedy(&scope, &prompt, &plan, expected.len());

        assert_eq!(found, expected, "{spec}");
        assert_eq!(text, case["text"].as_str().unwrap(), "{spec}");
    }
}
