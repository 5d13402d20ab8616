use crate::part::Part;
use crate::simd::{Simd, WithSimd};
use crate::stored::{BLOCK, Stored};

/// The number of rows whose sums are in registers together.
const MAX_TILE: usize = 4;

/// A part of a product with a matrix by output: multiplies each of its rows with the inputs.
pub(crate) struct ByOutput<'a, 'w, W>(pub(crate) Part<'a, 'w, W>);

impl<W: Stored> WithSimd for ByOutput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for first in (0..self.0.rows).step_by(MAX_TILE) {
            match self.0.rows - first {
                1 => self.tile::<S, 1>(simd, first),
                2 => self.tile::<S, 2>(simd, first),
                3 => self.tile::<S, 3>(simd, first),
                _ => self.tile::<S, MAX_TILE>(simd, first),
            }
        }
    }
}

impl<W: Stored> ByOutput<'_, '_, W> {
    /// Computes the rows from `first` on, for which the matrix is read once.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(&mut self, simd: S, first: usize) {
        let Part { matrix, x, from, out, rows } = &mut self.0;
        let (columns, d_in) = (out.len() / *rows, matrix.d_in);
        let mut buffer = [0.0_f32; BLOCK];
        for column in 0..columns {
            let w = &matrix.values[(*from + column) * matrix.stride..][..d_in];
            let mut dots = Dots::<S, ROWS>::new(simd);
            for begin in (0..d_in).step_by(BLOCK) {
                let end = (begin + BLOCK).min(d_in);
                let x = std::array::from_fn(|at| &x[(first + at) * d_in..][begin..end]);
                dots.add(simd, x, W::widened(&w[begin..end], &mut buffer));
            }
            for (at, sum) in dots.sums(simd).into_iter().enumerate() {
                out[(first + at) * columns + column] = sum;
            }
        }
    }
}

/// The products of several rows with one, as far as they are summed. The terms of a sum have the same order,
/// whatever the number of rows.
pub(crate) struct Dots<S: Simd, const ROWS: usize> {
    /// Two vectors per row, so that an addition does not wait for the one before.
    sums: [[S::f32s; 2]; ROWS],
    /// The sums of what fills no vector.
    rest: [f32; ROWS],
}

impl<S: Simd, const ROWS: usize> Dots<S, ROWS> {
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Self {
        Self { sums: [[simd.splat_f32s(0.0); 2]; ROWS], rest: [0.0; ROWS] }
    }

    /// Adds the products of `w` with each of `x`, of the same length.
    #[inline(always)]
    pub(crate) fn add(&mut self, simd: S, x: [&[f32]; ROWS], w: &[f32]) {
        let (w, w_rest) = S::as_simd_f32s(w);
        let x = x.map(|x| S::as_simd_f32s(x));
        let mut sums = self.sums;
        for pair in 0..w.len() / 2 {
            let [a, b] = [2 * pair, 2 * pair + 1];
            for row in 0..ROWS {
                sums[row][0] = simd.mul_add_e_f32s(x[row].0[a], w[a], sums[row][0]);
                sums[row][1] = simd.mul_add_e_f32s(x[row].0[b], w[b], sums[row][1]);
            }
        }
        if w.len() % 2 == 1 {
            let last = w.len() - 1;
            for row in 0..ROWS {
                sums[row][0] = simd.mul_add_e_f32s(x[row].0[last], w[last], sums[row][0]);
            }
        }
        self.sums = sums;
        for row in 0..ROWS {
            for (x, w) in x[row].1.iter().zip(w_rest) {
                self.rest[row] += x * w;
            }
        }
    }

    #[inline(always)]
    pub(crate) fn sums(&self, simd: S) -> [f32; ROWS] {
        std::array::from_fn(|row| {
            let [a, b] = self.sums[row];
            simd.reduce_sum_f32s(simd.add_f32s(a, b)) + self.rest[row]
        })
    }
}
