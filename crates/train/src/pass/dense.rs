use nanoscope_kernels::has_kernels;

use crate::parameters::{Parameters, Weight};
use crate::pass::autodiff::autodiff;
use crate::pass::closed_form::{SPARSE_SHARE, closed_form};
use crate::pass::losses::{Dense, Pass};

/// Computes the loss of the activations `x` and its gradients: in closed form in the host's memory,
/// by automatic differentiation on other backends.
///
/// # Shapes
/// - `x`: `[rows, d_in]` row-major
pub(crate) fn dense(loss: Dense, parameters: &Parameters, x: &[f32]) -> Pass {
    let on_host = has_kernels(&parameters.get(Weight::Encoder));
    let pass = on_host.then(|| closed_form(loss, parameters, x, SPARSE_SHARE)).flatten();
    pass.unwrap_or_else(|| autodiff(loss, parameters, x))
}
