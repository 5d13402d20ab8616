use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_transformer::{Gpt, NormKind};

/// The tokens that a direction makes more likely and less likely.
#[derive(Debug, Clone, PartialEq)]
pub struct LogitEffect {
    /// The tokens with the largest effects, largest first.
    pub promoted: Vec<(u32, f32)>,
    /// The tokens with the smallest effects, smallest first.
    pub suppressed: Vec<(u32, f32)>,
}

/// Errors from computing direct effects on the logits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogitEffectError {
    /// Writes at the hook point reach the logits only through other weights.
    #[error(
        "{hook} is neither part of the residual stream nor the unembedding's input, so writing there has no direct effect on the logits"
    )]
    NotResidual {
        /// The hook point.
        hook: HookPoint,
    },
    /// The directions differ in width from the residual stream.
    #[error("the directions have {found} numbers, but the residual stream has {expected}")]
    Width {
        /// The width of the residual stream.
        expected: usize,
        /// The width of the directions.
        found: usize,
    },
}

/// Computes the direct effect of each direction at `hook` on the logits.
///
/// The effect is `(direction ⊙ g) · W_U` minus its mean over the vocabulary, with the gain `g` of the final
/// norm; nanochat's has none. A LayerNorm first subtracts the direction's own mean.
///
/// The mean is subtracted because raising all logits equally does not make any token more likely;
/// Neuronpedia and SAEDashboard do the same. Everything between the hook point and the unembedding
/// is ignored: later blocks, nanochat's scales of the residual stream, the division by the final norm
/// and the softcap. The order of the tokens is therefore meaningful, but effects are not in nats. At
/// `ln_final.hook_normalized` nothing but the softcap is in between, so that without one the effect is
/// the change of the logits less its mean.
///
/// # Shapes
/// - `directions`: `[directions, n_embd]`
/// - output: `[directions, vocab_size]`
///
/// # Errors
/// [`LogitEffectError`] if `hook` is not the embedding, `resid_pre`, `resid_mid`, `resid_post`,
/// `attn_out`, `mlp_out` or `ln_final.hook_normalized`, or if the directions differ in width from the residual stream.
pub fn logit_effects(
    gpt: &Gpt,
    hook: HookPoint,
    directions: Tensor<2>,
) -> Result<Tensor<2>, LogitEffectError> {
    let effects = gpt.unembed_directions(before_unembedding(gpt, hook, directions)?);
    Ok(effects.clone() - effects.mean_dim(1))
}

/// Computes the direct effect of each direction at `hook` on the logits of the tokens `ids` alone: as
/// [`logit_effects`], without subtracting the mean over the vocabulary. It compares directions by their
/// effect on one token.
///
/// # Shapes
/// - `directions`: `[directions, n_embd]`
/// - output: `[directions, ids]`
///
/// # Errors
/// As [`logit_effects`].
///
/// # Panics
/// If `ids` is empty or one is outside the vocabulary.
pub fn logit_effects_on(
    gpt: &Gpt,
    hook: HookPoint,
    directions: Tensor<2>,
    ids: &[u32],
) -> Result<Tensor<2>, LogitEffectError> {
    let directions = before_unembedding(gpt, hook, directions)?;
    let unembedding = gpt.unembedding_of(ids).expect("ids of the vocabulary");
    Ok(directions.matmul(unembedding.transpose()))
}

/// The directions without the part that a LayerNorm takes away.
fn before_unembedding(
    gpt: &Gpt,
    hook: HookPoint,
    directions: Tensor<2>,
) -> Result<Tensor<2>, LogitEffectError> {
    if !writes_to_logits(hook) {
        return Err(LogitEffectError::NotResidual { hook });
    }
    let shape = &gpt.config().shape;
    let [_, found] = directions.dims();
    if found != shape.n_embd {
        return Err(LogitEffectError::Width { expected: shape.n_embd, found });
    }
    let is_mean_lost = gpt.config().norm.kind == NormKind::LayerNorm;
    Ok(if is_mean_lost && hook != HookPoint::FinalNormalized {
        directions.clone() - directions.mean_dim(1)
    } else {
        directions
    })
}

/// Returns whether the activation at `hook` is the residual stream, is added to it or is unembedded.
fn writes_to_logits(hook: HookPoint) -> bool {
    matches!(
        hook,
        HookPoint::Embed
            | HookPoint::ResidPre(_)
            | HookPoint::ResidMid(_)
            | HookPoint::ResidPost(_)
            | HookPoint::AttnOut(_)
            | HookPoint::MlpOut(_)
            | HookPoint::FinalNormalized
    )
}

impl LogitEffect {
    /// Selects the `n` tokens at either end of one direction's `effects`, indexed by token id.
    /// Ties are broken by the lower id; effects that are not finite are skipped.
    pub fn from_effects(effects: &[f32], n: usize) -> Self {
        let ends = |sign: f32| {
            let mut tokens: Vec<(u32, f32)> = (0..)
                .zip(effects.iter().copied())
                .filter(|(_, effect)| effect.is_finite())
                .collect();
            let first = |a: &(u32, f32), b: &(u32, f32)| {
                (sign * b.1).total_cmp(&(sign * a.1)).then(a.0.cmp(&b.0))
            };
            if n < tokens.len() {
                tokens.select_nth_unstable_by(n, first);
                tokens.truncate(n);
            }
            tokens.sort_unstable_by(first);
            tokens
        };
        Self { promoted: ends(1.0), suppressed: ends(-1.0) }
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_transformer::{Era, GptConfig, GptShape};

    use super::*;

    fn gpt() -> Gpt {
        let shape = GptShape {
            sequence_len: 8,
            vocab_size: 5,
            n_layer: 1,
            n_head: 1,
            n_kv_head: 1,
            n_embd: 32,
        };
        let config = Era::E6.config(shape, None).unwrap();
        Gpt::random(config, 3, &nanoscope_testing::test_device())
    }

    #[test]
    fn an_effect_is_a_row_of_the_unembedding_less_its_mean() {
        let gpt = gpt();
        let row = 7;
        let mut direction = vec![0.0_f32; 32];
        direction[row] = 2.0;
        let device = nanoscope_testing::test_device();
        let directions = Tensor::<1>::from_floats(direction.as_slice(), &device).unsqueeze();

        let effects = logit_effects(&gpt, HookPoint::ResidPost(0), directions).unwrap();

        let weights = gpt.weights();
        let (spec, w_u) = weights.iter().find(|(spec, _)| spec.name == "lm_head.weight").unwrap();
        let padded = spec.shape[1];
        assert!(padded > 5, "the padding must not count");
        let w_u = w_u.flattened(&device).to_data().try_to_vec::<f32>().unwrap();
        let logits: Vec<f32> = (0..5).map(|token| 2.0 * w_u[row * padded + token]).collect();
        let mean = logits.iter().sum::<f32>() / 5.0;
        assert!(mean.abs() > 1e-3, "a mean of {mean} would not show");
        let effects = effects.into_data().try_to_vec::<f32>().unwrap();
        for (token, (found, logit)) in effects.iter().zip(&logits).enumerate() {
            assert!((found - (logit - mean)).abs() < 1e-6, "token {token}: {found}");
        }
    }

    #[test]
    fn effects_on_some_tokens_are_those_on_all_up_to_the_mean() {
        let (gpt, device) = (gpt(), nanoscope_testing::test_device());
        let values: Vec<f32> = (0..96).map(|i| (i as f32 * 0.7).sin()).collect();
        let directions = Tensor::<1>::from_floats(values.as_slice(), &device).reshape([3, 32]);
        let hook = HookPoint::ResidPost(0);

        let all = logit_effects(&gpt, hook, directions.clone()).unwrap();
        let some = logit_effects_on(&gpt, hook, directions, &[4, 1]).unwrap();

        let numbers = |tensor: Tensor<2>| tensor.into_data().try_to_vec::<f32>().unwrap();
        let (all, some) = (numbers(all), numbers(some));
        for row in 0..3 {
            let expected = all[row * 5 + 4] - all[row * 5 + 1];
            let found = some[row * 2] - some[row * 2 + 1];
            assert!((found - expected).abs() < 1e-5, "{found}, {expected}");
        }
    }

    #[test]
    fn at_the_input_of_the_unembedding_the_effect_is_that_on_the_logits() {
        let config = GptConfig { softcap: None, ..gpt().config().clone() };
        let device = nanoscope_testing::test_device();
        let gpt = Gpt::random(config, 3, &device);
        let values = |from: f32| (0..32).map(|i| (from + i as f32).sin()).collect::<Vec<f32>>();
        let row = |from| Tensor::<1>::from_floats(values(from).as_slice(), &device);
        let (x, direction) = (row(0.0), row(9.0));

        let effects =
            logit_effects(&gpt, HookPoint::FinalNormalized, direction.clone().unsqueeze());

        let logits = |x: Tensor<1>| gpt.unembed(x.unsqueeze::<3>()).into_data();
        let (before, after) = (logits(x.clone()), logits(x + direction));
        let change: Vec<f32> = after
            .iter::<f32>()
            .zip(before.iter::<f32>())
            .map(|(after, before)| after - before)
            .collect();
        let mean = change.iter().sum::<f32>() / change.len() as f32;
        let effects = effects.unwrap().into_data();
        assert_eq!(change.len(), 5);
        for (effect, change) in effects.iter::<f32>().zip(change) {
            assert!((effect - (change - mean)).abs() < 1e-4, "{effect}, {}", change - mean);
        }
    }

    #[test]
    fn either_end_is_sorted_and_only_so_long() {
        let effect = LogitEffect::from_effects(&[0.5, -2.0, f32::NAN, 0.5, 3.0], 3);

        assert_eq!(effect.promoted, [(4, 3.0), (0, 0.5), (3, 0.5)]);
        assert_eq!(effect.suppressed, [(1, -2.0), (0, 0.5), (3, 0.5)]);
        assert_eq!(LogitEffect::from_effects(&[1.0], 9).promoted, [(0, 1.0)]);
        assert_eq!(LogitEffect::from_effects(&[1.0], 0).promoted, []);
    }

    #[test]
    fn what_is_not_added_to_the_residual_stream_is_refused_by_name() {
        let device = nanoscope_testing::test_device();
        let effect = |hook, width| logit_effects(&gpt(), hook, Tensor::zeros([1, width], &device));

        let residual: Vec<String> = HookPoint::all(1)
            .filter(|&hook| effect(hook, 32).is_ok())
            .map(|hook| hook.to_string())
            .collect();
        assert_eq!(
            residual,
            [
                "hook_embed",
                "blocks.0.hook_resid_pre",
                "blocks.0.hook_attn_out",
                "blocks.0.hook_resid_mid",
                "blocks.0.hook_mlp_out",
                "blocks.0.hook_resid_post",
                "ln_final.hook_normalized",
            ]
        );
        assert_eq!(
            effect(HookPoint::MlpPost(0), 128).unwrap_err().to_string(),
            "blocks.0.mlp.hook_post is neither part of the residual stream nor the unembedding's input, so writing there has no direct effect on the logits"
        );
        assert_eq!(
            effect(HookPoint::MlpOut(0), 31).unwrap_err().to_string(),
            "the directions have 31 numbers, but the residual stream has 32"
        );
    }
}
