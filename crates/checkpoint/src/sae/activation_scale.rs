//! The normalisation of activations in training, stated by a person.

use std::fmt;
use std::str::FromStr;

use nanoscope_sae::Normalization;
use thiserror::Error;

/// The scale of the activations that an SAE was trained on, for files that leave it open.
///
/// SAELens estimates a factor, or a whitening, before training and folds it into the weights at the
/// end. A file that still names the normalisation may be from before or after that.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ActivationScale {
    /// It is folded into the weights, which take activations unscaled.
    Folded,
    /// The weights take activations multiplied by this number, finite and above 0.
    Factor(f32),
}

impl fmt::Display for ActivationScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folded => f.write_str("folded"),
            Self::Factor(scale) => write!(f, "{scale}"),
        }
    }
}

impl FromStr for ActivationScale {
    type Err = ActivationScaleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "folded" {
            return Ok(Self::Folded);
        }
        match text.parse() {
            Ok(scale) if Normalization::SCALES.contains(&scale) => Ok(Self::Factor(scale)),
            _ => Err(ActivationScaleError { found: text.to_owned() }),
        }
    }
}

/// A text that is not an [`ActivationScale`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the activation scale is `{found}` (expected `folded` or a number above 0)")]
pub struct ActivationScaleError {
    found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_written_as_it_is_read() {
        for scale in [ActivationScale::Folded, ActivationScale::Factor(0.1107)] {
            assert_eq!(scale.to_string().parse(), Ok(scale));
        }
        for text in ["", "0", "-1", "1e-39", "3e38", "inf", "NaN", "1e39", "fold"] {
            let error = text.parse::<ActivationScale>().unwrap_err();
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
        }
    }
}
