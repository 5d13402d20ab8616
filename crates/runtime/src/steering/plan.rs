use std::collections::BTreeSet;

use nanoscope_hooks::HookPoint;

use super::condition::Condition;
use super::intervention::{Intervention, VectorName};

/// The hook points to observe and the interventions to make in a pass.
///
/// A plan is a plain value. Its fields can be read and changed; a model checks them before a pass.
/// Interventions at one hook point are applied in order.
///
/// The JSON form is an object with the keys `track`, `track_all`, `capture`, `capture_tracked`,
/// `steer` (the interventions), `vectors` (lists of numbers by name) and `stop_when`. Empty fields
/// are omitted; an unknown key is an error.
///
/// ```
/// use nanoscope_hooks::HookPoint;
/// use nanoscope_runtime::Plan;
///
/// let hook = HookPoint::ResidPost(1);
/// let plan = Plan::new()
///     .track(hook)
///     .intervene("blocks.1.hook_resid_post:7:multiply:2@generated".parse().unwrap());
///
/// let baseline = plan.without_steering();
/// assert!(baseline.track.contains(&hook) && baseline.interventions.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The hook points whose features are returned.
    pub track: BTreeSet<HookPoint>,
    /// True if the features of every SAE of the model are returned.
    pub track_all: bool,
    /// The hook points whose activations are returned.
    pub capture: BTreeSet<HookPoint>,
    /// True if the activation at every tracked hook point is returned.
    pub capture_tracked: bool,
    /// The interventions, in the order in which they are applied.
    pub interventions: Vec<Intervention>,
    /// The steering vectors by name, each in the activation space of the hook points at which
    /// interventions use it (heads concatenated).
    pub vectors: Vec<(VectorName, Vec<f32>)>,
    /// The conditions that end a generation.
    pub stop_when: Vec<Condition>,
}

impl Plan {
    /// Creates a plan that observes and changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tracks the SAE at `hook`: its features are returned as they arrive there, before any
    /// intervention at that hook point.
    pub fn track(mut self, hook: HookPoint) -> Self {
        self.track.insert(hook);
        self
    }

    /// Tracks every SAE of the model that the plan is run on.
    pub fn track_all(mut self) -> Self {
        self.track_all = true;
        self
    }

    /// Captures the activation at `hook` as it arrives there.
    pub fn capture(mut self, hook: HookPoint) -> Self {
        self.capture.insert(hook);
        self
    }

    /// Captures the activation at every hook point whose SAE is tracked.
    pub fn capture_tracked(mut self) -> Self {
        self.capture_tracked = true;
        self
    }

    /// Adds an intervention.
    pub fn intervene(mut self, intervention: Intervention) -> Self {
        self.interventions.push(intervention);
        self
    }

    /// Defines the steering vector `name`, in the activation space of the hook point at which an
    /// intervention uses it (heads concatenated).
    pub fn vector(mut self, name: VectorName, values: Vec<f32>) -> Self {
        self.vectors.push((name, values));
        self
    }

    /// Ends a generation after the first generated token at which `condition` holds. That token is
    /// still returned; prompt tokens are not considered.
    pub fn stop_when(mut self, condition: Condition) -> Self {
        self.stop_when.push(condition);
        self
    }

    /// Returns the same plan without interventions and their vectors.
    ///
    /// Tracking, capturing and the conditions that end a generation are kept.
    pub fn without_steering(&self) -> Self {
        Self { interventions: Vec::new(), vectors: Vec::new(), ..self.clone() }
    }

    /// Returns whether the plan neither observes nor changes anything.
    pub fn is_empty(&self) -> bool {
        self.track.is_empty()
            && !self.track_all
            && self.capture.is_empty()
            && self.interventions.is_empty()
            && self.stop_when.is_empty()
    }

    /// The values of the vector `name`, which the check found.
    pub(crate) fn values_of(&self, name: &VectorName) -> &[f32] {
        let mut vectors = self.vectors.iter();
        &vectors.find(|(known, _)| known == name).expect("the check found the vector").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_steering_only_interventions_and_vectors_go() {
        let hook = HookPoint::ResidPost(1);
        let observing = Plan::new()
            .track(hook)
            .track_all()
            .capture(hook)
            .capture_tracked()
            .stop_when("hook_embed:1>2".parse().unwrap());
        let steered = observing
            .clone()
            .vector("calm".parse().unwrap(), vec![1.0])
            .intervene("hook_embed:calm:add:1".parse().unwrap());

        assert_ne!(steered, observing);
        assert_eq!(steered.without_steering(), observing);
        assert!(!observing.is_empty() && Plan::new().is_empty());
        assert!(!Plan::new().track_all().is_empty());
    }
}
