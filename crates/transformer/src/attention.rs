use std::ops::Range;

use burn::tensor::activation::{sigmoid, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_kernels::{Matrix, attend, attention_pattern, has_kernels, rms_norm, softcap};
use rayon::prelude::*;

use crate::cache::{Caches, LayerCache, blocks};
use crate::config::{AttentionConfig, GptShape, LayerConfig, QkNorm, ValueEmbeds};
use crate::linear::{Linear, linear};
use crate::rope::Rows;

/// Causal self-attention with grouped key-value heads.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) shape: GptShape,
    pub(crate) config: AttentionConfig,
    pub(crate) norm_epsilon: f32,
    pub(crate) layer: LayerConfig,
    pub(crate) c_q: Linear,    // [n_embd, n_head * head_dim]
    pub(crate) c_k: Linear,    // [n_embd, kv_dim]
    pub(crate) c_v: Linear,    // [n_embd, kv_dim]
    pub(crate) c_proj: Linear, // [n_head * head_dim, n_embd]
    /// Gains of the norms of queries and keys, `[head_dim]`.
    pub(crate) qk_gains: Option<(Tensor<1>, Tensor<1>)>,
    pub(crate) value_embed: Option<ValueEmbed>,
}

/// A layer's value embedding.
#[derive(Debug, Clone)]
pub(crate) struct ValueEmbed {
    pub(crate) parts: ValueEmbeds,
    pub(crate) table: Matrix,   // [padded_vocab, kv_dim]
    pub(crate) gate: Tensor<2>, // [gate_channels, n_kv_head]
}

/// State shared by all layers of one pass.
pub(crate) struct Pass {
    /// Rows of each of the model's rotary embeddings.
    pub(crate) ropes: Vec<Rows>,
    /// One per cache, for its rows; a single one for all rows of a pass without caches.
    pub(crate) masks: Vec<Masks>,
    /// True if tensors are computed by the host's own threads, rather than on a device.
    pub(crate) on_host: bool,
}

/// Number of caches from which computing their attention on several threads pays off.
const MIN_CACHES_FOR_THREADS: usize = 16;

impl Attention {
    /// Computes the output projection of the attention of `layer`.
    ///
    /// # Shapes
    /// - `h`: `[batch, seq, n_embd]`, the normed residual stream
    /// - `embedded_values`: `[batch, seq, kv_dim]`, if the layer has a value embedding
    /// - output: `[batch, seq, n_embd]`
    pub(crate) fn forward(
        &self,
        h: Tensor<3>,
        embedded_values: Option<Tensor<3>>,
        layer: usize,
        pass: &mut Pass,
        caches: &mut Caches<'_, '_>,
        router: &mut impl HookRouter,
    ) -> Tensor<3> {
        let GptShape { n_head, n_kv_head, .. } = self.shape;
        let [batch, seq, _] = h.dims();
        let head_dim = self.config.head_dim;
        let heads = |x: Tensor<3>, n: usize| x.reshape([batch, seq, n, head_dim]);

        let q = heads(self.c_q.apply(h.clone()), n_head);
        let k = heads(self.c_k.apply(h.clone()), n_kv_head);
        let v = heads(self.c_v.apply(h.clone()), n_kv_head);
        let q = router.route(HookPoint::Q(layer), q);
        let k = router.route(HookPoint::K(layer), k);
        let v = match (&self.value_embed, embedded_values) {
            (Some(embed), Some(values)) => v + embed.gated(h, heads(values, n_kv_head)),
            _ => v,
        };
        let v = router.route(HookPoint::V(layer), v);

        let [q_gain, k_gain] = match &self.qk_gains {
            Some((q, k)) => [Some(q), Some(k)],
            None => [None, None],
        };
        let rope = pass.ropes.get(self.layer.rope);
        let (mut q, mut k) = (self.positioned(q, q_gain, rope), self.positioned(k, k_gain, rope));
        if rope.is_some() {
            q = router.route(HookPoint::RotQ(layer), q);
            k = router.route(HookPoint::RotK(layer), k);
        }
        // The scores' scale is applied to the queries, which are fewer numbers.
        let q = q * self.config.score_scale;
        let (q, k, v) = (q.swap_dims(1, 2), k.swap_dims(1, 2), v.swap_dims(1, 2));

        let newest = seq == 1 && !caches.0.is_empty() && !is_watched(layer, router);
        let z = if newest && pass.on_host && has_kernels(&q) {
            self.attend_newest([q, k, v], layer, &pass.masks, caches)
        } else if let [masks] = pass.masks.as_mut_slice() {
            self.attend([q, k, v], layer, masks, caches.layer(0, layer), router)
        } else {
            let mut first = 0;
            let rows = |batch: usize| {
                first += batch;
                first - batch..first
            };
            let rows: Vec<_> = caches.0.iter().map(|cache| cache.batch()).map(rows).collect();
            // Host threads that feed a device would only wait for each other.
            let threads = pass.on_host && rows.len() >= MIN_CACHES_FOR_THREADS;
            let at_once = if threads { 1 } else { rows.len() };
            let of_cache = (&mut pass.masks, &mut *caches.0, rows).into_par_iter();
            let of_cache = of_cache.with_min_len(at_once).map(|(masks, cache, rows)| {
                let of_rows = [&q, &k, &v].map(|x| x.clone().slice_dim(0, rows.clone()));
                self.attend(of_rows, layer, masks, Some(cache.layer_mut(layer)), &mut ())
            });
            let of_cache: Vec<_> = of_cache.collect();
            Tensor::cat(of_cache, 0)
        };
        let z = router.route(HookPoint::Z(layer), z);
        let out = self.c_proj.apply(z.reshape([batch, seq, n_head * head_dim]));
        router.route(HookPoint::AttnProjection(layer), out)
    }

    /// Norms queries or keys and gives them their positions.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, heads, head_dim]`; the output has the same shape
    fn positioned(&self, x: Tensor<4>, gain: Option<&Tensor<1>>, rope: Option<&Rows>) -> Tensor<4> {
        let rotate = |x| match rope {
            Some(rows) => rows.rotate(x),
            None => x,
        };
        match self.config.qk_norm {
            QkNorm::None => rotate(x),
            QkNorm::GainBeforeRope => {
                let x = rms_norm(x, self.norm_epsilon);
                rotate(match gain {
                    Some(gain) => x * gain.clone().unsqueeze(),
                    None => x,
                })
            }
            QkNorm::AfterRope { scale } => {
                let x = rms_norm(rotate(x), self.norm_epsilon);
                if scale == 1.0 { x } else { x * scale }
            }
        }
    }

    /// Computes the weighted values of one position per row, in one operation for the rows of all caches.
    ///
    /// # Shapes
    /// - `newest`: the queries, `[batch, n_head, 1, head_dim]`, already scaled; the keys and the values,
    ///   `[batch, n_kv_head, 1, head_dim]`
    /// - output: `[batch, 1, n_head, head_dim]`
    fn attend_newest(
        &self,
        newest: [Tensor<4>; 3],
        layer: usize,
        masks: &[Masks],
        caches: &mut Caches<'_, '_>,
    ) -> Tensor<4> {
        let cached = caches
            .0
            .iter_mut()
            .zip(masks)
            .map(|(cache, masks)| cache.layer_mut(layer).take(masks.keys(self.layer.window)));
        let (z, cached) = attend(newest, cached.collect(), self.config.score_softcap);
        for (cache, cached) in caches.0.iter_mut().zip(cached) {
            cache.layer_mut(layer).put(cached);
        }
        z.swap_dims(1, 2)
    }

    /// Computes scores, pattern and weighted values of rows whose keys and values share one cache.
    ///
    /// # Shapes
    /// - `q`: `[batch, n_head, seq, head_dim]`, already scaled; `k`, `v`: `[batch, n_kv_head, seq,
    ///   head_dim]`
    /// - output: `[batch, seq, n_head, head_dim]`
    fn attend(
        &self,
        [q, k, v]: [Tensor<4>; 3],
        layer: usize,
        masks: &mut Masks,
        cache: Option<&mut LayerCache>,
        router: &mut impl HookRouter,
    ) -> Tensor<4> {
        let GptShape { n_head, n_kv_head, .. } = self.shape;
        let [batch, _, seq, head_dim] = q.dims();
        let (cap, window) = (self.config.score_softcap, self.layer.window);
        let mut read = masks.keys(window);
        let (k, v) = match cache {
            // A hook sees no keys but those of the pass.
            Some(cache) => {
                if masks.in_blocks && !is_watched(layer, router) {
                    read = blocks(read);
                }
                cache.push(k, v, masks.offset, read.clone())
            }
            None => (k, v),
        };
        let keys = read.len();

        // Query heads that share a key-value head become rows of one matrix, so that keys and
        // values are never repeated.
        let rows = n_head / n_kv_head * seq;
        let q = q.reshape([batch, n_kv_head, rows, head_dim]);
        let scores = q.matmul(k.transpose()).reshape([batch, n_head, seq, keys]);
        // Nobody looks at the scores, so that capping, mask and softmax can be one operation.
        let pattern = if router.wants(HookPoint::AttnScores(layer)) {
            Err(scores)
        } else {
            attention_pattern(scores, cap, &|query| masks.seen(window, query, read.start))
        };
        let pattern = pattern.unwrap_or_else(|scores| {
            let scores = match cap {
                Some(cap) => softcap(scores, cap),
                None => scores,
            };
            let scores = match masks.bias(window, &read) {
                Some(bias) => scores + bias,
                None => scores,
            };
            let scores = route_scores(scores, layer, router);
            attention_pattern(scores, None, &|_| 0..keys).unwrap_or_else(|x| softmax(x, 3))
        });
        let pattern = router.route(HookPoint::Pattern(layer), pattern);

        let z = pattern.reshape([batch, n_kv_head, rows, keys]).matmul(v);
        z.reshape([batch, n_head, seq, head_dim]).swap_dims(1, 2)
    }
}

/// Returns whether a hook sees what is between queries and weighted values.
fn is_watched(layer: usize, router: &impl HookRouter) -> bool {
    [HookPoint::AttnScores(layer), HookPoint::Pattern(layer)]
        .into_iter()
        .any(|point| router.wants(point))
}

/// Routes the scores with −∞ in place of [`HIDDEN`], as `TransformerLens` has them.
fn route_scores(scores: Tensor<4>, layer: usize, router: &mut impl HookRouter) -> Tensor<4> {
    let point = HookPoint::AttnScores(layer);
    if !router.wants(point) {
        return scores;
    }
    let hidden = scores.clone().lower_elem(HIDDEN / 2.0);
    router.route(point, scores.mask_fill(hidden, f32::NEG_INFINITY)).clamp_min(HIDDEN)
}

impl ValueEmbed {
    /// Multiplies embedded values by their gate.
    ///
    /// # Shapes
    /// - `h`: `[batch, seq, n_embd]`
    /// - `values`: `[batch, seq, n_kv_head, head_dim]`; the output has the same shape
    fn gated(&self, h: Tensor<3>, values: Tensor<4>) -> Tensor<4> {
        let ValueEmbeds { gate_channels, gate_scale } = self.parts;
        let gate = linear(h.slice_dim(2, 0..gate_channels), &self.gate);
        values * (sigmoid(gate) * gate_scale).unsqueeze_dim::<4>(3)
    }
}

/// Attention masks of a pass.
pub(crate) struct Masks {
    offset: usize,
    seq: usize,
    /// True if keys are read from a cache in whole blocks.
    in_blocks: bool,
    device: Device,
    built: Vec<Built>,
}

/// A mask built for a pass. Layers share a few windows.
struct Built {
    window: Option<usize>,
    keys: Range<usize>,
    bias: Tensor<4>,
}

/// Added to the score of a hidden key. It is finite because shaders may assume that no number is
/// infinite; next to any real score its exponential is exactly zero.
const HIDDEN: f32 = -1e30;

impl Masks {
    /// Creates the masks of a pass over the positions `offset..offset + seq`.
    pub(crate) fn new(offset: usize, seq: usize, in_blocks: bool, device: Device) -> Self {
        Self { offset, seq, in_blocks, device, built: Vec::new() }
    }

    /// The positions that any query of the pass sees.
    fn keys(&self, window: Option<usize>) -> Range<usize> {
        let first = window.map_or(0, |window| self.offset.saturating_sub(window));
        first..self.offset + self.seq
    }

    /// The keys that a query of the pass sees, counted from the position `first`.
    fn seen(&self, window: Option<usize>, query: usize, first: usize) -> Range<usize> {
        let position = self.offset + query;
        let from = window.map_or(0, |window| position.saturating_sub(window));
        from - first..position + 1 - first
    }

    /// The term to add to the scores of the keys at the positions `keys`; `None` if every query sees every key.
    ///
    /// # Shapes
    /// - output: `[1, 1, seq, keys.len()]`
    fn bias(&mut self, window: Option<usize>, keys: &Range<usize>) -> Option<Tensor<4>> {
        if self.seq == 1 && *keys == self.keys(window) {
            return None;
        }
        // All windows that reach back to the first position give the same mask.
        let window = window.filter(|&window| window < self.offset + self.seq - 1);
        let same = |built: &&Built| built.window == window && built.keys == *keys;
        if let Some(built) = self.built.iter().find(same) {
            return Some(built.bias.clone());
        }
        let values: Vec<f32> = (0..self.seq)
            .flat_map(|query| {
                let seen = self.seen(window, query, keys.start);
                (0..keys.len()).map(move |key| if seen.contains(&key) { 0.0 } else { HIDDEN })
            })
            .collect();
        let shape = [1, 1, self.seq, keys.len()];
        let bias = Tensor::from_data(TensorData::new(values, shape), &self.device);
        self.built.push(Built { window, keys: keys.clone(), bias: bias.clone() });
        Some(bias)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(offset: usize, seq: usize, window: Option<usize>) -> Vec<Vec<bool>> {
        let mut masks = Masks::new(offset, seq, false, nanoscope_testing::test_device());
        let bias = masks.bias(window, &masks.keys(window)).unwrap();
        let [_, _, _, keys] = bias.dims();
        let values = bias.into_data().try_to_vec::<f32>().unwrap();
        values.chunks(keys).map(|row| row.iter().map(|&value| value == 0.0).collect()).collect()
    }

    #[test]
    fn a_query_sees_itself_and_as_many_keys_back_as_its_window() {
        let (yes, no) = (true, false);

        assert_eq!(
            visible(0, 4, Some(1)),
            [[yes, no, no, no], [yes, yes, no, no], [no, yes, yes, no], [no, no, yes, yes]]
        );
        assert_eq!(visible(0, 2, None), [[yes, no], [yes, yes]]);
        // Positions 5 and 6 with a window of 2: the first key held is position 3.
        assert_eq!(visible(5, 2, Some(2)), [[yes, yes, yes, no], [no, yes, yes, yes]]);
    }
}
