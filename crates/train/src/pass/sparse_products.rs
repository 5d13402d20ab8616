//! Products with matrices of which few entries are not zero: reconstructions, and the gradients of
//! each feature's weights.

use pulp::Arch;
use rayon::prelude::*;

use crate::pass::entries::{CHUNK_ROWS, Columns, Entries};
use crate::pass::rule::{Along, Rule, Sums};
use crate::simd::{add_scaled, add_scaled_rows, dot, square};

/// Entries that are handled together, so that a sum is read and written once for all of them.
const TOGETHER: usize = 4;

/// Numbers of a part of a matrix that stays in a core's cache of the second level (a megabyte) while
/// it is used again and again. Without parts, half of the time went to waiting for the third level.
const CACHED: usize = 1 << 18;

/// Features whose gradients a thread computes at a time.
const FEATURES: usize = 128;

#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) rows: usize,
    pub(super) d_in: usize,
    pub(super) d_sae: usize,
}

/// Computes `x̂ − x` for each group, reconstructed from its features and those of earlier groups;
/// `[rows, d_in]`. `value(feature, entry)` is a feature's value in the reconstruction.
pub(super) fn reconstruct(
    entries: &Entries,
    value: impl Fn(usize, f32) -> f32 + Sync + Send,
    groups: &[usize],
    decoder: &[f32],
    b_dec: &[f32],
    x: &[f32],
    size: Size,
) -> Vec<Vec<f32>> {
    let Size { rows, d_in, d_sae } = size;
    let mut errors = vec![vec![0.0; rows * d_in]; groups.len()];
    // For each chunk of rows, its slice of every group's errors.
    let mut parts: Vec<Vec<&mut [f32]>> =
        (0..rows.div_ceil(CHUNK_ROWS)).map(|_| Vec::new()).collect();
    for errors in &mut errors {
        for (part, chunk) in parts.iter_mut().zip(errors.chunks_mut(CHUNK_ROWS * d_in)) {
            part.push(chunk);
        }
    }
    // The rows of a chunk take turns with one block of the decoder after another.
    let block = (CACHED / 2 / d_in).max(1);
    let mut ends: Vec<usize> =
        (1..=d_sae / block).map(|at| at * block).chain(groups.iter().copied()).collect();
    ends.sort_unstable();
    ends.dedup();
    let arch = Arch::new();
    let chunks = parts.into_par_iter().zip(x.par_chunks(CHUNK_ROWS * d_in)).enumerate();
    chunks.for_each(|(chunk, (mut parts, x))| {
        let mut sums: Vec<f32> = b_dec.iter().copied().cycle().zip(x).map(|(b, x)| b - x).collect();
        let first = chunk * CHUNK_ROWS;
        let mut left: Vec<_> =
            (first..first + x.len() / d_in).map(|row| entries.row(row)).collect();
        let (mut values, mut group) = (Vec::new(), 0);
        for &end in &ends {
            for (left, sum) in left.iter_mut().zip(sums.chunks_exact_mut(d_in)) {
                let until = left.partition_point(|&(feature, _)| (feature as usize) < end);
                let (these, later) = left.split_at(until);
                *left = later;
                values.clear();
                values.extend(these.iter().filter_map(|&(feature, entry)| {
                    let value = value(feature as usize, entry);
                    (value != 0.0).then_some((feature, value))
                }));
                arch.dispatch(|| add_features(sum, &values, decoder));
            }
            if groups[group] == end {
                parts[group].copy_from_slice(&sums);
                group += 1;
            }
        }
    });
    errors
}

/// `sum += Σ value · W_dec`
#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled for the registers of the caller")]
fn add_features(sum: &mut [f32], values: &[(u32, f32)], decoder: &[f32]) {
    let d_in = sum.len();
    let (fours, rest) = values.as_chunks::<TOGETHER>();
    for four in fours {
        let rows = four.map(|(feature, _)| row_of(decoder, feature, d_in));
        add_scaled_rows(sum, four.map(|(_, value)| value), rows);
    }
    for &(feature, value) in rest {
        add_scaled(sum, value, row_of(decoder, feature, d_in));
    }
}

/// Sum of squares of each row, `[rows]`.
pub(super) fn row_squares(errors: &[f32], d_in: usize) -> Vec<f32> {
    let arch = Arch::new();
    let rows = errors.par_chunks_exact(d_in).with_min_len(64);
    rows.map(|row| arch.dispatch(|| square(row))).collect()
}

/// Sum of squares per row, averaged over the rows.
pub(super) fn mean_square(errors: &[f32], rows: usize) -> f64 {
    // Split into chunks whose order does not depend on the number of threads.
    let sums: Vec<f64> = errors
        .par_chunks(1 << 14)
        .map(|errors| f64::from(Arch::new().dispatch(|| square(errors))))
        .collect();
    sums.iter().sum::<f64>() / rows as f64
}

/// Multiplies all numbers by `by`.
pub(super) fn scale(numbers: &mut [f32], by: f32) {
    numbers.par_iter_mut().with_min_len(1 << 12).for_each(|number| *number *= by);
}

/// Sum of the rows, `[d_in]`.
pub(super) fn sum_of_rows(numbers: &[f32], d_in: usize) -> Vec<f32> {
    let mut sum = vec![0.0; d_in];
    for row in numbers.chunks_exact(d_in) {
        add_scaled(&mut sum, 1.0, row);
    }
    sum
}

/// Gradients of reconstructions, `[rows, d_in]` each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upstream<'a> {
    /// One for each group of features.
    pub(super) by_group: &'a [Vec<f32>],
    /// Ends of the groups.
    pub(super) groups: &'a [usize],
    /// That of the reconstruction by the gates; empty if there is none.
    pub(super) gates: &'a [f32],
}

/// Gradients of each feature's weights.
#[derive(Debug)]
pub(super) struct FeatureGradients {
    /// `[d_sae, d_in]`
    pub(super) encoder: Vec<f32>,
    /// `[d_sae, d_in]`
    pub(super) decoder: Vec<f32>,
    /// `[d_sae]`
    pub(super) sums: Vec<Sums>,
}

impl FeatureGradients {
    pub(super) fn zeros(size: Size) -> Self {
        let matrix = || vec![0.0; size.d_sae * size.d_in];
        Self { encoder: matrix(), decoder: matrix(), sums: vec![Sums::default(); size.d_sae] }
    }

    /// Adds the gradients of features with these entries, for an encoder of `x`.
    ///
    /// Each feature is handled by one thread, which adds its rows in order, so the sums do not
    /// depend on the number of threads.
    pub(super) fn add<R: Rule>(
        &mut self,
        rule: &R,
        columns: &Columns,
        upstream: Upstream<'_>,
        decoder: &[f32],
        x: &[f32],
        size: Size,
    ) {
        let d_in = size.d_in;
        let arch = Arch::new();
        let per_task = FEATURES * d_in;
        let matrices =
            self.encoder.par_chunks_mut(per_task).zip(self.decoder.par_chunks_mut(per_task));
        let tasks = matrices.zip(self.sums.par_chunks_mut(FEATURES)).enumerate();
        tasks.for_each(|(task, ((encoder, decoder_gradient), sums))| {
            let mut entries = Vec::new();
            // The features take turns with one tile of rows after another.
            for tile in columns.tiles(CACHED / 4 / d_in) {
                let matrices = encoder.chunks_exact_mut(d_in);
                let matrices = matrices.zip(decoder_gradient.chunks_exact_mut(d_in));
                let features = (task * FEATURES..).zip(matrices.zip(sums.iter_mut()));
                for (feature, ((encoder, decoder_gradient), sums)) in features {
                    columns.read(feature, tile.clone(), &mut entries);
                    let group = upstream.groups.partition_point(|&end| end <= feature);
                    let mut of = OfFeature {
                        rule,
                        feature,
                        direction: &decoder[feature * d_in..][..d_in],
                        upstream: &upstream.by_group[group],
                        gates: upstream.gates,
                        x,
                        encoder,
                        decoder: decoder_gradient,
                        sums,
                    };
                    arch.dispatch(|| {
                        let (fours, rest) = entries.as_chunks::<TOGETHER>();
                        for four in fours {
                            of.add(*four);
                        }
                        for one in rest {
                            of.add([*one]);
                        }
                    });
                }
            }
        });
    }

    /// Adds to each feature's gradient of the decoder its row of the decoder times `by`.
    pub(super) fn add_decoder(&mut self, decoder: &[f32], by: impl Fn(usize, &Sums) -> f32) {
        let d_in = decoder.len() / self.sums.len();
        let rows = self.decoder.chunks_exact_mut(d_in).zip(decoder.chunks_exact(d_in));
        for (feature, ((gradient, row), sums)) in rows.zip(&self.sums).enumerate() {
            let by = by(feature, sums);
            if by != 0.0 {
                add_scaled(gradient, by, row);
            }
        }
    }

    /// Converts gradients of an encoder of `x` to those of an encoder of `x − b_dec`.
    pub(super) fn take_off(&mut self, b_dec: &[f32]) {
        let rows = self.encoder.par_chunks_exact_mut(b_dec.len());
        rows.zip(&self.sums).for_each(|(row, sums)| add_scaled(row, -sums.pre, b_dec));
    }
}

/// The gradients of one feature's weights, and what they are computed from.
struct OfFeature<'a, R> {
    rule: &'a R,
    feature: usize,
    /// Its row of the decoder.
    direction: &'a [f32],
    upstream: &'a [f32],
    gates: &'a [f32],
    x: &'a [f32],
    encoder: &'a mut [f32],
    decoder: &'a mut [f32],
    sums: &'a mut Sums,
}

impl<R: Rule> OfFeature<'_, R> {
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "compiled for the registers of the caller")]
    fn add<const N: usize>(&mut self, entries: [(u32, f32); N]) {
        let d_in = self.direction.len();
        let upstream = entries.map(|(row, _)| row_of(self.upstream, row, d_in));
        let (mut values, mut gradients) = ([0.0; N], [0.0; N]);
        for (at, (row, pre)) in entries.into_iter().enumerate() {
            let value = dot(upstream[at], self.direction);
            let gate =
                if R::GATED { dot(row_of(self.gates, row, d_in), self.direction) } else { 0.0 };
            values[at] = self.rule.value(self.feature, pre);
            gradients[at] = self.rule.back(self.feature, pre, Along { value, gate }, self.sums);
        }
        add_scaled_rows(self.decoder, values, upstream);
        let x = entries.map(|(row, _)| row_of(self.x, row, d_in));
        add_scaled_rows(self.encoder, gradients, x);
    }
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "compiled for the registers of the caller")]
fn row_of(matrix: &[f32], row: u32, width: usize) -> &[f32] {
    &matrix[row as usize * width..][..width]
}
