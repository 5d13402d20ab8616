use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::{ActivationCache, ActivationRecorder, HookPoint, HookRouter};
use nanoscope_sae::{Sae, SparseFeatures};

use crate::error::RuntimeError;
use crate::pass::checked_plan::CheckedPlan;
use crate::pass::edits::{Along, Row, Site};
use crate::pass::report::{Distances, Report};
use crate::pass::splice::{along, in_rows};
use crate::pass::token_positions::Context;
use crate::steering::{Condition, Op, Scale};

/// Follows a plan through one pass.
pub(crate) struct PlanRouter<'p, 'm> {
    plan: &'p CheckedPlan<'m>,
    context: &'p Context,
    recorder: ActivationRecorder,
    /// What the SAEs made of what arrived, by the point that they read.
    features: BTreeMap<HookPoint, SparseFeatures>,
    /// What arrived where an intervention needs it later, `[rows, d_in]`.
    arrived: BTreeMap<HookPoint, Tensor<2>>,
    report: &'p mut Report,
    distances: Vec<Distances>,
}

/// What one pass gave.
pub(crate) struct PassOutput {
    /// Of the points that are tracked.
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
    pub(crate) captured: ActivationCache,
    /// The first condition of the plan's that ends a generation and holds at the last row, with
    /// its feature's value.
    pub(crate) stop: Option<(Condition, f32)>,
}

impl<'p, 'm> PlanRouter<'p, 'm> {
    pub(crate) fn new(
        plan: &'p CheckedPlan<'m>,
        context: &'p Context,
        report: &'p mut Report,
    ) -> Self {
        let recorder = ActivationRecorder::new(plan.capture.iter().copied());
        let (features, arrived, distances) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { plan, context, recorder, features, arrived, report, distances }
    }

    /// Ends the pass. Waits for the device, so the logits are better read before.
    pub(crate) fn finish(mut self) -> Result<PassOutput, RuntimeError> {
        let captured = self.recorder.finish()?;
        for distances in self.distances {
            self.report.add(distances);
        }
        let last = self.context.rows() - 1;
        let stop = self.plan.stop_when.iter().find_map(|condition| {
            let value = self.features[&condition.hook].get(last, condition.feature as u32);
            (value > condition.above).then_some((*condition, value))
        });
        self.features.retain(|hook, _| self.plan.readers[hook].track);
        Ok(PassOutput { features: self.features, captured, stop })
    }

    /// The SAE that reads `point`, with whether its features are wanted of this pass.
    pub(crate) fn reader(&self, point: HookPoint) -> Option<(&'m Sae, bool)> {
        let reader = self.plan.readers.get(&point)?;
        let covers_any = |&index: &usize| {
            let intervention = &self.plan.interventions[index];
            (0..self.context.rows()).any(|row| self.context.covers(intervention, row))
        };
        let wanted = reader.track || reader.stops || reader.needed_by.iter().any(covers_any);
        Some((reader.sae, wanted))
    }

    /// Takes over what arrived at `point`, which has a reader, and what its SAE made of it, if that
    /// was wanted.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`
    pub(crate) fn read(
        &mut self,
        point: HookPoint,
        x: Tensor<2>,
        features: Option<SparseFeatures>,
    ) {
        if let Some(features) = features {
            self.features.insert(point, features);
        }
        if self.plan.readers[&point].keeps_activation {
            self.arrived.insert(point, x);
        }
    }

    /// The activation with the changes of the plan at `point`; none if nothing changes.
    ///
    /// # Shapes
    /// - `x`: `[rows, width]` in whatever shape it arrives in; the output has the same shape
    pub(crate) fn change<const D: usize>(
        &mut self,
        point: HookPoint,
        x: &Tensor<D>,
    ) -> Option<Tensor<D>> {
        let plan = self.plan;
        let site = plan.sites.get(&point)?;
        let [_, width] = site.directions.dims();
        let changed = self.edit(site, x.clone().reshape([self.context.rows(), width]))?;
        Some(changed.reshape(x.dims()))
    }

    /// Whether the intervention `index` is applied to the token at `row`.
    fn applies(&self, index: usize, row: usize) -> bool {
        let intervention = &self.plan.interventions[index];
        self.context.covers(intervention, row)
            && intervention.when.is_none_or(|condition| {
                let features = &self.features[&condition.hook];
                features.get(row, condition.feature as u32) > condition.above
            })
    }

    /// # Shapes
    /// - `x`: `[rows, width]`
    /// - output: the changed activation, if anything changes
    fn edit(&mut self, site: &Site<'m>, x: Tensor<2>) -> Option<Tensor<2>> {
        let rows = self.context.rows();
        let applies: Vec<Vec<bool>> = site
            .edits
            .iter()
            .map(|edit| (0..rows).map(|row| self.applies(edit.index, row)).collect())
            .collect();
        let covered: Vec<bool> = (0..rows).map(|row| applies.iter().any(|of| of[row])).collect();
        if !covered.contains(&true) {
            return None;
        }
        let base = match site.reconstructs {
            Some(hook) => in_rows(x.clone(), self.reconstruction(hook), covered),
            None => x.clone(),
        };

        // What is known of the rows on the host; each of these waits for the device.
        let wants = |is: fn(Op) -> bool| {
            let mut edits = site.edits.iter().zip(&applies);
            edits.any(|(edit, applies)| is(edit.op) && applies.contains(&true))
        };
        let by_norm = |op: Op| op.scale() == Some(Scale::Norm);
        let norms = if wants(by_norm) { host(lengths(x.clone())) } else { vec![0.0; rows] };
        let orthogonal = wants(|op| matches!(op, Op::Orthogonal(..)));
        let columns = if orthogonal { site.columns() } else { 0 };
        let projections = if orthogonal { site.projections(base.clone()) } else { Vec::new() };
        let factors = self.factors(site);

        let mut moved = Vec::with_capacity(rows * site.slots.len());
        let mut moves = Vec::new();
        for row in 0..rows {
            let known = Row {
                values: site.slots.iter().map(|slot| self.value(&slot.along, row)).collect(),
                factors: factors.iter().map(|of| of.as_ref().map_or(1.0, |of| of[row])).collect(),
                norm: norms[row],
                projections: &projections[row * columns..(row + 1) * columns],
            };
            let report = &mut *self.report;
            let along = site.apply(
                known,
                |at| applies[at][row],
                |edit, length| {
                    report.count(edit.index, length != 0.0);
                    if length != 0.0 {
                        moves.push((edit.index, row, length));
                    }
                },
            );
            moved.extend(along.into_iter().map(|moved| moved as f32));
        }
        if !moves.is_empty() {
            self.distances.push(Distances { norms: lengths(x), moves });
        }
        if moved.iter().all(|&moved| moved == 0.0) {
            return site.reconstructs.map(|_| base);
        }
        Some(along(base, moved, &site.directions))
    }
}

impl<'m> PlanRouter<'_, 'm> {
    /// The value of what a slot stands for, before the interventions; 0 if nothing needs it.
    fn value(&self, along: &Along<'_>, row: usize) -> f32 {
        match along {
            Along::Feature { hook, index, .. } => {
                self.features.get(hook).map_or(0.0, |features| features.get(row, *index as u32))
            }
            Along::Vector(_) => 0.0,
        }
    }

    /// Per slot, by what its direction is multiplied in each row; none for 1.
    fn factors(&self, site: &Site<'m>) -> Vec<Option<Vec<f32>>> {
        let mut of_sae: BTreeMap<HookPoint, Option<Vec<f32>>> = BTreeMap::new();
        let factor = |along: &Along<'_>| match along {
            Along::Feature { hook, sae, .. } => of_sae
                .entry(*hook)
                .or_insert_with(|| sae.output_scale(self.arrived[hook].clone()).map(host))
                .clone(),
            Along::Vector(_) => None,
        };
        site.slots.iter().map(|slot| &slot.along).map(factor).collect()
    }

    /// What the SAE at `hook` makes of the features that arrived there, unchanged.
    fn reconstruction(&self, hook: HookPoint) -> Tensor<2> {
        let sae = self.plan.readers[&hook].sae;
        sae.decode_sparse(&self.features[&hook], self.arrived[&hook].clone())
    }
}

/// The length of each row, `[rows, 1]`.
fn lengths(x: Tensor<2>) -> Tensor<2> {
    x.square().sum_dim(1).sqrt()
}

fn host(x: Tensor<2>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

impl HookRouter for PlanRouter<'_, '_> {
    fn wants(&self, point: HookPoint) -> bool {
        let plan = self.plan;
        plan.readers.contains_key(&point)
            || plan.sites.contains_key(&point)
            || plan.capture.contains(&point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = self.recorder.route(point, x);
        if let Some((sae, wanted)) = self.reader(point) {
            let arrived = x.clone().reshape([self.context.rows(), sae.config().d_in()]);
            let features = wanted.then(|| sae.encode_sparse(arrived.clone()));
            self.read(point, arrived, features);
        }
        match self.change(point, &x) {
            Some(changed) => changed,
            None => x,
        }
    }
}
