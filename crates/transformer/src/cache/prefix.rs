//! Passes that begin where another one was, without running its positions again.

use burn::tensor::Tensor;
use nanoscope_hooks::{HookError, HookPoint};

use crate::cache::{Caches, KvCache};
use crate::config::GptConfig;
use crate::error::GptError;
use crate::gpt::Gpt;
use crate::tokens::TokenBatch;

/// The keys and values of a text, from which any number of rows can continue at any of its positions.
#[derive(Debug, Clone)]
pub struct Prefix {
    tokens: Vec<u32>,
    /// Keys and values of each layer, `[1, n_kv_head, seq, head_dim]`.
    layers: Vec<[Tensor<4>; 2]>,
}

impl GptConfig {
    /// The hook points of the keys and values of `layer` as they are cached.
    pub fn cached_points(&self, layer: usize) -> [HookPoint; 2] {
        let keys = if self.ropes.is_empty() { HookPoint::K } else { HookPoint::RotK };
        [keys(layer), HookPoint::V(layer)]
    }
}

impl Prefix {
    /// Takes the keys and values of `tokens` from a pass of this one row from position 0, which `recorded`
    /// returns for each of the [`cached_points`](GptConfig::cached_points) of every layer.
    ///
    /// # Shapes
    /// - what `recorded` returns: `[1, seq, n_kv_head, head_dim]`
    ///
    /// # Errors
    /// [`HookError::NeverReached`] for the first point that was not recorded.
    pub fn new(
        gpt: &Gpt,
        tokens: Vec<u32>,
        mut recorded: impl FnMut(HookPoint) -> Option<Tensor<4>>,
    ) -> Result<Self, HookError> {
        let mut of_point = |point| {
            let found = recorded(point).ok_or(HookError::NeverReached { point })?;
            Ok(found.swap_dims(1, 2))
        };
        let layers = (0..gpt.config.shape.n_layer).map(|layer| {
            let [keys, values] = gpt.config.cached_points(layer);
            Ok([of_point(keys)?, of_point(values)?])
        });
        Ok(Self { layers: layers.collect::<Result<_, HookError>>()?, tokens })
    }

    /// Creates a cache of `rows` rows that have run the first `len` tokens, with room for `capacity` positions.
    ///
    /// # Errors
    /// [`GptError::ContextFull`] if `len` is larger than `capacity`.
    ///
    /// # Panics
    /// If the text is shorter than `len`.
    pub fn cache(
        &self,
        gpt: &Gpt,
        rows: usize,
        len: usize,
        capacity: usize,
    ) -> Result<KvCache, GptError> {
        if len > capacity {
            return Err(GptError::ContextFull { needed: len, capacity });
        }
        let Some(&last) = self.tokens[..len].last() else {
            return Ok(gpt.cache(rows, capacity));
        };
        let begin = |x: &Tensor<4>| x.clone().slice_dim(2, 0..len);
        let layers = self.layers.iter().map(|layer| layer.each_ref().map(begin)).collect();
        let mut cache = KvCache::of_one(layers, rows, capacity, len);
        cache.last_tokens = vec![last; rows];
        if gpt.embed.smear.is_some() {
            // The embedding of the token before the first of the next pass.
            let mut before = gpt.cache(1, 1);
            let token = TokenBatch::new(&[vec![last]])?;
            let flat = token.flat(&gpt.device);
            gpt.embed.forward(&token, &flat, &mut Caches(&mut [&mut before]), &mut ());
            let embedding = before.last_embedding;
            cache.last_embedding = embedding.map(|x| x.repeat_dim(0, rows));
        }
        Ok(cache)
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::ActivationRecorder;

    use super::*;
    use crate::{Era, GptShape, Logits};

    #[test]
    fn rows_that_continue_from_a_prefix_are_those_of_whole_passes() {
        let shape = GptShape {
            sequence_len: 16,
            vocab_size: 50,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 1,
            n_embd: 64,
        };
        // The bigram of E3b and the smear of E6 look one token back.
        for era in [Era::E0, Era::E3b, Era::E6] {
            let config = era.config(shape, None).unwrap();
            let gpt = Gpt::random(config, 7, &nanoscope_testing::test_device());
            let batch = |rows: &[Vec<u32>]| TokenBatch::new(rows).unwrap();
            let points = (0..2).flat_map(|layer| gpt.config().cached_points(layer));
            let mut recorder = ActivationRecorder::new(points);
            let text = vec![3, 1, 4, 7, 7];
            let row = batch(std::slice::from_ref(&text));
            gpt.forward(&row, Logits::Last, &mut recorder).unwrap();
            let recorded = recorder.finish().unwrap();
            let prefix =
                Prefix::new(&gpt, text, |point| Some(recorded.get(point)?.tensor())).unwrap();

            for len in [0, 1, 3] {
                let rows = [vec![3, 1, 4, 1, 5], vec![3, 1, 4, 9, 2]];
                let ends = rows.clone().map(|row| row[len..].to_vec());
                let mut cache = prefix.cache(&gpt, 2, len, 5).unwrap();
                let found = gpt.forward_cached(&batch(&ends), &mut cache, Logits::Last, &mut ());

                let expected = gpt.forward(&batch(&rows), Logits::Last, &mut ()).unwrap();
                let error = (found.unwrap() - expected).abs().max().into_scalar::<f32>();
                assert!(error < 1e-4, "{era}, {len}: {error}");
            }
            assert_eq!(prefix.cache(&gpt, 3, 5, 5).unwrap().len(), 5);
            assert!(prefix.cache(&gpt, 1, 5, 4).is_err());
        }
    }

    #[test]
    fn a_prefix_without_the_keys_of_a_layer_is_an_error_that_names_them() {
        let shape = GptShape {
            sequence_len: 16,
            vocab_size: 50,
            n_layer: 1,
            n_head: 1,
            n_kv_head: 1,
            n_embd: 64,
        };
        let config = Era::E6.config(shape, None).unwrap();
        let gpt = Gpt::random(config, 7, &nanoscope_testing::test_device());

        let error = Prefix::new(&gpt, vec![1], |_| None).unwrap_err();

        assert_eq!(error, HookError::NeverReached { point: HookPoint::RotK(0) });
    }
}
