//! Weight matrices, in float32 or 16 bits, on a device or in the host's memory.

mod host;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

pub use host::HostMatrix;

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

    /// Computes `x · self`.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, float32
    /// - output: `[rows, d_out]`, float32
    pub(crate) fn multiply(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Device(weight) => nanoscope_kernels::multiply(x, weight),
            Self::Host(weight) => weight.multiply(x),
        }
    }

    /// The transposed matrix, which shares this one's memory.
    pub(crate) fn transposed(&self) -> Self {
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
    pub(crate) fn rows(&self, ids: &[u32], on_device: &Tensor<1, Int>) -> Tensor<2> {
        match self {
            Self::Device(weight) => {
                let rows = weight.clone().select(0, on_device.clone());
                if rows.dtype() == DType::F32 { rows } else { rows.cast(DType::F32) }
            }
            Self::Host(weight) => weight.rows(ids, &on_device.device()),
        }
    }

    /// The numbers in float32, row-major.
    pub(crate) fn to_tensor(&self, device: &Device) -> Tensor<2> {
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
