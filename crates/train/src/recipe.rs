//! The training recipe: the method, its hyperparameters and the optimizer.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Everything that determines the trained weights, apart from the activations.
///
/// Losses are computed on activations scaled to a mean norm of `√d_in`, so that the same
/// hyperparameters suit every model. The scale is folded into the weights when the SAE is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Number of features.
    pub d_sae: usize,
    /// The architecture and its loss.
    pub method: Method,
    /// Number of steps, one batch each.
    pub steps: u64,
    /// Activations per step. Default: 4096, as in SAELens; Bricken et al. 2023 use 8192.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Seed of everything random. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Adam and its learning rate.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Initial values of the weights.
    #[serde(default)]
    pub init: Init,
    /// Treatment of features that do not fire.
    #[serde(default)]
    pub dead: DeadFeatures,
}

/// Maximum values in a matrix: 16 GiB of float32.
const MAX_MATRIX_VALUES: usize = 1 << 32;
/// Range of a value that is a divisor or an argument of a logarithm.
const POSITIVE: &str = "above 0 and a normal number in float32";
/// Range of a weight.
const NOT_NEGATIVE: &str = "0 or more and, if not 0, a normal number in float32";

fn count(name: &'static str, found: usize, max: usize) -> Result<(), TrainError> {
    if (1..=max).contains(&found) {
        return Ok(());
    }
    Err(TrainError::Recipe { name, found: found.to_string(), range: format!("1 to {max}") })
}

fn default_batch() -> usize {
    4096
}

impl Recipe {
    /// Creates a recipe with default settings.
    pub fn new(d_sae: usize, method: Method, steps: u64) -> Self {
        Self {
            d_sae,
            method,
            steps,
            batch: default_batch(),
            seed: 0,
            optimizer: Optimizer::default(),
            init: Init::default(),
            dead: DeadFeatures::default(),
        }
    }

    /// Checks that the recipe is valid for activations of width `d_in`.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for the first value that is out of range.
    pub fn check(&self, d_in: usize) -> Result<(), TrainError> {
        self.check_numbers()?;
        count("d_in", d_in, 1 << 24)?;
        // Matrices of these sizes are held in memory, with their gradients and Adam's means.
        let product = |name, found: usize, other: usize, of: &str| {
            let max = MAX_MATRIX_VALUES / other;
            if found <= max {
                return Ok(());
            }
            let range = format!("1 to {max} for {of} {other}");
            Err(TrainError::Recipe { name, found: found.to_string(), range })
        };
        product("d-sae", self.d_sae, d_in, "a width of")?;
        product("batch", self.batch, d_in, "a width of")?;
        product("batch", self.batch, self.d_sae, "a d-sae of")
    }

    /// Checks that the recipe is valid for activations of some width.
    pub(crate) fn check_numbers(&self) -> Result<(), TrainError> {
        let Self { optimizer, init, .. } = self;
        let d_sae = self.d_sae;
        let number = |name, found: f64, range: &str, ok: bool| {
            // The value is used in float32, where it must not underflow.
            let single = found as f32;
            let ok = ok && (single.is_normal() || found == 0.0);
            let (found, range) = (found.to_string(), range.to_owned());
            if ok { Ok(()) } else { Err(TrainError::Recipe { name, found, range }) }
        };
        let positive = |name, found: f64| number(name, found, POSITIVE, found > 0.0);
        let weight = |name, found: f64| number(name, found, NOT_NEGATIVE, found >= 0.0);

        count("d-sae", d_sae, 1 << 24)?;
        count("batch", self.batch, 1 << 20)?;
        count("steps", usize::try_from(self.steps).unwrap_or(0), 1 << 40)?;
        positive("optimizer.lr", self.peak_learning_rate())?;
        for (name, beta) in
            [("optimizer.beta1", optimizer.beta1), ("optimizer.beta2", optimizer.beta2)]
        {
            let ok = (0.0..1.0).contains(&(beta as f32));
            number(name, beta, "0 or more and below 1, in float32", ok)?;
        }
        positive("optimizer.epsilon", optimizer.epsilon)?;
        weight("optimizer.clip", optimizer.clip)?;
        positive("init.decoder-norm", init.decoder_norm)?;
        let window = usize::try_from(self.window_steps()).unwrap_or(0);
        count("dead.window-steps", window, 1 << 40)?;
        match &self.method {
            Method::TopK { k, aux_k } | Method::BatchTopK { k, aux_k } => {
                count("k", *k, d_sae)?;
                aux_k.check(d_sae)?;
            }
            Method::Matryoshka { k, groups, aux_k } => {
                count("k", *k, d_sae)?;
                aux_k.check(d_sae)?;
                let ascending = groups.is_sorted_by(|a, b| a < b) && groups.first() != Some(&0);
                let whole = ascending && groups.last() == Some(&d_sae);
                if !(groups.is_empty() || whole) {
                    return Err(TrainError::Recipe {
                        name: "groups",
                        found: format!("{groups:?}"),
                        range: format!("ascending and end with {d_sae}"),
                    });
                }
            }
            Method::JumpRelu { target_l0, coefficient, bandwidth, threshold, .. } => {
                let range = format!("above 0, up to {d_sae}");
                let ok = *target_l0 > 0.0 && *target_l0 <= d_sae as f64;
                number("target-l0", *target_l0, &range, ok)?;
                weight("coefficient", *coefficient)?;
                positive("bandwidth", *bandwidth)?;
                threshold.map_or(Ok(()), |threshold| positive("threshold", threshold))?;
            }
            Method::Relu { l1, .. } | Method::Gated { l1, .. } => weight("l1", *l1)?,
        }
        Ok(())
    }

    /// The number of steps after which a feature that does not fire is dead.
    pub fn window_steps(&self) -> u64 {
        self.dead.window_steps.unwrap_or((self.steps / 10).clamp(1, 1000))
    }

    /// Returns whether dead features are resampled after `steps` steps.
    pub(crate) fn resamples_after(&self, steps: u64) -> bool {
        let default = if self.method.aux_k().is_some() { 0 } else { 4 * self.window_steps() };
        let every = self.dead.resample_steps.unwrap_or(default);
        // A feature that is resampled while the learning rate decays never becomes useful.
        let decays = steps.saturating_add(self.decay_steps()) >= self.steps;
        every > 0 && steps.is_multiple_of(every) && !decays
    }
}

/// An architecture and its loss. `‖·‖²` is summed over `d_in` and averaged over the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, tag = "architecture", rename_all = "kebab-case")]
pub enum Method {
    /// `‖x − x̂‖²` with the `k` largest features of each activation (Gao et al. 2024,
    /// arXiv:2406.04093).
    #[serde(rename_all = "kebab-case")]
    TopK {
        /// Features per activation.
        k: usize,
        /// The loss that revives dead features.
        #[serde(default)]
        aux_k: AuxK,
    },
    /// `‖x − x̂‖²` with the `k · batch` largest features of the batch (Bussmann et al. 2024,
    /// arXiv:2412.06410). Saved as a JumpReLU SAE with a single threshold.
    #[serde(rename_all = "kebab-case")]
    BatchTopK {
        /// Features per activation, on average.
        k: usize,
        /// The loss that revives dead features.
        #[serde(default)]
        aux_k: AuxK,
    },
    /// Batch-top-k in which the first features must also reconstruct on their own: the mean of
    /// `‖x − x̂‖²` over nested groups of features (Bussmann et al. 2025, arXiv:2503.17547).
    #[serde(rename_all = "kebab-case")]
    Matryoshka {
        /// Features per activation, on average.
        k: usize,
        /// Ends of the groups, ascending; the last is `d_sae`. Default: a sixteenth, an eighth, a
        /// quarter, half and all of the features.
        #[serde(default)]
        groups: Vec<usize>,
        /// The loss that revives dead features.
        #[serde(default)]
        aux_k: AuxK,
    },
    /// `‖x − x̂‖² + coefficient · d_in · (L0 / target − 1)²` with a threshold per feature, trained
    /// by a straight-through estimate (Rajamanoharan et al. 2024, arXiv:2407.14435, with the loss
    /// for a target L0 from its appendix).
    #[serde(rename_all = "kebab-case")]
    JumpRelu {
        /// Target number of features per activation.
        target_l0: f64,
        /// Weight of the sparsity loss. Default: 1, which corresponds to the default of
        /// dictionary_learning, where activations have norm 1.
        #[serde(default = "default_l0_coefficient")]
        coefficient: f64,
        /// Width of the straight-through estimate's kernel. Default: 0.05, as in SAELens.
        #[serde(default = "default_bandwidth")]
        bandwidth: f64,
        /// Initial thresholds. Default: the value that gives twice the target L0 at the start. From
        /// a small value, as in the papers, thresholds take tens of thousands of steps to get
        /// there, because the estimate moves a threshold by about one learning rate per step.
        #[serde(default)]
        threshold: Option<f64>,
        /// Steps over which the sparsity loss warms up. Default: a tenth of the steps.
        #[serde(default)]
        warmup_steps: Option<u64>,
    },
    /// `‖x − x̂‖² + l1 · Σ f · ‖W_dec‖` (Conerly et al. 2024, Anthropic's April update).
    #[serde(rename_all = "kebab-case")]
    Relu {
        /// Weight of the sparsity loss.
        l1: f64,
        /// Steps over which the sparsity loss warms up. Default: a twentieth of the steps, as in
        /// the paper.
        #[serde(default)]
        warmup_steps: Option<u64>,
    },
    /// `‖x − x̂‖² + l1 · Σ relu(π) · ‖W_dec‖ + ‖x − x̂(relu(π))‖²` with gates `π`, and the decoder
    /// in the last term frozen (Rajamanoharan et al. 2024, arXiv:2404.16014).
    #[serde(rename_all = "kebab-case")]
    Gated {
        /// Weight of the sparsity loss.
        l1: f64,
        /// Steps over which the sparsity loss warms up. Default: a twentieth of the steps.
        #[serde(default)]
        warmup_steps: Option<u64>,
    },
}

impl Method {
    /// Returns whether decoder rows are kept at norm 1 and their gradient projected accordingly.
    /// True for all methods but ReLU, whose sparsity loss includes the norms.
    pub fn keeps_decoder_norm(&self) -> bool {
        !matches!(self, Self::Relu { .. })
    }

    /// The loss that revives dead features, if the method has one.
    pub fn aux_k(&self) -> Option<&AuxK> {
        match self {
            Self::TopK { aux_k, .. }
            | Self::BatchTopK { aux_k, .. }
            | Self::Matryoshka { aux_k, .. } => Some(aux_k),
            Self::JumpRelu { .. } | Self::Relu { .. } | Self::Gated { .. } => None,
        }
    }

    /// Ends of the groups of features that reconstruct on their own.
    pub(crate) fn groups(&self, d_sae: usize) -> Vec<usize> {
        match self {
            Self::Matryoshka { groups, .. } if groups.is_empty() => {
                let mut groups: Vec<_> = [16, 8, 4, 2, 1].map(|part| d_sae / part).into();
                groups.retain(|end| *end > 0);
                groups.dedup();
                groups
            }
            Self::Matryoshka { groups, .. } => groups.clone(),
            _ => vec![d_sae],
        }
    }
}

fn default_l0_coefficient() -> f64 {
    1.0
}

fn default_bandwidth() -> f64 {
    0.05
}

/// The auxiliary loss of top-k SAEs: dead features reconstruct the error of the others (Gao et al.
/// 2024, appendix A.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuxK {
    /// Dead features per activation. Default: half of `d_in`, as in the paper.
    pub k: Option<usize>,
    /// Weight of the loss; 0 disables it. Default: 1/32, as in the paper.
    pub coefficient: f64,
}

impl AuxK {
    fn check(&self, d_sae: usize) -> Result<(), TrainError> {
        let fits = self.k.is_none_or(|k| (1..=d_sae).contains(&k));
        if !fits {
            let found = self.k.map_or_else(String::new, |k| k.to_string());
            let range = format!("1 to {d_sae}");
            return Err(TrainError::Recipe { name: "aux-k.k", found, range });
        }
        let weight = self.coefficient;
        if !(weight == 0.0 || weight > 0.0 && (weight as f32).is_normal()) {
            let (found, range) = (weight.to_string(), NOT_NEGATIVE.to_owned());
            return Err(TrainError::Recipe { name: "aux-k.coefficient", found, range });
        }
        Ok(())
    }
}

impl Default for AuxK {
    fn default() -> Self {
        Self { k: None, coefficient: 1.0 / 32.0 }
    }
}

/// Adam (Kingma & Ba 2014, arXiv:1412.6980) and its learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Optimizer {
    /// Learning rate between warm-up and decay. Default: see
    /// [`Recipe::peak_learning_rate`].
    pub lr: Option<f64>,
    /// Decay rate of the running mean of gradients. Default: 0.9.
    pub beta1: f64,
    /// Decay rate of the running mean of squared gradients. Default: 0.999.
    pub beta2: f64,
    /// Added to the denominator to avoid division by zero. Default: 1e-8.
    pub epsilon: f64,
    /// Maximum norm of the gradient of all weights together; 0 disables clipping. Default: 1, as in
    /// SAELens.
    pub clip: f64,
    /// Steps over which the learning rate warms up. The first step has `1 / warmup-steps` of it,
    /// not 0. Default: a twentieth of the steps, at most 1000.
    pub warmup_steps: Option<u64>,
    /// Steps at the end over which the learning rate decays to 0. Default: a fifth of the steps, as
    /// in Conerly et al. 2024.
    pub decay_steps: Option<u64>,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            lr: None,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: 1.0,
            warmup_steps: None,
            decay_steps: None,
        }
    }
}

/// Initial values of the weights. The rows of `W_dec` have random directions, and `W_enc` is its
/// transpose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Init {
    /// Initial value of `b_dec`.
    pub b_dec: BDecInit,
    /// Norm of the decoder's rows, for ReLU only: the other methods keep it at 1 and ignore this.
    /// Default: 0.1, as in Conerly et al. 2024.
    pub decoder_norm: f64,
}

impl Default for Init {
    fn default() -> Self {
        Self { b_dec: BDecInit::GeometricMedian, decoder_norm: 0.1 }
    }
}

/// Initial value of `b_dec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BDecInit {
    /// The point with the least sum of distances to the activations (Bricken et al. 2023).
    GeometricMedian,
    /// The mean of the activations.
    Mean,
    /// Zero.
    Zero,
}

/// Treatment of features that do not fire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeadFeatures {
    /// Number of steps after which a feature that did not fire is dead. Default: 1000, as in
    /// SAELens, but at most a tenth of the steps, so that a short run has dead features at all.
    pub window_steps: Option<u64>,
    /// Steps between resamplings of dead features at badly reconstructed activations (Bricken et
    /// al. 2023, "neuron resampling"); 0 disables them. There are none once the learning rate
    /// decays. Default: 0 with aux-k, otherwise four times the window.
    pub resample_steps: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(recipe: &Recipe, d_in: usize) -> String {
        recipe.check(d_in).unwrap_err().to_string()
    }

    fn top_k(d_sae: usize) -> Recipe {
        Recipe::new(d_sae, Method::TopK { k: 1, aux_k: AuxK::default() }, 10)
    }

    #[test]
    fn a_number_that_is_nothing_or_infinite_in_float32_is_refused() {
        let end = "it must be above 0 and a normal number in float32";
        let with = |optimizer| Recipe { optimizer, ..top_k(8) };
        let epsilon = with(Optimizer { epsilon: 1e-46, ..Optimizer::default() });
        assert!(refused(&epsilon, 4).starts_with("optimizer.epsilon is 0.000"));
        assert!(refused(&epsilon, 4).ends_with(end));
        let lr = with(Optimizer { lr: Some(1e39), ..Optimizer::default() });
        assert!(refused(&lr, 4).ends_with(end));
        let beta2 = with(Optimizer { beta2: 1.0 - 1e-12, ..Optimizer::default() });
        assert!(refused(&beta2, 4).ends_with("it must be 0 or more and below 1, in float32"));
        let jump_relu = |bandwidth, threshold| Method::JumpRelu {
            target_l0: 2.0,
            coefficient: 1.0,
            bandwidth,
            threshold: Some(threshold),
            warmup_steps: None,
        };
        assert!(refused(&Recipe::new(8, jump_relu(1e-46, 1.0), 10), 4).starts_with("bandwidth"));
        assert!(refused(&Recipe::new(8, jump_relu(1.0, 1e-46), 10), 4).starts_with("threshold"));
        Recipe::new(8, jump_relu(1.0, 1e-30), 10).check(4).unwrap();
    }

    #[test]
    fn matrices_that_no_memory_holds_are_refused_by_both_sizes() {
        assert_eq!(
            refused(&top_k(1 << 20), 4097),
            "d-sae is 1048576; it must be 1 to 1048320 for a width of 4097"
        );
        assert_eq!(
            refused(&Recipe { batch: 4097, ..top_k(1 << 20) }, 1),
            "batch is 4097; it must be 1 to 4096 for a d-sae of 1048576"
        );
        top_k(1 << 20).check(4096).unwrap();
    }
}
