use std::ops::Range;

use burn::tensor::{Device, Tensor};

use crate::config::GptConfig;

/// A key-value cache, so that each position is computed only once.
///
/// Created by [`Gpt::cache`](crate::Gpt::cache). Memory for all positions is allocated at once and
/// written in place.
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

/// A copy of the last positions of a [`KvCache`], with the state needed to continue from them.
#[derive(Debug, Clone)]
pub struct KvTail {
    /// Keys and values, each `[batch, n_kv_head, positions, head_dim]`.
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    positions: Range<usize>,
    last_embedding: Option<Tensor<3>>,
    last_tokens: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct LayerCache {
    // `None` only during a write: burn writes in place if a tensor has one owner, and copies the
    // whole cache if it has two.
    keys: Option<Tensor<4>>, // [batch, n_kv_head, capacity, head_dim]
    values: Option<Tensor<4>>,
}

impl KvCache {
    pub(crate) fn new(config: &GptConfig, batch: usize, capacity: usize, device: &Device) -> Self {
        let (heads, head_dim) = (config.shape.n_kv_head, config.attention.head_dim);
        let zeros = || Some(Tensor::zeros([batch, heads, capacity, head_dim], device));
        let layers = (0..config.shape.n_layer)
            .map(|_| LayerCache { keys: zeros(), values: zeros() })
            .collect();
        Self { layers, batch, capacity, len: 0, last_embedding: None, last_tokens: Vec::new() }
    }

    /// Creates a cache in which all rows have the same `len` positions.
    ///
    /// # Shapes
    /// - `layers`: keys and values of each layer, `[1, n_kv_head, len, head_dim]`
    pub(crate) fn of_one(
        layers: Vec<[Tensor<4>; 2]>,
        batch: usize,
        capacity: usize,
        len: usize,
    ) -> Self {
        let spread = |x: Tensor<4>| {
            let [_, heads, len, head_dim] = x.dims();
            let rest = Tensor::zeros([batch, heads, capacity - len, head_dim], &x.device());
            let rows = x.expand([batch, heads, len, head_dim]);
            if len == capacity { rows.mul_scalar(1.0) } else { Tensor::cat(vec![rows, rest], 2) }
        };
        let layers = layers.into_iter().map(|layer| {
            let [keys, values] = layer.map(|x| Some(spread(x)));
            LayerCache { keys, values }
        });
        let layers = layers.collect();
        Self { layers, batch, capacity, len, last_embedding: None, last_tokens: Vec::new() }
    }

    /// Number of positions in the cache.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether no position is in the cache.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of positions that fit.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> &mut LayerCache {
        &mut self.layers[layer]
    }

    pub(crate) fn advance(&mut self, seq: usize) {
        self.len += seq;
    }

    /// Copies `positions`, so that another cache can continue from their end.
    ///
    /// # Panics
    /// If the cache does not end with `positions`.
    pub fn tail(&self, positions: Range<usize>) -> KvTail {
        assert_eq!(positions.end, self.len, "only the last position's embedding is kept");
        // A view would share the cache's memory, and the next write would copy all of it.
        let copy = |stored: &Option<Tensor<4>>| {
            let all = stored.clone().expect("a cache is complete between two writes");
            all.slice_dim(2, positions.clone()).mul_scalar(1.0)
        };
        let layers = self.layers.iter().map(|layer| (copy(&layer.keys), copy(&layer.values)));
        KvTail {
            layers: layers.collect(),
            last_embedding: self.last_embedding.clone(),
            last_tokens: self.last_tokens.clone(),
            positions,
        }
    }

    /// Appends the positions of `tail`, as if they had just been run.
    ///
    /// # Panics
    /// If the cache does not end where they start, or they do not fit.
    pub fn extend(&mut self, tail: &KvTail) {
        let Range { start, end } = tail.positions;
        assert!(
            start == self.len && end <= self.capacity,
            "the positions follow the cache's and fit"
        );
        for (layer, (keys, values)) in self.layers.iter_mut().zip(&tail.layers) {
            layer.push(keys.clone(), values.clone(), start, start);
        }
        self.last_embedding.clone_from(&tail.last_embedding);
        self.last_tokens.clone_from(&tail.last_tokens);
        self.len = end;
    }
}

impl KvTail {
    /// The positions copied.
    pub fn positions(&self) -> Range<usize> {
        self.positions.clone()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        let numbers = |x: &Tensor<4>| x.dims().iter().product::<usize>();
        let layers = self.layers.iter().map(|(keys, values)| numbers(keys) + numbers(values));
        let embedding = self.last_embedding.as_ref().map_or(0, |x| x.dims().iter().product());
        (layers.sum::<usize>() + embedding) * size_of::<f32>()
    }
}

/// The caches of a pass; the rows of each follow those of the previous one. Empty for a pass from
/// position 0 without a cache.
pub(crate) struct Caches<'a, 'c>(pub(crate) &'a mut [&'c mut KvCache]);

impl Caches<'_, '_> {
    /// The position of each cache's first new token; a single 0 without caches.
    pub(crate) fn offsets(&self) -> Vec<usize> {
        if self.0.is_empty() { vec![0] } else { self.0.iter().map(|cache| cache.len).collect() }
    }

    /// Number of rows of the cache at index `at`.
    pub(crate) fn rows(&self, at: usize) -> usize {
        self.0[at].batch
    }

    /// The keys and values of `layer` in the cache at index `at`.
    pub(crate) fn layer(&mut self, at: usize, layer: usize) -> Option<&mut LayerCache> {
        self.0.get_mut(at).map(|cache| &mut cache.layers[layer])
    }

    /// The token before the first one of the pass, for each row.
    pub(crate) fn last_tokens(&self) -> impl Iterator<Item = Option<u32>> {
        self.0
            .iter()
            .flat_map(|cache| (0..cache.batch).map(|row| cache.last_tokens.get(row).copied()))
    }

    /// Stores the embeddings of the last position, and returns those of the position before the first
    /// one of the pass, `[batch, 1, n_embd]`: zeros for a row that starts with this pass, `None` if
    /// all rows do.
    pub(crate) fn replace_last_embedding(&mut self, last: &Tensor<3>) -> Option<Tensor<3>> {
        let all_start = self.0.iter().all(|cache| cache.last_embedding.is_none());
        let [batch, _, n_embd] = last.dims();
        let mut first = 0;
        let mut before = Vec::with_capacity(self.0.len());
        for cache in self.0.iter_mut() {
            let rows = first..first + cache.batch;
            first = rows.end;
            let own = last.clone().slice_dim(0, rows);
            // A view would keep the embeddings of all rows in memory.
            let own = if cache.batch == batch { own } else { own.mul_scalar(1.0) };
            let zeros = || Tensor::zeros([cache.batch, 1, n_embd], &last.device());
            before.push(cache.last_embedding.replace(own).unwrap_or_else(zeros));
        }
        (!all_start).then(|| Tensor::cat(before, 0))
    }
}

impl LayerCache {
    /// Writes keys and values at the positions from `from` on, and returns those of all positions
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

fn write(stored: &mut Option<Tensor<4>>, x: Tensor<4>, from: usize, first: usize) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = x.dims();
    let all = stored.take().expect("a cache is complete between two writes");
    let all = all.slice_assign([0..batch, 0..heads, from..from + seq, 0..head_dim], x);
    let view = all.clone().slice([0..batch, 0..heads, first..from + seq, 0..head_dim]);
    *stored = Some(all);
    view
}
