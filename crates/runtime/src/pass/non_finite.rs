//! Numbers that leave the range of float32, and where they first do.

use std::fmt;

use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_transformer::{Gpt, TokenBatch};

use crate::pass::checked_plan::CheckedPlan;
use crate::pass::plan_router::PlanRouter;
use crate::pass::report::ReportBuilder;
use crate::pass::token_positions::TokenPositions;

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

/// Runs `tokens` from position 0 with `plan` and returns the first place at which an activation is not
/// finite. Slow: every activation is read to the host.
pub(crate) fn first_non_finite(
    gpt: &Gpt,
    plan: &CheckedPlan<'_>,
    tokens: &TokenBatch,
    positions: &TokenPositions,
) -> Option<NonFinite> {
    let mut report = ReportBuilder::new(plan.interventions.len());
    let mut probe = Probe { first: None };
    let mut router = (PlanRouter::new(plan, positions, &mut report), &mut probe);
    gpt.forward_to(tokens, HookPoint::FinalNormalized, &mut router).ok()?;
    let failed = router.0.failed();
    // Features follow from the activation at their hook point, which an intervention then moves.
    let order = |found: &NonFinite| (found.at.hook(), !matches!(found.at, NonFiniteAt::Moved(_)));
    failed
        .into_iter()
        .chain(probe.first)
        .min_by_key(|found| (order(found), matches!(found.at, NonFiniteAt::Features(_))))
}

/// Looks at every activation until one is not finite.
struct Probe {
    first: Option<NonFinite>,
}

impl HookRouter for Probe {
    fn wants(&self, _point: HookPoint) -> bool {
        self.first.is_none()
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if self.first.is_none() {
            let dims = x.dims();
            let values = x.clone().into_data();
            let found = values.iter::<f32>().position(|value| !value.is_finite());
            self.first = found.map(|index| {
                let [row, position] = place(&dims, matches!(point, HookPoint::Pattern(_)), index);
                NonFinite { at: NonFiniteAt::Activation(point), row, position }
            });
        }
        x
    }
}

/// The row and position of a number of an activation `[batch, seq, ..]`, or of an attention pattern
/// `[batch, heads, query, key]`.
fn place(dims: &[usize], is_pattern: bool, index: usize) -> [usize; 2] {
    let inner = |from: usize| dims[from..].iter().product::<usize>();
    let axis = if is_pattern { 2 } else { 1 };
    [index / inner(1), index / inner(axis + 1) % dims[axis]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_row_and_the_position_of_a_number() {
        assert_eq!(place(&[2, 3, 4], false, 12 + 2 * 4 + 1), [1, 2]);
        assert_eq!(place(&[2, 3, 4, 5], false, 60 + 20 + 19), [1, 1]);
        // Two rows of two heads; the query is the position.
        assert_eq!(place(&[2, 2, 3, 7], true, 42 + 21 + 7 + 6), [1, 1]);
    }

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
