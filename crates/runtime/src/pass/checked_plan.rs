//! Validates a plan against a model before any pass runs.

use std::collections::{BTreeMap, BTreeSet};

use nanoscope_hooks::HookPoint;
use nanoscope_sae::Sae;

use crate::error::RuntimeError;
use crate::model::InterpretableModel;
use crate::pass::edits::{DirectionSource, HookEdits, HookEditsBuilder};
use crate::steering::{
    Condition, Intervention, Plan, PositionRange, Splice, Target, VectorName, check_target,
};

/// A plan validated against a model.
#[derive(Debug)]
pub(crate) struct CheckedPlan<'m> {
    /// By the hook point that is read.
    pub(crate) readers: BTreeMap<HookPoint, Reader<'m>>,
    /// By the hook point that is changed.
    pub(crate) edits: BTreeMap<HookPoint, HookEdits<'m>>,
    pub(crate) capture: BTreeSet<HookPoint>,
    pub(crate) interventions: Vec<Intervention>,
    pub(crate) stop_when: Vec<Condition>,
}

/// An SAE whose features or input a plan needs.
#[derive(Debug)]
pub(crate) struct Reader<'m> {
    pub(crate) sae: &'m Sae,
    /// True if the plan returns the features.
    pub(crate) track: bool,
    /// True if a condition that ends a generation reads the features.
    pub(crate) stops: bool,
    /// The interventions that read the features, where they cover a token.
    pub(crate) needed_by: Vec<usize>,
    /// True if an intervention reads the activation too.
    pub(crate) keeps_activation: bool,
}

impl<'m> Reader<'m> {
    fn new(sae: &'m Sae) -> Self {
        let needed_by = Vec::new();
        Self { sae, track: false, stops: false, needed_by, keeps_activation: false }
    }
}

impl CheckedPlan<'_> {
    /// The indices of the interventions that can cover a position of a prompt.
    pub(crate) fn changes_of_prompts(&self) -> Vec<usize> {
        let interventions = self.interventions.iter().enumerate();
        let can = interventions.filter(|(_, i)| *i.at.range() != PositionRange::Generated);
        can.map(|(index, _)| index).collect()
    }
}

impl Plan {
    /// Validates the plan, except for the positions that its interventions cover.
    pub(crate) fn check<'m>(
        &self,
        model: &'m InterpretableModel,
    ) -> Result<CheckedPlan<'m>, RuntimeError> {
        let mut track = self.track.clone();
        if self.track_all {
            track.extend(model.saes().keys());
        }
        let mut capture = self.capture.clone();
        if self.capture_tracked {
            capture.extend(&track);
        }
        for &hook in &capture {
            model.check_hook(hook)?;
        }
        self.check_vectors()?;
        let mut readers = Readers(BTreeMap::new());
        for &hook in &track {
            readers.at(hook, model)?.track = true;
        }
        for condition in &self.stop_when {
            readers.for_condition(condition, model)?.stops = true;
        }
        let mut edits: BTreeMap<HookPoint, HookEditsBuilder<'m>> = BTreeMap::new();
        for (index, intervention) in self.interventions.iter().enumerate() {
            let (landing, source) = self.landing(intervention, model)?;
            if let Some(condition) = &intervention.when {
                readers.for_condition(condition, model)?.needed_by.push(index);
                if condition.hook > landing {
                    return Err(RuntimeError::ConditionTooLate {
                        intervention: intervention.to_string(),
                        condition: condition.hook,
                        hook: landing,
                    });
                }
            }
            let reconstructs = reconstructed(intervention, landing, model)?;
            let reads_value = intervention.op.reads_value();
            let read = match &source {
                DirectionSource::Feature { hook, .. } => Some(*hook),
                DirectionSource::Vector(_) => reconstructs,
            };
            if let Some(hook) = read {
                let reader = readers.at(hook, model)?;
                reader.keeps_activation = true;
                if reads_value || reconstructs.is_some() {
                    reader.needed_by.push(index);
                }
            }
            let hook_edits = edits.entry(landing).or_insert_with(|| HookEditsBuilder::new(landing));
            hook_edits.add(index, intervention, source, reconstructs)?;
        }
        let edits = edits
            .into_iter()
            .map(|(hook, hook_edits)| Ok((hook, hook_edits.build(self, model.gpt().device())?)));
        Ok(CheckedPlan {
            edits: edits.collect::<Result<_, RuntimeError>>()?,
            readers: readers.0,
            capture,
            interventions: self.interventions.clone(),
            stop_when: self.stop_when.clone(),
        })
    }

    fn check_vectors(&self) -> Result<(), RuntimeError> {
        let mut names = BTreeSet::new();
        for (name, values) in &self.vectors {
            let name = name.to_string();
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(RuntimeError::VectorNotFinite { name, index });
            }
            if values.iter().all(|&value| value == 0.0) {
                return Err(RuntimeError::ZeroVector { name });
            }
            if !names.insert(name.clone()) {
                return Err(RuntimeError::DuplicateVector { name });
            }
        }
        Ok(())
    }

    /// Validates one intervention. Returns the hook point that it changes and the direction along
    /// which it moves the activation.
    fn landing<'m>(
        &self,
        intervention: &Intervention,
        model: &'m InterpretableModel,
    ) -> Result<(HookPoint, DirectionSource<'m>), RuntimeError> {
        let Intervention { hook, target, op, .. } = intervention;
        let text = || intervention.to_string();
        let found = match target {
            Target::Feature(index) => {
                let sae = model.sae(*hook)?;
                sae.config()
                    .check_feature(*index)
                    .map_err(|source| RuntimeError::Feature { intervention: text(), source })?;
                let source = DirectionSource::Feature { hook: *hook, sae, index: *index };
                (model.write_point(*hook), source)
            }
            Target::Vector(name) => {
                model.check_hook(*hook)?;
                check_target(target, *op)
                    .map_err(|source| RuntimeError::Target { intervention: text(), source })?;
                let values = self.vector_called(name, intervention)?;
                let expected = model.gpt().config().hook_shape(*hook).width();
                if expected != Some(values.len()) {
                    return Err(RuntimeError::VectorWidth {
                        name: name.to_string(),
                        hook: *hook,
                        expected,
                        found: values.len(),
                    });
                }
                (*hook, DirectionSource::Vector(name.clone()))
            }
        };
        if op.value().is_some_and(|value| !value.is_finite()) {
            return Err(RuntimeError::NotFinite { intervention: text() });
        }
        Ok(found)
    }

    fn vector_called(
        &self,
        name: &VectorName,
        intervention: &Intervention,
    ) -> Result<&[f32], RuntimeError> {
        let found = self.vectors.iter().find(|(known, _)| known == name);
        found.map(|(_, values)| values.as_slice()).ok_or_else(|| RuntimeError::NoVector {
            intervention: intervention.to_string(),
            name: name.to_string(),
            have: self.vectors.iter().map(|(name, _)| name.to_string()).collect(),
        })
    }
}

/// The hook point read by the SAE whose reconstruction replaces the activation, if any.
fn reconstructed(
    intervention: &Intervention,
    landing: HookPoint,
    model: &InterpretableModel,
) -> Result<Option<HookPoint>, RuntimeError> {
    let hook = intervention.hook;
    match (intervention.splice, &intervention.target) {
        (Splice::KeepError, _) => Ok(None),
        (Splice::Reconstruct, Target::Feature(_)) => Ok(Some(hook)),
        (Splice::Reconstruct, Target::Vector(_)) => {
            let writes_here =
                model.saes().contains_key(&hook) && model.write_point(hook) == landing;
            let intervention = || intervention.to_string();
            let nothing =
                || RuntimeError::NothingToReconstruct { intervention: intervention(), hook };
            writes_here.then_some(Some(hook)).ok_or_else(nothing)
        }
    }
}

struct Readers<'m>(BTreeMap<HookPoint, Reader<'m>>);

impl<'m> Readers<'m> {
    fn at(
        &mut self,
        hook: HookPoint,
        model: &'m InterpretableModel,
    ) -> Result<&mut Reader<'m>, RuntimeError> {
        let sae = model.sae(hook)?;
        Ok(self.0.entry(hook).or_insert_with(|| Reader::new(sae)))
    }

    /// Validates a condition and returns its reader.
    fn for_condition(
        &mut self,
        condition: &Condition,
        model: &'m InterpretableModel,
    ) -> Result<&mut Reader<'m>, RuntimeError> {
        let text = || condition.to_string();
        let config = model.sae(condition.hook)?.config();
        config
            .check_feature(condition.feature)
            .map_err(|source| RuntimeError::ConditionFeature { condition: text(), source })?;
        if !condition.above.is_finite() {
            return Err(RuntimeError::ConditionNotFinite { condition: text() });
        }
        self.at(condition.hook, model)
    }
}
