use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};

use crate::attention::{Attention, Pass};
use crate::kv_cache::Caches;
use crate::mlp::Mlp;
use crate::norm::rms_norm;

/// One transformer block: attention, then MLP, each on the normed residual stream.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    pub(crate) attention: Attention,
    pub(crate) mlp: Mlp,
    pub(crate) norm_epsilon: f32,
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
        let h = rms_norm(x.clone(), self.norm_epsilon);
        let x = x + self.attention.forward(h, embedded_values, layer, pass, caches, router);
        let x = router.route(HookPoint::ResidMid(layer), x);
        let h = rms_norm(x.clone(), self.norm_epsilon);
        let h = router.route(HookPoint::Ln2Normalized(layer), h);
        let x = x + self.mlp.forward(h, layer, router);
        router.route(HookPoint::ResidPost(layer), x)
    }
}
