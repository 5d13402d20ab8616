use crate::recipe::{Method, Recipe};

/// The largest default learning rate, about that of the shortest run that was measured.
const MAX_DEFAULT: f64 = 0.02;

impl Recipe {
    /// The learning rate between warm-up and decay: [`Optimizer::lr`](crate::Optimizer::lr), or its default. That is
    /// `c / √(steps × features)`, at most 0.02, where `c` is 4.5 for top-k, batch-top-k and matryoshka SAEs, 3 for
    /// JumpReLU and ReLU, and 1.5 for gated ones: measured in `docs/training.md`. Gao et al. 2024
    /// (arXiv:2406.04093) found the same dependence on the features.
    pub fn peak_learning_rate(&self) -> f64 {
        self.optimizer.lr.unwrap_or_else(|| {
            let of_one_step_and_feature = match self.method {
                Method::TopK { .. } | Method::BatchTopK { .. } | Method::Matryoshka { .. } => 4.5,
                Method::JumpRelu { .. } | Method::Relu { .. } => 3.0,
                Method::Gated { .. } => 1.5,
            };
            let steps_and_features = self.steps as f64 * self.d_sae as f64;
            (of_one_step_and_feature / steps_and_features.sqrt()).min(MAX_DEFAULT)
        })
    }

    /// The learning rate at step `step`, from 0.
    ///
    /// It rises linearly, starting above 0 at the first step, and falls linearly, ending above 0 at
    /// the last.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let warmup = self.optimizer.warmup_steps.unwrap_or((self.steps / 20).min(1000));
        let decay = self.decay_steps();
        let rising = (step + 1) as f64 / warmup.max(1) as f64;
        let falling = self.steps.saturating_sub(step) as f64 / decay.max(1) as f64;
        self.peak_learning_rate() * rising.min(falling).min(1.0)
    }

    /// Steps at the end over which the learning rate decays.
    pub(crate) fn decay_steps(&self) -> u64 {
        self.optimizer.decay_steps.unwrap_or(self.steps / 5)
    }

    /// The fraction of its weight that the sparsity loss has at step `step`, from 0.
    pub fn sparsity_weight(&self, step: u64) -> f64 {
        let warmup = match self.method {
            Method::JumpRelu { warmup_steps, .. } => warmup_steps.unwrap_or(self.steps / 10),
            Method::Relu { warmup_steps, .. } | Method::Gated { warmup_steps, .. } => {
                warmup_steps.unwrap_or(self.steps / 20)
            }
            _ => 0,
        };
        ((step + 1) as f64 / warmup.max(1) as f64).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::recipe::{AuxK, Method, Optimizer, Recipe};

    fn recipe() -> Recipe {
        let optimizer = Optimizer {
            lr: Some(1.0),
            warmup_steps: Some(4),
            decay_steps: Some(5),
            ..Optimizer::default()
        };
        let method = Method::Relu { l1: 1.0, warmup_steps: Some(2) };
        Recipe { optimizer, ..Recipe::new(8, method, 20) }
    }

    #[test]
    fn the_default_learning_rate_falls_with_the_root_of_steps_and_features() {
        let top_k =
            |d_sae, steps| Recipe::new(d_sae, Method::TopK { k: 2, aux_k: AuxK::default() }, steps);

        for (d_sae, steps, expected) in
            [(8, 1, 0.02), (900, 100, 0.015), (2500, 900, 0.003), (90_000, 90_000, 5e-5)]
        {
            assert_eq!(top_k(d_sae, steps).peak_learning_rate(), expected);
        }
        for (method, expected) in [
            (Method::Relu { l1: 1.0, warmup_steps: None }, 0.002),
            (Method::Gated { l1: 1.0, warmup_steps: None }, 0.001),
        ] {
            assert_eq!(Recipe::new(2500, method, 900).peak_learning_rate(), expected);
        }
        assert_eq!(recipe().peak_learning_rate(), 1.0);
    }

    #[test]
    fn the_rate_is_above_zero_at_the_first_step_and_at_the_last() {
        let rates: Vec<f64> = (0..20).map(|step| recipe().learning_rate(step)).collect();

        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert_eq!(rates[14..], [1.0, 1.0, 0.8, 0.6, 0.4, 0.2]);
    }

    #[test]
    fn a_sparsity_loss_warms_up_and_stays() {
        let weights: Vec<f64> = (0..4).map(|step| recipe().sparsity_weight(step)).collect();

        assert_eq!(weights, [0.5, 1.0, 1.0, 1.0]);
    }
}
