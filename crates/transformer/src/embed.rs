use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Int, Tensor, TensorData};
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_kernels::{Matrix, rms_norm};

use crate::cache::Caches;
use crate::config::SMEAR_CHANNELS;
use crate::linear::linear;
use crate::tokens::TokenBatch;

/// Token embeddings, with what some models add before the first block.
#[derive(Debug, Clone)]
pub(crate) struct Embed {
    pub(crate) wte: Matrix, // [padded_vocab, n_embd]
    pub(crate) scale: Option<f32>,
    pub(crate) wpe: Option<Tensor<2>>, // [positions, n_embd]
    /// The epsilon of the norm, if embeddings are normed.
    pub(crate) norm_epsilon: Option<f32>,
    pub(crate) smear: Option<Smear>,
    pub(crate) bigram: Option<Bigram>,
}

/// Adds a gated part of the previous embedding to each embedding.
#[derive(Debug, Clone)]
pub(crate) struct Smear {
    pub(crate) gate: Tensor<2>, // [SMEAR_CHANNELS, 1]
    pub(crate) lambda: f32,
}

/// Embeddings of token pairs: each token with the previous one, looked up by hash.
#[derive(Debug, Clone)]
pub(crate) struct Bigram {
    pub(crate) table: Matrix, // [5 * vocab, n_embd]
    pub(crate) lambdas: Vec<f32>,
}

impl Embed {
    /// Computes the input of the first block.
    ///
    /// # Shapes
    /// - output: `[batch, seq, n_embd]`
    pub(crate) fn forward(
        &self,
        tokens: &TokenBatch,
        flat: &Tensor<1, Int>,
        caches: &mut Caches<'_, '_>,
        router: &mut impl HookRouter,
    ) -> Tensor<3> {
        let x = self.wte.rows(tokens.ids(), flat);
        let [_, n_embd] = x.dims();
        let x = x.reshape([tokens.batch(), tokens.seq(), n_embd]);
        let x = match self.scale {
            Some(scale) => x * scale,
            None => x,
        };
        let mut x = router.route(HookPoint::Embed, x);
        if let Some(wpe) = &self.wpe {
            x = x + router.route(HookPoint::PosEmbed, positions(wpe, tokens, caches));
        }
        if let Some(epsilon) = self.norm_epsilon {
            x = rms_norm(x, epsilon);
        }
        match &self.smear {
            Some(smear) => smear.forward(x, caches),
            None => x,
        }
    }
}

/// Looks up the position embedding of every token of a pass.
///
/// # Shapes
/// - output: `[batch, seq, n_embd]`
fn positions(wpe: &Tensor<2>, tokens: &TokenBatch, caches: &Caches<'_, '_>) -> Tensor<3> {
    let seq = tokens.seq();
    let part = |offset: usize| wpe.clone().slice_dim(0, offset..offset + seq).unsqueeze::<3>();
    match caches.offsets().as_slice() {
        &[offset] => part(offset).repeat_dim(0, tokens.batch()),
        offsets => {
            let rows = |(at, &offset)| part(offset).repeat_dim(0, caches.rows(at));
            Tensor::cat(offsets.iter().enumerate().map(rows).collect(), 0)
        }
    }
}

impl Smear {
    /// Computes `x_t += λ · sigmoid(gate(x_t)) · x_{t-1}`. The first position of the sequence is left
    /// unchanged.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`; the output has the same shape
    fn forward(&self, x: Tensor<3>, caches: &mut Caches<'_, '_>) -> Tensor<3> {
        let [_, seq, _] = x.dims();
        // The last embedding of a cached sequence precedes the first one of this pass.
        let before = caches.replace_last_embedding(&x.clone().slice_dim(1, seq - 1..seq));
        match (before, seq) {
            (Some(before), 1) => self.add(x, before),
            (Some(before), _) => {
                let shifted = x.clone().slice_dim(1, 0..seq - 1);
                self.add(x, Tensor::cat(vec![before, shifted], 1))
            }
            (None, 1) => x,
            (None, _) => {
                let first = x.clone().slice_dim(1, 0..1);
                let shifted = x.clone().slice_dim(1, 0..seq - 1);
                let rest = self.add(x.slice_dim(1, 1..seq), shifted);
                Tensor::cat(vec![first, rest], 1)
            }
        }
    }

    fn add(&self, x: Tensor<3>, before: Tensor<3>) -> Tensor<3> {
        let gate = linear(x.clone().slice_dim(2, 0..SMEAR_CHANNELS), &self.gate);
        x + before * (sigmoid(gate) * self.lambda)
    }
}

impl Bigram {
    /// Looks up the embedding of each token pair.
    ///
    /// # Shapes
    /// - output: `[batch, seq, n_embd]`, not normed
    pub(crate) fn forward(
        &self,
        tokens: &TokenBatch,
        device: &Device,
        caches: &Caches<'_, '_>,
    ) -> Tensor<3> {
        let [table_rows, _] = self.table.dims();
        let before = caches.last_tokens().chain(std::iter::repeat(None));
        let hashed: Vec<u32> = tokens
            .rows()
            .zip(before)
            .flat_map(|(ids, before)| {
                let shifted = std::iter::once(before).chain(ids.iter().copied().map(Some));
                ids.iter().zip(shifted).map(|(&id, before)| hash(before, id, table_rows))
            })
            .collect();
        let on_device: Vec<i32> = hashed.iter().map(|&row| row as i32).collect();
        let data = TensorData::new(on_device, [hashed.len()]);
        rows(&self.table, &hashed, &Tensor::from_data(data, device), tokens)
    }
}

/// The row of the bigram table for `id` after `before`, in 64-bit integers as in nanochat. The last
/// row is for a token without a previous one.
fn hash(before: Option<u32>, id: u32, table_rows: usize) -> u32 {
    let last = table_rows as i64 - 1;
    let row = match before {
        None => last,
        Some(before) => ((36313 * i64::from(id)) ^ (27191 * i64::from(before))) % last,
    };
    row as u32
}

/// Looks up one row of `table` per token.
///
/// # Shapes
/// - `table`: `[rows, channels]`
/// - `rows`: `[batch * seq]`, the same as on the device
/// - output: `[batch, seq, channels]`
pub(crate) fn rows(
    table: &Matrix,
    rows: &[u32],
    on_device: &Tensor<1, Int>,
    tokens: &TokenBatch,
) -> Tensor<3> {
    let [_, channels] = table.dims();
    table.rows(rows, on_device).reshape([tokens.batch(), tokens.seq(), channels])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bigrams_hash_as_the_reference_does_and_do_not_wrap() {
        // (36313 · 5) xor (27191 · 7) = 181565 xor 190337 = 8892, mod 1499 = 1397
        assert_eq!(hash(Some(7), 5, 1500), 1397);
        assert_eq!(hash(None, 5, 1500), 1499);
        // 36313 · 65000 = 2360345000 is above the range of int32; xor 27191 = 2360372127
        assert_eq!(hash(Some(1), 65000, 327_680), 100_290);
    }
}
