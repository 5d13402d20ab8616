use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{SaeError, SparseFeatures};

use crate::pass::applied_edits::{AppliedEdits, KnownNumbers};
use crate::pass::checked_plan::{CheckedPlan, Reader};
use crate::pass::edits::{DirectionSource, RowState};
use crate::pass::non_finite::{MAX_MOVE, NonFinite, NonFiniteAt};
use crate::pass::report::{Move, ReportBuilder};
use crate::pass::token_positions::TokenPositions;
use crate::steering::Condition;

/// The course of a plan through one pass.
pub(crate) struct PlanPass<'p, 'm> {
    plan: &'p CheckedPlan<'m>,
    positions: &'p TokenPositions,
    /// The features, by the hook point that the SAE reads.
    features: BTreeMap<HookPoint, SparseFeatures>,
    report: &'p mut ReportBuilder,
    /// The activations of steered features after the interventions.
    steered: Vec<SteeredFeature>,
    /// The first number that is not finite, which ends the run.
    failed: Option<NonFinite>,
}

/// A feature's activation after the interventions on it, at the token in `row`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SteeredFeature {
    pub(crate) hook: HookPoint,
    pub(crate) row: usize,
    pub(crate) feature: u32,
    pub(crate) value: f32,
    /// True until the feature is read if that is at the end of the pass: `value` is only the change then.
    is_change: bool,
}

/// The time at which a pass needs the features of a hook point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    Never,
    /// When the pass has ended.
    AtEnd,
    /// When the activation arrives, because it or a later one is changed by them.
    Now,
}

/// The results of one pass for a plan.
pub(crate) struct PassOutput {
    /// The features of the tracked hook points.
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
    /// The steered features of the tracked hook points.
    pub(crate) steered: Vec<SteeredFeature>,
    /// The first condition in the plan that ends a generation and holds at the last row, with its
    /// feature's activation.
    pub(crate) stop: Option<(Condition, f32)>,
}

impl<'p, 'm> PlanPass<'p, 'm> {
    pub(crate) fn new(
        plan: &'p CheckedPlan<'m>,
        positions: &'p TokenPositions,
        report: &'p mut ReportBuilder,
    ) -> Self {
        let features = BTreeMap::new();
        Self { plan, positions, features, report, steered: Vec::new(), failed: None }
    }

    /// The number of tokens, each of which has a row in an activation matrix.
    pub(crate) fn tokens(&self) -> usize {
        self.positions.rows()
    }

    pub(crate) fn wants(&self, point: HookPoint) -> bool {
        self.plan.readers.contains_key(&point) || self.plan.edits.contains_key(&point)
    }

    /// The reader of `point`, and when this pass needs its features.
    pub(crate) fn reader(&self, point: HookPoint) -> Option<(&'p Reader<'m>, Need)> {
        let reader = self.plan.readers.get(&point)?;
        let covers_any = |&index: &usize| {
            let intervention = &self.plan.interventions[index];
            (0..self.tokens()).any(|row| self.positions.covers(intervention, row))
        };
        let need = if reader.needed_by.iter().any(covers_any) {
            Need::Now
        } else if reader.track || reader.stops {
            Need::AtEnd
        } else {
            Need::Never
        };
        Some((reader, need))
    }

    /// Stores the features at `point`.
    pub(crate) fn store(&mut self, point: HookPoint, features: Result<SparseFeatures, SaeError>) {
        let features = features.unwrap_or_else(|source| {
            let row = if let SaeError::NotFinite { row, .. } = source { row } else { 0 };
            self.fail(NonFiniteAt::Features(point), row);
            // A pass cannot be ended at a hook point, so it goes on without features.
            let mut none = SparseFeatures::new(self.plan.readers[&point].sae.config().d_sae());
            (0..self.tokens()).for_each(|_| none.push_row([]));
            none
        });
        self.features.insert(point, features);
    }

    /// The features that were stored at `point`.
    pub(crate) fn features(&self, point: HookPoint) -> &SparseFeatures {
        &self.features[&point]
    }

    /// The plan's edits at `point` that apply to a token of the pass, if any.
    pub(crate) fn edits(&self, point: HookPoint) -> Option<AppliedEdits<'p, 'm>> {
        let applies = |index: usize, row: usize| {
            let intervention = &self.plan.interventions[index];
            self.positions.covers(intervention, row)
                && intervention.when.is_none_or(|condition| {
                    let features = &self.features[&condition.hook];
                    features.get(row, condition.feature as u32) > condition.above
                })
        };
        AppliedEdits::new(self.plan.edits.get(&point)?, self.tokens(), applies)
    }

    /// Applies edits to the tokens one after the other. Returns the length of each move.
    ///
    /// # Shapes
    /// - `moved`: the distance along each direction, `[tokens, directions]`, is written to it; there may be more
    ///   columns than directions
    pub(crate) fn edit(
        &mut self,
        point: HookPoint,
        applied: &AppliedEdits<'p, 'm>,
        known: &KnownNumbers<'_>,
        moved: &mut [f32],
    ) -> Vec<Move> {
        let edits = applied.edits;
        let columns = moved.len() / self.tokens();
        let mut moves = Vec::new();
        for (row, moved) in moved.chunks_exact_mut(columns).enumerate() {
            let sources = || edits.directions.iter().map(|direction| &direction.source);
            let state = RowState {
                values: sources().map(|source| self.value(source, row)).collect(),
                factors: sources().map(|source| known.factor(source, row)).collect(),
                norm: known.lengths.map_or(0.0, |lengths| lengths[row]),
                projections: known.projections(row),
            };
            let report = &mut *self.report;
            let (row_moved, values) = edits.apply(
                state,
                |at| applied.applies(at, row),
                |edit, length| {
                    report.count(edit.index, length != 0.0);
                    if length != 0.0 {
                        moves.push(Move { intervention: edit.index, row, length });
                    }
                },
            );
            for (at, value) in values.into_iter().enumerate() {
                if let DirectionSource::Feature { hook, index, .. } = edits.directions[at].source
                    && applied.moves_along(at, row)
                {
                    let feature = index as u32;
                    let is_change = !self.features.contains_key(&hook);
                    self.steered.push(SteeredFeature { hook, row, feature, value, is_change });
                }
            }
            let distances = row_moved.iter().zip(&edits.directions);
            let distance: f64 = distances.map(|(moved, along)| moved.abs() * along.norm).sum();
            if distance.is_nan() || distance >= MAX_MOVE {
                self.fail(NonFiniteAt::Moved(point), row);
            }
            for (to, from) in moved.iter_mut().zip(row_moved) {
                *to = from as f32;
            }
        }
        moves
    }

    /// Reports moves at `point`.
    ///
    /// # Shapes
    /// - `lengths`: those of the activations before the moves, `[tokens]`
    pub(crate) fn report(&mut self, point: HookPoint, moves: &[Move], lengths: &[f32]) {
        if let Err(row) = self.report.add(moves, lengths) {
            self.fail(NonFiniteAt::Activation(point), row);
        }
    }

    /// The first number found so far that is not finite.
    pub(crate) fn failed(&self) -> Option<NonFinite> {
        self.failed
    }

    /// Ends the pass, whose numbers were received.
    ///
    /// # Errors
    /// The place of a feature, a move or an activation that was moved if it is not finite.
    pub(crate) fn finish(mut self) -> Result<PassOutput, NonFinite> {
        if let Some(found) = self.failed {
            return Err(found);
        }
        let last = self.tokens() - 1;
        let stop = self.plan.stop_when.iter().find_map(|condition| {
            let value = self.features[&condition.hook].get(last, condition.feature as u32);
            (value > condition.above).then_some((*condition, value))
        });
        self.features.retain(|hook, _| self.plan.readers[hook].track);
        let mut steered = self.steered;
        steered.retain(|one| self.features.contains_key(&one.hook));
        for one in steered.iter_mut().filter(|one| one.is_change) {
            one.value += self.features[&one.hook].get(one.row, one.feature);
            one.is_change = false;
        }
        Ok(PassOutput { features: self.features, steered, stop })
    }

    /// The activation of a direction's feature before the interventions; 0 if not needed.
    fn value(&self, source: &DirectionSource<'_>, row: usize) -> f32 {
        match source {
            DirectionSource::Feature { hook, index, .. } => {
                self.features.get(hook).map_or(0.0, |features| features.get(row, *index as u32))
            }
            DirectionSource::Vector(_) => 0.0,
        }
    }

    /// Ends the run because of a number in `row` of an activation matrix, unless it has ended.
    fn fail(&mut self, at: NonFiniteAt, row: usize) {
        let TokenPositions { offset, seq, .. } = *self.positions;
        let found = NonFinite { at, row: row / seq, position: offset + row % seq };
        self.failed.get_or_insert(found);
    }
}
