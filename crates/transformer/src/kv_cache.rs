use burn::tensor::{Device, Tensor};

use crate::config::GptShape;

/// What a model keeps of the positions it has seen, so that each is computed once.
///
/// Made by [`Gpt::cache`](crate::Gpt::cache); room for all positions is taken at once and written
/// in place.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    batch: usize,
    capacity: usize,
    len: usize,
    /// The last position's embedding, before the smear, `[batch, 1, n_embd]`.
    pub(crate) last_embedding: Option<Tensor<3>>,
    /// The last position's token in each row, for the bigram embedding.
    pub(crate) last_tokens: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct LayerCache {
    // `None` only while a write is going on: burn writes in place where a tensor has one owner,
    // and copies the whole cache where it has two.
    keys: Option<Tensor<4>>, // [batch, n_kv_head, capacity, head_dim]
    values: Option<Tensor<4>>,
}

impl KvCache {
    pub(crate) fn new(shape: &GptShape, batch: usize, capacity: usize, device: &Device) -> Self {
        let zeros =
            || Some(Tensor::zeros([batch, shape.n_kv_head, capacity, shape.head_dim()], device));
        let layers =
            (0..shape.n_layer).map(|_| LayerCache { keys: zeros(), values: zeros() }).collect();
        Self { layers, batch, capacity, len: 0, last_embedding: None, last_tokens: Vec::new() }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was run yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Positions that there is room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    pub(crate) fn layer(&mut self, layer: usize) -> &mut LayerCache {
        &mut self.layers[layer]
    }

    pub(crate) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }
}

impl LayerCache {
    /// Writes the keys and values of the positions from `from` on, and gives back all positions
    /// from `first` to the last one written.
    ///
    /// # Shapes
    /// - `k`, `v`: `[batch, n_kv_head, seq, head_dim]`
    /// - output: two of `[batch, n_kv_head, from + seq - first, head_dim]`
    pub(crate) fn push(
        &mut self,
        k: Tensor<4>,
        v: Tensor<4>,
        from: usize,
        first: usize,
    ) -> (Tensor<4>, Tensor<4>) {
        (write(&mut self.keys, k, from, first), write(&mut self.values, v, from, first))
    }
}

fn write(kept: &mut Option<Tensor<4>>, x: Tensor<4>, from: usize, first: usize) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = x.dims();
    let all = kept.take().expect("a cache is whole between two writes");
    let all = all.slice_assign([0..batch, 0..heads, from..from + seq, 0..head_dim], x);
    let view = all.clone().slice([0..batch, 0..heads, first..from + seq, 0..head_dim]);
    *kept = Some(all);
    view
}
