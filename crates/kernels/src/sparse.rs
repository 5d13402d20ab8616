use burn::tensor::{Tensor, TensorData};

use crate::flex::{self, AnyMatrix};
use crate::matrix_view::MatrixView;
use crate::simd::{Simd, WithSimd, multiply_add, run};
use crate::stored::Stored;
use crate::team::{each_chunk, threads_for};

/// Rows of few numbers that are not zero, in compressed sparse row form: row `r` has the entries
/// `indptr[r]..indptr[r + 1]`.
#[derive(Debug, Clone, Copy)]
pub struct SparseRows<'r> {
    /// The first entry of each row, and the number of entries at the end; `[rows + 1]`.
    pub indptr: &'r [usize],
    /// The column of each entry.
    pub indices: &'r [u32],
    /// The value of each entry.
    pub values: &'r [f32],
}

/// The number of products that are worth a thread.
const PER_THREAD: usize = 1 << 16;

/// Computes `rows · w` in float32, reading only the rows of `w` that have an entry. `None` if the rows of `w`
/// are not in flex's memory, one after another.
///
/// # Shapes
/// - `rows`: `[rows, d_in]`
/// - `w`: `[d_in, d_out]`
/// - output: `[rows, d_out]`, on the device of `w`
///
/// # Panics
/// If an index is not below `d_in`, or `indptr` is not ascending.
pub fn multiply_sparse(rows: SparseRows<'_>, w: &Tensor<2>) -> Option<Tensor<2>> {
    let [_, d_out] = w.dims();
    let product = flex::view(w, |w| match w {
        AnyMatrix::F32(w) => rows.multiply(w),
        AnyMatrix::BF16(w) => rows.multiply(w),
        AnyMatrix::F16(w) => rows.multiply(w),
    })??;
    let shape = [rows.indptr.len() - 1, d_out];
    Some(Tensor::from_data(TensorData::new(product, shape), &w.device()))
}

impl SparseRows<'_> {
    pub(crate) fn multiply<W: Stored>(&self, w: MatrixView<'_, W>) -> Option<Vec<f32>> {
        let [d_in, d_out] = w.dims();
        if d_in > 0 {
            w.row(0)?;
        }
        let mut out = vec![0.0_f32; (self.indptr.len() - 1) * d_out];
        let threads = threads_for(self.indices.len() * d_out, PER_THREAD);
        each_chunk(&mut out, d_out, threads, |at, out| {
            let entries = self.indptr[at]..self.indptr[at + 1];
            let (indices, values) = (&self.indices[entries.clone()], &self.values[entries]);
            run(Row { w, indices, values, out });
        });
        Some(out)
    }
}

/// One row of a product; `out` is filled with zeros.
struct Row<'a, 'w, W> {
    w: MatrixView<'w, W>,
    indices: &'a [u32],
    values: &'a [f32],
    out: &'a mut [f32],
}

impl<W: Stored> WithSimd for Row<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (&index, &value) in self.indices.iter().zip(self.values) {
            let weights = self.w.row(index as usize).expect("the order was checked");
            for (sum, weight) in self.out.iter_mut().zip(weights) {
                *sum = multiply_add::<S>(value, weight.widen(), *sum);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use nanoscope_testing::test_device;

    use super::*;
    use crate::to_host;

    #[test]
    fn products_are_those_of_the_dense_rows() {
        let device = test_device();
        let (d_in, d_out) = (300, 70);
        let w = (0..d_in * d_out).map(|at| (at * 7 % 13) as f32 - 6.0).collect::<Vec<_>>();
        let w = Tensor::<2>::from_data(TensorData::new(w, [d_in, d_out]), &device);
        // An empty row, a short one, and one that is as wide as the matrix, many times.
        let (mut indptr, mut indices, mut values) = (vec![0, 0], vec![3_u32, 299], vec![2.0, -1.0]);
        indptr.push(2);
        for _ in 0..10 {
            indices.extend(0..d_in as u32);
            values.extend((0..d_in).map(|at| (at % 5) as f32));
            indptr.push(indices.len());
        }
        let rows = SparseRows { indptr: &indptr, indices: &indices, values: &values };
        let mut dense = vec![0.0; (indptr.len() - 1) * d_in];
        for row in 0..indptr.len() - 1 {
            for at in indptr[row]..indptr[row + 1] {
                dense[row * d_in + indices[at] as usize] = values[at];
            }
        }
        let dense = TensorData::new(dense, [indptr.len() - 1, d_in]);
        let expected = to_host(Tensor::<2>::from_data(dense, &device).matmul(w.clone()));

        for dtype in [DType::F32, DType::BF16, DType::F16] {
            if !device.supports_dtype(dtype) {
                continue;
            }
            let Some(found) = multiply_sparse(rows, &w.clone().cast(dtype)) else {
                assert_ne!(device, Device::flex());
                return;
            };
            assert_eq!(to_host(found), expected);
        }
        // A matrix by output has no rows to read.
        assert!(multiply_sparse(rows, &w.transpose().transpose()).is_some());
        let turned = Tensor::<2>::zeros([d_out, d_in], &device).transpose();
        assert!(multiply_sparse(rows, &turned).is_none());
    }
}
