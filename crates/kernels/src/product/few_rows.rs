//! Products of few rows with a matrix that is read once.

use crate::matrix_view::{MatrixView, Order};
use crate::product::by_input::{ByInput, GROUP, LANES};
use crate::product::by_output::{ByOutput, InputsByWord};
use crate::simd::run;
use crate::stored::Stored;
use crate::team::{each_chunk, threads_for};

/// The number of products that are worth a thread: about 10 µs.
const PER_THREAD: usize = 1 << 17;
/// The number of parts per thread, so that one that is held up leaves less to wait for.
const PARTS_PER_THREAD: usize = 4;
/// The largest number of sums that are added to while a block of a matrix by input is read: they stay in a near
/// cache. Narrower blocks are read in shorter pieces, which takes longer.
const MAX_SUMS: usize = 1 << 15;
/// The largest number of blocks.
const MAX_BLOCKS: usize = 8;

impl<W: Stored> MatrixView<'_, W> {
    /// Computes `x · self` in float32. The sums have one order, whatever the number of threads.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, row-major
    /// - output: `[rows, d_out]`, row-major
    pub(crate) fn multiply_few(&self, x: &[f32]) -> Vec<f32> {
        let rows = x.len() / self.d_in;
        if rows == 0 {
            return Vec::new();
        }
        let threads = threads_for(rows * self.d_in * self.d_out, PER_THREAD);
        match self.order {
            Order::ByInput => self.by_input(x, rows, threads),
            Order::ByOutput => self.by_output(x, rows, threads),
        }
    }

    /// Multiplies blocks of rows of the matrix, which are contiguous in memory unless they are very wide, and adds
    /// up their sums.
    fn by_input(&self, x: &[f32], rows: usize, threads: usize) -> Vec<f32> {
        let width = (MAX_SUMS / rows).next_multiple_of(LANES);
        let across = self.d_out.div_ceil(width);
        let width = self.d_out.div_ceil(across).next_multiple_of(LANES);
        let block = self.d_in.div_ceil(self.blocks()).next_multiple_of(GROUP);
        let blocks = self.d_in.div_ceil(block);
        // Sums of each block, as much for each part of its columns.
        let mut parts = vec![0.0_f32; blocks * across * rows * width];
        let columns = |at: usize| at * width..((at + 1) * width).min(self.d_out);
        each_chunk(&mut parts, rows * width, threads, |at, out| {
            let (at, columns) = (at / across, columns(at % across));
            let inputs = at * block..((at + 1) * block).min(self.d_in);
            let out = &mut out[..rows * columns.len()];
            run(ByInput { matrix: *self, x, inputs, columns, out });
        });
        let mut out = vec![0.0_f32; rows * self.d_out];
        let threads = threads_for(blocks * out.len(), PER_THREAD);
        each_chunk(&mut out, self.d_out, threads, |row, out| {
            for (at, part) in parts.chunks(rows * width).enumerate() {
                let columns = columns(at % across);
                let part = &part[row * columns.len()..][..columns.len()];
                out[columns].iter_mut().zip(part).for_each(|(out, part)| *out += part);
            }
        });
        out
    }

    /// The number of blocks into which the inputs are divided, the same for any number of rows: fewer if the columns
    /// are divided too.
    fn blocks(&self) -> usize {
        let parts = (self.d_in * self.d_out / PER_THREAD).clamp(1, MAX_BLOCKS);
        parts.div_ceil(self.d_out.div_ceil(MAX_SUMS))
    }

    /// Multiplies each column of the matrix.
    fn by_output(&self, x: &[f32], rows: usize, threads: usize) -> Vec<f32> {
        let parts = if threads == 1 { 1 } else { PARTS_PER_THREAD * threads };
        let width = self.d_out.div_ceil(parts).next_multiple_of(LANES);
        let inputs = InputsByWord::new(self, x);
        let mut out = vec![0.0_f32; rows * self.d_out];
        // Each part has its own columns of all rows.
        each_chunk(&mut out, rows * width, threads, |at, out| {
            run(ByOutput { matrix: *self, x, from: at * width, out, inputs: inputs.as_ref() });
        });
        if rows == 1 { out } else { self.by_row(&out, rows, width) }
    }

    /// Puts parts of `width` columns each into rows.
    fn by_row(&self, parts: &[f32], rows: usize, width: usize) -> Vec<f32> {
        let mut out = vec![0.0_f32; parts.len()];
        for (at, part) in parts.chunks(rows * width).enumerate() {
            let columns = part.len() / rows;
            for (row, sums) in part.chunks(columns).enumerate() {
                let from = row * self.d_out + at * width;
                out[from..from + columns].copy_from_slice(sums);
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{bf16, f16};
    use proptest::prelude::*;

    use super::*;

    /// Small whole numbers, whose products and sums are exact in every type.
    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|at| ((at * 7919 + seed * 104_729) % 17) as f32 - 8.0).collect()
    }

    fn product(x: &[f32], w: &[f32], [d_in, d_out]: [usize; 2]) -> Vec<f32> {
        let cell = |row: &[f32], out: usize| -> f32 {
            row.iter().enumerate().map(|(at, x)| x * w[at * d_out + out]).sum()
        };
        x.chunks(d_in).flat_map(|row| (0..d_out).map(move |out| cell(row, out))).collect()
    }

    /// The product by a matrix stored as `W`, in `order` and with `gap` numbers between rows.
    fn stored<W: Stored>(
        x: &[f32],
        w: &[f32],
        [d_in, d_out]: [usize; 2],
        order: Order,
        gap: usize,
        narrow: impl Fn(f32) -> W,
    ) -> Vec<f32> {
        let [rows, columns] = if order == Order::ByInput { [d_in, d_out] } else { [d_out, d_in] };
        let mut values = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let [i, o] = if order == Order::ByInput { [row, column] } else { [column, row] };
                values.push(narrow(w[i * d_out + o]));
            }
            values.extend((0..gap).map(|_| narrow(99.0)));
        }
        MatrixView::new(&values, [d_in, d_out], order, columns + gap).unwrap().multiply(x)
    }

    proptest! {
        #[test]
        fn products_are_exact_in_every_type_and_order(
            rows in 1_usize..80, d_in in 1_usize..140, d_out in 1_usize..90, gap in 0_usize..5,
        ) {
            let (x, w) = (numbers(rows * d_in, 1), numbers(d_in * d_out, 2));
            let shape = [d_in, d_out];
            let expected = product(&x, &w, shape);
            for order in [Order::ByInput, Order::ByOutput] {
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, |w| w), &expected);
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, bf16::from_f32), &expected);
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, f16::from_f32), &expected);
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, |w| w as i8), &expected);
            }
        }
    }

    #[test]
    fn a_large_product_is_the_same_on_any_number_of_threads() {
        fn check<W: Stored>(narrow: impl Fn(f32) -> W) {
            // So large that one row is shared too.
            let (d_in, d_out) = (1316, 3200);
            let w =
                (0..d_in * d_out).map(|at| narrow((at as f32 * 0.37).sin())).collect::<Vec<_>>();
            for rows in [1, 3, 8, 9, 70] {
                let x: Vec<f32> = (0..rows * d_in).map(|at| (at as f32 * 0.11).cos()).collect();
                for (order, stride) in [(Order::ByInput, d_out), (Order::ByOutput, d_in)] {
                    let matrix = MatrixView::new(&w, [d_in, d_out], order, stride).unwrap();
                    let on = |threads| {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                        pool.unwrap().install(|| matrix.multiply(&x))
                    };
                    let one = on(1);
                    assert_eq!(one, on(2));
                    assert_eq!(one, on(5));
                    if rows <= 8 {
                        let lone: Vec<f32> =
                            x.chunks(d_in).flat_map(|row| matrix.multiply(row)).collect();
                        assert_eq!(one, lone, "a row does not depend on the others");
                    }
                }
            }
        }

        check(|w| w);
        check(bf16::from_f32);
        check(|w| (w * 127.0) as i8);
    }

    #[test]
    fn a_matrix_that_its_numbers_cannot_back_is_refused() {
        let values = [0.0_f32; 12];
        let new = |shape, order, stride| MatrixView::new(&values, shape, order, stride).is_some();

        assert!(new([3, 4], Order::ByInput, 4));
        assert!(new([4, 3], Order::ByOutput, 4));
        assert!(!new([4, 4], Order::ByInput, 4));
        assert!(!new([3, 4], Order::ByInput, 3));
        assert!(!new([0, 4], Order::ByInput, 4));
        assert!(!new([2, 4], Order::ByInput, usize::MAX));
    }
}
