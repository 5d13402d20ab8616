use std::ops::Range;

use burn::tensor::{Device, Tensor};
use nanoscope_kernels::Cached;

use crate::config::GptConfig;

/// A key-value cache, so that each position is computed only once.
///
/// Created by [`Gpt::cache`](crate::Gpt::cache). Memory for all positions is allocated at once and
/// written in place. Positions that are not written are zeros.
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
    keys: Option<Tensor<4>>, // [batch, n_kv_head, capacity in whole blocks, head_dim]
    values: Option<Tensor<4>>,
}

/// Number of positions of a block. On a device, a step of one token reads whole blocks, so that the shapes of its
/// operations, for each of which kernels are chosen and compiled, change once in as many steps.
const BLOCK: usize = 64;

impl KvCache {
    pub(crate) fn new(config: &GptConfig, batch: usize, capacity: usize, device: &Device) -> Self {
        let (heads, head_dim) = (config.shape.n_kv_head, config.attention.head_dim);
        let positions = capacity.next_multiple_of(BLOCK);
        let zeros = || Some(Tensor::zeros([batch, heads, positions, head_dim], device));
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
            let rest = capacity.next_multiple_of(BLOCK) - len;
            let rows = x.expand([batch, heads, len, head_dim]);
            if rest == 0 {
                return rows.mul_scalar(1.0);
            }
            let rest = Tensor::zeros([batch, heads, rest, head_dim], &rows.device());
            Tensor::cat(vec![rows, rest], 2)
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
            layer.push(keys.clone(), values.clone(), start, start..end);
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
    /// Takes the keys and values for a pass that sees the positions `seen`, until they are [`put`](Self::put) back.
    pub(crate) fn take(&mut self, seen: Range<usize>) -> Cached {
        let [keys, values] = [&mut self.keys, &mut self.values].map(whole);
        Cached { keys, values, seen }
    }

    pub(crate) fn put(&mut self, Cached { keys, values, .. }: Cached) {
        (self.keys, self.values) = (Some(keys), Some(values));
    }

    /// Writes keys and values at the positions from `from` on, and returns those at `read`.
    ///
    /// # Shapes
    /// - `k`, `v`: `[batch, n_kv_head, seq, head_dim]`
    /// - output: two of `[batch, n_kv_head, read.len(), head_dim]`
    pub(crate) fn push(
        &mut self,
        k: Tensor<4>,
        v: Tensor<4>,
        from: usize,
        read: Range<usize>,
    ) -> (Tensor<4>, Tensor<4>) {
        (write(&mut self.keys, k, from, read.clone()), write(&mut self.values, v, from, read))
    }
}

/// The whole blocks that hold `positions`. A cache has memory for them.
pub(crate) fn blocks(positions: Range<usize>) -> Range<usize> {
    positions.start / BLOCK * BLOCK..positions.end.next_multiple_of(BLOCK)
}

fn whole(stored: &mut Option<Tensor<4>>) -> Tensor<4> {
    stored.take().expect("a cache is complete between two writes")
}

fn write(
    stored: &mut Option<Tensor<4>>,
    x: Tensor<4>,
    from: usize,
    read: Range<usize>,
) -> Tensor<4> {
    let [batch, heads, seq, head_dim] = x.dims();
    let all = whole(stored);
    let all = all.slice_assign([0..batch, 0..heads, from..from + seq, 0..head_dim], x);
    let view = all.clone().slice([0..batch, 0..heads, read, 0..head_dim]);
    *stored = Some(all);
    view
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::{ActivationRecorder, HookPoint};

    use crate::{Era, Gpt, GptError, GptShape, Logits, TokenBatch};

    #[test]
    fn a_cache_with_more_room_than_the_model_has_positions_ends_with_them() {
        let shape = GptShape {
            sequence_len: 8,
            vocab_size: 50,
            n_layer: 1,
            n_head: 2,
            n_kv_head: 2,
            n_embd: 32,
        };
        let mut config = Era::E6.config(shape, None).unwrap();
        config.max_positions = 5;
        let gpt = Gpt::random(config, 7, &nanoscope_testing::test_device());
        let mut cache = gpt.cache(1, 20);
        let batch = |tokens: &[u32]| TokenBatch::new(&[tokens.to_vec()]).unwrap();

        gpt.forward_cached(&batch(&[1, 2, 3, 4]), &mut cache, Logits::Last, &mut ()).unwrap();
        let error = gpt.forward_cached(&batch(&[5, 6]), &mut cache, Logits::Last, &mut ());
        let expected = GptError::ContextFull { needed: 6, capacity: 5 };
        assert_eq!(error.unwrap_err(), expected);
        assert_eq!(cache.len(), 4);
        gpt.forward_cached(&batch(&[5]), &mut cache, Logits::Last, &mut ()).unwrap();
    }

    #[test]
    fn steps_that_read_whole_blocks_are_those_of_a_pass_without_a_cache() {
        let shape = GptShape {
            sequence_len: 160,
            vocab_size: 50,
            n_layer: 3,
            n_head: 4,
            n_kv_head: 2,
            n_embd: 64,
        };
        let mut config = Era::E6.config(shape, None).unwrap();
        config.layers[0].window = Some(20);
        config.layers[1].window = Some(70);
        let device = nanoscope_testing::test_device();
        let mut gpt = Gpt::random(config, 7, &device);
        // As on a GPU.
        gpt.on_host = false;
        let text: Vec<u32> = (0..150).map(|at| (at * at + 3 * at) % 50).collect();
        let all = TokenBatch::new(std::slice::from_ref(&text)).unwrap();
        let expected = gpt.forward(&all, Logits::All, &mut ()).unwrap();
        let mut cache = gpt.cache(1, text.len());

        for (at, &token) in text.iter().enumerate() {
            let step = TokenBatch::new(&[vec![token]]).unwrap();
            let found = if at % 50 == 49 {
                let mut recorder = ActivationRecorder::new((0..3).map(HookPoint::Pattern));
                let found = gpt.forward_cached(&step, &mut cache, Logits::Last, &mut recorder);
                let recorded = recorder.finish().unwrap();
                for (layer, keys) in [(0, 21), (1, 71), (2, at + 1)] {
                    let pattern = recorded.get(HookPoint::Pattern(layer)).unwrap();
                    assert_eq!(pattern.shape(), [1, 4, 1, keys.min(at + 1)], "token {at}");
                }
                found
            } else {
                gpt.forward_cached(&step, &mut cache, Logits::Last, &mut ())
            };
            let expected = expected.clone().slice_dim(1, at..at + 1);
            let error = (found.unwrap() - expected).abs().max().into_scalar::<f32>();
            assert!(error < 1e-4, "token {at}: {error}");
        }
    }
}
