use burn::tensor::Tensor;
use nanoscope_kernels::read_together;

use crate::{Architecture, Sae, SaeError, SparseFeatures};

/// Activations that are being encoded: the encoder's products are still on the device, and the host has yet to
/// select features from them.
///
/// Several encodings whose products are read in one [`read_together`] wait for a GPU once.
#[derive(Debug)]
pub struct Encoding<'s>(State<'s>);

#[derive(Debug)]
enum State<'s> {
    Pending {
        sae: &'s Sae,
        products: Vec<Tensor<1>>,
    },
    /// The features are on the host already.
    Done(Result<SparseFeatures, SaeError>),
}

impl<'s> Encoding<'s> {
    /// # Shapes
    /// - `products`: `[rows, d_sae]`, of the encoder and, in a signed gated SAE, of the gate
    pub(crate) fn of(sae: &'s Sae, products: Vec<Tensor<2>>) -> Self {
        let flat = |product: Tensor<2>| product.flatten(0, 1);
        Self(State::Pending { sae, products: products.into_iter().map(flat).collect() })
    }

    pub(crate) fn done(features: Result<SparseFeatures, SaeError>) -> Self {
        Self(State::Done(features))
    }

    /// Takes the tensors whose numbers [`finish_with`](Self::finish_with) needs, in this order.
    pub fn take_tensors(&mut self) -> Vec<Tensor<1>> {
        match &mut self.0 {
            State::Pending { products, .. } => std::mem::take(products),
            State::Done(_) => Vec::new(),
        }
    }

    /// Selects the features, taking from `numbers` a vector for each of the tensors.
    ///
    /// # Errors
    /// As [`Sae::encode_sparse`].
    ///
    /// # Panics
    /// If `numbers` ends early.
    pub fn finish_with(
        self,
        numbers: &mut impl Iterator<Item = Vec<f32>>,
    ) -> Result<SparseFeatures, SaeError> {
        match self.0 {
            State::Done(features) => features,
            State::Pending { sae, .. } => {
                let mut next = || numbers.next().expect("there is a vector for each tensor");
                let products = next();
                let is_gated = sae.config().architecture() == Architecture::SignedGated;
                let gates = if is_gated { next() } else { Vec::new() };
                sae.select_features(products, gates)
            }
        }
    }

    /// Reads the products to the host, waiting for the device, and selects the features.
    ///
    /// # Errors
    /// As [`Sae::encode_sparse`].
    pub fn finish(mut self) -> Result<SparseFeatures, SaeError> {
        let numbers = read_together(self.take_tensors());
        self.finish_with(&mut numbers.into_iter())
    }
}
