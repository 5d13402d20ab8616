use burn::tensor::Tensor;
use nanoscope_kernels::Matrix;

/// A linear layer, with or without a bias.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    pub(crate) weight: Matrix, // [d_in, d_out]
    pub(crate) bias: Option<Tensor<1>>,
}

impl Linear {
    /// Computes `x · weight + bias` for every position.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, d_in]`
    /// - output: `[batch, seq, d_out]`
    pub(crate) fn apply(&self, x: Tensor<3>) -> Tensor<3> {
        let y = multiply(x, &self.weight);
        match &self.bias {
            Some(bias) => y + bias.clone().unsqueeze(),
            None => y,
        }
    }
}

/// Computes `x · w` for every position.
///
/// # Shapes
/// - `x`: `[batch, seq, d_in]`
/// - `w`: `[d_in, d_out]`
/// - output: `[batch, seq, d_out]`
pub(crate) fn multiply(x: Tensor<3>, w: &Matrix) -> Tensor<3> {
    let [batch, seq, d_in] = x.dims();
    let [_, d_out] = w.dims();
    w.multiply(x.reshape([batch * seq, d_in])).reshape([batch, seq, d_out])
}

/// Computes `x · w` for every position, of a small matrix.
///
/// # Shapes
/// - `x`: `[batch, seq, d_in]`
/// - `w`: `[d_in, d_out]`
/// - output: `[batch, seq, d_out]`
pub(crate) fn linear(x: Tensor<3>, w: &Tensor<2>) -> Tensor<3> {
    let [batch, seq, d_in] = x.dims();
    let [_, d_out] = w.dims();
    x.reshape([batch * seq, d_in]).matmul(w.clone()).reshape([batch, seq, d_out])
}
