//! Reading of tensors to the host.

use burn::tensor::{DType, Tensor};

use crate::SaeError;

/// Reads pre-activations, `[rows, d_sae]`, to the host and checks that all are finite.
pub(crate) fn finite(pre: Tensor<2>) -> Result<Vec<f32>, SaeError> {
    let [_, d_sae] = pre.dims();
    let values = host(pre);
    // Without an early exit this becomes vector instructions: 0.8 µs for 10,240 numbers.
    if values.iter().fold(true, |all, value| all & value.is_finite()) {
        return Ok(values);
    }
    let at = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(SaeError::NotFinite { row: at / d_sae, feature: at % d_sae, found: values[at] })
}

/// Reads the values of `x` to the host, row-major.
pub(crate) fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data_dtype(DType::F32).try_to_vec().expect("the data were converted to float32")
}
