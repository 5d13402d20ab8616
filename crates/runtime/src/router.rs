use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter, Recorder, Recording};
use nanoscope_sae::SparseFeatures;

use crate::context::Context;
use crate::error::RuntimeError;
use crate::intervention::Splice;
use crate::plan::{CheckedPlan, Site};
use crate::splice::{keep_error, reconstruct, with_changes};

/// Follows a plan through one pass.
pub(crate) struct PlanRouter<'p, 'm> {
    plan: &'p CheckedPlan<'m>,
    context: &'p Context,
    recorder: Recorder,
    features: BTreeMap<HookPoint, SparseFeatures>,
    counts: &'p mut Counts,
}

/// Per intervention of a plan, at how many positions it was applied and changed something.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts(pub(crate) Vec<(usize, usize)>);

impl Counts {
    pub(crate) fn new(plan: &CheckedPlan<'_>) -> Self {
        Self(vec![(0, 0); plan.interventions.len()])
    }
}

/// What one pass gave.
pub(crate) struct PassOutput {
    pub(crate) features: BTreeMap<HookPoint, SparseFeatures>,
    pub(crate) captured: Recording,
}

impl<'p, 'm> PlanRouter<'p, 'm> {
    pub(crate) fn new(
        plan: &'p CheckedPlan<'m>,
        context: &'p Context,
        counts: &'p mut Counts,
    ) -> Self {
        let recorder = Recorder::new(plan.capture.iter().copied());
        Self { plan, context, recorder, features: BTreeMap::new(), counts }
    }

    pub(crate) fn finish(self) -> Result<PassOutput, RuntimeError> {
        Ok(PassOutput { features: self.features, captured: self.recorder.finish()? })
    }

    /// # Shapes
    /// - `x`: `[rows, d_in]`
    /// - output: the changed activation, if anything changes
    fn visit(&mut self, point: HookPoint, site: &Site<'m>, x: Tensor<2>) -> Option<Tensor<2>> {
        let covered: Vec<bool> = if site.edits.is_empty() {
            Vec::new()
        } else {
            (0..self.context.rows()).map(|row| self.covers_any(site, row)).collect()
        };
        let edits = covered.contains(&true);
        let encoded = (site.track || edits && site.needs_features())
            .then(|| site.sae.encode_sparse(x.clone()));
        // What is only tracked must not touch the arithmetic: `(f + s) - f` is not quite `s`.
        let read = encoded.as_ref().filter(|_| site.needs_features());
        let out = edits.then(|| self.edit(site, x, read, covered)).flatten();
        if let (true, Some(features)) = (site.track, encoded) {
            self.features.insert(point, features);
        }
        out
    }

    /// Whether any edit of the site covers `row`.
    fn covers_any(&self, site: &Site<'m>, row: usize) -> bool {
        let mut edits = site.edits.iter();
        edits.any(|edit| self.context.covers(&self.plan.interventions[edit.index], row))
    }

    fn edit(
        &mut self,
        site: &Site<'m>,
        x: Tensor<2>,
        encoded: Option<&SparseFeatures>,
        covered: Vec<bool>,
    ) -> Option<Tensor<2>> {
        let slots = site.features.len();
        let mut changes = vec![0.0_f32; covered.len() * slots];
        let mut changed = SparseFeatures::new(site.sae.config().d_sae());
        for row in 0..covered.len() {
            let value = |&feature: &usize| encoded.map_or(0.0, |f| f.get(row, feature as u32));
            let before: Vec<f32> = site.features.iter().map(value).collect();
            let after = self.apply(site, row, &before);
            for slot in 0..slots {
                changes[row * slots + slot] = after[slot] - before[slot];
            }
            if let (Splice::Reconstruct, Some(encoded)) = (site.splice, encoded) {
                changed.push_row(with_changes(encoded, row, &site.features, &after));
            }
        }
        match site.splice {
            Splice::Reconstruct => Some(reconstruct(x, site.sae, &changed, covered)),
            Splice::KeepError if changes.iter().all(|&change| change == 0.0) => None,
            Splice::KeepError => {
                let directions = site.directions.as_ref().expect("a site with edits has them");
                Some(keep_error(x, changes, directions))
            }
        }
    }

    /// The values of the site's features after all edits that cover `row`.
    fn apply(&mut self, site: &Site<'m>, row: usize, before: &[f32]) -> Vec<f32> {
        let mut values = before.to_vec();
        for edit in &site.edits {
            if !self.context.covers(&self.plan.interventions[edit.index], row) {
                continue;
            }
            let value = &mut values[edit.slot];
            let after = edit.op.apply(*value);
            let (positions, changed) = &mut self.counts.0[edit.index];
            *positions += 1;
            *changed += usize::from(after != *value);
            *value = after;
        }
        values
    }
}

impl HookRouter for PlanRouter<'_, '_> {
    fn wants(&self, point: HookPoint) -> bool {
        self.plan.sites.contains_key(&point) || self.plan.capture.contains(&point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = self.recorder.route(point, x);
        let plan = self.plan;
        let Some(site) = plan.sites.get(&point) else { return x };
        let dims = x.dims();
        let flat = x.clone().reshape([self.context.rows(), site.sae.config().d_in()]);
        match self.visit(point, site, flat) {
            Some(changed) => changed.reshape(dims),
            None => x,
        }
    }
}
