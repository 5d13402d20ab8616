use burn::tensor::Tensor;
use nanoscope_kernels::to_host;
use nanoscope_sae::SparseFeatures;

use crate::geometry::Geometry;
use crate::mean::Mean;
use crate::nanochat_sae::{self, NanochatSaeSums};
use crate::reconstruction::Reconstruction;
use crate::sparsity::{Sparsity, kept};
use crate::target::EvalTarget;

/// Everything accumulated for one SAE.
#[derive(Debug, Clone)]
pub(crate) struct Sums {
    pub(crate) tokens: u64,
    pub(crate) ce_clean: Mean,
    pub(crate) ce_sae: Mean,
    pub(crate) ce_ablation: Mean,
    pub(crate) kl_sae: Mean,
    pub(crate) kl_ablation: Mean,
    pub(crate) reconstruction: Reconstruction,
    pub(crate) sparsity: Sparsity,
    pub(crate) nanochat_sae: NanochatSaeSums,
    pub(crate) geometry: Geometry,
}

/// The counted tokens of a batch, and the length of its contexts.
#[derive(Debug)]
pub(crate) struct Counted<'b> {
    /// `[batch * seq]`
    pub(crate) counts: &'b [bool],
    pub(crate) seq: usize,
}

impl Sums {
    pub(crate) fn new(target: &EvalTarget) -> Self {
        let config = target.sae().config();
        let mean = Mean::default();
        Self {
            tokens: 0,
            ce_clean: mean,
            ce_sae: mean,
            ce_ablation: mean,
            kl_sae: mean,
            kl_ablation: mean,
            reconstruction: Reconstruction::new(config.d_out()),
            sparsity: Sparsity::new(config.d_sae()),
            nanochat_sae: NanochatSaeSums::new(config.d_out(), nanochat_sae::BATCH_ROWS),
            geometry: Geometry::from_sae(target.sae()),
        }
    }

    /// Adds the SAE's features and reconstructions of a batch.
    ///
    /// # Shapes
    /// - `x`, `x_hat`: `[batch * seq, width]`
    pub(crate) fn add_features(
        &mut self,
        batch: &Counted<'_>,
        x: Tensor<2>,
        x_hat: Tensor<2>,
        features: &SparseFeatures,
    ) {
        let [_, width] = x.dims();
        let counted = |x: Tensor<2>| -> Vec<f32> {
            let values = to_host(x);
            let rows = values.chunks_exact(width).zip(batch.counts);
            rows.filter(|&(_, &counts)| counts).flat_map(|(row, _)| row).copied().collect()
        };
        let (x, x_hat) = (counted(x), counted(x_hat));
        self.reconstruction.add(&x, &x_hat);
        let mut kept_features = SparseFeatures::new(features.d_sae());
        for row in kept(features, batch.counts, 0..features.rows()) {
            kept_features.push_row(row);
        }
        self.nanochat_sae.add(&x, &x_hat, &kept_features);
        for from in (0..features.rows()).step_by(batch.seq) {
            self.sparsity.add_context(kept(features, batch.counts, from..from + batch.seq));
        }
        self.tokens += features.rows() as u64;
    }

    pub(crate) fn ce_score(&self) -> f64 {
        let ablation = self.ce_ablation.get();
        (ablation - self.ce_sae.get()) / (ablation - self.ce_clean.get())
    }
}
