//! The ends of the residual stream: the embeddings that enter it, and the way from it to the logits.

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;

use crate::cache::Caches;
use crate::config::NormKind;
use crate::error::GptError;
use crate::gpt::Gpt;
use crate::tokens::TokenBatch;

impl Gpt {
    /// The coefficient of the activation at `point` in the input of the final norm, without passing through
    /// another attention or MLP; `None` if the activation is not added to the residual stream.
    ///
    /// It is 1 except in the eras of nanochat that scale the stream before each block by
    /// `resid_lambdas` or subtract `λ_b` times the output of block `b` at the end: with
    /// `P(i, j) = Π resid_lambdas[k], i < k ≤ j`, the coefficient of block `i` of `n` is
    /// `P(i, n − 1) − λ_b · P(i, b)`, where the second term is there for `i ≤ b` only.
    pub fn direct_coefficient(&self, point: HookPoint) -> Option<f32> {
        match point {
            HookPoint::ResidPre(layer)
            | HookPoint::ResidMid(layer)
            | HookPoint::ResidPost(layer)
            | HookPoint::AttnOut(layer)
            | HookPoint::MlpOut(layer) => Some(self.block_coefficient(layer)),
            HookPoint::AttnProjection(layer) | HookPoint::MlpProjection(layer)
                if !self.config.post_norms =>
            {
                Some(self.block_coefficient(layer))
            }
            HookPoint::Embed | HookPoint::PosEmbed
                if !self.config.embedding.normed && !self.config.smear =>
            {
                Some(self.input_coefficient(&self.embedding_weights()))
            }
            _ => None,
        }
    }

    /// The embeddings that are added to the residual stream in front of the blocks.
    ///
    /// # Errors
    /// [`GptError::TokenOutOfRange`] if an id is outside the vocabulary; [`GptError::ContextFull`] if the
    /// rows are longer than the model's positions.
    pub fn stream_inputs(&self, tokens: &TokenBatch) -> Result<Vec<StreamInput>, GptError> {
        self.check_uncached(tokens)?;
        let mut caches = Caches(&mut []);
        let flat = tokens.flat(&self.device);
        let input = |name, activation, weights: Vec<f32>| {
            let coefficient = self.input_coefficient(&weights);
            StreamInput { name, activation, weights, coefficient }
        };
        let x0 = self.embed.forward(tokens, &flat, &mut caches, &mut ());
        let mut inputs = vec![input("x0", x0, self.embedding_weights())];
        if let Some(bigram) = &self.embed.bigram {
            let embedded = bigram.forward(tokens, &self.device, &caches);
            inputs.push(input("bigram", embedded, bigram.lambdas.clone()));
        }
        Ok(inputs)
    }

    /// The block whose output is subtracted before the final norm, and the factor `λ_b`.
    pub fn backout(&self) -> Option<(usize, f32)> {
        Some((self.config.backout_layer()?, self.backout_lambda))
    }

    /// The number by which the final norm divides each position: `sqrt(mean(x²) + ε)`, for a LayerNorm
    /// after the mean is subtracted.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`, the input of the final norm
    /// - output: `[batch, seq, 1]`
    pub fn final_norm_scale(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match self.ln_f.config.kind {
            NormKind::Rms | NormKind::RmsGain => x,
            NormKind::LayerNorm => x.clone() - x.mean_dim(2),
        };
        (x.square().mean_dim(2) + self.ln_f.config.epsilon).sqrt()
    }

    /// Computes the logits of an activation of the residual stream as if it were the input of the final
    /// norm: the logit lens (nostalgebraist 2020).
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`
    /// - output: `[batch, seq, vocab_size]`, after the softcap
    pub fn unembed_stream(&self, x: Tensor<3>) -> Tensor<3> {
        self.unembed(self.ln_f.normalize(x))
    }

    /// Computes weighted sums of the vectors that [`unembedding_of`](Self::unembedding_of) gives for single
    /// tokens.
    ///
    /// # Shapes
    /// - `weights`: `[rows, vocab_size]`
    /// - output: `[rows, n_embd]`
    pub fn unembedding_sums(&self, weights: Tensor<2>) -> Tensor<2> {
        let [rows, vocab_size] = weights.dims();
        let [_, padded] = self.lm_head.dims();
        let weights = if padded > vocab_size {
            let padding = Tensor::zeros([rows, padded - vocab_size], &weights.device());
            Tensor::cat(vec![weights, padding], 1)
        } else {
            weights
        };
        let sums = self.lm_head.transposed().multiply(weights);
        match &self.ln_f.gain {
            Some(gain) => sums * gain.clone().unsqueeze(),
            None => sums,
        }
    }

    /// The factor of the stream before block `layer`.
    fn resid(&self, layer: usize) -> f32 {
        self.lambdas.as_ref().map_or(1.0, |lambdas| lambdas.resid[layer])
    }

    fn block_coefficient(&self, layer: usize) -> f32 {
        let product =
            |last: usize| (layer + 1..=last).map(|layer| self.resid(layer)).product::<f32>();
        let through = product(self.blocks.len() - 1);
        match self.backout() {
            Some((at, lambda)) if layer <= at => through - lambda * product(at),
            _ => through,
        }
    }

    /// The coefficient of the embedding in front of each block.
    fn embedding_weights(&self) -> Vec<f32> {
        let mut weights = match &self.lambdas {
            Some(lambdas) => lambdas.x0.clone(),
            None => vec![0.0; self.blocks.len()],
        };
        weights[0] += self.resid(0);
        weights
    }

    fn input_coefficient(&self, weights: &[f32]) -> f32 {
        let of_block = |(layer, weight): (usize, &f32)| weight * self.block_coefficient(layer);
        weights.iter().enumerate().map(of_block).sum()
    }
}

/// An embedding that is added to the residual stream.
#[derive(Debug, Clone)]
pub struct StreamInput {
    /// `x0`, the embedding as the first block receives it, with positions, norm and smear; or `bigram`.
    pub name: &'static str,
    /// The embedding, `[batch, seq, n_embd]`.
    pub activation: Tensor<3>,
    /// Its coefficient in front of each block.
    pub weights: Vec<f32>,
    /// Its coefficient in the input of the final norm, without passing through an attention or MLP, as
    /// [`Gpt::direct_coefficient`] says of hook points.
    pub coefficient: f32,
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use nanoscope_hooks::ActivationRecorder;

    use super::*;
    use crate::{Era, GptShape, Logits};

    const SHAPE: GptShape = GptShape {
        sequence_len: 16,
        vocab_size: 50,
        n_layer: 3,
        n_head: 2,
        n_kv_head: 1,
        n_embd: 64,
    };

    fn last(x: Tensor<3>) -> Vec<f32> {
        let [_, seq, _] = x.dims();
        x.slice_dim(1, seq - 1..seq).into_data().iter::<f32>().collect()
    }

    #[test]
    fn what_enters_the_stream_sums_to_the_input_of_the_final_norm() {
        for era in [Era::E0, Era::E1, Era::E3b, Era::E6] {
            let config = era.config(SHAPE, None).unwrap();
            let gpt = Gpt::random(config, 3, &nanoscope_testing::test_device());
            let tokens = TokenBatch::new(&[vec![3, 1, 4, 1, 5]]).unwrap();
            let outs =
                (0..3).flat_map(|layer| [HookPoint::AttnOut(layer), HookPoint::MlpOut(layer)]);
            let outs: Vec<HookPoint> = outs.collect();
            let ends =
                [HookPoint::ResidPost(2), HookPoint::ResidPost(1), HookPoint::FinalNormalized];
            let mut recorder = ActivationRecorder::new(outs.iter().copied().chain(ends));

            let logits = gpt.forward(&tokens, Logits::All, &mut recorder).unwrap();

            let seen = recorder.finish().unwrap();
            let seen = |point| seen.get(point).unwrap().tensor::<3>();
            let mut sum = Tensor::<3>::zeros([1, 5, 64], gpt.device());
            for input in gpt.stream_inputs(&tokens).unwrap() {
                sum = sum + input.activation * input.coefficient;
            }
            for &point in &outs {
                sum = sum + seen(point) * gpt.direct_coefficient(point).unwrap();
            }
            let mut x = seen(ends[0]);
            if let Some((layer, lambda)) = gpt.backout() {
                assert_eq!(layer, 1);
                x = x - seen(ends[1]) * lambda;
            }
            let error = (sum - x.clone()).abs().max().into_scalar::<f32>();
            assert!(error < 1e-5, "{era}: {error}");
            let normed = x.clone() / gpt.final_norm_scale(x.clone());
            let error = (normed - seen(ends[2])).abs().max().into_scalar::<f32>();
            assert!(error < 1e-5, "{era}: {error}");
            let pairs = last(gpt.unembed_stream(x)).into_iter().zip(last(logits));
            assert!(pairs.into_iter().all(|(a, b)| (a - b).abs() < 1e-4), "{era}");
        }
    }

    #[test]
    fn a_sum_of_the_unembedding_is_that_of_its_columns() {
        let config = Era::E6.config(SHAPE, None).unwrap();
        let gpt = Gpt::random(config, 3, &nanoscope_testing::test_device());
        let mut weights = vec![0.0_f32; 50];
        (weights[7], weights[49]) = (2.0, -1.0);

        let weights = Tensor::<2>::from_data(TensorData::new(weights, [1, 50]), gpt.device());
        let sum = gpt.unembedding_sums(weights);

        let columns = gpt.unembedding_of(&[7, 49]).unwrap();
        let expected = columns.clone().slice_dim(0, 0..1) * 2.0 - columns.slice_dim(0, 1..2);
        let error = (sum - expected).abs().max().into_scalar::<f32>();
        assert!(error < 1e-6, "{error}");
    }

    #[test]
    fn what_is_not_in_the_stream_has_no_coefficient() {
        let config = Era::E6.config(SHAPE, None).unwrap();
        let gpt = Gpt::random(config, 3, &nanoscope_testing::test_device());

        for point in [HookPoint::Embed, HookPoint::MlpPost(0), HookPoint::FinalNormalized] {
            assert_eq!(gpt.direct_coefficient(point), None, "{point}");
        }
        assert_eq!(gpt.direct_coefficient(HookPoint::ResidPost(2)), Some(1.0));
    }
}
