use burn::tensor::Tensor;
use burn::tensor::activation::{gelu, relu, silu};
use nanoscope_hooks::{HookPoint, HookRouter};

use crate::config::Activation;
use crate::linear::Linear;

/// A feed-forward sublayer: `down(activation(up(h)))`, or with a gate
/// `down(activation(gate(h)) · up(h))` (Shazeer 2020, arXiv:2002.05202).
#[derive(Debug, Clone)]
pub(crate) struct Mlp {
    pub(crate) activation: Activation,
    pub(crate) gate: Option<Linear>, // [n_embd, d_mlp]
    pub(crate) up: Linear,           // [n_embd, d_mlp]
    pub(crate) down: Linear,         // [d_mlp, n_embd]
}

impl Mlp {
    /// Computes the projection of the hidden units of `layer`.
    ///
    /// # Shapes
    /// - `h`: `[batch, seq, n_embd]`, the normed residual stream; the output has the same shape
    pub(crate) fn forward(
        &self,
        h: Tensor<3>,
        layer: usize,
        router: &mut impl HookRouter,
    ) -> Tensor<3> {
        let post = if let Some(gate) = &self.gate {
            let pre = router.route(HookPoint::MlpPre(layer), gate.apply(h.clone()));
            let linear = router.route(HookPoint::MlpPreLinear(layer), self.up.apply(h));
            self.activation.apply(pre) * linear
        } else {
            let pre = router.route(HookPoint::MlpPre(layer), self.up.apply(h));
            self.activation.apply(pre)
        };
        let post = router.route(HookPoint::MlpPost(layer), post);
        router.route(HookPoint::MlpProjection(layer), self.down.apply(post))
    }
}

impl Activation {
    fn apply(self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Relu2 => relu(x).square(),
            Self::Gelu => gelu(x),
            Self::GeluTanh => gelu_tanh(x),
            Self::Silu => silu(x),
        }
    }
}

/// Computes `x/2 · (1 + tanh(sqrt(2/π) · (x + 0.044715 · x³)))`. burn's own raises to a float power,
/// which some backends do not define for negative numbers.
fn gelu_tanh(x: Tensor<3>) -> Tensor<3> {
    const SQRT_2_OVER_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

    let cubic = x.clone().square() * x.clone() * 0.044_715;
    let inner = (x.clone() + cubic) * SQRT_2_OVER_PI;
    x * 0.5 * (inner.tanh() + 1.0)
}
