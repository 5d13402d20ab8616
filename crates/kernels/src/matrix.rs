//! Products of few rows with a matrix that is read once.

use rayon::prelude::*;

use crate::simd::{Kernel, multiply_add, run};
use crate::stored::Stored;

/// A matrix of `[d_in, d_out]` in the host's memory.
#[derive(Debug, Clone, Copy)]
pub struct MatrixView<'w, W> {
    values: &'w [W],
    d_in: usize,
    d_out: usize,
    order: Order,
    /// The distance of two rows in memory.
    stride: usize,
}

/// The order of a matrix's numbers in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A row of `d_out` numbers for each input.
    ByInput,
    /// A row of `d_in` numbers for each output, as PyTorch stores a linear layer.
    ByOutput,
}

/// The size in bytes from which a matrix is multiplied on several threads. Below it, waking them costs more.
const MIN_BYTES_FOR_THREADS: usize = 1 << 20;
/// The number of parts per thread, so that one that is held up leaves less to wait for.
const PARTS_PER_THREAD: usize = 4;
/// The number of rows of a matrix by input that are added at once.
const GROUP: usize = 8;
/// The number of sums that stay in the nearest cache.
const MAX_SUMS: usize = 4096;
/// The number of partial sums of a dot product, enough to keep the units of every common processor busy.
const LANES: usize = 32;

impl<'w, W: Stored> MatrixView<'w, W> {
    /// Creates a matrix whose rows in memory begin at every multiple of `stride`. `None` if `values` is too
    /// short for it, or if rows overlap.
    pub fn new(
        values: &'w [W],
        [d_in, d_out]: [usize; 2],
        order: Order,
        stride: usize,
    ) -> Option<Self> {
        let [rows, columns] = match order {
            Order::ByInput => [d_in, d_out],
            Order::ByOutput => [d_out, d_in],
        };
        let needed = rows.checked_sub(1)?.checked_mul(stride)?.checked_add(columns)?;
        let fits = values.len() >= needed && stride >= columns && columns > 0;
        fits.then_some(Self { values, d_in, d_out, order, stride })
    }

    /// The shape, `[d_in, d_out]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.d_in, self.d_out]
    }

    /// The numbers of one input; `None` if they are not one after another.
    ///
    /// # Panics
    /// If `input` is out of range.
    #[inline(always)]
    pub(crate) fn row(&self, input: usize) -> Option<&'w [W]> {
        assert!(input < self.d_in, "row {input} of {}", self.d_in);
        (self.order == Order::ByInput).then(|| &self.values[input * self.stride..][..self.d_out])
    }

    /// Computes `x · self` in float32. The sums have one order, whatever the number of threads.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, row-major
    /// - output: `[rows, d_out]`, row-major
    ///
    /// # Panics
    /// If the length of `x` is not a multiple of `d_in`.
    pub fn multiply(&self, x: &[f32]) -> Vec<f32> {
        assert!(x.len().is_multiple_of(self.d_in), "{} numbers in rows of {}", x.len(), self.d_in);
        let rows = x.len() / self.d_in;
        let mut out = vec![0.0_f32; rows * self.d_out];
        if rows == 0 {
            return out;
        }
        let threads = if size_of_val(self.values) < MIN_BYTES_FOR_THREADS {
            1
        } else {
            rayon::current_num_threads()
        };
        let parts = if threads == 1 { 1 } else { PARTS_PER_THREAD * threads };
        // A multiple of the widest vector.
        let width = self.d_out.div_ceil(parts).next_multiple_of(16);
        let width = if self.order == Order::ByInput {
            width.min((MAX_SUMS / rows).max(16).next_multiple_of(16))
        } else {
            width
        };
        // Each part has its own columns of all rows.
        let part = |(at, out): (usize, &mut [f32])| {
            run(Part { matrix: self, x, from: at * width, out, rows });
        };
        if threads == 1 {
            out.chunks_mut(rows * width).enumerate().for_each(part);
        } else {
            out.par_chunks_mut(rows * width).enumerate().for_each(part);
        }
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

/// Some columns of a product: `out` is `[rows, columns]`, filled with zeros, and the first one is `from`.
struct Part<'a, 'w, W> {
    matrix: &'a MatrixView<'w, W>,
    x: &'a [f32],
    from: usize,
    out: &'a mut [f32],
    rows: usize,
}

impl<W: Stored> Kernel for Part<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn run<const FUSED: bool>(self) {
        match self.matrix.order {
            Order::ByInput => self.by_input::<FUSED>(),
            Order::ByOutput => self.by_output::<FUSED>(),
        }
    }
}

impl<W: Stored> Part<'_, '_, W> {
    /// Adds the rows of the matrix, times their inputs, to the sums.
    #[inline(always)]
    fn by_input<const FUSED: bool>(self) {
        let Part { matrix, x, from, out, rows } = self;
        let columns = out.len() / rows;
        let row = |at: usize| &matrix.values[at * matrix.stride + from..][..columns];
        let groups = matrix.d_in / GROUP;
        for group in 0..groups {
            let first = group * GROUP;
            let weights: [&[W]; GROUP] = std::array::from_fn(|at| row(first + at));
            for (x, out) in x.chunks_exact(matrix.d_in).zip(out.chunks_exact_mut(columns)) {
                let x: [f32; GROUP] = std::array::from_fn(|at| x[first + at]);
                for column in 0..columns {
                    let mut sum = out[column];
                    for at in 0..GROUP {
                        sum = multiply_add::<FUSED>(x[at], weights[at][column].widen(), sum);
                    }
                    out[column] = sum;
                }
            }
        }
        for input in groups * GROUP..matrix.d_in {
            let weights = row(input);
            for (x, out) in x.chunks_exact(matrix.d_in).zip(out.chunks_exact_mut(columns)) {
                for (sum, weight) in out.iter_mut().zip(weights) {
                    *sum = multiply_add::<FUSED>(x[input], weight.widen(), *sum);
                }
            }
        }
    }

    /// Multiplies each row of the matrix with the inputs.
    #[inline(always)]
    fn by_output<const FUSED: bool>(self) {
        let Part { matrix, x, from, out, rows } = self;
        let columns = out.len() / rows;
        for column in 0..columns {
            let weights = &matrix.values[(from + column) * matrix.stride..][..matrix.d_in];
            for (row, x) in x.chunks_exact(matrix.d_in).enumerate() {
                out[row * columns + column] = dot::<W, FUSED>(x, weights);
            }
        }
    }
}

/// Computes the product of `x` with `w`, of the same length.
#[inline(always)]
fn dot<W: Stored, const FUSED: bool>(x: &[f32], w: &[W]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (x_lanes, w_lanes) = (x.chunks_exact(LANES), w.chunks_exact(LANES));
    let rest = x_lanes.remainder().iter().zip(w_lanes.remainder());
    let rest = rest.fold(0.0, |sum, (&x, w)| multiply_add::<FUSED>(x, w.widen(), sum));
    for (x, w) in x_lanes.zip(w_lanes) {
        for lane in 0..LANES {
            sums[lane] = multiply_add::<FUSED>(x[lane], w[lane].widen(), sums[lane]);
        }
    }
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0] + rest
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
            rows in 1_usize..10, d_in in 1_usize..70, d_out in 1_usize..90, gap in 0_usize..3,
        ) {
            let (x, w) = (numbers(rows * d_in, 1), numbers(d_in * d_out, 2));
            let shape = [d_in, d_out];
            let expected = product(&x, &w, shape);
            for order in [Order::ByInput, Order::ByOutput] {
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, |w| w), &expected);
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, bf16::from_f32), &expected);
                prop_assert_eq!(&stored(&x, &w, shape, order, gap, f16::from_f32), &expected);
            }
        }
    }

    #[test]
    fn a_large_product_is_the_same_on_any_number_of_threads() {
        let (d_in, d_out) = (300, 1500);
        let w: Vec<f32> = (0..d_in * d_out).map(|at| (at as f32 * 0.37).sin()).collect();
        for rows in [1, 3, 8] {
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
                let lone: Vec<f32> = x.chunks(d_in).flat_map(|row| matrix.multiply(row)).collect();
                assert_eq!(one, lone, "a row does not depend on the others");
            }
        }
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
