use crate::recipe::{Method, Recipe};

impl Recipe {
    /// The learning rate at step `step`, from 0.
    ///
    /// It rises linearly, starting above 0 at the first step, and falls linearly, ending above 0 at
    /// the last.
    pub fn learning_rate(&self, step: u64) -> f64 {
        let warmup = self.optimizer.warmup_steps.unwrap_or((self.steps / 20).min(1000));
        let decay = self.decay_steps();
        let rising = (step + 1) as f64 / warmup.max(1) as f64;
        let falling = self.steps.saturating_sub(step) as f64 / decay.max(1) as f64;
        self.optimizer.lr * rising.min(falling).min(1.0)
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
    use crate::recipe::{Method, Optimizer, Recipe};

    fn recipe() -> Recipe {
        let optimizer = Optimizer {
            lr: 1.0,
            warmup_steps: Some(4),
            decay_steps: Some(5),
            ..Optimizer::default()
        };
        let method = Method::Relu { l1: 1.0, warmup_steps: Some(2) };
        Recipe { optimizer, ..Recipe::new(8, method, 20) }
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
