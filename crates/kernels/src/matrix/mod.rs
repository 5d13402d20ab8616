//! Weight matrices, in float32 or fewer bits, on a device or in the host's memory.

mod host;
mod quantize;

use std::ops::Range;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

pub use host::HostMatrix;

use crate::flex::{self, AnyMatrix};
use crate::{Order, SparseRows, multiply, multiply_sparse, to_host};

/// A weight matrix of `[d_in, d_out]`, which multiplies activations from the right.
///
/// It computes in float32, whatever the type of its numbers.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "a model has some hundreds; the size depends on the backends"
)]
pub enum Matrix {
    /// On a device.
    Device(Tensor<2>),
    /// In the host's memory, as its file has it.
    Host(HostMatrix),
}

/// Returns whether tensors of `device` are in the host's memory and computed by its own threads.
pub fn is_host(device: &Device) -> bool {
    // Only backends that compute on a device have memory pools.
    device.memory_pool_usage().is_none()
}

impl Matrix {
    /// The shape, `[d_in, d_out]`.
    pub fn dims(&self) -> [usize; 2] {
        match self {
            Self::Device(weight) => weight.dims(),
            Self::Host(weight) => weight.dims(),
        }
    }

    /// The type of the numbers.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Device(weight) => weight.dtype(),
            Self::Host(weight) => weight.dtype(),
        }
    }

    /// Computes `x · self`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, float32
    /// - output: `[rows, d_out]`, float32
    pub fn multiply(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Device(weight) => multiply(x, weight),
            Self::Host(weight) => weight.multiply(x),
        }
    }

    /// The transposed matrix, which shares this one's memory.
    pub fn transposed(&self) -> Self {
        match self {
            Self::Device(weight) => Self::Device(weight.clone().transpose()),
            Self::Host(weight) => Self::Host(weight.transposed()),
        }
    }

    /// Looks up rows, as of an embedding.
    ///
    /// # Shapes
    /// - `ids`: `[n]`, the same as on the device
    /// - output: `[n, d_out]`, float32
    pub fn rows(&self, ids: &[u32], on_device: &Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Device(weight) => {
                // burn would copy all of a transposed matrix.
                let found = flex::view(weight, |weight| match weight {
                    AnyMatrix::F32(weight) => weight.rows(ids),
                    AnyMatrix::BF16(weight) => weight.rows(ids),
                    AnyMatrix::F16(weight) => weight.rows(ids),
                });
                if let Some(rows) = found {
                    let [_, d_out] = weight.dims();
                    let data = TensorData::new(rows, [ids.len(), d_out]);
                    return Tensor::from_data(data, &weight.device());
                }
                let rows = weight.clone().select(0, on_device.clone());
                if rows.dtype() == DType::F32 { rows } else { rows.cast(DType::F32) }
            }
            Self::Host(weight) => weight.rows(ids, &on_device.device()),
        }
    }

    /// Computes `rows · self`, reading only the rows of this matrix that have an entry. `None` if they are not
    /// in the host's memory, one after another.
    ///
    /// # Shapes
    /// - `rows`: `[rows, d_in]`
    /// - output: `[rows, d_out]`, float32, on `device`
    ///
    /// # Panics
    /// As [`multiply_sparse`].
    pub fn multiply_sparse(&self, rows: SparseRows<'_>, device: &Device) -> Option<Tensor<2>> {
        match self {
            Self::Device(weight) => multiply_sparse(rows, weight),
            Self::Host(weight) => weight.multiply_sparse(rows, device),
        }
    }

    /// Rows in a range, in float32.
    ///
    /// # Shapes
    /// - output: `[rows, d_out]`, on `device`
    pub fn row_range(&self, rows: Range<usize>, device: &Device) -> Tensor<2> {
        match self {
            Self::Device(weight) => {
                let rows = weight.clone().slice_dim(0, rows);
                if rows.dtype() == DType::F32 { rows } else { rows.cast(DType::F32) }
            }
            Self::Host(weight) => {
                weight.rows(&(rows.start as u32..rows.end as u32).collect::<Vec<_>>(), device)
            }
        }
    }

    /// Rounds the numbers to 8 bits in the host's memory, with a factor for each input or each output, after
    /// `order`: the rows in memory. See [`HostMatrix::quantized`].
    pub fn quantized(&self, order: Order) -> Self {
        let (this, transposed) = match order {
            Order::ByInput => (self.clone(), false),
            Order::ByOutput => (self.transposed(), true),
        };
        let values = match &this {
            Self::Device(weight) => to_host(weight.clone().cast(DType::F32)),
            Self::Host(weight) => weight.to_vec(),
        };
        Self::Host(HostMatrix::quantized(&values, this.dims(), transposed))
    }

    /// The numbers in their type, 8-bit ones in float32, as they are in a file with the matrix in `order`.
    ///
    /// # Shapes
    /// - output: `[d_in, d_out]` by input, `[d_out, d_in]` by output
    pub fn to_data(&self, order: Order) -> TensorData {
        match (self, order) {
            (Self::Device(weight), Order::ByInput) => weight.clone().into_data(),
            (Self::Device(weight), Order::ByOutput) => weight.clone().transpose().into_data(),
            (Self::Host(weight), _) => weight.to_data(order),
        }
    }

    /// The numbers in float32, row-major.
    pub fn to_tensor(&self, device: &Device) -> Tensor<2> {
        match self {
            Self::Device(weight) if weight.dtype() == DType::F32 => weight.clone(),
            Self::Device(weight) => weight.clone().cast(DType::F32),
            Self::Host(weight) => {
                let [d_in, d_out] = weight.dims();
                Tensor::from_data(TensorData::new(weight.to_vec(), [d_in, d_out]), device)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_either_order_and_of_a_part() {
        let device = nanoscope_testing::test_device();
        let whole: Vec<f32> = (0..42).map(|n| n as f32 - 20.0).collect();
        let whole = Tensor::<2>::from_data(TensorData::new(whole, [6, 7]), &device);
        let part = whole.clone().slice([1..5, 2..6]);
        let (ids, on_device) = ([3_u32, 0, 3], Tensor::<1, Int>::from_ints([3, 0, 3], &device));
        for tensor in [whole.clone(), whole.transpose(), part.clone(), part.transpose()] {
            let expected = tensor.clone().select(0, on_device.clone()).into_data();
            for dtype in [DType::F32, DType::BF16, DType::F16] {
                let rows = Matrix::Device(tensor.clone().cast(dtype)).rows(&ids, &on_device);
                assert_eq!(rows.into_data(), expected, "{dtype:?}");
            }
        }
    }
}
