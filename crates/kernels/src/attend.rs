use burn::tensor::Tensor;
#[cfg(feature = "flex")]
use burn::tensor::TensorData;
use burn::tensor::activation::softmax;

#[cfg(feature = "flex")]
use crate::exp::{capped, exp_of};
#[cfg(feature = "flex")]
use crate::flex::{self, Heads, Positions};
#[cfg(feature = "flex")]
use crate::host::to_host;
#[cfg(feature = "flex")]
use crate::product::Dots;
#[cfg(feature = "flex")]
use crate::simd::{Simd, WithSimd, multiply_add, run};
use crate::softcap::softcap;
#[cfg(feature = "flex")]
use crate::team::{each_chunk, threads_for};

/// The number of products that are worth a thread.
#[cfg(feature = "flex")]
const PER_THREAD: usize = 1 << 15;
/// The number of positions that are scored at once, and of vectors that are summed at once.
#[cfg(feature = "flex")]
const GROUP: usize = 4;

/// Computes attention of one query per row, which sees all of its row's keys. With `cap`, scores are capped as by
/// [`softcap`].
///
/// Rows come from caches of different lengths; each cache has some of the rows of `q`, in their order. Query
/// heads that follow each other share a key-value head.
///
/// # Shapes
/// - `q`: `[batch, n_head, 1, head_dim]`, already scaled
/// - `caches`: keys and values, two of `[rows, n_shared, keys, head_dim]` for each cache
/// - output: `[batch, n_head, 1, head_dim]`
///
/// # Panics
/// If the caches have another number of rows than `q`.
pub fn attend(q: Tensor<4>, caches: &[[Tensor<4>; 2]], cap: Option<f32>) -> Tensor<4> {
    let [batch, ..] = q.dims();
    let rows: usize = caches.iter().map(|[keys, _]| keys.dims()[0]).sum();
    assert_eq!(rows, batch, "a query for each row of the caches");
    #[cfg(feature = "flex")]
    if let Some(out) = on_flex(&q, caches, cap) {
        return Tensor::from_data(TensorData::new(out, q.dims()), &q.device());
    }
    composed(&q, caches, cap)
}

/// Computes [`attend`] on flex; `None` if the numbers are elsewhere or in another order.
#[cfg(feature = "flex")]
fn on_flex(q: &Tensor<4>, caches: &[[Tensor<4>; 2]], cap: Option<f32>) -> Option<Vec<f32>> {
    if !flex::is_plain(q) {
        return None;
    }
    let caches = caches.iter().map(|[keys, values]| Some([Heads::of(keys)?, Heads::of(values)?]));
    let caches: Vec<[Heads; 2]> = caches.collect::<Option<_>>()?;
    let rows: Vec<(&[Heads; 2], usize)> =
        caches.iter().flat_map(|cache| (0..cache[0].rows).map(move |row| (cache, row))).collect();
    let [_, n_head, _, head_dim] = q.dims();
    let q = to_host(q.clone());
    let mut out = vec![0.0_f32; q.len()];
    let numbers: usize = rows.iter().map(|([keys, _], _)| keys.positions * n_head * head_dim).sum();
    each_chunk(&mut out, head_dim, threads_for(numbers, PER_THREAD), |at, out| {
        let ([keys, values], row) = rows[at / n_head];
        let shared = at % n_head / (n_head / keys.count);
        let q = &q[at * head_dim..(at + 1) * head_dim];
        let positions = keys.positions;
        let [keys, values] = [keys, values].map(|of| of.head(row, shared));
        run(Head { q, keys, values, positions, cap, out });
    });
    Some(out)
}

/// Computes [`attend`] with burn's operations.
fn composed(q: &Tensor<4>, caches: &[[Tensor<4>; 2]], cap: Option<f32>) -> Tensor<4> {
    let [_, n_head, _, head_dim] = q.dims();
    let mut first = 0;
    let of_cache = caches.iter().map(|[keys, values]| {
        let [rows, n_shared, _, _] = keys.dims();
        let q = q.clone().slice_dim(0, first..first + rows);
        first += rows;
        let q = q.reshape([rows, n_shared, n_head / n_shared, head_dim]);
        let scores = q.matmul(keys.clone().transpose());
        let scores = cap.map_or(scores.clone(), |cap| softcap(scores, cap));
        softmax(scores, 3).matmul(values.clone()).reshape([rows, n_head, 1, head_dim])
    });
    Tensor::cat(of_cache.collect(), 0)
}

/// One query head; `out` is filled with zeros.
#[cfg(feature = "flex")]
struct Head<'a> {
    q: &'a [f32],
    keys: Positions<'a>,
    values: Positions<'a>,
    positions: usize,
    cap: Option<f32>,
    out: &'a mut [f32],
}

#[cfg(feature = "flex")]
impl WithSimd for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Head { q, keys, values, positions, cap, out } = self;
        let mut pattern = vec![0.0_f32; positions];
        let (groups, rest) = pattern.as_chunks_mut::<GROUP>();
        let grouped = groups.len() * GROUP;
        for (group, scores) in groups.iter_mut().enumerate() {
            let mut dots = Dots::<S, 1, GROUP>::new(simd);
            dots.add(simd, [q], keys.group(group * GROUP));
            *scores = dots.sums(simd).map(|[sum]| sum);
        }
        for (at, score) in rest.iter_mut().enumerate() {
            let mut dots = Dots::<S, 1, 1>::new(simd);
            dots.add(simd, [q], [keys.at(grouped + at)]);
            [[*score]] = dots.sums(simd);
        }
        if let Some(cap) = cap {
            for score in &mut pattern {
                *score = capped::<S>(*score, cap);
            }
        }
        let mut max = f32::NEG_INFINITY;
        for &score in &pattern {
            if score > max {
                max = score;
            }
        }
        for score in &mut pattern {
            *score = exp_of::<S>(*score - max);
        }
        let sum: f32 = pattern.iter().sum();
        let (vectors, rest) = S::as_mut_simd_f32s(out);
        let (groups, others) = vectors.as_chunks_mut::<GROUP>();
        let grouped = groups.len() * GROUP;
        for (group, out) in groups.iter_mut().enumerate() {
            weigh(simd, out, group * GROUP, &pattern, values);
        }
        for (at, out) in others.iter_mut().enumerate() {
            weigh(simd, std::array::from_mut(out), grouped + at, &pattern, values);
        }
        if !rest.is_empty() {
            for (position, &weight) in pattern.iter().enumerate() {
                let (_, value) = S::as_simd_f32s(values.at(position));
                for (out, value) in rest.iter_mut().zip(value) {
                    *out = multiply_add::<S>(weight, *value, *out);
                }
            }
        }
        for out in out {
            *out /= sum;
        }
    }
}

/// Sums the values of all positions by their weights, `N` vectors of each from `first` on.
#[cfg(feature = "flex")]
#[inline(always)]
fn weigh<S: Simd, const N: usize>(
    simd: S,
    out: &mut [S::f32s; N],
    first: usize,
    pattern: &[f32],
    values: Positions<'_>,
) {
    let mut sums = *out;
    for (position, &weight) in pattern.iter().enumerate() {
        let (vectors, _) = S::as_simd_f32s(values.at(position));
        let vectors = &vectors[first..first + N];
        let weight = simd.splat_f32s(weight);
        for at in 0..N {
            sums[at] = simd.mul_add_e_f32s(weight, vectors[at], sums[at]);
        }
    }
    *out = sums;
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use nanoscope_testing::test_device;

    use super::*;
    use crate::host::to_host;

    fn tensor(shape: [usize; 4], step: f32, device: &Device) -> Tensor<4> {
        let numbers = (0..shape.iter().product()).map(|at: usize| (at as f32 * step).sin() * 3.0);
        Tensor::from_data(TensorData::new(numbers.collect::<Vec<_>>(), shape), device)
    }

    #[test]
    fn rows_of_different_lengths_attend_as_in_the_composed_operations() {
        let device = test_device();
        for (n_head, n_shared, head_dim) in [(4, 4, 8), (6, 2, 40), (6, 1, 128)] {
            // Scores of a few units, as after the scaling in a model.
            let q = tensor([4, n_head, 1, head_dim], 0.31, &device) * 0.05;
            // Views into longer caches, one of which has two rows.
            let caches = [(1, 1), (2, 37), (1, 300)].map(|(rows, keys)| {
                [0.7, 0.9].map(|step| {
                    let all = tensor([rows, n_shared, 310, head_dim], step, &device);
                    all.slice_dim(2, 5..5 + keys)
                })
            });
            for cap in [None, Some(10.0)] {
                let expected = to_host(composed(&q, &caches, cap));
                let found = to_host(attend(q.clone(), &caches, cap));
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() <= 2e-6, "{found} instead of {expected}");
                }
            }
        }
    }

    #[test]
    fn a_number_that_is_not_finite_stays_one() {
        let device = test_device();
        let q = Tensor::<4>::from_floats([[[[f32::NAN, 1.0]]]], &device);
        let cache = [0.7, 0.9].map(|step| tensor([1, 1, 3, 2], step, &device));
        assert!(to_host(attend(q, &[cache], None)).iter().all(|value| value.is_nan()));
    }
}
