use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::InterpretableModel;
use nanoscope_sae::Sae;
use nanoscope_transformer::Gpt;

use crate::error::AttributeError;

/// The number that is attributed to features.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `logit[target] − logit[contrast]`, after the softcap: why this token rather than that one.
    LogitDiff {
        /// The token that positive attributions speak for.
        target: u32,
        /// The token that it is compared with.
        contrast: u32,
    },
    /// `log_softmax(logits)[target]`, in nats. It saturates for a token that is nearly certain: gradients
    /// are then tiny while ablations are not, and [`LogitDiff`](Self::LogitDiff) says more.
    LogProb {
        /// The token.
        target: u32,
    },
    /// `logit[target]`, after the softcap.
    Logit {
        /// The token.
        target: u32,
    },
    /// The pre-activation of a feature at a position
    /// ([`Sae::pre_activations_of`]), of which the SAEs before it are the sources. A feature that is not
    /// active has one too.
    Feature {
        /// The hook point that the feature's SAE reads.
        hook: HookPoint,
        /// The feature.
        feature: usize,
        /// The position, counted from 0.
        position: usize,
    },
}

/// A metric checked against a model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Readout<'m> {
    /// A number that follows from the logits of the last position.
    Token(TokenMetric),
    /// A pre-activation.
    Feature { hook: HookPoint, sae: &'m Sae, feature: usize, position: usize },
}

/// A metric of the logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenMetric {
    LogitDiff { target: u32, contrast: u32 },
    LogProb { target: u32 },
    Logit { target: u32 },
}

impl Metric {
    /// The name in nanoscope's JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogitDiff { .. } => "logit_diff",
            Self::LogProb { .. } => "logprob",
            Self::Logit { .. } => "logit",
            Self::Feature { .. } => "pre_activation",
        }
    }

    /// The tokens that it is about: the target, then the contrast.
    pub fn tokens(self) -> Vec<u32> {
        match self {
            Self::LogitDiff { target, contrast } => vec![target, contrast],
            Self::LogProb { target } | Self::Logit { target } => vec![target],
            Self::Feature { .. } => Vec::new(),
        }
    }

    /// Computes the metric from the logits of one position, after the softcap. `None` if it does not follow from
    /// them: a pre-activation, or a token outside the vocabulary.
    pub fn of_logits(self, logits: &[f32]) -> Option<f32> {
        let logit = |id: u32| logits.get(id as usize).copied();
        match self {
            Self::LogitDiff { target, contrast } => Some(logit(target)? - logit(contrast)?),
            Self::LogProb { target } => {
                logit(target).map(|_| log_probability(logits, target) as f32)
            }
            Self::Logit { target } => logit(target),
            Self::Feature { .. } => None,
        }
    }

    pub(crate) fn check(self, model: &InterpretableModel) -> Result<Readout<'_>, AttributeError> {
        let vocab_size = model.gpt().config().shape.vocab_size;
        let check = |id: u32| {
            let inside = (id as usize) < vocab_size;
            inside.then_some(()).ok_or(AttributeError::Token { id, vocab_size })
        };
        Ok(match self {
            Self::LogitDiff { target, contrast } => {
                check(target)?;
                check(contrast)?;
                if target == contrast {
                    return Err(AttributeError::SameToken { id: target });
                }
                Readout::Token(TokenMetric::LogitDiff { target, contrast })
            }
            Self::LogProb { target } => {
                check(target)?;
                Readout::Token(TokenMetric::LogProb { target })
            }
            Self::Logit { target } => {
                check(target)?;
                Readout::Token(TokenMetric::Logit { target })
            }
            Self::Feature { hook, feature, position } => {
                let sae = model.sae(hook)?;
                let found = sae.config().check_feature(feature);
                found.map_err(|source| AttributeError::Feature { hook, source })?;
                Readout::Feature { hook, sae, feature, position }
            }
        })
    }
}

impl Readout<'_> {
    /// The hook point that a feature's SAE reads.
    pub(crate) fn hook(&self) -> Option<HookPoint> {
        match self {
            Self::Token(_) => None,
            Self::Feature { hook, .. } => Some(*hook),
        }
    }
}

impl TokenMetric {
    /// Computes the metric of each row.
    ///
    /// # Shapes
    /// - `logits`: `[rows, vocab_size]`, after the softcap
    pub(crate) fn of(self, logits: Tensor<2>) -> Vec<f32> {
        let column = |id: u32| to_host(logits.clone().slice_dim(1, id as usize..id as usize + 1));
        match self {
            Self::LogitDiff { target, contrast } => {
                let pairs = column(target).into_iter().zip(column(contrast));
                pairs.map(|(target, contrast)| target - contrast).collect()
            }
            Self::LogProb { target } => {
                let [_, vocab_size] = logits.dims();
                // Not burn's: flex loses two digits in a softmax over a whole vocabulary.
                let of_row = |row: &[f32]| log_probability(row, target) as f32;
                to_host(logits.clone()).chunks_exact(vocab_size).map(of_row).collect()
            }
            Self::Logit { target } => column(target),
        }
    }

    /// The derivatives of the metric by each logit.
    pub(crate) fn derivatives(self, logits: &[f32]) -> Vec<f64> {
        let mut derivatives = vec![0.0; logits.len()];
        match self {
            Self::LogitDiff { target, contrast } => {
                derivatives[target as usize] = 1.0;
                derivatives[contrast as usize] = -1.0;
            }
            Self::LogProb { target } => {
                for (derivative, probability) in derivatives.iter_mut().zip(softmax(logits)) {
                    *derivative = -probability;
                }
                derivatives[target as usize] += 1.0;
            }
            Self::Logit { target } => derivatives[target as usize] = 1.0,
        }
        derivatives
    }

    pub(crate) fn target(self) -> u32 {
        match self {
            Self::LogitDiff { target, .. } | Self::LogProb { target } | Self::Logit { target } => {
                target
            }
        }
    }

    pub(crate) fn contrast(self) -> Option<u32> {
        match self {
            Self::LogitDiff { contrast, .. } => Some(contrast),
            Self::LogProb { .. } | Self::Logit { .. } => None,
        }
    }
}

/// The probabilities of finite logits.
pub(crate) fn softmax(logits: &[f32]) -> impl Iterator<Item = f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = move |logit: &f32| f64::from(logit - largest).exp();
    let sum: f64 = logits.iter().map(weight).sum();
    logits.iter().map(move |logit| weight(logit) / sum)
}

/// The log probability of the token `id` by logits. NaN if one of them is.
fn log_probability(logits: &[f32], id: u32) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum();
    f64::from(logits[id as usize] - largest) - sum.ln()
}

/// The slope of the softcap at each logit, `1 − (logit / softcap)²`; 1 without a softcap.
pub(crate) fn slopes(gpt: &Gpt, logits: &[f32]) -> Vec<f64> {
    let softcap = gpt.config().softcap.map_or(f64::INFINITY, f64::from);
    logits.iter().map(|&logit| 1.0 - (f64::from(logit) / softcap).powi(2)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_probability_of_logits_that_are_not_finite_is_not_a_number() {
        let probability = log_probability(&[0.0, 3.0_f32.ln()], 1);

        assert!((probability - 0.75_f64.ln()).abs() < 1e-7, "{probability}");
        for bad in [f32::NAN, f32::INFINITY] {
            for id in [0, 1] {
                assert!(log_probability(&[0.0, bad], id).is_nan(), "{bad}, {id}");
            }
        }
    }

    #[test]
    fn a_metric_follows_from_the_logits_of_tokens_in_the_vocabulary() {
        let logits = [0.5_f32, -1.0, 2.0];

        assert_eq!(Metric::LogitDiff { target: 2, contrast: 1 }.of_logits(&logits), Some(3.0));
        assert_eq!(Metric::Logit { target: 1 }.of_logits(&logits), Some(-1.0));
        let logprob = Metric::LogProb { target: 0 }.of_logits(&[0.0, 3.0_f32.ln()]).unwrap();
        assert!((logprob - 0.25_f32.ln()).abs() < 1e-6, "{logprob}");
        let (hook, feature, position) = (HookPoint::Embed, 0, 0);
        for without in [Metric::LogProb { target: 3 }, Metric::Feature { hook, feature, position }]
        {
            assert_eq!(without.of_logits(&logits), None);
        }
    }

    #[test]
    fn derivatives_of_a_log_probability_sum_to_zero() {
        let logits = [0.5_f32, -1.0, 2.0];

        let derivatives = TokenMetric::LogProb { target: 2 }.derivatives(&logits);

        assert!(derivatives.iter().sum::<f64>().abs() < 1e-12);
        let step = 1e-3_f32;
        for (at, derivative) in derivatives.iter().enumerate() {
            let moved = |by: f32| {
                let mut logits = logits;
                logits[at] += by;
                log_probability(&logits, 2)
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
            assert!((slope - derivative).abs() < 1e-4, "{at}: {slope}, {derivative}");
        }
    }
}
