//! The logit lens.

use burn::tensor::Tensor;
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_kernels::to_host;
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::{Gpt, Logits, TokenBatch};

use crate::error::AttributeError;
use crate::metric::softmax;

/// The logit lens at one hook point: what would be predicted if the model ended there.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    /// The hook point.
    pub hook: HookPoint,
    /// The reading at each position.
    pub positions: Vec<LensReading>,
}

/// The most likely tokens at one position.
#[derive(Debug, Clone, PartialEq)]
pub struct LensReading {
    /// Tokens with their probabilities, the most likely first; among equal ones the lower id.
    pub top: Vec<(u32, f32)>,
    /// The probability of each token that was asked for.
    pub asked: Vec<f32>,
}

/// Reads the `top` most likely tokens, and the probabilities of the tokens `asked`, at every position of `tokens`
/// from the residual stream at each of `hooks`: its logits with the model's own final norm, unembedding and
/// softcap (the logit lens, nostalgebraist 2020).
///
/// nanochat's newest era subtracts a part of the middle block's output before the final norm. The lens does so
/// too after that block, so that the lens of the last block is what the model predicts;
/// [`logit_lens_plain`] does not.
///
/// # Errors
/// [`AttributeError::NotTheStream`] for a hook point that is not the residual stream itself, and as a run of the
/// model; [`AttributeError::Token`] if a token is outside the vocabulary.
pub fn logit_lens(
    model: &InterpretableModel,
    tokens: &[u32],
    hooks: &[HookPoint],
    top: usize,
    asked: &[u32],
) -> Result<Vec<Lens>, AttributeError> {
    read(model, tokens, hooks, 0, (top, asked), Backout::AsTheModel)
}

/// Reads as [`logit_lens`] does, without subtracting what nanochat's newest era takes from the middle block: the lens
/// of the literature. For other models the two are the same.
///
/// # Errors
/// As [`logit_lens`].
pub fn logit_lens_plain(
    model: &InterpretableModel,
    tokens: &[u32],
    hooks: &[HookPoint],
    top: usize,
    asked: &[u32],
) -> Result<Vec<Lens>, AttributeError> {
    read(model, tokens, hooks, 0, (top, asked), Backout::Ignored)
}

/// Reads at the last position alone, otherwise as [`logit_lens`].
pub(crate) fn last_reading(
    model: &InterpretableModel,
    tokens: &[u32],
    hooks: &[HookPoint],
    top: usize,
    asked: &[u32],
) -> Result<Vec<Lens>, AttributeError> {
    let last = tokens.len().saturating_sub(1);
    read(model, tokens, hooks, last, (top, asked), Backout::AsTheModel)
}

/// Reads the positions from `from` on.
fn read(
    model: &InterpretableModel,
    tokens: &[u32],
    hooks: &[HookPoint],
    from: usize,
    (top, asked): (usize, &[u32]),
    backout: Backout,
) -> Result<Vec<Lens>, AttributeError> {
    let gpt = model.gpt();
    let vocab_size = gpt.config().shape.vocab_size;
    if let Some(&id) = asked.iter().find(|&&id| id as usize >= vocab_size) {
        return Err(AttributeError::Token { id, vocab_size });
    }
    for &hook in hooks {
        check(gpt, hook)?;
    }
    let subtracted = gpt
        .backout()
        .filter(|_| backout == Backout::AsTheModel)
        .map(|(layer, lambda)| (HookPoint::ResidPost(layer), lambda));
    let mut recorder =
        ActivationRecorder::new(hooks.iter().copied().chain(subtracted.map(|(point, _)| point)));
    let Some(last) = tokens.len().checked_sub(1) else { return Err(AttributeError::NoTokens) };
    let batch = TokenBatch::new(&[tokens.to_vec()])?;
    gpt.forward(&batch, Logits::Last, &mut recorder)?;
    let seen = recorder.finish()?;
    let seen = |point| match seen.get(point) {
        Some(activation) => activation.tensor::<3>(),
        None => unreachable!("the recorder finished"),
    };
    let lens = |&hook: &HookPoint| {
        let x = match subtracted {
            Some((point, lambda)) if hook > point => seen(hook) - seen(point) * lambda,
            _ => seen(hook),
        };
        let mut positions = Vec::with_capacity(tokens.len());
        for from in (from..=last).step_by(AT_ONCE) {
            let part = x.clone().slice_dim(1, from..(from + AT_ONCE).min(tokens.len()));
            let logits: Tensor<2> = gpt.unembed_stream(part).squeeze_dim(0);
            for row in to_host(logits).chunks_exact(vocab_size) {
                if row.iter().any(|value| !value.is_finite()) {
                    return Err(AttributeError::NotFinite { quantity: "a logit of the lens" });
                }
                let row: Vec<f32> = softmax(row).map(|probability| probability as f32).collect();
                let asked = asked.iter().map(|&id| row[id as usize]).collect();
                positions.push(LensReading { top: largest(&row, top), asked });
            }
        }
        Ok(Lens { hook, positions })
    };
    hooks.iter().map(lens).collect()
}

fn check(gpt: &Gpt, hook: HookPoint) -> Result<(), AttributeError> {
    use HookPoint::{ResidMid, ResidPost, ResidPre};
    let has = || gpt.config().hook_points().any(|point| point == hook);
    if matches!(hook, ResidPre(_) | ResidMid(_) | ResidPost(_)) && has() {
        Ok(())
    } else {
        Err(AttributeError::NotTheStream { hook })
    }
}

/// The `n` largest of `values` with their indices.
pub(crate) fn largest(values: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut pairs: Vec<(u32, f32)> = (0..).zip(values.iter().copied()).collect();
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if n < pairs.len() {
        pairs.select_nth_unstable_by(n, order);
        pairs.truncate(n);
    }
    pairs.sort_unstable_by(order);
    pairs
}

/// The treatment of what nanochat's newest era subtracts at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backout {
    AsTheModel,
    Ignored,
}

/// The number of positions whose logits are in memory at a time.
const AT_ONCE: usize = 64;
