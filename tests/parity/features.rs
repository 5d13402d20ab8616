//! Descriptions of features, checked against the weights and against full passes.

use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::{Labels, load_sae};
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_runtime::{LogitEffect, logit_effects};
use nanoscope_sae::Sae;
use nanoscope_transformer::Logits;

use crate::golden::{self, tolerance};

const EFFECT_ATOL: f32 = 1e-4;
const COSINE_ATOL: f32 = 1e-6;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

fn demo_sae(layer: usize) -> (Sae, Labels) {
    let dir = demo().join(format!("saes/layer_{layer}"));
    let loaded = load_sae(&dir, &nanoscope_testing::test_device()).unwrap();
    let labels = Labels::read(&dir, loaded.sae.config().d_sae()).unwrap();
    (loaded.sae, labels)
}

fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// Adds a direction to the input of the unembedding.
struct AddAtTheEnd(Tensor<1>);

impl HookRouter for AddAtTheEnd {
    fn wants(&self, point: HookPoint) -> bool {
        point == HookPoint::FinalNormalized
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if self.wants(point) { x + self.0.clone().unsqueeze() } else { x }
    }
}

#[test]
fn the_direct_effect_on_the_logits_is_what_a_pass_computes_of_a_direction() {
    // Era E6's; a pass returns logits after it.
    const SOFTCAP: f32 = 15.0;

    let golden = golden::NANOCHAT[5];
    let gpt = golden.model().gpt;
    let width = gpt.config().shape.n_embd;
    let direction: Vec<f32> = (0..width).map(|at| (at as f32).sin()).collect();
    let device = nanoscope_testing::test_device();
    let direction = Tensor::<1>::from_data(TensorData::new(direction, [width]), &device);

    let effects = logit_effects(&gpt, HookPoint::MlpOut(1), direction.clone().unsqueeze()).unwrap();

    let uncapped = |logits| host::<3>(logits).into_iter().map(|l| SOFTCAP * (l / SOFTCAP).atanh());
    let tokens = golden.tokens();
    let plain = uncapped(gpt.forward(&tokens, Logits::Last, &mut ()).unwrap());
    let moved = gpt.forward(&tokens, Logits::Last, &mut AddAtTheEnd(direction)).unwrap();
    let differences: Vec<f32> =
        uncapped(moved).zip(plain).map(|(moved, plain)| moved - plain).collect();
    let effects = host(effects);
    for row in differences.chunks_exact(effects.len()) {
        let mean = row.iter().sum::<f32>() / row.len() as f32;
        for (token, (effect, difference)) in effects.iter().zip(row).enumerate() {
            let error = (effect - (difference - mean)).abs();
            assert!(error < tolerance(EFFECT_ATOL), "token {token}: off by {error}");
        }
    }
}

/// The tokens quoted after "promotes" in a label. Two labels quote a quotation mark with other
/// quotation marks; they are left out.
fn promoted(label: &str) -> Vec<&str> {
    let (_, tokens) = label.split_once("promotes \"").unwrap_or_default();
    tokens.split('"').step_by(2).filter(|token| !token.is_empty()).collect()
}

#[test]
fn the_demos_labels_name_the_tokens_that_are_found_to_be_promoted() {
    // The labels were written from pages that list ten tokens.
    const LISTED: usize = 10;

    let model = golden::load(&demo(), None);
    let tokenizer = nanoscope_checkpoint::load_tokenizer(&demo().join("tokenizer")).unwrap();
    let mut named = 0;
    for layer in 0..4 {
        let (sae, labels) = demo_sae(layer);
        for feature in 0..sae.config().d_sae() {
            let tokens = labels.get(feature as u32).map(promoted).unwrap_or_default();
            if tokens.is_empty() {
                continue;
            }
            let directions = sae.directions(&[feature]).unwrap();
            let hook = HookPoint::ResidPost(layer);
            let effects = host(logit_effects(&model.gpt, hook, directions).unwrap());
            let effect = LogitEffect::from_effects(&effects, LISTED);
            let texts: Vec<_> =
                effect.promoted.iter().filter_map(|&(id, _)| tokenizer.token_text(id)).collect();
            named += tokens.len();
            for token in tokens {
                let there = texts.iter().any(|text| text == token);
                assert!(there, "layer {layer}, #{feature}: no `{token}` among {texts:?}");
            }
        }
    }
    assert!(named > 100, "only {named} tokens were compared");
}

#[test]
fn the_nearest_features_are_those_of_a_plain_search() {
    let (sae, _) = demo_sae(3);
    let (d_sae, d_out) = (sae.config().d_sae(), sae.config().d_out());
    let rows: Vec<f64> = host(sae.weights().w_dec).into_iter().map(f64::from).collect();
    let dot = |a: usize, b: usize| {
        let row = |at: usize| rows[at * d_out..(at + 1) * d_out].iter();
        row(a).zip(row(b)).map(|(a, b)| a * b).sum::<f64>()
    };
    for feature in [0, 1909, 2047] {
        let cosine =
            |other: usize| dot(feature, other) / (dot(feature, feature) * dot(other, other)).sqrt();
        let mut all: Vec<(usize, f64)> = (0..d_sae)
            .filter(|&other| other != feature)
            .map(|other| (other, cosine(other)))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));

        let nearest = sae.nearest(feature, 20).unwrap();

        assert_eq!(nearest.len(), 20);
        for (&(_, found), &(other, expected)) in nearest.iter().zip(&all) {
            let error = (f64::from(found) - expected).abs() as f32;
            assert!(error < tolerance(COSINE_ATOL), "#{feature} and #{other}: off by {error}");
        }
    }
}
