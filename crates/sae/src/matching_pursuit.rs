//! Encoding by matching pursuit.

use std::collections::BTreeMap;

use burn::tensor::{Int, Tensor, TensorData};
use nanoscope_kernels::to_host;

use crate::finite::finite;
use crate::{Sae, SaeError, SparseFeatures};

impl Sae {
    /// Encodes by [`MatchingPursuit`](crate::Architecture::MatchingPursuit).
    ///
    /// Only the selection is made on the host. Rows that have ended take part no longer.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, the encoder's input
    pub(crate) fn pursue(
        &self,
        x: Tensor<2>,
        residual_threshold: f32,
        max_iterations: usize,
        stop_on_duplicate_support: bool,
    ) -> Result<SparseFeatures, SaeError> {
        let device = x.device();
        let [rows, _] = x.dims();
        let d_sae = self.config().d_sae();
        let mut found = vec![BTreeMap::<u32, f32>::new(); rows];
        // The rows that go on, and their residuals.
        let mut open: Vec<usize> = (0..rows).collect();
        let mut residual = x;
        for _ in 0..max_iterations {
            if open.is_empty() {
                break;
            }
            let scores = finite(self.w_enc.multiply(residual.clone()))
                .map_err(|error| in_row(error, &open))?;
            let best: Vec<(u32, f32)> = scores.chunks_exact(d_sae).map(largest).collect();
            let indices: Vec<u32> = best.iter().map(|&(index, _)| index).collect();
            let values: Vec<f32> = best.iter().map(|&(_, value)| value.max(0.0)).collect();
            let values = Tensor::<2>::from_data(TensorData::new(values, [open.len(), 1]), &device);
            residual = residual - self.gather(&indices) * values;

            let norms = (residual_threshold > 0.0)
                .then(|| to_host(residual.clone().square().sum_dim(1).sqrt()));
            let mut goes_on = Vec::with_capacity(open.len());
            for (at, &(index, value)) in best.iter().enumerate() {
                let features = &mut found[open[at]];
                let is_new = !features.contains_key(&index);
                if value > 0.0 {
                    *features.entry(index).or_default() += value;
                }
                let is_small = norms.as_ref().is_some_and(|norms| norms[at] < residual_threshold);
                let is_stable = stop_on_duplicate_support && !is_new;
                if value > 0.0 && !is_small && !is_stable {
                    goes_on.push(at);
                }
            }
            if goes_on.len() < open.len() {
                let indices = goes_on.iter().map(|&at| at as i32).collect::<Vec<_>>();
                let indices = TensorData::new(indices, [goes_on.len()]);
                open = goes_on.into_iter().map(|at| open[at]).collect();
                if !open.is_empty() {
                    residual = residual.select(0, Tensor::<1, Int>::from_data(indices, &device));
                }
            }
        }
        let mut features = SparseFeatures::new(d_sae);
        for (row, found) in found.into_iter().enumerate() {
            if let Some((&feature, &found)) = found.iter().find(|(_, value)| !value.is_finite()) {
                return Err(SaeError::NotFinite { row, feature: feature as usize, found });
            }
            features.push_row(found);
        }
        Ok(features)
    }
}

/// Returns the index and the value of the largest of `scores`; among equal ones the first.
fn largest(scores: &[f32]) -> (u32, f32) {
    let first = (0, f32::NEG_INFINITY);
    (0..).zip(scores).fold(
        first,
        |best, (index, &score)| {
            if score > best.1 { (index, score) } else { best }
        },
    )
}

/// Replaces the row of an error, one of `open`, by the row of the activations.
fn in_row(error: SaeError, open: &[usize]) -> SaeError {
    match error {
        SaeError::NotFinite { row, feature, found } => {
            SaeError::NotFinite { row: open[row], feature, found }
        }
        other => other,
    }
}
