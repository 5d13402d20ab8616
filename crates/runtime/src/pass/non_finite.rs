//! Numbers that leave the range of float32.

use std::fmt;

use nanoscope_hooks::HookPoint;

/// The first place of a run at which a number is NaN, infinite or too large to compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NonFinite {
    /// The kind of number, with its hook point.
    pub at: NonFiniteAt,
    /// The row of the batch; 0 in a generation.
    pub row: usize,
    /// The position in the sequence.
    pub position: usize,
}

/// A kind of number that is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonFiniteAt {
    /// The activation at this hook point, after the interventions there.
    Activation(HookPoint),
    /// An intervention moves the activation at this hook point further than norms can compute with.
    Moved(HookPoint),
    /// The features of the SAE that reads this hook point.
    Features(HookPoint),
    /// The logits, although the activations at every hook point are finite.
    Logits,
}

impl NonFiniteAt {
    /// The hook point; `None` for the logits.
    pub fn hook(self) -> Option<HookPoint> {
        match self {
            Self::Activation(hook) | Self::Moved(hook) | Self::Features(hook) => Some(hook),
            Self::Logits => None,
        }
    }
}

impl fmt::Display for NonFinite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, row, position } = self;
        match at {
            NonFiniteAt::Activation(hook) => write!(f, "the activation at {hook} is not finite")?,
            NonFiniteAt::Moved(hook) => {
                write!(f, "an intervention at {hook} leaves the range of float32")?;
            }
            NonFiniteAt::Features(hook) => write!(f, "the features at {hook} are not finite")?,
            NonFiniteAt::Logits => write!(f, "the logits are not finite")?,
        }
        write!(f, " at position {position}")?;
        if *row > 0 { write!(f, " of row {row}") } else { Ok(()) }
    }
}

/// The largest distance that interventions may move an activation. Norms square it: the square root
/// of the largest float32 is 1.8e19, and the rest is room for the weights after the hook point. A
/// norm that overflows makes a row of zeros, and finite logits that mean nothing.
pub(crate) const MAX_MOVE: f64 = 1e18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_its_hook_point_and_position() {
        let hook = HookPoint::ResidPost(2);
        let text = |at, row| NonFinite { at, row, position: 7 }.to_string();

        assert_eq!(
            text(NonFiniteAt::Activation(hook), 0),
            "the activation at blocks.2.hook_resid_post is not finite at position 7"
        );
        assert_eq!(
            text(NonFiniteAt::Moved(hook), 0),
            "an intervention at blocks.2.hook_resid_post leaves the range of float32 at position 7"
        );
        assert_eq!(
            text(NonFiniteAt::Features(hook), 1),
            "the features at blocks.2.hook_resid_post are not finite at position 7 of row 1"
        );
        assert_eq!(text(NonFiniteAt::Logits, 0), "the logits are not finite at position 7");
    }
}
