//! Products with a matrix in the host's memory through which gradients pass.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};

use crate::matrix_view::{MatrixView, Order};
use crate::simd::{Simd, WithSimd, run};
use crate::stored::Stored;
use crate::team::{each_chunk, threads_for};

/// The number of the matrix's numbers that are in float32 at once: 4 MB.
const PART: usize = 1 << 20;
/// The number of numbers that are worth a thread.
const PER_THREAD: usize = 1 << 16;
/// The number of rows in memory that a thread converts at once.
const ROWS_AT_ONCE: usize = 16;

impl<W: Stored> MatrixView<'_, W> {
    /// Computes `x · self` by burn's product with parts of the columns. With `factors`, each row in memory is
    /// multiplied by its own.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, float32
    /// - `factors`: `[d_in]` or `[d_out]`, after the order
    /// - output: `[rows, d_out]`, float32
    pub(crate) fn multiply_with_gradient(
        &self,
        x: &Tensor<2>,
        factors: Option<&[f32]>,
    ) -> Tensor<2> {
        let device = x.device();
        let width = (PART / self.d_in).max(1);
        let parts = (0..self.d_out).step_by(width).map(|first| {
            let columns = first..(first + width).min(self.d_out);
            x.clone().matmul(self.widened_columns(columns, factors, &device))
        });
        Tensor::cat(parts.collect(), 1)
    }

    /// Converts columns of the matrix to float32: `[d_in, columns]`.
    fn widened_columns(
        &self,
        columns: Range<usize>,
        factors: Option<&[f32]>,
        device: &Device,
    ) -> Tensor<2> {
        let count = columns.len();
        let (rows, from, len) = match self.order {
            Order::ByInput => (0..self.d_in, columns.start, count),
            Order::ByOutput => (columns, 0, self.d_in),
        };
        let shape = [rows.len(), len];
        let mut numbers = vec![0.0_f32; rows.len() * len];
        let threads = threads_for(numbers.len(), PER_THREAD);
        each_chunk(&mut numbers, ROWS_AT_ONCE * len, threads, |at, out| {
            for (out, row) in out.chunks_exact_mut(len).zip(rows.start + at * ROWS_AT_ONCE..) {
                let from = row * self.stride + from;
                let factor = factors.map_or(1.0, |factors| factors[row]);
                run(Widen { out, values: &self.values[from..from + len], factor });
            }
        });
        let part = Tensor::from_data(TensorData::new(numbers, shape), device);
        if self.order == Order::ByOutput { part.transpose() } else { part }
    }
}

/// Converts numbers to float32, times a factor.
struct Widen<'a, W> {
    out: &'a mut [f32],
    values: &'a [W],
    factor: f32,
}

impl<W: Stored> WithSimd for Widen<'_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (out, value) in self.out.iter_mut().zip(self.values) {
            *out = value.widen() * self.factor;
        }
    }
}
