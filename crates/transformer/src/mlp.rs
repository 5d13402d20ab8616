use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};

use crate::layout::linear;

/// An MLP with squared ReLU (So et al. 2021, arXiv:2109.08668): `relu(h · c_fc)² · c_proj`.
#[derive(Debug, Clone)]
pub(crate) struct Mlp {
    pub(crate) c_fc: Tensor<2>,   // [n_embd, d_mlp]
    pub(crate) c_proj: Tensor<2>, // [d_mlp, n_embd]
}

impl Mlp {
    /// Computes what the MLP of `layer` adds to the residual stream.
    ///
    /// # Shapes
    /// - `h`: `[batch, seq, n_embd]`, the normed residual stream; the output has the same shape
    pub(crate) fn forward(
        &self,
        h: Tensor<3>,
        layer: usize,
        router: &mut impl HookRouter,
    ) -> Tensor<3> {
        let pre = router.route(HookPoint::MlpPre(layer), linear(h, &self.c_fc));
        let post = burn::tensor::activation::relu(pre).square();
        let post = router.route(HookPoint::MlpPost(layer), post);
        router.route(HookPoint::MlpOut(layer), linear(post, &self.c_proj))
    }
}
