use std::ops::Range;

use crate::matrix_view::MatrixView;
use crate::simd::{Simd, WithSimd, multiply_add};
use crate::stored::Stored;

/// The number of rows of the matrix that are added at once. They are far from each other in memory: neighbours, or
/// more of them, are read at two thirds of the memory's speed or less.
pub(crate) const GROUP: usize = 4;
/// The number of rows whose sums are in registers together.
const MAX_TILE: usize = 2;
/// The number of columns whose sums are in registers together: a few vectors.
pub(crate) const LANES: usize = 32;

/// A part of a product with a matrix by input: adds the matrix's rows, times their inputs, to the sums.
pub(crate) struct ByInput<'a, 'w, W> {
    pub(crate) matrix: MatrixView<'w, W>,
    /// `[rows, d_in]`
    pub(crate) x: &'a [f32],
    pub(crate) inputs: Range<usize>,
    pub(crate) columns: Range<usize>,
    /// `[rows, columns]`
    pub(crate) out: &'a mut [f32],
}

impl<W: Stored> WithSimd for ByInput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { matrix, x, inputs, columns, out } = self;
        let (from, columns) = (columns.start, columns.len());
        let row = |at: usize| &matrix.values[at * matrix.stride + from..][..columns];
        let each = inputs.len() / GROUP;
        for first in inputs.start..inputs.start + each {
            let weights: [&[W]; GROUP] = std::array::from_fn(|at| row(first + at * each));
            let inputs = |row: usize| -> [f32; GROUP] {
                std::array::from_fn(|at| x[row * matrix.d_in + first + at * each])
            };
            for (at, out) in out.chunks_mut(MAX_TILE * columns).enumerate() {
                let row = at * MAX_TILE;
                match out.len() / columns {
                    1 => add_group::<W, 1, S>([inputs(row)], &weights, out),
                    _ => add_group::<W, MAX_TILE, S>([inputs(row), inputs(row + 1)], &weights, out),
                }
            }
        }
        for input in inputs.start + GROUP * each..inputs.end {
            let weights = row(input);
            for (x, out) in x.chunks_exact(matrix.d_in).zip(out.chunks_exact_mut(columns)) {
                for (sum, weight) in out.iter_mut().zip(weights) {
                    *sum = multiply_add::<S>(x[input], weight.widen(), *sum);
                }
            }
        }
    }
}

/// Adds a group of the matrix's rows, times their inputs `x`, to `out`, which is `[ROWS, columns]`.
#[inline(always)]
fn add_group<W: Stored, const ROWS: usize, S: Simd>(
    x: [[f32; GROUP]; ROWS],
    weights: &[&[W]; GROUP],
    out: &mut [f32],
) {
    let columns = weights[0].len();
    let whole = columns / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // The sums of a tile are in registers.
        let mut sums = [[0.0_f32; LANES]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&out[row * columns + first..][..LANES]);
        }
        for at in 0..GROUP {
            let weights = &weights[at][first..first + LANES];
            let weights: [f32; LANES] = std::array::from_fn(|lane| weights[lane].widen());
            for row in 0..ROWS {
                for lane in 0..LANES {
                    sums[row][lane] = multiply_add::<S>(x[row][at], weights[lane], sums[row][lane]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * columns + first..][..LANES].copy_from_slice(sums);
        }
    }
    for row in 0..ROWS {
        for column in whole..columns {
            let sum = &mut out[row * columns + column];
            for at in 0..GROUP {
                *sum = multiply_add::<S>(x[row][at], weights[at][column].widen(), *sum);
            }
        }
    }
}
