use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData, bf16, f16};
use nanoscope_kernels::{MatrixView, Order, Stored, to_host, widen};

/// A weight matrix in the host's memory, in the type and orientation of its file, which can be mapped.
///
/// Clones share the memory.
#[derive(Debug, Clone)]
pub struct HostMatrix {
    data: Arc<TensorData>,
    /// Rows and columns in memory, row-major.
    stored: [usize; 2],
    /// True if the rows in memory are the matrix's columns, as of a linear layer in PyTorch's order.
    transposed: bool,
}

/// The largest number of rows of activations that are multiplied by the matrix as it is. More are multiplied
/// by a part of the matrix that was converted to float32.
const MAX_ROWS: usize = 8;

/// Number of values of the matrix that are converted to float32 at once.
const CAST_CHUNK: usize = 1 << 20;

impl HostMatrix {
    /// Creates a matrix of `[d_in, d_out]` from finite numbers in its file's order: `[d_out, d_in]` if
    /// `transposed`. Types other than float32, bfloat16 and float16, and numbers that are not aligned, give
    /// `None`.
    pub fn new(data: TensorData, transposed: bool) -> Option<Self> {
        let &[rows, columns] = data.shape().as_slice() else {
            return None;
        };
        // Numbers of a mapped file can lie anywhere.
        let supported = match data.dtype() {
            DType::F32 => data.as_slice::<f32>().is_ok(),
            DType::BF16 => data.as_slice::<bf16>().is_ok(),
            DType::F16 => data.as_slice::<f16>().is_ok(),
            _ => false,
        };
        supported.then(|| Self { data: Arc::new(data), stored: [rows, columns], transposed })
    }

    /// The shape, `[d_in, d_out]`.
    pub fn dims(&self) -> [usize; 2] {
        let [rows, columns] = self.stored;
        if self.transposed { [columns, rows] } else { [rows, columns] }
    }

    pub(super) fn transposed(&self) -> Self {
        Self { transposed: !self.transposed, ..self.clone() }
    }

    /// Computes `x · self`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, float32
    /// - output: `[rows, d_out]`, float32
    pub(super) fn multiply(&self, x: Tensor<2>) -> Tensor<2> {
        match self.data.dtype() {
            DType::BF16 => self.multiply_as::<bf16>(x),
            DType::F16 => self.multiply_as::<f16>(x),
            _ => self.multiply_as::<f32>(x),
        }
    }

    /// Looks up rows of the matrix, in float32.
    pub(super) fn rows(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        match self.data.dtype() {
            DType::BF16 => self.rows_as::<bf16>(ids, device),
            DType::F16 => self.rows_as::<f16>(ids, device),
            _ => self.rows_as::<f32>(ids, device),
        }
    }

    /// The numbers of `[d_in, d_out]` in float32, row-major.
    pub(super) fn to_vec(&self) -> Vec<f32> {
        let [d_in, d_out] = self.dims();
        let stored: Vec<f32> = match self.data.dtype() {
            DType::BF16 => widen(self.values::<bf16>()),
            DType::F16 => widen(self.values::<f16>()),
            _ => self.values::<f32>().to_vec(),
        };
        if !self.transposed {
            return stored;
        }
        (0..d_in).flat_map(|i| (0..d_out).map(move |o| o * d_in + i)).map(|at| stored[at]).collect()
    }

    fn values<W: Stored>(&self) -> &[W] {
        self.data.as_slice().expect("the type was matched")
    }

    fn multiply_as<W: Stored>(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, _] = x.dims();
        let device = x.device();
        // A gradient passes through burn's own product only.
        if rows <= MAX_ROWS && !device.is_autodiff() {
            let order = if self.transposed { Order::ByOutput } else { Order::ByInput };
            let [_, stride] = self.stored;
            let matrix = MatrixView::new(self.values::<W>(), self.dims(), order, stride);
            let out = matrix.expect("the numbers have this shape").multiply(&to_host(x));
            let [_, d_out] = self.dims();
            return Tensor::from_data(TensorData::new(out, [rows, d_out]), &device);
        }
        self.multiply_in_parts::<W>(&x)
    }

    /// Computes products of many rows: a part of the matrix at a time is converted to float32.
    fn multiply_in_parts<W: Stored>(&self, x: &Tensor<2>) -> Tensor<2> {
        let [stored_rows, stored_columns] = self.stored;
        let at_once = (CAST_CHUNK / stored_columns).max(1);
        let part = |values: &[W]| {
            let rows = values.len() / stored_columns;
            let widened = widen(values);
            let data = TensorData::new(widened, [rows, stored_columns]);
            Tensor::<2>::from_data(data, &x.device())
        };
        let parts = self.values::<W>().chunks(at_once * stored_columns);
        if self.transposed {
            let products = parts.map(|values| x.clone().matmul(part(values).transpose()));
            return Tensor::cat(products.collect(), 1);
        }
        let first_rows = (0..stored_rows).step_by(at_once);
        let products = parts.zip(first_rows).map(|(values, first)| {
            let part = part(values);
            let [rows, _] = part.dims();
            x.clone().slice_dim(1, first..first + rows).matmul(part)
        });
        products.reduce(|sum, product| sum + product).expect("a matrix has rows")
    }

    fn rows_as<W: Stored>(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        let [stored_rows, stored_columns] = self.stored;
        let values = self.values::<W>();
        let [_, width] = self.dims();
        let mut rows = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            let id = id as usize;
            if self.transposed {
                let column = (0..stored_rows).map(|row| values[row * stored_columns + id].widen());
                rows.extend(column);
            } else {
                let row = &values[id * stored_columns..(id + 1) * stored_columns];
                rows.extend(row.iter().map(|value| value.widen()));
            }
        }
        Tensor::from_data(TensorData::new(rows, [ids.len(), width]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of `[5, 3]` in each type and orientation, and the same in float32.
    fn matrices() -> Vec<(HostMatrix, Tensor<2>)> {
        let device = nanoscope_testing::test_device();
        let numbers: Vec<f32> = (0..15).map(|n| (n as f32 - 7.0) / 4.0).collect();
        let expected = Tensor::<2>::from_data(TensorData::new(numbers.clone(), [5, 3]), &device);
        let turned = expected.clone().transpose().into_data().iter::<f32>().collect::<Vec<_>>();
        let mut matrices = Vec::new();
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            for (transposed, numbers, shape) in [(false, &numbers, [5, 3]), (true, &turned, [3, 5])]
            {
                let data = TensorData::new(numbers.clone(), shape).convert_dtype(dtype);
                matrices.push((HostMatrix::new(data, transposed).unwrap(), expected.clone()));
            }
        }
        matrices
    }

    #[test]
    fn products_and_rows_are_those_of_the_matrix_in_float32() {
        let device = nanoscope_testing::test_device();
        for (matrix, expected) in matrices() {
            assert_eq!(matrix.dims(), [5, 3]);
            assert_eq!(matrix.to_vec(), expected.to_data().iter::<f32>().collect::<Vec<_>>());
            for rows in [1, 2, 9] {
                let x: Vec<f32> = (0..rows * 5).map(|n| n as f32 - 3.0).collect();
                let x = Tensor::<2>::from_data(TensorData::new(x, [rows, 5]), &device);
                let product = matrix.multiply(x.clone()).into_data();
                assert_eq!(product, x.matmul(expected.clone()).into_data(), "{matrix:?}");
            }
            let rows = matrix.rows(&[4, 0], &device).into_data();
            let ids = Tensor::<1, burn::tensor::Int>::from_ints([4, 0], &device);
            assert_eq!(rows, expected.select(0, ids).into_data());
        }
    }
}
