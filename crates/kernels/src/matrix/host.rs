use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData, bf16, f16};
use rayon::prelude::*;

use crate::matrix::quantize::quantize;
use crate::{MatrixView, Order, SparseRows, Stored, to_host, widen};

/// A weight matrix in the host's memory, in the type and orientation of its file, which can be mapped, or in
/// 8 bits with a factor for each row in memory.
///
/// Clones share the memory.
#[derive(Debug, Clone)]
pub struct HostMatrix {
    data: Arc<TensorData>,
    /// Rows and columns in memory, row-major.
    stored: [usize; 2],
    /// True if the rows in memory are the matrix's columns, as of a linear layer in PyTorch's order.
    transposed: bool,
    /// The factor of each row in memory, of 8-bit numbers.
    factors: Option<Arc<Vec<f32>>>,
}

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
        if !supported {
            return None;
        }
        let (stored, dtype) = ([rows, columns], data.dtype());
        // Tensors of these numbers then share their memory.
        let data = TensorData::from_bytes(data.into_bytes().shared(), stored, dtype);
        Some(Self { data: Arc::new(data), stored, transposed, factors: None })
    }

    /// Rounds finite numbers to 8 bits: each row in memory to multiples of a 127th of its largest magnitude. A
    /// row is an output of a linear layer in PyTorch's order, or an entry of a table.
    ///
    /// # Shapes
    /// - `values`: row-major, `[d_out, d_in]` if `transposed`, otherwise `[d_in, d_out]`
    ///
    /// # Panics
    /// If the number of values is not that of `stored`.
    pub fn quantized(values: &[f32], stored: [usize; 2], transposed: bool) -> Self {
        let [rows, columns] = stored;
        assert_eq!(values.len(), rows * columns, "values of {rows} rows of {columns}");
        let (numbers, factors) = quantize(values, columns);
        let data = Arc::new(TensorData::new(numbers, [rows, columns]));
        Self { data, stored, transposed, factors: Some(Arc::new(factors)) }
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The shape, `[d_in, d_out]`.
    pub fn dims(&self) -> [usize; 2] {
        let [rows, columns] = self.stored;
        if self.transposed { [columns, rows] } else { [rows, columns] }
    }

    /// The order of the numbers in memory.
    fn order(&self) -> Order {
        if self.transposed { Order::ByOutput } else { Order::ByInput }
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
        match self.dtype() {
            DType::BF16 => self.multiply_as::<bf16>(x),
            DType::F16 => self.multiply_as::<f16>(x),
            DType::I8 => self.multiply_as::<i8>(x),
            _ => self.multiply_as::<f32>(x),
        }
    }

    /// Computes `rows · self`, reading only the rows that have an entry; `None` if they are not one after
    /// another.
    pub(super) fn multiply_sparse(
        &self,
        rows: SparseRows<'_>,
        device: &Device,
    ) -> Option<Tensor<2>> {
        let out = match self.dtype() {
            DType::BF16 => self.multiply_sparse_as::<bf16>(rows),
            DType::F16 => self.multiply_sparse_as::<f16>(rows),
            DType::I8 => self.multiply_sparse_as::<i8>(rows),
            _ => self.multiply_sparse_as::<f32>(rows),
        }?;
        let shape = [rows.indptr.len() - 1, self.dims()[1]];
        Some(Tensor::from_data(TensorData::new(out, shape), device))
    }

    fn multiply_sparse_as<W: Stored>(&self, rows: SparseRows<'_>) -> Option<Vec<f32>> {
        if self.transposed {
            return None;
        }
        let matrix = self.view::<W>();
        let Some(factors) = &self.factors else { return rows.multiply(matrix) };
        let entries = rows.indices.iter().zip(rows.values);
        let values: Vec<f32> =
            entries.map(|(&index, value)| value * factors[index as usize]).collect();
        SparseRows { values: &values, ..rows }.multiply(matrix)
    }

    /// Looks up rows of the matrix, in float32.
    pub(super) fn rows(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        match self.dtype() {
            DType::BF16 => self.rows_as::<bf16>(ids, device),
            DType::F16 => self.rows_as::<f16>(ids, device),
            DType::I8 => self.rows_as::<i8>(ids, device),
            _ => self.rows_as::<f32>(ids, device),
        }
    }

    /// The numbers in their type, 8-bit ones in float32.
    ///
    /// # Shapes
    /// - output: `[d_in, d_out]` by input, `[d_out, d_in]` by output
    pub(super) fn to_data(&self, order: Order) -> TensorData {
        if self.order() == order && self.factors.is_none() {
            return (*self.data).clone();
        }
        let rows = match order {
            Order::ByInput => self.clone(),
            Order::ByOutput => self.transposed(),
        };
        let numbers = TensorData::new(rows.to_vec(), rows.dims());
        // A number of 16 bits is the same after float32.
        if self.factors.is_some() { numbers } else { numbers.convert_dtype(self.dtype()) }
    }

    /// The numbers of `[d_in, d_out]` in float32, row-major.
    pub(super) fn to_vec(&self) -> Vec<f32> {
        let [d_in, d_out] = self.dims();
        let stored = match self.dtype() {
            DType::BF16 => self.stored_numbers::<bf16>(),
            DType::F16 => self.stored_numbers::<f16>(),
            DType::I8 => self.stored_numbers::<i8>(),
            _ => self.stored_numbers::<f32>(),
        };
        if !self.transposed {
            return stored;
        }
        (0..d_in).flat_map(|i| (0..d_out).map(move |o| o * d_in + i)).map(|at| stored[at]).collect()
    }

    /// The numbers in the order of memory, in float32.
    fn stored_numbers<W: Stored>(&self) -> Vec<f32> {
        let [_, columns] = self.stored;
        let mut widened = widen(self.values::<W>());
        if let Some(factors) = &self.factors {
            let rows = widened.par_chunks_mut(columns).zip(&**factors);
            rows.for_each(|(row, factor)| row.iter_mut().for_each(|x| *x *= factor));
        }
        widened
    }

    fn values<W: Stored>(&self) -> &[W] {
        self.data.as_slice().expect("the type was matched")
    }

    fn view<W: Stored>(&self) -> MatrixView<'_, W> {
        let [_, stride] = self.stored;
        let view = MatrixView::new(self.values::<W>(), self.dims(), self.order(), stride);
        view.expect("the numbers have this shape")
    }

    fn multiply_as<W: Stored>(&self, x: Tensor<2>) -> Tensor<2> {
        let [rows, _] = x.dims();
        let device = x.device();
        // A gradient passes through burn's own product only.
        if device.is_autodiff() && self.dtype() == DType::F32 {
            let numbers = Tensor::from_data((*self.data).clone(), &device);
            return x.matmul(if self.transposed { numbers.transpose() } else { numbers });
        }
        let matrix = self.view::<W>();
        if device.is_autodiff() {
            return matrix.multiply_with_gradient(&x, self.factors.as_deref().map(Vec::as_slice));
        }
        let mut x = to_host(x);
        if !self.transposed {
            self.apply_factors(&mut x);
        }
        let mut out = matrix.multiply(&x);
        if self.transposed {
            self.apply_factors(&mut out);
        }
        let [_, d_out] = self.dims();
        Tensor::from_data(TensorData::new(out, [rows, d_out]), &device)
    }

    /// Multiplies each row of `numbers` by the factors of the rows in memory, if there are any.
    fn apply_factors(&self, numbers: &mut [f32]) {
        let Some(factors) = &self.factors else { return };
        let rows = numbers.par_chunks_exact_mut(factors.len()).with_min_len(64);
        rows.for_each(|row| {
            row.iter_mut().zip(factors.iter()).for_each(|(number, factor)| *number *= factor);
        });
    }

    fn rows_as<W: Stored>(&self, ids: &[u32], device: &Device) -> Tensor<2> {
        let [_, width] = self.dims();
        let mut rows = self.view::<W>().rows(ids);
        match &self.factors {
            Some(_) if self.transposed => self.apply_factors(&mut rows),
            Some(factors) => {
                for (row, &id) in rows.chunks_exact_mut(width).zip(ids) {
                    for number in row {
                        *number *= factors[id as usize];
                    }
                }
            }
            None => {}
        }
        Tensor::from_data(TensorData::new(rows, [ids.len(), width]), device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A matrix of `[5, 3]` in each type and orientation that holds it exactly, and the same in float32.
    fn matrices() -> Vec<(HostMatrix, Tensor<2>)> {
        let device = nanoscope_testing::test_device();
        let numbers: Vec<f32> = (0..15).map(|n| (n as f32 - 7.0) / 4.0).collect();
        let expected = Tensor::<2>::from_data(TensorData::new(numbers.clone(), [5, 3]), &device);
        let turned = expected.clone().transpose().into_data().iter::<f32>().collect::<Vec<_>>();
        let mut matrices = Vec::new();
        for (transposed, numbers, shape) in [(false, &numbers, [5, 3]), (true, &turned, [3, 5])] {
            for dtype in [DType::F32, DType::BF16, DType::F16] {
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

    #[test]
    fn to_data_gives_either_order_in_the_stored_type() {
        for (matrix, expected) in matrices() {
            let turned = expected.clone().transpose();
            for (order, expected) in [(Order::ByInput, &expected), (Order::ByOutput, &turned)] {
                let expected = expected.to_data().convert_dtype(matrix.dtype());
                assert_eq!(matrix.to_data(order), expected, "{matrix:?}, {order:?}");
            }
        }
        // Multiples of a 127th of the largest of a row, which 8 bits hold exactly.
        let matrix = HostMatrix::quantized(&[1.0, -5.0, 127.0, 254.0, 2.0, 0.0], [2, 3], true);
        let by_output = TensorData::from([[1.0_f32, -5.0, 127.0], [254.0, 2.0, 0.0]]);
        assert_eq!(matrix.to_data(Order::ByOutput), by_output);
        let by_input = TensorData::from([[1.0_f32, 254.0], [-5.0, 2.0], [127.0, 0.0]]);
        assert_eq!(matrix.to_data(Order::ByInput), by_input);
    }

    #[test]
    fn a_gradient_passes_through_a_matrix_of_any_type() {
        let device = nanoscope_testing::test_device().autodiff();
        for (matrix, expected) in matrices() {
            let x = Tensor::<2>::ones([2, 5], &device).require_grad();
            let product = matrix.multiply(x.clone());
            assert_eq!(
                product.to_data(),
                Tensor::ones([2, 5], &expected.device()).matmul(expected.clone()).into_data()
            );
            let gradients = product.sum().backward();
            let sums = expected.sum_dim(1).into_data().try_into_vec::<f32>().unwrap();
            let gradient = x.grad(&gradients).unwrap().into_data().try_into_vec::<f32>().unwrap();
            assert_eq!(gradient, [&sums[..], &sums[..]].concat(), "{matrix:?}");
        }
    }

    #[test]
    fn in_8_bits_products_and_rows_are_those_of_the_rounded_numbers() {
        let device = nanoscope_testing::test_device();
        let [d_in, d_out] = [70, 40];
        let numbers: Vec<f32> = (0..d_in * d_out).map(|n| (n as f32 * 0.37).sin()).collect();
        for transposed in [false, true] {
            let stored = if transposed { [d_out, d_in] } else { [d_in, d_out] };
            let matrix = HostMatrix::quantized(&numbers, stored, transposed);
            assert_eq!((matrix.dtype(), matrix.dims()), (DType::I8, [d_in, d_out]));
            let data = TensorData::new(matrix.to_vec(), [d_in, d_out]);
            let rounded = Tensor::<2>::from_data(data, &device);
            for rows in [1, 3, 8, 9] {
                let x: Vec<f32> = (0..rows * d_in).map(|n| (n as f32 * 0.11).cos()).collect();
                let x = Tensor::<2>::from_data(TensorData::new(x, [rows, d_in]), &device);
                let product = matrix.multiply(x.clone());
                let off = (product - x.matmul(rounded.clone())).abs().max().into_scalar::<f32>();
                assert!(off < 1e-5, "{rows} rows: {off}");
            }
            let ids = Tensor::<1, burn::tensor::Int>::from_ints([39, 0, 7], &device);
            let rows = matrix.rows(&[39, 0, 7], &device);
            assert_eq!(rows.into_data(), rounded.clone().select(0, ids).into_data());
            let sparse = SparseRows {
                indptr: &[0, 2, 2, 3],
                indices: &[1, 69, 5],
                values: &[0.5, -2.0, 3.0],
            };
            match matrix.multiply_sparse(sparse, &device) {
                None => assert!(transposed),
                Some(product) => {
                    let row = |at: usize| rounded.clone().slice_dim(0, at..at + 1);
                    let first = row(1) * 0.5 - row(69) * 2.0;
                    let expected = Tensor::cat(vec![first, row(0) * 0.0, row(5) * 3.0], 0);
                    let off = (product - expected).abs().max().into_scalar::<f32>();
                    assert!(off < 1e-6, "{off}");
                }
            }
            let turned = matrix.transposed();
            let ids = Tensor::<1, burn::tensor::Int>::from_ints([31, 2], &device);
            let rows = turned.rows(&[31, 2], &device).into_data();
            assert_eq!(rows, rounded.transpose().select(0, ids).into_data());
        }
    }
}
