use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::{ActivationCache, ActivationRecorder, HookPoint, HookRouter};
use nanoscope_kernels::{has_kernels, read_together, to_host};
use nanoscope_sae::{Encoding, Sae, SaeError, SparseFeatures};

use crate::error::RuntimeError;
use crate::pass::checked_plan::CheckedPlan;
use crate::pass::edits::{DirectionSource, HookEdits, RowState};
use crate::pass::non_finite::{MAX_MOVE, NonFinite, NonFiniteAt};
use crate::pass::report::{PendingNorms, ReportBuilder};
use crate::pass::splice::{move_along, replace_rows};
use crate::pass::token_positions::TokenPositions;
use crate::steering::{Condition, Op, Scale};

/// Follows a plan through one pass.
pub(crate) struct PlanRouter<'p, 'm> {
    plan: &'p CheckedPlan<'m>,
    positions: &'p TokenPositions,
    recorder: ActivationRecorder,
    /// The features, by the hook point that the SAE reads.
    features: BTreeMap<HookPoint, SparseFeatures>,
    /// The activations that interventions read later, `[rows, d_in]`.
    arrived: BTreeMap<HookPoint, Tensor<2>>,
    report: &'p mut ReportBuilder,
    /// Features that nothing in the pass needs, and the lengths of activations: read after it, together.
    encodings: Vec<(HookPoint, Encoding<'m>)>,
    pending: Vec<PendingNorms>,
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

/// The largest number of products with an encoder that are kept until the end of a pass.
const MAX_KEPT: usize = 1 << 22;

/// Returns whether features that are needed at the end of a pass are encoded then: where reading waits for a
/// device, and the products are not too many to keep.
pub(crate) fn is_read_at_end(x: &Tensor<2>, sae: &Sae) -> bool {
    !has_kernels(x) && x.dims()[0] * sae.config().d_sae() <= MAX_KEPT
}

/// The results of one pass.
pub(crate) struct PassOutput {
    /// The features of the tracked hook points.
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
    pub(crate) captured: ActivationCache,
    /// The steered features of the tracked hook points.
    pub(crate) steered: Vec<SteeredFeature>,
    /// The first condition in the plan that ends a generation and holds at the last row, with its
    /// feature's activation.
    pub(crate) stop: Option<(Condition, f32)>,
}

impl<'p, 'm> PlanRouter<'p, 'm> {
    pub(crate) fn new(
        plan: &'p CheckedPlan<'m>,
        positions: &'p TokenPositions,
        report: &'p mut ReportBuilder,
    ) -> Self {
        let recorder = ActivationRecorder::new(plan.capture.iter().copied());
        Self {
            plan,
            positions,
            recorder,
            features: BTreeMap::new(),
            arrived: BTreeMap::new(),
            report,
            encodings: Vec::new(),
            pending: Vec::new(),
            steered: Vec::new(),
            failed: None,
        }
    }

    /// Takes the tensors whose numbers [`receive`](Self::receive) needs, in this order.
    pub(crate) fn take_unread(&mut self) -> Vec<Tensor<1>> {
        let encodings = self.encodings.iter_mut().flat_map(|(_, encoding)| encoding.take_tensors());
        let norms = self.pending.iter().map(|pending| pending.norms.clone().flatten(0, 1));
        encodings.chain(norms).collect()
    }

    /// Takes a vector of `numbers` for each tensor of [`take_unread`](Self::take_unread).
    pub(crate) fn receive(&mut self, numbers: &mut impl Iterator<Item = Vec<f32>>) {
        for (point, encoding) in std::mem::take(&mut self.encodings) {
            self.store(point, encoding.finish_with(numbers));
        }
        for pending in std::mem::take(&mut self.pending) {
            let norms = numbers.next().expect("there is a vector for each tensor");
            let hook = pending.hook;
            if let Err(row) = self.report.add(&pending, &norms) {
                self.fail(NonFiniteAt::Activation(hook), row);
            }
        }
    }

    /// Reads what the pass left on the device. Waits for it.
    pub(crate) fn settle(&mut self) {
        let numbers = read_together(self.take_unread());
        self.receive(&mut numbers.into_iter());
    }

    /// Ends the pass, whose numbers were received.
    ///
    /// # Errors
    /// [`RuntimeError::NonFinite`] if a feature, a move or an activation that was moved is not finite.
    pub(crate) fn finish(mut self) -> Result<PassOutput, RuntimeError> {
        if let Some(found) = self.failed {
            return Err(RuntimeError::NonFinite { found });
        }
        let captured = self.recorder.finish()?;
        let last = self.positions.rows() - 1;
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
        Ok(PassOutput { features: self.features, captured, steered, stop })
    }

    /// The first number found so far that is not finite.
    pub(crate) fn failed(&self) -> Option<NonFinite> {
        self.failed
    }

    /// Ends the run because of a number in `row` of an activation matrix, unless it has ended.
    fn fail(&mut self, at: NonFiniteAt, row: usize) {
        let TokenPositions { offset, seq, .. } = *self.positions;
        let found = NonFinite { at, row: row / seq, position: offset + row % seq };
        self.failed.get_or_insert(found);
    }

    /// The SAE that reads `point`, and when this pass needs its features.
    pub(crate) fn reader(&self, point: HookPoint) -> Option<(&'m Sae, Need)> {
        let reader = self.plan.readers.get(&point)?;
        let covers_any = |&index: &usize| {
            let intervention = &self.plan.interventions[index];
            (0..self.positions.rows()).any(|row| self.positions.covers(intervention, row))
        };
        let need = if reader.needed_by.iter().any(covers_any) {
            Need::Now
        } else if reader.track || reader.stops {
            Need::AtEnd
        } else {
            Need::Never
        };
        Some((reader.sae, need))
    }

    /// Stores the activation that arrives at `point`, which has a reader, if an intervention reads it later.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    pub(crate) fn arrive(&mut self, point: HookPoint, x: Tensor<2>) {
        if self.plan.readers[&point].keeps_activation {
            self.arrived.insert(point, x);
        }
    }

    /// Stores the features at `point`.
    pub(crate) fn store(&mut self, point: HookPoint, features: Result<SparseFeatures, SaeError>) {
        let features = features.unwrap_or_else(|source| {
            let row = if let SaeError::NotFinite { row, .. } = source { row } else { 0 };
            self.fail(NonFiniteAt::Features(point), row);
            // A pass cannot be ended at a hook point, so it goes on without features.
            let mut none = SparseFeatures::new(self.plan.readers[&point].sae.config().d_sae());
            (0..self.positions.rows()).for_each(|_| none.push_row([]));
            none
        });
        self.features.insert(point, features);
    }

    /// Returns the activation with the plan's changes at `point`; `None` if nothing changes.
    ///
    /// # Shapes
    /// - `x`: any shape that flattens to `[rows, width]`; the output has the same shape
    pub(crate) fn change<const D: usize>(
        &mut self,
        point: HookPoint,
        x: &Tensor<D>,
    ) -> Option<Tensor<D>> {
        let plan = self.plan;
        let hook_edits = plan.edits.get(&point)?;
        let [_, width] = hook_edits.matrix.dims();
        let changed =
            self.edit(point, hook_edits, x.clone().reshape([self.positions.rows(), width]))?;
        Some(changed.reshape(x.dims()))
    }

    /// Returns whether the intervention `index` is applied to the token at `row`.
    fn applies(&self, index: usize, row: usize) -> bool {
        let intervention = &self.plan.interventions[index];
        self.positions.covers(intervention, row)
            && intervention.when.is_none_or(|condition| {
                let features = &self.features[&condition.hook];
                features.get(row, condition.feature as u32) > condition.above
            })
    }

    /// Applies `hook_edits` to the activation; `None` if nothing changes.
    ///
    /// # Shapes
    /// - `x`: `[rows, width]`; the output has the same shape
    fn edit(
        &mut self,
        hook: HookPoint,
        hook_edits: &HookEdits<'m>,
        x: Tensor<2>,
    ) -> Option<Tensor<2>> {
        let rows = self.positions.rows();
        let applies: Vec<Vec<bool>> = hook_edits
            .edits
            .iter()
            .map(|edit| (0..rows).map(|row| self.applies(edit.index, row)).collect())
            .collect();
        let covered: Vec<bool> = (0..rows).map(|row| applies.iter().any(|of| of[row])).collect();
        if !covered.contains(&true) {
            return None;
        }
        let base = match hook_edits.reconstructs {
            Some(hook) => replace_rows(x.clone(), self.reconstruction(hook), covered),
            None => x.clone(),
        };

        // Reading each of these to the host waits for the device.
        let wants = |is: fn(Op) -> bool| {
            let mut edits = hook_edits.edits.iter().zip(&applies);
            edits.any(|(edit, applies)| is(edit.op) && applies.contains(&true))
        };
        let by_norm = |op: Op| op.scale() == Some(Scale::Norm);
        let norms = if wants(by_norm) { to_host(lengths(x.clone())) } else { vec![0.0; rows] };
        let orthogonal = wants(Op::projects);
        let columns = if orthogonal { hook_edits.columns() } else { 0 };
        let projections =
            if orthogonal { hook_edits.projections(base.clone()) } else { Vec::new() };
        let factors = self.factors(hook_edits);

        let mut moved = Vec::with_capacity(rows * hook_edits.directions.len());
        let mut moves = Vec::new();
        for row in 0..rows {
            let known = RowState {
                values: hook_edits
                    .directions
                    .iter()
                    .map(|direction| self.value(&direction.source, row))
                    .collect(),
                factors: factors.iter().map(|of| of.as_ref().map_or(1.0, |of| of[row])).collect(),
                norm: norms[row],
                projections: &projections[row * columns..(row + 1) * columns],
            };
            let report = &mut *self.report;
            let (row_moved, values) = hook_edits.apply(
                known,
                |at| applies[at][row],
                |edit, length| {
                    report.count(edit.index, length != 0.0);
                    if length != 0.0 {
                        moves.push((edit.index, row, length));
                    }
                },
            );
            for (at, value) in values.into_iter().enumerate() {
                let mut edits = hook_edits.edits.iter().zip(&applies);
                let applied = edits.any(|(edit, applies)| edit.direction == at && applies[row]);
                if let DirectionSource::Feature { hook, index, .. } =
                    hook_edits.directions[at].source
                    && applied
                {
                    let feature = index as u32;
                    let is_change = !self.features.contains_key(&hook);
                    self.steered.push(SteeredFeature { hook, row, feature, value, is_change });
                }
            }
            let distances = row_moved.iter().zip(&hook_edits.directions);
            let distance: f64 = distances.map(|(moved, along)| moved.abs() * along.norm).sum();
            if distance.is_nan() || distance >= MAX_MOVE {
                self.fail(NonFiniteAt::Moved(hook), row);
            }
            moved.extend(row_moved.into_iter().map(|moved| moved as f32));
        }
        if !moves.is_empty() {
            self.pending.push(PendingNorms { hook, norms: lengths(x), moves });
        }
        if moved.iter().all(|&moved| moved == 0.0) {
            return hook_edits.reconstructs.map(|_| base);
        }
        Some(move_along(base, moved, &hook_edits.matrix))
    }
}

impl<'m> PlanRouter<'_, 'm> {
    /// The activation of a direction's feature before the interventions; 0 if not needed.
    fn value(&self, source: &DirectionSource<'_>, row: usize) -> f32 {
        match source {
            DirectionSource::Feature { hook, index, .. } => {
                self.features.get(hook).map_or(0.0, |features| features.get(row, *index as u32))
            }
            DirectionSource::Vector(_) => 0.0,
        }
    }

    /// The factor of each direction in each row; `None` stands for 1.
    fn factors(&self, hook_edits: &HookEdits<'m>) -> Vec<Option<Vec<f32>>> {
        let mut of_sae: BTreeMap<HookPoint, Option<Vec<f32>>> = BTreeMap::new();
        let factor = |source: &DirectionSource<'_>| match source {
            DirectionSource::Feature { hook, sae, .. } => of_sae
                .entry(*hook)
                .or_insert_with(|| sae.output_scale(self.arrived[hook].clone()).map(to_host))
                .clone(),
            DirectionSource::Vector(_) => None,
        };
        hook_edits.directions.iter().map(|direction| &direction.source).map(factor).collect()
    }

    /// The reconstruction by the SAE at `hook` from the features that arrived there, unchanged.
    fn reconstruction(&self, hook: HookPoint) -> Tensor<2> {
        let sae = self.plan.readers[&hook].sae;
        sae.decode_sparse(&self.features[&hook], self.arrived[&hook].clone())
    }
}

/// The length of each row, `[rows, 1]`.
fn lengths(x: Tensor<2>) -> Tensor<2> {
    x.square().sum_dim(1).sqrt()
}

impl HookRouter for PlanRouter<'_, '_> {
    fn wants(&self, point: HookPoint) -> bool {
        let plan = self.plan;
        plan.readers.contains_key(&point)
            || plan.edits.contains_key(&point)
            || plan.capture.contains(&point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = self.recorder.route(point, x);
        if let Some((sae, need)) = self.reader(point) {
            let arrived = x.clone().reshape([self.positions.rows(), sae.config().d_in()]);
            match need {
                Need::Never => {}
                Need::AtEnd if is_read_at_end(&arrived, sae) => {
                    self.encodings.push((point, sae.begin_encoding(arrived.clone())));
                }
                Need::AtEnd | Need::Now => self.store(point, sae.encode_sparse(arrived.clone())),
            }
            self.arrive(point, arrived);
        }
        match self.change(point, &x) {
            Some(changed) => changed,
            None => x,
        }
    }
}
