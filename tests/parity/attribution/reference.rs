//! The numbers in `tests/fixtures/attribution`, all of them, within what rounding allows.

use std::convert::Infallible;
use std::path::Path;

use burn::tensor::Tensor;
use nanoscope_attribute::{
    Attribution, DirectEffect, Metric, Question, Steps, logit_lens, logit_lens_plain,
};
use nanoscope_checkpoint::{ModelFiles, load_saes};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::{Gpt, GptConfig, ParamSpec, WeightSource};
use serde_json::Value as Json;

use crate::golden::{Arrays, assert_close, on_flex, on_gpu, values};

// The largest difference between float32 and float64 in the reference's own code, and some room.
const LOGITS_ATOL: f32 = 2e-5;
const ACTIVATION_ATOL: f32 = 5e-5;
const GRADIENT_ATOL: f32 = 2e-6;
const ATTRIBUTION_ATOL: f32 = 3e-5;
const SUM_ATOL: f32 = 6e-5;
const ABLATION_ATOL: f32 = 4e-5;
const INTEGRATED_ATOL: f32 = 3e-5;
const DIRECT_ATOL: f32 = 3e-5;
const EDGE_ATOL: f32 = 8e-5;
const EDGE_ABLATION_ATOL: f32 = 1.2e-4;
const LENS_ATOL: f32 = 1.5e-5;
/// Of numbers that are compared as parts of one.
const SHARE_ATOL: f32 = 1e-5;

const PROMPTS: [&str; 6] = ["once", "frog", "dog", "bird", "key", "hide"];

/// The prompts that every feature is ablated in; in others it is one of every [`SAMPLE`].
const SHORT: [&str; 2] = ["once", "frog"];
const SAMPLE: usize = 23;

/// A prompt and its numbers.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    json: Json,
    arrays: Arrays,
    pub(crate) tokens: Vec<u32>,
    pub(crate) target: u32,
    pub(crate) contrast: u32,
}

impl Case {
    pub(crate) fn read(name: &'static str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/attribution");
        let text = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let json: Json = serde_json::from_slice(&text).unwrap();
        let id = |value: &Json| u32::try_from(value.as_u64().unwrap()).unwrap();
        Self {
            name,
            arrays: Arrays::read(&folder.join(format!("{name}.safetensors"))),
            tokens: json["tokens"].as_array().unwrap().iter().map(id).collect(),
            target: id(&json["target"]["id"]),
            contrast: id(&json["contrast"]["id"]),
            json,
        }
    }

    fn metrics(&self) -> [(&'static str, Metric); 2] {
        let Self { target, contrast, .. } = *self;
        [
            ("logit_diff", Metric::LogitDiff { target, contrast }),
            ("logprob", Metric::LogProb { target }),
        ]
    }

    pub(crate) fn attribute<'m>(
        &self,
        model: &'m InterpretableModel,
        metric: Metric,
    ) -> Attribution<'m> {
        Attribution::new(model, &Question::new(self.tokens.clone(), metric)).unwrap()
    }

    fn floats(&self, name: &str) -> &[f32] {
        &self.arrays.floats(name).values
    }

    fn ints(&self, name: &str) -> Vec<usize> {
        let ints = &self.arrays.ints(name).values;
        ints.iter().map(|&value| usize::try_from(value).unwrap()).collect()
    }

    #[track_caller]
    fn close(&self, name: &str, found: &[f32], atol: f32) {
        assert_close(format!("{}, {name}", self.name), found, self.floats(name), atol);
    }

    /// The rows of features to ablate.
    fn rows(&self, all: usize) -> Vec<usize> {
        let step = match (SHORT.contains(&self.name), on_flex()) {
            (true, true) => 1,
            (false, true) => SAMPLE,
            (_, false) => 5 * SAMPLE,
        };
        (0..all).step_by(step).collect()
    }
}

/// Every prompt; on a GPU, which compiles kernels for each length, one.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    PROMPTS.into_iter().take(if on_gpu() { 1 } else { 6 }).map(Case::read)
}

fn number(value: &Json) -> f32 {
    value.as_f64().unwrap() as f32
}

fn numbers(value: &Json) -> Vec<f32> {
    value.as_array().unwrap().iter().map(number).collect()
}

pub(crate) fn demo() -> InterpretableModel {
    let device = nanoscope_testing::test_device();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let gpt = ModelFiles::find(&root).unwrap().load(&device).unwrap().gpt;
    with_saes(gpt)
}

fn with_saes(gpt: Gpt) -> InterpretableModel {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/saes");
    let saes = load_saes([root.as_path()], gpt.device()).unwrap();
    saes.into_iter().fold(InterpretableModel::new(gpt), |model, loaded| {
        let hook = loaded.hook().unwrap();
        model.with_sae(hook, loaded.sae).unwrap()
    })
}

/// The weights of another model.
struct Same(Vec<(ParamSpec, Tensor<1>)>);

impl Same {
    fn new(gpt: &Gpt) -> Self {
        let weights = gpt.weights().into_iter();
        Self(weights.map(|(spec, weight)| (spec, weight.flattened(gpt.device()))).collect())
    }
}

impl WeightSource for Same {
    type Error = Infallible;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Infallible> {
        let (_, weight) = self.0.iter().find(|(of, _)| of.name == spec.name).unwrap();
        let shape: [usize; D] = spec.shape.clone().try_into().unwrap();
        Ok(weight.clone().reshape(shape))
    }
}

/// The demo without its softcap, whose logits are those before it.
fn raw(model: &InterpretableModel) -> InterpretableModel {
    let gpt = model.gpt();
    let config = GptConfig { softcap: None, ..gpt.config().clone() };
    let gpt = Gpt::load(config, &mut Same::new(gpt), gpt.device()).unwrap();
    with_saes(gpt)
}

fn by_position(attribution: &Attribution<'_>, term: usize) -> Vec<f32> {
    let of = |terms: &nanoscope_attribute::HookTerms| {
        [terms.error.clone(), terms.bias.clone(), terms.stream.clone()][term].clone()
    };
    attribution.hooks().iter().flat_map(of).collect()
}

fn attributions(attribution: &Attribution<'_>) -> Vec<f32> {
    attribution.features().iter().map(|feature| feature.attribution).collect()
}

#[test]
fn gradients_and_attributions_are_those_of_the_reference() {
    let model = demo();
    for case in cases() {
        for (metric_name, metric) in case.metrics() {
            let attribution = case.attribute(&model, metric);

            let features = attribution.features();
            let rows: Vec<[usize; 3]> = features
                .iter()
                .map(|row| [row.hook.layer().unwrap(), row.position, row.feature as usize])
                .collect();
            let [layer, position, feature] =
                ["layer", "position", "feature"].map(|name| case.ints(name));
            assert_eq!(rows.len(), layer.len(), "{}", case.name);
            for (row, found) in rows.iter().enumerate() {
                assert_eq!(*found, [layer[row], position[row], feature[row]], "row {row}");
            }
            let activations: Vec<f32> = features.iter().map(|row| row.activation).collect();
            let gradients: Vec<f32> = features.iter().map(|row| row.gradient).collect();
            case.close("activation", &activations, ACTIVATION_ATOL);
            case.close(&format!("gradient.{metric_name}"), &gradients, GRADIENT_ATOL);
            let name = format!("attribution.{metric_name}");
            case.close(&name, &attributions(&attribution), ATTRIBUTION_ATOL);
            for (term, name) in ["error", "bias", "stream"].into_iter().enumerate() {
                let found = by_position(&attribution, term);
                case.close(&format!("{name}.{metric_name}"), &found, ATTRIBUTION_ATOL);
            }
            let name = format!("hook_gradient.{metric_name}");
            if case.arrays.find(&name).is_some() {
                let hooks = attribution.hooks().iter();
                let found = hooks
                    .flat_map(|terms| values(attribution.gradient_at(terms.hook).unwrap()))
                    .collect::<Vec<_>>();
                case.close(&name, &found, GRADIENT_ATOL);
            }
        }
    }
}

#[test]
fn metrics_logits_and_sums_are_those_of_the_reference() {
    let model = demo();
    for case in cases() {
        assert_eq!(
            case.tokens,
            case.ints("tokens").iter().map(|&id| id as u32).collect::<Vec<_>>()
        );
        for (metric_name, metric) in case.metrics() {
            let attribution = case.attribute(&model, metric);
            let what = |name: &str| format!("{}, {metric_name}, {name}", case.name);

            let value = number(&case.json["metrics"][metric_name]);
            assert_close(what("value"), &[attribution.value()], &[value], LOGITS_ATOL);
            case.close("logits", attribution.logits().unwrap(), LOGITS_ATOL);
            for (terms, json) in
                attribution.hooks().iter().zip(case.json["hooks"].as_array().unwrap())
            {
                assert_eq!(json["hook"], terms.hook.to_string());
                assert_eq!(json["active"], terms.active);
                let sum = |terms: &[f32]| terms.iter().map(|&x| f64::from(x)).sum::<f64>() as f32;
                let found = [
                    terms.features as f32,
                    sum(&terms.error),
                    sum(&terms.bias),
                    sum(&terms.stream),
                ];
                let json = &json[metric_name];
                let expected =
                    ["features", "error", "bias", "stream"].map(|key| number(&json[key]));
                assert_close(what("sums"), &found, &expected, SUM_ATOL);
                let share = terms.error_share() as f32;
                assert_close(what("share"), &[share], &[number(&json["error_share"])], SHARE_ATOL);
            }
        }
    }
}

#[test]
fn exact_ablations_are_those_of_the_reference() {
    let model = demo();
    for case in cases() {
        for (metric_name, metric) in case.metrics() {
            let attribution = case.attribute(&model, metric);
            let rows = case.rows(attribution.features().len());

            let found = attribution.ablate(&rows).unwrap();

            let name = format!("ablation.{metric_name}");
            let all = case.floats(&name);
            let expected: Vec<f32> = rows.iter().map(|&row| all[row]).collect();
            assert_close(format!("{}, {name}", case.name), &found, &expected, ABLATION_ATOL);
        }
    }
}

#[test]
fn exact_ablations_of_error_terms_are_those_of_the_reference() {
    let model = demo();
    for case in cases().take(if on_flex() { 6 } else { 2 }) {
        for (metric_name, metric) in case.metrics() {
            let attribution = case.attribute(&model, metric);
            let hooks = attribution.hooks().iter().map(|terms| terms.hook);
            let places: Vec<(HookPoint, usize)> = hooks
                .flat_map(|hook| (0..case.tokens.len()).map(move |position| (hook, position)))
                .collect();

            let found = attribution.ablate_errors(&places).unwrap();

            case.close(&format!("error_ablation.{metric_name}"), &found, ABLATION_ATOL);
        }
    }
}

#[test]
fn numbers_before_the_softcap_are_those_of_a_model_without_one() {
    let raw = raw(&demo());
    for case in cases() {
        let (_, metric) = case.metrics()[0];
        let attribution = case.attribute(&raw, metric);

        let value = number(&case.json["metrics"]["raw_diff"]);
        assert_close("raw_diff", &[attribution.value()], &[value], LOGITS_ATOL);
        case.close("attribution.raw_diff", &attributions(&attribution), ATTRIBUTION_ATOL);
        for (term, name) in ["error", "bias", "stream"].into_iter().enumerate() {
            let found = by_position(&attribution, term);
            case.close(&format!("{name}.raw_diff"), &found, ATTRIBUTION_ATOL);
        }
        let rows: Vec<usize> =
            case.rows(attribution.features().len()).into_iter().step_by(5).collect();
        let all = case.floats("ablation.raw_diff");
        let expected: Vec<f32> = rows.iter().map(|&row| all[row]).collect();
        let found = attribution.ablate(&rows).unwrap();
        assert_close("ablation.raw_diff", &found, &expected, ABLATION_ATOL);
        let logits = attribution.logits().unwrap();
        for (key, id) in [("target", case.target), ("contrast", case.contrast)] {
            let expected = number(&case.json[key]["raw_logit"]);
            assert_close(key, &[logits[id as usize]], &[expected], LOGITS_ATOL);
        }
    }
}

#[test]
fn direct_effects_and_components_are_those_of_the_reference() {
    let model = demo();
    for case in cases() {
        for (metric_name, metric) in case.metrics() {
            let direct = case.attribute(&model, metric).direct().unwrap();

            let rows: Vec<usize> = direct.features.iter().map(|feature| feature.row).collect();
            assert_eq!(rows, case.ints("dla.rows"));
            let of_features = |number: fn(&DirectEffect) -> f32| -> Vec<f32> {
                direct.features.iter().map(|feature| number(&feature.effect)).collect()
            };
            let of_components = |number: fn(&DirectEffect) -> f32| -> Vec<f32> {
                direct.components.iter().map(|part| number(&part.effect)).collect()
            };
            case.close("dla.raw_target", &of_features(|x| x.raw_target), DIRECT_ATOL);
            case.close("dla.raw_mean", &of_features(|x| x.raw_mean), DIRECT_ATOL);
            case.close("components.raw_target", &of_components(|x| x.raw_target), DIRECT_ATOL);
            case.close("components.raw_mean", &of_components(|x| x.raw_mean), DIRECT_ATOL);
            let metric_effects = of_features(|x| x.metric);
            case.close(&format!("dla.{metric_name}"), &metric_effects, DIRECT_ATOL);
            let names: Vec<&str> =
                direct.components.iter().map(|part| part.name.as_str()).collect();
            assert_eq!(case.json["components"], Json::from(names));
            let coefficients: Vec<f32> = direct.coefficients.iter().map(|(_, c)| *c).collect();
            let expected = numbers(&case.json["direct_coefficients"]);
            assert_close("coefficients", &coefficients, &expected, 1e-6);
            let x0 = number(&case.json["direct_coefficient_x0"]);
            assert_close("x0", &[direct.components[0].coefficient], &[x0], 1e-6);
            let scale = number(&case.json["final_norm_scale"]);
            assert_close("scale", &[direct.final_norm_scale], &[scale], LOGITS_ATOL);
            let slopes = &case.json["softcap_slope"];
            let target = number(&slopes["target"]);
            assert_close("slope", &[direct.target_slope as f32], &[target], LOGITS_ATOL);
            if let Some(slope) = direct.contrast_slope {
                let contrast = |x: &DirectEffect| x.raw_contrast.unwrap();
                case.close("dla.raw_contrast", &of_features(contrast), DIRECT_ATOL);
                case.close("components.raw_contrast", &of_components(contrast), DIRECT_ATOL);
                let expected = number(&slopes["contrast"]);
                assert_close("slope", &[slope as f32], &[expected], LOGITS_ATOL);
            }
        }
    }
}

#[test]
fn integrated_gradients_are_those_of_the_reference() {
    let model = demo();
    for case in cases().take(if on_flex() { 6 } else { 2 }) {
        for (metric_name, metric) in case.metrics() {
            let integrated = case.attribute(&model, metric).integrate(Steps::Ends(10)).unwrap();

            case.close(&format!("ig.{metric_name}"), &integrated.features, INTEGRATED_ATOL);
            let json = case.json["hooks"].as_array().unwrap().iter();
            for (found, json) in integrated.hooks.iter().zip(json) {
                let json = &json[metric_name];
                let sums = [found.sum as f32, found.without_features];
                let expected = [number(&json["ig"]), number(&json["without_features"])];
                let what = format!("{}, {metric_name}, {}", case.name, found.hook);
                assert_close(what, &sums, &expected, SUM_ATOL);
            }
        }
    }
}

#[test]
fn forty_midpoints_sum_to_the_effect_of_all_features() {
    let model = demo();
    for case in cases().take(if on_flex() { 3 } else { 1 }) {
        for (metric_name, metric) in case.metrics() {
            let attribution = case.attribute(&model, metric);

            let integrated = attribution.integrate(Steps::Midpoints(40)).unwrap();

            for hook in &integrated.hooks {
                let effect = f64::from(attribution.value() - hook.without_features);
                let error = (hook.sum - effect).abs();
                let what = format!("{}, {metric_name}, {}", case.name, hook.hook);
                println!("{what}: {} of {effect}", hook.sum);
                assert!(error <= 0.01 * effect.abs(), "{what}: {}, {effect}", hook.sum);
            }
        }
    }
}

#[test]
fn edges_to_a_feature_are_those_of_the_reference() {
    let model = demo();
    for case in cases().take(if on_flex() { 6 } else { 2 }) {
        for (k, edge) in case.json["edges"].as_array().unwrap().iter().enumerate() {
            let index = |key: &str| edge[key].as_u64().unwrap() as usize;
            let hook: HookPoint = edge["hook"].as_str().unwrap().parse().unwrap();
            let (position, feature) = (index("position"), index("feature"));

            let attribution = case.attribute(&model, Metric::Feature { hook, feature, position });

            let what = format!("{}, edges.{k}", case.name);
            assert_close(&what, &[attribution.value()], &[number(&edge["pre"])], ACTIVATION_ATOL);
            // Positions after the target are not computed, and have no effect.
            let (seq, len) = (position + 1, case.tokens.len());
            let mut weights = attributions(&attribution).into_iter();
            let mut errors = Vec::new();
            let expected = case.floats(&format!("edges.{k}.weight"));
            let positions = case.ints("position");
            let all: Vec<f32> = (0..expected.len())
                .map(|row| if positions[row] < seq { weights.next().unwrap() } else { 0.0 })
                .collect();
            for terms in attribution.hooks() {
                errors.extend(terms.error.iter().copied());
                errors.extend(std::iter::repeat_n(0.0, len - seq));
            }
            case.close(&format!("edges.{k}.weight"), &all, EDGE_ATOL);
            case.close(&format!("edges.{k}.error"), &errors, EDGE_ATOL);

            // The rows of the file, without those of later positions.
            let strongest = case.ints(&format!("edges.{k}.rows"));
            let rows: Vec<usize> = strongest
                .iter()
                .map(|&row| positions[..row].iter().filter(|&&position| position < seq).count())
                .collect();
            let ablations = attribution.ablate(&rows).unwrap();
            case.close(&format!("edges.{k}.ablation"), &ablations, EDGE_ABLATION_ATOL);
        }
    }
}

#[test]
fn the_lens_is_that_of_the_reference_and_ends_in_the_model() {
    let model = demo();
    let hooks: Vec<HookPoint> = (0..4).map(HookPoint::ResidPost).collect();
    for case in cases() {
        let asked = [case.target, case.contrast];

        let lens = logit_lens(&model, &case.tokens, &hooks, 10, &asked).unwrap();
        let plain = logit_lens_plain(&model, &case.tokens, &hooks[3..], 10, &asked).unwrap();

        for (name, lens) in [("lens", &lens), ("lens_plain", &plain)] {
            let readings = || lens.iter().flat_map(|lens| &lens.positions);
            let top = readings().flat_map(|reading| &reading.top);
            let (ids, probs): (Vec<usize>, Vec<f32>) =
                top.map(|&(id, probability)| (id as usize, probability)).unzip();
            case.close(&format!("{name}.probs"), &probs, LENS_ATOL);
            let expected = case.ints(&format!("{name}.ids"));
            // On a GPU, tokens that are equally likely may change places.
            let same = ids.iter().zip(&expected).filter(|(a, b)| a == b).count();
            assert!(same == ids.len() || on_gpu() && same * 100 > ids.len() * 98, "{name}");
        }
        let last: Vec<f32> =
            lens.iter().flat_map(|lens| lens.positions.last().unwrap().asked.clone()).collect();
        case.close("lens.target_probs", &last, LENS_ATOL);
        let logits = case.floats("logits");
        for (at, (key, id)) in
            [("target", case.target), ("contrast", case.contrast)].into_iter().enumerate()
        {
            let json = &case.json[key];
            let logit = logits[id as usize];
            let rank = 1 + logits.iter().filter(|&&other| other > logit).count();
            assert_eq!(json["rank"], rank, "{}", case.name);
            assert_close(key, &[logit], &[number(&json["logit"])], LOGITS_ATOL);
            let logprob = number(&json["logprob"]);
            assert_close(key, &[last[6 + at].ln()], &[logprob], LOGITS_ATOL);
        }
    }
}
