//! The first number of a run that is not finite.

use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_kernels::to_host;
use nanoscope_transformer::{Gpt, TokenBatch};

use crate::pass::checked_plan::CheckedPlan;
use crate::pass::non_finite::{NonFinite, NonFiniteAt};
use crate::pass::pass_router::PassRouter;
use crate::pass::plan_pass::PlanPass;
use crate::pass::report::ReportBuilder;
use crate::pass::token_positions::TokenPositions;

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
    let mut plans = [PlanPass::new(plan, positions, &mut report)];
    let mut router = PassRouter::new(&mut plans);
    gpt.forward_to(tokens, HookPoint::FinalNormalized, &mut (&mut router, &mut probe)).ok()?;
    router.settle();
    let failed = plans[0].failed();
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
            let values = to_host(x.clone());
            // Scores of masked keys are -inf.
            let is_masked = |value: f32| {
                matches!(point, HookPoint::AttnScores(_)) && value == f32::NEG_INFINITY
            };
            let bad = |value: f32| !value.is_finite() && !is_masked(value);
            self.first = values.iter().copied().position(bad).map(|index| {
                let per_query = matches!(point, HookPoint::Pattern(_) | HookPoint::AttnScores(_));
                let [row, position] = place(&dims, per_query, index);
                NonFinite { at: NonFiniteAt::Activation(point), row, position }
            });
        }
        x
    }
}

/// The row and position of a number of an activation `[batch, seq, ..]`, or, `per_query`, of an attention
/// pattern or scores `[batch, heads, query, key]`.
fn place(dims: &[usize], per_query: bool, index: usize) -> [usize; 2] {
    let inner = |from: usize| dims[from..].iter().product::<usize>();
    let axis = if per_query { 2 } else { 1 };
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
}
