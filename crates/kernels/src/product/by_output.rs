use crate::matrix_view::MatrixView;
use crate::product::part::Part;
use crate::simd::{Simd, WithSimd, run};
use crate::stored::{BLOCK, Stored};

/// The number of rows whose sums are in registers together.
const MAX_TILE: usize = 4;

/// A part of a product with a matrix by output: multiplies each of its rows with the inputs.
pub(crate) struct ByOutput<'a, 'w, W> {
    pub(crate) part: Part<'a, 'w, W>,
    /// `None` if the matrix's numbers are converted one by one.
    pub(crate) inputs: Option<&'a InputsByWord>,
}

impl<W: Stored> WithSimd for ByOutput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for first in (0..self.part.rows).step_by(MAX_TILE) {
            match (self.inputs, self.part.rows - first) {
                (None, 1) => self.tile::<S, 1>(simd, first),
                (None, 2) => self.tile::<S, 2>(simd, first),
                (None, 3) => self.tile::<S, 3>(simd, first),
                (None, _) => self.tile::<S, MAX_TILE>(simd, first),
                (Some(x), 1) => self.tile_by_word::<S, 1>(simd, first, x),
                (Some(x), 2) => self.tile_by_word::<S, 2>(simd, first, x),
                (Some(x), 3) => self.tile_by_word::<S, 3>(simd, first, x),
                (Some(x), _) => self.tile_by_word::<S, MAX_TILE>(simd, first, x),
            }
        }
    }
}

/// The inputs in the order in which words of a packed matrix are unpacked.
pub(crate) struct InputsByWord {
    values: Vec<f32>,
    /// The number of inputs of a row that fill whole vectors of words; the others are not here.
    whole: usize,
}

impl InputsByWord {
    /// The rows `x` for products with `matrix`. `None` if its numbers are not packed into words, or its rows do not
    /// begin at a word.
    pub(crate) fn new<W: Stored>(matrix: &MatrixView<'_, W>, x: &[f32]) -> Option<Self> {
        let d_in = matrix.d_in;
        let is_aligned =
            d_in.is_multiple_of(W::PER_WORD) && matrix.stride.is_multiple_of(W::PER_WORD);
        if W::PER_WORD == 1 || !is_aligned || W::words(&matrix.values[..d_in]).is_none() {
            return None;
        }
        Some(run(Reorder { matrix, x }))
    }
}

struct Reorder<'x, 'w, W> {
    matrix: &'x MatrixView<'w, W>,
    x: &'x [f32],
}

impl<W: Stored> WithSimd for Reorder<'_, '_, W> {
    type Output = InputsByWord;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> InputsByWord {
        let d_in = self.matrix.d_in;
        let block = S::F32_LANES * W::PER_WORD;
        let whole = d_in / block * block;
        let mut values = vec![0.0_f32; self.x.len() / d_in * whole];
        let blocks = self.x.chunks_exact(d_in).flat_map(|row| row[..whole].chunks_exact(block));
        for (values, x) in values.chunks_exact_mut(block).zip(blocks) {
            for (lane, word) in x.chunks_exact(W::PER_WORD).enumerate() {
                for (at, x) in word.iter().enumerate() {
                    values[at * S::F32_LANES + lane] = x * W::UNPACKED_SCALES[at];
                }
            }
        }
        InputsByWord { values, whole }
    }
}

impl<W: Stored> ByOutput<'_, '_, W> {
    /// Computes the rows from `first` on, for which the matrix is read once.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(&mut self, simd: S, first: usize) {
        let Part { matrix, x, from, out, rows } = &mut self.part;
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

    /// Computes the rows from `first` on, several of the matrix's numbers per word at once.
    #[inline(always)]
    fn tile_by_word<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        first: usize,
        inputs: &InputsByWord,
    ) {
        let Part { matrix, x, from, out, rows } = &mut self.part;
        let (columns, d_in, whole) = (out.len() / *rows, matrix.d_in, inputs.whole);
        let by_word: [&[S::f32s]; ROWS] = std::array::from_fn(|row| {
            S::as_simd_f32s(&inputs.values[(first + row) * whole..][..whole]).0
        });
        for column in 0..columns {
            let w = &matrix.values[(*from + column) * matrix.stride..][..d_in];
            let words = W::words(&w[..whole]).expect("rows begin at a word");
            // Two vectors per row, so that an addition does not wait for the one before.
            let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
            let mut x_words = by_word.map(|x| x.chunks_exact(W::PER_WORD));
            for &words in S::as_simd_u32s(words).0 {
                // Slices of a known length, whose places are not checked one by one.
                let x: [&[S::f32s]; ROWS] = std::array::from_fn(|row| {
                    x_words[row].next().expect("there is an input for each number")
                });
                for part in 0..W::PER_WORD {
                    let weights = W::unpack(simd, words, part);
                    for row in 0..ROWS {
                        let sum = &mut sums[row][part % 2];
                        *sum = simd.mul_add_e_f32s(x[row][part], weights, *sum);
                    }
                }
            }
            for (row, [a, b]) in sums.into_iter().enumerate() {
                let x = &x[(first + row) * d_in..][..d_in];
                let rest = x[whole..].iter().zip(&w[whole..]);
                let rest: f32 = rest.map(|(x, w)| x * w.widen()).sum();
                let sum = simd.reduce_sum_f32s(simd.add_f32s(a, b)) + rest;
                out[(first + row) * columns + column] = sum;
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
