use burn::tensor::{Tensor, activation};

use crate::config::Architecture;
use crate::top_k::{keep_top_k, top_k};
use crate::{Sae, SparseFeatures};

impl Sae {
    /// The features of each activation, zeros included, on the activations' device.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: `[rows, d_sae]`
    ///
    /// # Panics
    /// If `x` does not have `d_in` columns.
    pub fn encode(&self, x: Tensor<2>) -> Tensor<2> {
        match self.config().architecture() {
            Architecture::SignedTopK { k } => keep_top_k(self.pre_activations(x), k),
            Architecture::Relu => activation::relu(self.pre_activations(x)),
            Architecture::SignedGated => {
                let open = self.gate_logits(x.clone()).greater_scalar(0.0).float();
                self.pre_activations(x) * open
            }
        }
    }

    /// The active features of each activation, on the host. What [`encode`](Self::encode)
    /// computes, without its zeros.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    ///
    /// # Panics
    /// If `x` does not have `d_in` columns.
    pub fn encode_sparse(&self, x: Tensor<2>) -> SparseFeatures {
        match self.config().architecture() {
            Architecture::SignedTopK { k } => top_k(self.pre_activations(x), k),
            Architecture::Relu => {
                let pre = host(self.pre_activations(x));
                self.collect(pre.iter().map(|&value| if value > 0.0 { value } else { 0.0 }))
            }
            Architecture::SignedGated => {
                let gates = host(self.gate_logits(x.clone()));
                let pre = host(self.pre_activations(x));
                let open = |(&value, &gate): (&f32, &f32)| if gate > 0.0 { value } else { 0.0 };
                self.collect(pre.iter().zip(&gates).map(open))
            }
        }
    }

    /// Makes rows of `d_sae` values each sparse.
    fn collect(&self, mut values: impl ExactSizeIterator<Item = f32>) -> SparseFeatures {
        let d_sae = self.config().d_sae();
        let mut features = SparseFeatures::new(d_sae);
        for _ in 0..values.len() / d_sae {
            features.push_row((0..d_sae as u32).zip(values.by_ref()));
        }
        features
    }
}

fn host(x: Tensor<2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}
