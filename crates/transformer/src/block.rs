use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};

use crate::attention::{Attention, Pass};
use crate::cache::Caches;
use crate::mlp::Mlp;
use crate::norm::Norm;

/// One transformer block: attention and MLP, each on the normed residual stream.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// True if the MLP reads the block's input, and not the sum of it and the output of attention.
    pub(crate) parallel: bool,
    pub(crate) ln1: Norm,
    pub(crate) attention: Attention,
    pub(crate) attention_post_norm: Option<Norm>,
    pub(crate) ln2: Norm,
    pub(crate) mlp: Mlp,
    pub(crate) mlp_post_norm: Option<Norm>,
}

impl Block {
    /// Runs the block on the residual stream.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`; the output has the same shape
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        embedded_values: Option<Tensor<3>>,
        layer: usize,
        pass: &mut Pass,
        caches: &mut Caches<'_, '_>,
        router: &mut impl HookRouter,
    ) -> Tensor<3> {
        let x = router.route(HookPoint::ResidPre(layer), x);
        let h = router.route(HookPoint::Ln1Normalized(layer), self.ln1.normalize(x.clone()));
        let h = router.route(HookPoint::AttnIn(layer), self.ln1.affine(h));
        let attention = self.attention.forward(h, embedded_values, layer, pass, caches, router);
        let attention = post_norm(self.attention_post_norm.as_ref(), attention);
        let attention = router.route(HookPoint::AttnOut(layer), attention);
        let x = if self.parallel {
            let mlp = self.mlp(x.clone(), layer, router);
            x + attention + mlp
        } else {
            let x = router.route(HookPoint::ResidMid(layer), x + attention);
            let mlp = self.mlp(x.clone(), layer, router);
            x + mlp
        };
        router.route(HookPoint::ResidPost(layer), x)
    }

    /// Computes what the MLP adds to the residual stream `x`.
    fn mlp(&self, x: Tensor<3>, layer: usize, router: &mut impl HookRouter) -> Tensor<3> {
        let h = router.route(HookPoint::Ln2Normalized(layer), self.ln2.normalize(x));
        let h = router.route(HookPoint::MlpIn(layer), self.ln2.affine(h));
        let mlp = post_norm(self.mlp_post_norm.as_ref(), self.mlp.forward(h, layer, router));
        router.route(HookPoint::MlpOut(layer), mlp)
    }
}

fn post_norm(norm: Option<&Norm>, x: Tensor<3>) -> Tensor<3> {
    match norm {
        Some(norm) => norm.apply(x),
        None => x,
    }
}
