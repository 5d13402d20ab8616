use std::ops::Range;

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
/// The number of caches that a thread writes at once.
#[cfg(feature = "flex")]
const WRITTEN_AT_ONCE: usize = 8;

/// Keys and values of some rows, with room for later positions.
#[derive(Debug)]
pub struct Cached {
    /// Keys, `[rows, n_shared, positions, head_dim]`.
    pub keys: Tensor<4>,
    /// Values, of the same shape.
    pub values: Tensor<4>,
    /// The positions that a query sees. The last one is its own.
    pub seen: Range<usize>,
}

/// Writes the keys and values of one position per row into their caches, and computes attention of its query. With
/// `cap`, scores are capped as by [`softcap`].
///
/// Rows come from caches of different lengths; each cache has some of the rows of `q`, in their order. Query
/// heads that follow each other share a key-value head. Memory that nothing else shares is written in place.
///
/// # Shapes
/// - `q`: `[batch, n_head, 1, head_dim]`, already scaled; `k`, `v`: `[batch, n_shared, 1, head_dim]`
/// - output: `[batch, n_head, 1, head_dim]`, and the caches
///
/// # Panics
/// If the caches have another number of rows than `q`, or a cache sees no position.
pub fn attend(
    [q, k, v]: [Tensor<4>; 3],
    caches: Vec<Cached>,
    cap: Option<f32>,
) -> (Tensor<4>, Vec<Cached>) {
    let [batch, ..] = q.dims();
    let rows: usize = caches.iter().map(|cache| cache.keys.dims()[0]).sum();
    assert_eq!(rows, batch, "a query for each row of the caches");
    #[cfg(feature = "flex")]
    if [&q, &k, &v]
        .into_iter()
        .chain(caches.iter().flat_map(|cache| [&cache.keys, &cache.values]))
        .all(flex::is_float32)
    {
        return on_flex([q, k, v], caches, cap);
    }
    composed([q, k, v], caches, cap)
}

/// A [`Cached`] in flex's memory, with the first of its rows in the batch.
#[cfg(feature = "flex")]
struct OnFlex {
    keys: Heads,
    values: Heads,
    seen: Range<usize>,
    first: usize,
}

/// Computes [`attend`] on flex.
#[cfg(feature = "flex")]
fn on_flex(
    [q, k, v]: [Tensor<4>; 3],
    caches: Vec<Cached>,
    cap: Option<f32>,
) -> (Tensor<4>, Vec<Cached>) {
    let [_, n_head, _, head_dim] = q.dims();
    let [_, n_shared, _, _] = k.dims();
    let (dims, device) = (q.dims(), q.device());
    let [q, k, v] = [q, k, v].map(to_host);

    let mut first = 0;
    let on_flex = caches.into_iter().map(|Cached { keys, values, seen }| {
        let of = OnFlex { keys: Heads::of(keys), values: Heads::of(values), seen, first };
        first += of.keys.rows();
        of
    });
    let mut caches: Vec<OnFlex> = on_flex.collect();
    let newest = n_shared * head_dim;
    each_chunk(&mut caches, WRITTEN_AT_ONCE, usize::MAX, |_, caches| {
        for OnFlex { keys, values, seen, first } in caches {
            let numbers = *first * newest..(*first + keys.rows()) * newest;
            keys.write(seen.end - 1, &k[numbers.clone()]);
            values.write(seen.end - 1, &v[numbers]);
        }
    });

    let rows = caches.iter().flat_map(|cache| (0..cache.keys.rows()).map(move |row| (cache, row)));
    let rows: Vec<(&OnFlex, usize)> = rows.collect();
    let mut out = vec![0.0_f32; q.len()];
    let seen: usize = rows.iter().map(|(cache, _)| cache.seen.len()).sum();
    let threads = threads_for(seen * n_head * head_dim, PER_THREAD);
    each_chunk(&mut out, head_dim, threads, |at, out| {
        let (OnFlex { keys, values, seen, .. }, row) = rows[at / n_head];
        let shared = at % n_head / (n_head / keys.count());
        let q = &q[at * head_dim..(at + 1) * head_dim];
        let [keys, values] = [keys, values].map(|of| of.head(row, shared, seen));
        run(Head { q, keys, values, cap, out });
    });

    let given_back = caches.into_iter().map(|OnFlex { keys, values, seen, .. }| {
        let [keys, values] = [keys, values].map(Heads::into_tensor);
        Cached { keys, values, seen }
    });
    let given_back = given_back.collect();
    (Tensor::from_data(TensorData::new(out, dims), &device), given_back)
}

/// Computes [`attend`] with burn's operations.
fn composed(
    [q, k, v]: [Tensor<4>; 3],
    caches: Vec<Cached>,
    cap: Option<f32>,
) -> (Tensor<4>, Vec<Cached>) {
    let [_, n_head, _, head_dim] = q.dims();
    let mut first = 0;
    let of_cache = caches.into_iter().map(|Cached { keys, values, seen }| {
        let [rows, n_shared, _, _] = keys.dims();
        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().slice_dim(0, first..first + rows));
        first += rows;
        let [keys, values] = [(keys, k), (values, v)].map(|(stored, newest)| {
            let at = [0..rows, 0..n_shared, seen.end - 1..seen.end, 0..head_dim];
            stored.slice_assign(at, newest)
        });
        let q = q.reshape([rows, n_shared, n_head / n_shared, head_dim]);
        let [k, v] = [&keys, &values].map(|stored| stored.clone().slice_dim(2, seen.clone()));
        let scores = q.matmul(k.transpose());
        let scores = cap.map_or(scores.clone(), |cap| softcap(scores, cap));
        let out = softmax(scores, 3).matmul(v).reshape([rows, n_head, 1, head_dim]);
        (out, Cached { keys, values, seen })
    });
    let (out, caches) = of_cache.unzip::<_, _, Vec<_>, _>();
    (Tensor::cat(out, 0), caches)
}

/// One query head; `out` is filled with zeros.
#[cfg(feature = "flex")]
struct Head<'a> {
    q: &'a [f32],
    keys: Positions<'a>,
    values: Positions<'a>,
    cap: Option<f32>,
    out: &'a mut [f32],
}

#[cfg(feature = "flex")]
impl WithSimd for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Head { q, keys, values, cap, out } = self;
        let mut pattern = vec![0.0_f32; keys.len()];
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
            let [k, v] = [0.2, 0.4].map(|step| tensor([4, n_shared, 1, head_dim], step, &device));
            // The second cache has two rows.
            let caches = || {
                let cached = |(rows, seen): (usize, Range<usize>)| {
                    let shape = [rows, n_shared, 310, head_dim];
                    let [keys, values] = [0.7, 0.9].map(|step| tensor(shape, step, &device));
                    Cached { keys, values, seen }
                };
                [(1, 0..1), (2, 5..42), (1, 10..310)].map(cached).into()
            };
            for cap in [None, Some(10.0)] {
                let all = || [&q, &k, &v].map(Clone::clone);
                let (expected, expected_caches) = composed(all(), caches(), cap);
                let (found, found_caches) = attend(all(), caches(), cap);
                for (found, expected) in to_host(found).iter().zip(to_host(expected)) {
                    assert!((found - expected).abs() <= 2e-6, "{found} instead of {expected}");
                }
                for (found, expected) in found_caches.into_iter().zip(expected_caches) {
                    assert_eq!(found.seen, expected.seen);
                    assert_eq!(to_host(found.keys), to_host(expected.keys));
                    assert_eq!(to_host(found.values), to_host(expected.values));
                }
            }
        }
    }

    #[test]
    fn numbers_that_are_shared_are_not_written() {
        let device = test_device();
        let [keys, values] = [0.7, 0.9].map(|step| tensor([1, 2, 6, 8], step, &device));
        let before = [&keys, &values].map(|x| to_host(x.clone()));
        let newest = [2, 2, 2].map(|heads| tensor([1, heads, 1, 8], 0.3, &device));
        let cached = Cached { keys: keys.clone(), values: values.clone(), seen: 0..3 };

        let (_, written) = attend(newest, vec![cached], None);

        assert_ne!(to_host(written[0].keys.clone()), before[0]);
        assert_eq!([keys, values].map(to_host), before);
    }

    #[test]
    fn a_number_that_is_not_finite_stays_one() {
        let device = test_device();
        let q = Tensor::<4>::from_floats([[[[f32::NAN, 1.0]]]], &device);
        let newest = tensor([1, 1, 1, 2], 0.3, &device);
        let [keys, values] = [0.7, 0.9].map(|step| tensor([1, 1, 3, 2], step, &device));
        let cached = Cached { keys, values, seen: 0..3 };
        let (out, _) = attend([q, newest.clone(), newest], vec![cached], None);
        assert!(to_host(out).iter().all(|value| value.is_nan()));
    }
}
