//! What is trained, and how.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// Everything that decides the weights a training ends with, but for the activations.
///
/// Losses are those of activations that were scaled to a mean norm of `√d_in`, so that the numbers
/// here mean the same for every model; the scale is folded into the weights when the SAE is saved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Features.
    pub d_sae: usize,
    /// The architecture and its loss.
    pub method: Method,
    /// Steps; each is one batch.
    pub steps: u64,
    /// Activations per step. Default: 4096, as in SAELens; Bricken et al. 2023 have 8192.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// What everything random follows from. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Adam and its learning rate.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Where the weights start.
    #[serde(default)]
    pub init: Init,
    /// What becomes of features that do not fire.
    #[serde(default)]
    pub dead: DeadFeatures,
}

/// Numbers of a matrix: 16 GiB of float32.
const MAX_MATRIX_VALUES: usize = 1 << 32;
/// What a number may be that is divided by or taken the logarithm of.
const POSITIVE: &str = "above 0 and a normal number in float32";
/// What a weight may be.
const NOT_NEGATIVE: &str = "0 or more and, if not 0, a normal number in float32";

fn count(name: &'static str, found: usize, most: usize) -> Result<(), TrainError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(TrainError::Recipe { name, found: found.to_string(), range: format!("1 to {most}") })
}

fn default_batch() -> usize {
    4096
}

impl Recipe {
    /// A recipe with the defaults.
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

    /// Whether the recipe can be followed for activations of `d_in` numbers.
    ///
    /// # Errors
    /// [`TrainError::Recipe`] for the first number that is out of its range.
    pub fn check(&self, d_in: usize) -> Result<(), TrainError> {
        self.check_numbers()?;
        count("d_in", d_in, 1 << 24)?;
        // Matrices of so many numbers are held, with their gradients and Adam's means.
        let product = |name, found: usize, other: usize, of: &str| {
            let most = MAX_MATRIX_VALUES / other;
            if found <= most {
                return Ok(());
            }
            let range = format!("1 to {most} for {of} {other}");
            Err(TrainError::Recipe { name, found: found.to_string(), range })
        };
        product("d-sae", self.d_sae, d_in, "a width of")?;
        product("batch", self.batch, d_in, "a width of")?;
        product("batch", self.batch, self.d_sae, "a d-sae of")
    }

    /// Whether the recipe can be followed for activations of some width.
    pub(crate) fn check_numbers(&self) -> Result<(), TrainError> {
        let Self { optimizer, init, .. } = self;
        let d_sae = self.d_sae;
        let number = |name, found: f64, range: &str, ok: bool| {
            // It is computed with in float32, where it must not become nothing.
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
        positive("optimizer.lr", optimizer.lr)?;
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
                        range: format!("ascending, the last {d_sae}"),
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

    /// In how many steps a feature must fire not to be dead.
    pub fn window_steps(&self) -> u64 {
        self.dead.window_steps.unwrap_or((self.steps / 10).clamp(1, 1000))
    }

    /// Whether dead features start anew after `steps` steps.
    pub(crate) fn resamples_after(&self, steps: u64) -> bool {
        let default = if self.method.aux_k().is_some() { 0 } else { 4 * self.window_steps() };
        let every = self.dead.resample_steps.unwrap_or(default);
        // What starts anew while the rate falls never becomes a feature.
        let decays = steps.saturating_add(self.decay_steps()) >= self.steps;
        every > 0 && steps.is_multiple_of(every) && !decays
    }
}

/// An architecture and its loss. `‖·‖²` is a sum over `d_in` and a mean over the batch.
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
    /// arXiv:2412.06410); saved as a JumpReLU SAE with one threshold.
    #[serde(rename_all = "kebab-case")]
    BatchTopK {
        /// Features per activation, on average.
        k: usize,
        /// The loss that revives dead features.
        #[serde(default)]
        aux_k: AuxK,
    },
    /// Batch-top-k whose first features must reconstruct on their own: the mean of `‖x − x̂‖²`
    /// over nested groups of features (Bussmann et al. 2025, arXiv:2503.17547).
    #[serde(rename_all = "kebab-case")]
    Matryoshka {
        /// Features per activation, on average.
        k: usize,
        /// The groups' ends, ascending; the last is `d_sae`. Default: a sixteenth, an eighth, a
        /// quarter, half and all of the features.
        #[serde(default)]
        groups: Vec<usize>,
        /// The loss that revives dead features.
        #[serde(default)]
        aux_k: AuxK,
    },
    /// `‖x − x̂‖² + coefficient · d_in · (L0 / target − 1)²` with a threshold for each feature that is
    /// trained by a straight-through estimate (Rajamanoharan et al. 2024, arXiv:2407.14435, with
    /// the loss of its appendix for a wanted L0).
    #[serde(rename_all = "kebab-case")]
    JumpRelu {
        /// Features per activation that the training ends with.
        target_l0: f64,
        /// Weight of the sparsity loss. Default: 1; with activations of norm 1, as
        /// dictionary_learning has them, that is its default.
        #[serde(default = "default_l0_coefficient")]
        coefficient: f64,
        /// Width of the estimate's kernel. Default: 0.05, as in SAELens.
        #[serde(default = "default_bandwidth")]
        bandwidth: f64,
        /// Where thresholds start. Default: where twice the wanted L0 fires at the start. From a
        /// small number, as papers start, they take tens of thousands of steps to get there: the
        /// estimate moves a threshold by a learning rate's worth per step.
        #[serde(default)]
        threshold: Option<f64>,
        /// Steps over which the sparsity loss reaches its weight. Default: a tenth.
        #[serde(default)]
        warmup_steps: Option<u64>,
    },
    /// `‖x − x̂‖² + l1 · Σ f · ‖W_dec‖` (Conerly et al. 2024, Anthropic's April update).
    #[serde(rename_all = "kebab-case")]
    Relu {
        /// Weight of the sparsity loss.
        l1: f64,
        /// Steps over which it reaches its weight. Default: a twentieth, as in the paper.
        #[serde(default)]
        warmup_steps: Option<u64>,
    },
    /// `‖x − x̂‖² + l1 · Σ relu(π) · ‖W_dec‖ + ‖x − x̂(relu(π))‖²` with gates `π` and the last
    /// decoder frozen (Rajamanoharan et al. 2024, arXiv:2404.16014).
    #[serde(rename_all = "kebab-case")]
    Gated {
        /// Weight of the sparsity loss.
        l1: f64,
        /// Steps over which it reaches its weight. Default: a twentieth.
        #[serde(default)]
        warmup_steps: Option<u64>,
    },
}

impl Method {
    /// Whether decoder rows are kept at norm 1, and what the gradient has along them is left out:
    /// all methods but ReLU, whose sparsity loss counts the norms.
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

    /// The ends of the groups of features that reconstruct on their own.
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

/// The auxiliary loss of top-k SAEs: dead features reconstruct what the others leave
/// (Gao et al. 2024, appendix A.2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuxK {
    /// Dead features per activation. Default: half of `d_in`, as in the paper.
    pub k: Option<usize>,
    /// Weight of the loss; 0 leaves it out. Default: 1/32, as in the paper.
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
    /// The learning rate between warm-up and decay. Default: 3e-4, as in SAELens.
    pub lr: f64,
    /// Decay of the gradient's mean. Default: 0.9.
    pub beta1: f64,
    /// Decay of the gradient's square. Default: 0.999.
    pub beta2: f64,
    /// What keeps a division from being one by zero. Default: 1e-8.
    pub epsilon: f64,
    /// The largest norm that the gradient of all weights together keeps; 0 for no limit.
    /// Default: 1, as in SAELens.
    pub clip: f64,
    /// Steps over which the rate rises; the first step has `1 / warmup-steps` of it, not none.
    /// Default: a twentieth of the steps, 1000 at most.
    pub warmup_steps: Option<u64>,
    /// Last steps over which the rate falls to nothing. Default: a fifth, as in Conerly et al.
    /// 2024.
    pub decay_steps: Option<u64>,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            lr: 3e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            clip: 1.0,
            warmup_steps: None,
            decay_steps: None,
        }
    }
}

/// Where the weights start. `W_enc` is the transpose of `W_dec`, whose rows have random directions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Init {
    /// Where `b_dec` starts.
    pub b_dec: BDecInit,
    /// Norm of the decoder's rows, for ReLU only: the other methods keep it at 1, and this changes
    /// nothing for them. Default: 0.1, as in Conerly et al. 2024.
    pub decoder_norm: f64,
}

impl Default for Init {
    fn default() -> Self {
        Self { b_dec: BDecInit::GeometricMedian, decoder_norm: 0.1 }
    }
}

/// Where `b_dec` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BDecInit {
    /// The point with the least sum of distances to the activations (Bricken et al. 2023).
    GeometricMedian,
    /// The activations' mean.
    Mean,
    /// Zero.
    Zero,
}

/// What becomes of features that do not fire.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct DeadFeatures {
    /// A feature that did not fire in so many steps is dead. Default: 1000, as in SAELens, but no
    /// more than a tenth of the steps: in a short training nothing would ever be dead.
    pub window_steps: Option<u64>,
    /// After how many steps dead features start anew at activations that are reconstructed badly
    /// (Bricken et al. 2023, "neuron resampling"); 0 for never. None do once the learning rate
    /// falls. Default: 0 with aux-k, else four times the window.
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
        let lr = with(Optimizer { lr: 1e39, ..Optimizer::default() });
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
            "d-sae is 1048576, it must be 1 to 1048320 for a width of 4097"
        );
        assert_eq!(
            refused(&Recipe { batch: 4097, ..top_k(1 << 20) }, 1),
            "batch is 4097, it must be 1 to 4096 for a d-sae of 1048576"
        );
        top_k(1 << 20).check(4096).unwrap();
    }
}
