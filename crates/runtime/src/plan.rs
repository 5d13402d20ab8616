use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::error::RuntimeError;
use crate::intervention::{Intervention, Op, Splice};
use crate::model::InterpretableModel;

/// What to look at and what to change in a pass: a value, which a model checks and then follows.
///
/// Interventions at one hook point are applied in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub(crate) track: BTreeSet<HookPoint>,
    pub(crate) capture: BTreeSet<HookPoint>,
    pub(crate) interventions: Vec<Intervention>,
}

impl Plan {
    /// A plan that looks at nothing and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also gives the features of the SAE at `hook`: those that arrive there, before any
    /// intervention at that point.
    pub fn track(mut self, hook: HookPoint) -> Self {
        self.track.insert(hook);
        self
    }

    /// Also gives the activation at `hook`, as it arrives there.
    pub fn capture(mut self, hook: HookPoint) -> Self {
        self.capture.insert(hook);
        self
    }

    /// Also gives the activation at each hook point whose SAE is tracked.
    pub fn capture_tracked(mut self) -> Self {
        self.capture.extend(&self.track);
        self
    }

    /// Also changes a feature.
    pub fn intervene(mut self, intervention: Intervention) -> Self {
        self.interventions.push(intervention);
        self
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.track.is_empty() && self.capture.is_empty() && self.interventions.is_empty()
    }

    /// Checks everything that can be checked before a pass.
    pub(crate) fn check<'m>(
        &self,
        model: &'m InterpretableModel,
    ) -> Result<CheckedPlan<'m>, RuntimeError> {
        for &hook in &self.capture {
            model.check_hook(hook)?;
        }
        let mut sites: BTreeMap<HookPoint, Site<'m>> = BTreeMap::new();
        for &hook in &self.track {
            sites.insert(hook, Site { track: true, ..Site::new(model.sae_at(hook)?) });
        }
        for (index, intervention) in self.interventions.iter().enumerate() {
            let hook = intervention.hook;
            let sae = model.sae_at(hook)?;
            sae.config().check_feature(intervention.feature).map_err(|source| {
                RuntimeError::Feature { intervention: intervention.to_string(), source }
            })?;
            if intervention.op.value().is_some_and(|value| !value.is_finite()) {
                return Err(RuntimeError::NotFinite { intervention: intervention.to_string() });
            }
            sites.entry(hook).or_insert_with(|| Site::new(sae)).add(index, intervention)?;
        }
        for site in sites.values_mut().filter(|site| !site.features.is_empty()) {
            let directions = site.sae.directions(&site.features);
            site.directions = Some(directions.expect("each feature was checked above"));
        }
        Ok(CheckedPlan {
            sites,
            capture: self.capture.clone(),
            interventions: self.interventions.clone(),
        })
    }
}

/// A plan that a model can follow.
#[derive(Debug)]
pub(crate) struct CheckedPlan<'m> {
    pub(crate) sites: BTreeMap<HookPoint, Site<'m>>,
    pub(crate) capture: BTreeSet<HookPoint>,
    pub(crate) interventions: Vec<Intervention>,
}

/// What happens at one hook point.
#[derive(Debug)]
pub(crate) struct Site<'m> {
    pub(crate) sae: &'m Sae,
    pub(crate) track: bool,
    pub(crate) splice: Splice,
    /// The features that are changed, each once.
    pub(crate) features: Vec<usize>,
    /// Their decoder rows, `[features, d_in]`.
    pub(crate) directions: Option<Tensor<2>>,
    pub(crate) edits: Vec<Edit>,
}

/// One intervention at its site.
#[derive(Debug)]
pub(crate) struct Edit {
    /// Its place among the plan's interventions.
    pub(crate) index: usize,
    /// Its feature's place among the site's.
    pub(crate) slot: usize,
    pub(crate) op: Op,
}

impl<'m> Site<'m> {
    fn new(sae: &'m Sae) -> Self {
        let splice = Splice::default();
        Self {
            sae,
            track: false,
            splice,
            features: Vec::new(),
            directions: None,
            edits: Vec::new(),
        }
    }

    fn add(&mut self, index: usize, intervention: &Intervention) -> Result<(), RuntimeError> {
        if self.edits.is_empty() {
            self.splice = intervention.splice;
        } else if self.splice != intervention.splice {
            return Err(RuntimeError::MixedSplice { hook: intervention.hook });
        }
        let feature = intervention.feature;
        let slot = self.features.iter().position(|&known| known == feature).unwrap_or_else(|| {
            self.features.push(feature);
            self.features.len() - 1
        });
        self.edits.push(Edit { index, slot, op: intervention.op });
        Ok(())
    }

    /// Whether the features that arrive must be known to apply the edits.
    pub(crate) fn needs_features(&self) -> bool {
        self.splice == Splice::Reconstruct || self.edits.iter().any(|edit| edit.op.reads_feature())
    }
}
