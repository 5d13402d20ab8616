use burn::tensor::Tensor;

use crate::HookPoint;

/// Receives every activation at a hook point and returns the one that the pass continues with.
///
/// A model calls [`route`](Self::route) exactly once per hook point, in execution order; at a point that the
/// router does not want it may leave the call out.
pub trait HookRouter {
    /// Returns whether the router reads or changes the activation at `point`.
    ///
    /// A model calls this before it computes a tensor that the pass itself does not need, so that a
    /// tensor nobody reads is never computed.
    fn wants(&self, point: HookPoint) -> bool;

    /// Takes the activation at `point`, and returns the one to continue with, of the same shape.
    ///
    /// # Shapes
    /// - `x`: as in the model's table of hook points; mostly `[batch, seq, d_model]`
    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D>;
}

/// No hooks: every activation is returned unchanged.
impl HookRouter for () {
    #[inline]
    fn wants(&self, _point: HookPoint) -> bool {
        false
    }

    #[inline]
    fn route<const D: usize>(&mut self, _point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        x
    }
}

impl<R: HookRouter> HookRouter for &mut R {
    fn wants(&self, point: HookPoint) -> bool {
        (**self).wants(point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        (**self).route(point, x)
    }
}

/// Two routers in sequence: the second receives the activations that the first returns.
impl<A: HookRouter, B: HookRouter> HookRouter for (A, B) {
    fn wants(&self, point: HookPoint) -> bool {
        self.0.wants(point) || self.1.wants(point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = self.0.route(point, x);
        self.1.route(point, x)
    }
}
