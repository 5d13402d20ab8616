use std::ops::Range;

use crate::matrix_view::MatrixView;
use crate::simd::{Simd, WithSimd, run};
use crate::stored::{BLOCK, Stored};

/// The number of rows whose sums are in registers together.
const MAX_TILE: usize = 4;
/// The number of columns that are multiplied with all tiles before the next ones.
const COLUMNS_OF_TILES: usize = 128;
/// The number of the matrix's rows that are read together, as far from each other as possible: with one after
/// another, or neighbours together, the memory is read at two thirds of its speed or less. The short vectors of
/// WebAssembly need more of them, so that an addition does not wait for the one before.
const TOGETHER: usize = if cfg!(target_arch = "wasm32") { 4 } else { 2 };

/// A part of a product with a matrix by output: multiplies each of its rows with the inputs.
pub(crate) struct ByOutput<'a, 'w, W> {
    pub(crate) matrix: MatrixView<'w, W>,
    /// `[rows, d_in]`
    pub(crate) x: &'a [f32],
    /// The first column.
    pub(crate) from: usize,
    /// `[rows, columns]`
    pub(crate) out: &'a mut [f32],
    /// `None` if the matrix's numbers are converted one by one.
    pub(crate) inputs: Option<&'a InputsByWord>,
}

impl<W: Stored> WithSimd for ByOutput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (inputs, columns) = (self.inputs, self.columns());
        let rows = self.x.len() / self.matrix.d_in;
        // Columns that several tiles need are in a cache after the first.
        let at_once = if rows <= MAX_TILE { columns } else { COLUMNS_OF_TILES };
        for from in (0..columns).step_by(at_once) {
            let columns = from..(from + at_once).min(columns);
            for first in (0..rows).step_by(MAX_TILE) {
                let columns = columns.clone();
                match rows - first {
                    1 => self.tile::<S, 1>(simd, first, columns, inputs),
                    2 => self.tile::<S, 2>(simd, first, columns, inputs),
                    3 => self.tile::<S, 3>(simd, first, columns, inputs),
                    _ => self.tile::<S, MAX_TILE>(simd, first, columns, inputs),
                }
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
    fn columns(&self) -> usize {
        self.out.len() / (self.x.len() / self.matrix.d_in)
    }

    /// Computes the rows from `first` on, for which the matrix is read once.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        first: usize,
        columns: Range<usize>,
        inputs: Option<&InputsByWord>,
    ) {
        // With more rows, computing takes longer than reading.
        let part = if ROWS == 1 { columns.len() / TOGETHER } else { 0 };
        let Range { start, end } = columns;
        for at in start..start + part {
            let columns = std::array::from_fn(|nth| at + nth * part);
            self.outputs::<S, ROWS, TOGETHER>(simd, first, columns, inputs);
        }
        for at in start + TOGETHER * part..end {
            self.outputs::<S, ROWS, 1>(simd, first, [at], inputs);
        }
    }

    /// Computes some columns of the rows from `first` on.
    #[inline(always)]
    fn outputs<S: Simd, const ROWS: usize, const COLUMNS: usize>(
        &mut self,
        simd: S,
        first: usize,
        columns: [usize; COLUMNS],
        inputs: Option<&InputsByWord>,
    ) {
        let Self { matrix, from, .. } = *self;
        let w =
            columns.map(|column| &matrix.values[(from + column) * matrix.stride..][..matrix.d_in]);
        let sums = match inputs {
            None => self.one_by_one::<S, ROWS, COLUMNS>(simd, first, w),
            Some(inputs) => self.by_word::<S, ROWS, COLUMNS>(simd, first, w, inputs),
        };
        let width = self.columns();
        for (column, sums) in columns.into_iter().zip(sums) {
            for (row, sum) in sums.into_iter().enumerate() {
                self.out[(first + row) * width + column] = sum;
            }
        }
    }

    /// Multiplies the rows from `first` on with `w`, whose numbers are converted one by one.
    #[inline(always)]
    fn one_by_one<S: Simd, const ROWS: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        first: usize,
        w: [&[W]; COLUMNS],
    ) -> [[f32; ROWS]; COLUMNS] {
        let d_in = self.matrix.d_in;
        let mut buffers = [[0.0_f32; BLOCK]; COLUMNS];
        let mut dots = Dots::<S, ROWS, COLUMNS>::new(simd);
        for begin in (0..d_in).step_by(BLOCK) {
            let end = (begin + BLOCK).min(d_in);
            let x = std::array::from_fn(|at| &self.x[(first + at) * d_in..][begin..end]);
            let mut w =
                w.iter().zip(&mut buffers).map(|(w, buffer)| W::widened(&w[begin..end], buffer));
            let w = std::array::from_fn(|_| w.next().expect("there is a buffer for each column"));
            dots.add(simd, x, w);
        }
        dots.sums(simd)
    }

    /// Multiplies the rows from `first` on with `w`, several of whose numbers are in a word.
    #[inline(always)]
    fn by_word<S: Simd, const ROWS: usize, const COLUMNS: usize>(
        &self,
        simd: S,
        first: usize,
        w: [&[W]; COLUMNS],
        inputs: &InputsByWord,
    ) -> [[f32; ROWS]; COLUMNS] {
        let (d_in, whole) = (self.matrix.d_in, inputs.whole);
        let words =
            w.map(|w| S::as_simd_u32s(W::words(&w[..whole]).expect("rows begin at a word")).0);
        let count = words[0].len();
        let words = words.map(|words| &words[..count]);
        let mut x_words: [_; ROWS] = std::array::from_fn(|row| {
            let x = S::as_simd_f32s(&inputs.values[(first + row) * whole..][..whole]).0;
            x.chunks_exact(W::PER_WORD)
        });
        // Two vectors per sum, so that an addition does not wait for the one before.
        let mut sums = [[[simd.splat_f32s(0.0); 2]; ROWS]; COLUMNS];
        for (at, &first) in words[0].iter().enumerate() {
            // Slices of a known length, whose places are not checked one by one.
            let x: [&[S::f32s]; ROWS] = std::array::from_fn(|row| {
                x_words[row].next().expect("there is an input for each number")
            });
            for part in 0..W::PER_WORD {
                for column in 0..COLUMNS {
                    let words = if column == 0 { first } else { words[column][at] };
                    let weights = W::unpack(simd, words, part);
                    for row in 0..ROWS {
                        let sum = &mut sums[column][row][part % 2];
                        *sum = simd.mul_add_e_f32s(x[row][part], weights, *sum);
                    }
                }
            }
        }
        let mut totals = [[0.0_f32; ROWS]; COLUMNS];
        for column in 0..COLUMNS {
            for row in 0..ROWS {
                let x = &self.x[(first + row) * d_in..][..d_in];
                let rest = x[whole..].iter().zip(&w[column][whole..]);
                let rest: f32 = rest.map(|(x, w)| x * w.widen()).sum();
                let [a, b] = sums[column][row];
                totals[column][row] = simd.reduce_sum_f32s(simd.add_f32s(a, b)) + rest;
            }
        }
        totals
    }
}

/// The products of several rows with several columns, as far as they are summed. The terms of a sum have the same
/// order, whatever the number of rows and columns.
pub(crate) struct Dots<S: Simd, const ROWS: usize, const COLUMNS: usize> {
    /// Two vectors per sum, so that an addition does not wait for the one before.
    sums: [[[S::f32s; 2]; ROWS]; COLUMNS],
    /// The sums of what fills no vector.
    rest: [[f32; ROWS]; COLUMNS],
}

impl<S: Simd, const ROWS: usize, const COLUMNS: usize> Dots<S, ROWS, COLUMNS> {
    #[inline(always)]
    pub(crate) fn new(simd: S) -> Self {
        let zero = simd.splat_f32s(0.0);
        Self { sums: [[[zero; 2]; ROWS]; COLUMNS], rest: [[0.0; ROWS]; COLUMNS] }
    }

    /// Adds the products of each of `w` with each of `x`, of the same length.
    #[inline(always)]
    pub(crate) fn add(&mut self, simd: S, x: [&[f32]; ROWS], w: [&[f32]; COLUMNS]) {
        let w = w.map(|w| S::as_simd_f32s(w));
        let count = w[0].0.len();
        // Slices of one length, whose places are not checked one by one.
        let w = w.map(|(w, rest)| (&w[..count], rest));
        let x = x.map(|x| S::as_simd_f32s(x)).map(|(x, rest)| (&x[..count], rest));
        let mut sums = self.sums;
        for pair in 0..count / 2 {
            let [a, b] = [2 * pair, 2 * pair + 1];
            for column in 0..COLUMNS {
                for row in 0..ROWS {
                    let [even, odd] = &mut sums[column][row];
                    *even = simd.mul_add_e_f32s(x[row].0[a], w[column].0[a], *even);
                    *odd = simd.mul_add_e_f32s(x[row].0[b], w[column].0[b], *odd);
                }
            }
        }
        if count % 2 == 1 {
            let last = count - 1;
            for column in 0..COLUMNS {
                for row in 0..ROWS {
                    let sum = &mut sums[column][row][0];
                    *sum = simd.mul_add_e_f32s(x[row].0[last], w[column].0[last], *sum);
                }
            }
        }
        self.sums = sums;
        for column in 0..COLUMNS {
            for row in 0..ROWS {
                for (x, w) in x[row].1.iter().zip(w[column].1) {
                    self.rest[column][row] += x * w;
                }
            }
        }
    }

    #[inline(always)]
    pub(crate) fn sums(&self, simd: S) -> [[f32; ROWS]; COLUMNS] {
        let mut totals = self.rest;
        for (totals, sums) in totals.iter_mut().zip(self.sums) {
            for (total, [a, b]) in totals.iter_mut().zip(sums) {
                *total += simd.reduce_sum_f32s(simd.add_f32s(a, b));
            }
        }
        totals
    }
}
