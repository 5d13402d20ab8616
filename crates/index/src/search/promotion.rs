//! The features that write a word when they are turned up.

use nanoscope_hooks::HookPoint;
use nanoscope_kernels::{read_together, to_host};
use nanoscope_runtime::{InterpretableModel, RuntimeError, logit_effects, logit_effects_on};
use rayon::prelude::*;

use super::word::WordTokens;

/// The number of features whose decoder rows are in float32 at a time.
const CHUNK: usize = 4096;

/// The number of features, of those with the largest effect on a word's tokens, whose effects on the whole
/// vocabulary are computed: many for a small model, and fewer where each takes a tenth of a second.
const MAX_CANDIDATES: u64 = 128;
const MIN_CANDIDATES: u64 = 16;
const CANDIDATE_PRODUCT: u64 = 10_000_000_000;

/// The factor by which a word must be more likely than in an unsteered text.
const MIN_LIFT: f32 = 3.0;

/// A feature that promotes a word.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Promoter {
    pub(super) feature: u32,
    /// The estimated probability of the word's tokens, at any position, with the feature turned up.
    pub(super) probability: f32,
    /// The word's token that is promoted most, and the effect on its logit less the mean.
    pub(super) token: u32,
    pub(super) effect: f32,
}

/// Estimates for the features of the SAE at `hook` how likely the tokens of `word` become with the feature
/// added at `share` of the norm, from the direct effect on the logits and the probabilities `prior` without
/// it. Returns those that make it likelier, in no order; none if the SAE does not write to the residual stream.
///
/// The final norm divides by the length of the stream, so adding a share `s` of that length along a direction
/// of length 1 adds `s · √d_model` times its effect to the logits.
pub(super) fn promoters(
    model: &InterpretableModel,
    hook: HookPoint,
    word: &WordTokens,
    prior: &[f32],
    share: f32,
) -> Result<Vec<Promoter>, RuntimeError> {
    if word.ids.is_empty() {
        return Ok(Vec::new());
    }
    let (sae, write) = (model.sae(hook)?, model.write_point(hook));
    let refused = |source| RuntimeError::NoSuchFeature { hook, source };
    let d_sae = sae.config().d_sae();
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(d_sae);
    for start in (0..d_sae).step_by(CHUNK) {
        let chunk: Vec<usize> = (start..d_sae.min(start + CHUNK)).collect();
        let directions = sae.directions(&chunk).map_err(refused)?;
        let Ok(effects) = logit_effects_on(model.gpt(), write, directions.clone(), &word.ids)
        else {
            return Ok(Vec::new());
        };
        let norms = directions.square().sum_dim(1).sqrt();
        let effects = to_host((effects / (norms + f32::MIN_POSITIVE)).max_dim(1));
        let effects = effects.into_iter().map(|e| if e.is_finite() { e } else { f32::MIN });
        best.extend((start as u32..).zip(effects));
    }
    let shape = &model.gpt().config().shape;
    let candidates = CANDIDATE_PRODUCT / (shape.n_embd as u64 * shape.vocab_size as u64);
    let candidates = candidates.clamp(MIN_CANDIDATES, MAX_CANDIDATES) as usize;
    best.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    best.truncate(candidates.min(best.len()));

    let features: Vec<usize> = best.iter().map(|&(feature, _)| feature as usize).collect();
    let directions = sae.directions(&features).map_err(refused)?;
    let norms = directions.clone().square().sum_dim(1).sqrt();
    let Ok(effects) = logit_effects(model.gpt(), write, directions) else {
        return Ok(Vec::new());
    };
    let read = read_together(vec![effects.flatten(0, 1), norms.flatten(0, 1)]);
    let [effects, norms] = <[_; 2]>::try_from(read).expect("both were read");
    let unsteered: f32 = word.ids.iter().map(|&id| prior[id as usize]).sum();
    let strength = share * (shape.n_embd as f32).sqrt() * reach(hook, shape.n_layer);
    let rows = effects.par_chunks_exact(prior.len()).zip(&features).zip(&norms);
    let promoter = |((row, &feature), &norm): ((&[f32], &usize), &f32)| {
        let scale = strength / norm;
        let probability = tilted(row, prior, &word.ids, scale);
        let effect = |&id: &u32| (id, row[id as usize]);
        let largest = word.ids.iter().map(effect).max_by(|a, b| a.1.total_cmp(&b.1));
        let (token, effect) = largest.expect("the word has tokens");
        let is_promoter = probability.is_finite() && probability >= MIN_LIFT * unsteered;
        is_promoter.then_some(Promoter { feature: feature as u32, probability, token, effect })
    };
    Ok(rows.filter_map(promoter).collect())
}

/// The part of a direction's effect that is left at the end of the model: all of it after the last block. The
/// blocks in between dilute it, on the demo to about half.
fn reach(hook: HookPoint, n_layer: usize) -> f32 {
    match hook.layer() {
        Some(layer) if layer + 1 < n_layer => 0.5,
        None if hook == HookPoint::Embed => 0.5,
        _ => 1.0,
    }
}

/// The probability of `ids` if each token's probability is multiplied by `exp(scale · effect)`.
fn tilted(effects: &[f32], prior: &[f32], ids: &[u32], scale: f32) -> f32 {
    let largest = effects.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |id: usize| prior[id] * (scale * (effects[id] - largest)).exp();
    let all: f32 = (0..prior.len()).map(weight).sum();
    let of_word: f32 = ids.iter().map(|&id| weight(id as usize)).sum();
    of_word / all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_is_tilted_by_the_effects() {
        let prior = [0.7, 0.2, 0.1];
        let effects = [0.0, 0.0, 2.0];

        assert!((tilted(&effects, &prior, &[2], 0.0) - 0.1).abs() < 1e-6);
        let weight = 0.1 * 4.0_f32.exp();
        assert!((tilted(&effects, &prior, &[2], 2.0) - weight / (0.9 + weight)).abs() < 1e-6);
        assert!((tilted(&effects, &prior, &[0, 1, 2], 5.0) - 1.0).abs() < 1e-6);
    }
}
