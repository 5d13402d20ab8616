//! The memory that a training takes.

use crate::recipe::{Method, Recipe};

/// Estimates the memory that training an SAE at each hook point takes at its peak, in bytes, for
/// activations of these widths. Activations that wait to be trained on and the model are not counted.
pub fn training_bytes(recipe: &Recipe, widths: &[usize]) -> u64 {
    let d_sae = recipe.d_sae as u64;
    let matrix = |width: usize| d_sae.saturating_mul(width as u64).saturating_mul(FLOAT);
    let all: u64 = widths.iter().map(|&width| matrix(width)).fold(0, u64::saturating_add);
    let widest = widths.iter().map(|&width| matrix(width)).max().unwrap_or(0);
    // Encoder, decoder, and Adam's two means of each; a checkpoint is a copy of them.
    let state = all.saturating_mul(6);
    let features = (recipe.batch as u64).saturating_mul(d_sae).saturating_mul(FLOAT);
    // On the CPU, 32,768 features for batches of 1024 (top-k) and 512 (relu) took 0.5 GB besides the model.
    let batch_copies = match recipe.method {
        Method::TopK { .. } | Method::BatchTopK { .. } | Method::Matryoshka { .. } => 2,
        Method::JumpRelu { .. } | Method::Relu { .. } | Method::Gated { .. } => 3,
    };
    // The hook points take their steps one after another: gradients, and a copy of the decoder.
    let step = widest.saturating_mul(3).saturating_add(features.saturating_mul(batch_copies));
    state.saturating_add(step.max(state))
}

/// Bytes of a float32.
const FLOAT: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AuxK;

    #[test]
    fn what_is_trained_counts_with_its_optimizer_and_its_batch() {
        let method = Method::TopK { k: 32, aux_k: AuxK::default() };
        let recipe = Recipe { batch: 1000, ..Recipe::new(10_000, method, 1) };

        // A matrix has 4 MB, the features of a batch 40 MB.
        assert_eq!(training_bytes(&recipe, &[100]), (6 * 4 + 3 * 4 + 2 * 40) * 1_000_000);
        assert_eq!(training_bytes(&recipe, &[100, 50]), (6 * 6 + 3 * 4 + 2 * 40) * 1_000_000);
        let dense = Recipe { method: Method::Relu { l1: 5.0, warmup_steps: None }, ..recipe };
        assert_eq!(training_bytes(&dense, &[100]), (6 * 4 + 3 * 4 + 3 * 40) * 1_000_000);
        let huge = Recipe { d_sae: usize::MAX, ..dense };
        assert_eq!(training_bytes(&huge, &[1 << 20]), u64::MAX);
    }
}
