use std::ops::Range;

use burn::tensor::Tensor;

use crate::exp::{capped, exp_of};
use crate::flex;
use crate::simd::{Simd, WithSimd, run};
use crate::team::each_chunk;

/// The number of scores that a thread takes at once.
const CHUNK: usize = 1 << 14;
/// The score of a key that is not seen: next to any real score its exponential is exactly zero.
const HIDDEN: f32 = -1e30;
/// The number of partial sums, enough for the units of every common processor.
const LANES: usize = 16;

/// Computes the softmax of attention scores over the keys that each query sees; the others get 0, whatever
/// their scores are. With `cap`, scores are first capped as by [`softcap`](crate::softcap).
///
/// `seen` returns the keys that a query of the sequence sees, at least one. Scores that are not on flex, or
/// through which a gradient passes, are given back: a backend with a compiler fuses the composed
/// operations itself.
///
/// # Shapes
/// - `scores`: `[batch, n_head, seq, keys]`; the output has the same shape
///
/// # Errors
/// `scores`, unchanged.
pub fn attention_pattern(
    scores: Tensor<4>,
    cap: Option<f32>,
    seen: &(dyn Fn(usize) -> Range<usize> + Sync),
) -> Result<Tensor<4>, Tensor<4>> {
    let [_, _, seq, keys] = scores.dims();
    flex::change(scores, |scores| {
        let rows_at_once = (CHUNK / keys).max(1);
        each_chunk(scores, rows_at_once * keys, usize::MAX, |at, scores| {
            run(Rows { scores, keys, first: at * rows_at_once, seq, cap, seen });
        });
    })
}

/// Some rows of scores, of which the first is row `first` of all.
struct Rows<'s> {
    scores: &'s mut [f32],
    keys: usize,
    first: usize,
    seq: usize,
    cap: Option<f32>,
    seen: &'s (dyn Fn(usize) -> Range<usize> + Sync),
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (at, row) in self.scores.chunks_exact_mut(self.keys).enumerate() {
            let seen = (self.seen)((self.first + at) % self.seq);
            if let Some(cap) = self.cap {
                for score in &mut row[seen.clone()] {
                    *score = capped::<S>(*score, cap);
                }
            }
            // Whole lanes, so that a sum does not depend on what is left out.
            let from = seen.start / LANES * LANES;
            let to = seen.end.next_multiple_of(LANES).min(row.len());
            row[..from].fill(0.0);
            row[to..].fill(0.0);
            row[from..seen.start].fill(HIDDEN);
            row[seen.end..to].fill(HIDDEN);
            let row = &mut row[from..to];
            let larger = |a: f32, b: f32| if b > a { b } else { a };
            let max = lanes(row, f32::NEG_INFINITY, larger, larger);
            for score in row.iter_mut() {
                *score = exp_of::<S>(*score - max);
            }
            let sum = lanes(row, 0.0, |sum, x| sum + x, |a, b| a + b);
            for score in row.iter_mut() {
                *score /= sum;
            }
        }
    }
}

/// Folds `values` in several lanes, which are joined at the end.
#[inline(always)]
pub(crate) fn lanes(
    values: &[f32],
    first: f32,
    fold: impl Fn(f32, f32) -> f32,
    join: impl Fn(f32, f32) -> f32,
) -> f32 {
    let mut folded = [first; LANES];
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder().iter().fold(first, |all, &value| fold(all, value));
    for chunk in chunks {
        for lane in 0..LANES {
            folded[lane] = fold(folded[lane], chunk[lane]);
        }
    }
    folded.into_iter().fold(rest, join)
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation::softmax;
    use burn::tensor::{Device, TensorData};
    use nanoscope_testing::test_device;

    use super::*;

    fn scores(keys: usize, device: &Device) -> Tensor<4> {
        let numbers = (0..2 * 3 * 5 * keys).map(|at| (at as f32 * 0.7).sin() * 30.0);
        Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), [2, 3, 5, keys]), device)
    }

    #[test]
    fn a_pattern_is_the_softmax_of_the_scores_that_are_seen() {
        let device = test_device();
        // Few keys, and enough for several threads.
        for keys in [5, 37, 1500] {
            let seen = |query: usize| query..keys - 4 + query;
            let hidden = |query: usize, key: usize| !seen(query).contains(&key);
            let bias = (0..5).flat_map(|query| {
                (0..keys).map(move |key| if hidden(query, key) { -1e30 } else { 0.0 })
            });
            let bias = TensorData::new(bias.collect::<Vec<f32>>(), [1, 1, 5, keys]);
            let bias = Tensor::<4>::from_data(bias, &device);
            for cap in [None, Some(20.0)] {
                let scores = scores(keys, &device);
                let capped = match cap {
                    Some(cap) => (scores.clone() / cap).tanh() * cap,
                    None => scores.clone(),
                };
                let expected = softmax(capped + bias.clone(), 3).into_data();
                let Ok(pattern) = attention_pattern(scores.clone(), cap, &seen) else {
                    assert_ne!(device, burn::tensor::Device::flex());
                    return;
                };
                let found = pattern.into_data().try_into_vec::<f32>().unwrap();
                for (found, expected) in found.iter().zip(expected.iter::<f32>()) {
                    assert!((found - expected).abs() <= 1e-6, "{found} instead of {expected}");
                }
                // The same bits if the hidden scores are there.
                let capped = cap.map_or(scores.clone(), |cap| crate::softcap(scores, cap));
                let all = attention_pattern(capped + bias.clone(), None, &|_| 0..keys).unwrap();
                assert_eq!(all.into_data().try_into_vec::<f32>().unwrap(), found);
            }
        }
    }

    #[test]
    fn a_score_that_is_not_a_number_is_not_hidden() {
        let device = test_device();
        let scores = Tensor::<4>::from_floats([[[[0.0, f32::NAN, 1.0]]]], &device);
        if let Ok(pattern) = attention_pattern(scores, None, &|_| 0..3) {
            let pattern = pattern.into_data().try_into_vec::<f32>().unwrap();
            assert!(pattern.iter().all(|value| value.is_nan()), "{pattern:?}");
        }
    }
}
