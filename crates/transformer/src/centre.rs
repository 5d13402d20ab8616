//! A model's weights with a residual stream that is centred.

use burn::tensor::{Device, Tensor};
use nanoscope_kernels::Matrix;

use crate::config::{GptConfig, NormKind, ResidualMix};
use crate::error::GptError;
use crate::gpt::Gpt;
use crate::linear::Linear;

impl Gpt {
    /// The same model with weights from which the mean over the channels of the residual stream is
    /// subtracted wherever they write to it: TransformerLens's `center_writing_weights`.
    ///
    /// Logits and activations inside of the sublayers stay what they were; each activation of the stream
    /// is what it was less its mean. The unembedding is not changed, so it is no longer tied.
    ///
    /// # Errors
    /// [`GptError::NotCentrable`] if the norms do not subtract the mean, or if something other than
    /// embeddings and sublayers writes to the stream.
    pub fn centred(&self) -> Result<Self, GptError> {
        if !self.config.can_be_centred() {
            return Err(GptError::NotCentrable);
        }
        let mut model = self.clone();
        let device = &self.device;
        model.config.tied = false;
        model.embed.wte = centred_matrix(&self.embed.wte, device);
        model.embed.wpe = self.embed.wpe.clone().map(centred_columns);
        for block in &mut model.blocks {
            centre(&mut block.attention.c_proj, device);
            centre(&mut block.mlp.down, device);
        }
        Ok(model)
    }
}

impl GptConfig {
    /// Returns whether the mean over the channels of the residual stream has no effect on the model:
    /// every norm subtracts it, and only embeddings and sublayers write to the stream.
    pub fn can_be_centred(&self) -> bool {
        let is_plain = self.residual == ResidualMix::Plain
            && !(self.smear || self.bigram || self.embedding.normed || self.backout)
            && !self.post_norms
            && self.value_embeds.is_none();
        self.norm.kind == NormKind::LayerNorm && is_plain
    }
}

/// Takes the mean out of what a layer writes.
fn centre(layer: &mut Linear, device: &Device) {
    layer.weight = centred_matrix(&layer.weight, device);
    layer.bias = layer.bias.take().map(|bias| {
        let mean = bias.clone().mean();
        bias - mean
    });
}

/// The matrix less the mean of each row, in float32.
fn centred_matrix(matrix: &Matrix, device: &Device) -> Matrix {
    Matrix::Device(centred_columns(matrix.to_tensor(device)))
}

/// Subtracts the mean over the columns from each row.
///
/// # Shapes
/// - `rows`: `[rows, n_embd]`; the output has the same shape
fn centred_columns(rows: Tensor<2>) -> Tensor<2> {
    let means = rows.clone().mean_dim(1);
    rows - means
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::{ActivationRecorder, HookPoint};

    use super::*;
    use crate::config::{EmbeddingConfig, GptShape, NormConfig, QkNorm};
    use crate::{Era, Logits, TokenBatch};

    /// A GPT-2 with random weights.
    fn model() -> Gpt {
        let shape = GptShape {
            sequence_len: 16,
            vocab_size: 50,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 2,
            n_embd: 64,
        };
        let mut config = Era::E0.config(shape, None).unwrap();
        config.norm = NormConfig { kind: NormKind::LayerNorm, epsilon: 1e-5 };
        config.embedding = EmbeddingConfig { scale: None, positions: Some(16), normed: false };
        config.ropes = Vec::new();
        config.attention.qk_norm = QkNorm::None;
        config.residual = ResidualMix::Plain;
        config.value_embeds = None;
        config.tied = true;
        config.attention.out_bias = true;
        config.mlp.bias = true;
        config.softcap = None;
        Gpt::random(config, 7, &nanoscope_testing::test_device())
    }

    #[test]
    fn a_centred_stream_is_less_its_mean_and_all_else_stays() {
        let (model, tokens) = (model(), TokenBatch::new(&[vec![3, 1, 4, 1, 5, 9]]).unwrap());
        let centred = model.centred().unwrap();
        let points: Vec<HookPoint> = model.config().hook_points().collect();
        let run = |model: &Gpt| {
            let mut recorder = ActivationRecorder::new(points.iter().copied());
            let logits = model.forward(&tokens, Logits::All, &mut recorder).unwrap();
            (logits, recorder.finish().unwrap())
        };
        let ((logits, before), (same, after)) = (run(&model), run(&centred));

        let largest = logits.clone().abs().max().into_scalar::<f32>();
        let difference = (logits - same).abs().max().into_scalar::<f32>();
        assert!(difference < 1e-5 * largest, "{difference} of {largest}");
        for point in points {
            let (before, after) = (before.get(point).unwrap(), after.get(point).unwrap());
            if before.shape().len() != 3 {
                continue;
            }
            let (before, after) = (before.tensor::<3>(), after.tensor::<3>());
            let expected =
                if point.is_in_stream() { before.clone() - before.mean_dim(2) } else { before };
            let largest = expected.clone().abs().max().into_scalar::<f32>();
            let difference = (expected - after).abs().max().into_scalar::<f32>();
            assert!(difference <= 1e-4 * largest.max(1e-3), "{point}: {difference}");
        }
    }

    #[test]
    fn a_model_whose_norms_keep_the_mean_is_refused() {
        let mut model = model();
        model.config.norm.kind = NormKind::RmsGain;

        assert!(matches!(model.centred(), Err(GptError::NotCentrable)));
    }
}
