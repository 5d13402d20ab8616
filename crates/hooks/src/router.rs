use burn::tensor::Tensor;

use crate::HookPoint;

/// The one who is asked at every hook point of a forward pass.
///
/// A model calls [`route`](Self::route) exactly once per hook point it has, in execution order,
/// and goes on with the tensor that comes back.
pub trait HookRouter {
    /// Whether `point` is to be read or changed.
    ///
    /// A model asks before it builds a tensor that its own arithmetic does not need, so what
    /// nobody wants is never made.
    fn wants(&self, point: HookPoint) -> bool;

    /// Takes the activation at `point` and gives back the one to go on with, of the same shape.
    ///
    /// # Shapes
    /// - `x`: as the model's table of hook points says; mostly `[batch, seq, d_model]`
    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D>;
}

/// No hooks: every activation passes through untouched.
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

/// Two routers in a row: the second sees what the first let through.
impl<A: HookRouter, B: HookRouter> HookRouter for (A, B) {
    fn wants(&self, point: HookPoint) -> bool {
        self.0.wants(point) || self.1.wants(point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = self.0.route(point, x);
        self.1.route(point, x)
    }
}
