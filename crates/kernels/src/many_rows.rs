//! Products of many rows with a matrix of fewer bits, of which a part at a time is in float32.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::host::to_host;
use crate::matrix_view::{MatrixView, Order};
use crate::simd::{Simd, WithSimd, run};
use crate::stored::Stored;

/// The number of a part's numbers: 512 KB of float32, which stay in a thread's own cache until they are
/// multiplied. With many rows a part is larger, because each is multiplied with all of them.
const PART: usize = 1 << 17;
const MAX_PART: usize = 1 << 20;
/// The number of rows from which parts grow.
const FEW_ROWS: usize = 256;

impl<W: Stored> MatrixView<'_, W> {
    /// Computes `x · self` by burn's product with parts of the columns, which are converted to float32 and
    /// multiplied on all threads. With `factors`, each row in memory is multiplied by its own.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, float32
    /// - `factors`: `[d_in]` or `[d_out]`, after the order
    /// - output: `[rows, d_out]`, float32
    pub(crate) fn multiply_many(&self, x: &Tensor<2>, factors: Option<&[f32]>) -> Tensor<2> {
        let ([rows, _], device) = (x.dims(), x.device());
        let at_once = (PART * rows.div_ceil(FEW_ROWS)).min(MAX_PART);
        let width = (at_once / self.d_in).max(1);
        let firsts: Vec<usize> = (0..self.d_out).step_by(width).collect();
        let product = |&first: &usize| {
            let columns = first..(first + width).min(self.d_out);
            x.clone().matmul(self.widened_columns(columns, factors, &device))
        };
        // Autodiff's graph is made by one thread.
        if device.is_autodiff() {
            return Tensor::cat(firsts.iter().map(product).collect(), 1);
        }
        let parts: Vec<Vec<f32>> = firsts.par_iter().map(|at| to_host(product(at))).collect();
        let mut out = vec![0.0_f32; rows * self.d_out];
        out.par_chunks_mut(self.d_out).enumerate().for_each(|(row, out)| {
            for (out, part) in out.chunks_mut(width).zip(&parts) {
                out.copy_from_slice(&part[row * out.len()..(row + 1) * out.len()]);
            }
        });
        Tensor::from_data(TensorData::new(out, [rows, self.d_out]), &device)
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
        for (out, row) in numbers.chunks_exact_mut(len).zip(rows) {
            let from = row * self.stride + from;
            let factor = factors.map_or(1.0, |factors| factors[row]);
            run(Widen { out, values: &self.values[from..from + len], factor });
        }
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
