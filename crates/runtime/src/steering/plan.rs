use std::collections::BTreeSet;

use nanoscope_hooks::HookPoint;

use super::condition::Condition;
use super::intervention::{Intervention, VectorName};

/// What to look at and what to change in a pass: a value, which a model checks and then follows.
///
/// Interventions at one hook point are applied in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    pub(crate) track: BTreeSet<HookPoint>,
    pub(crate) capture: BTreeSet<HookPoint>,
    pub(crate) interventions: Vec<Intervention>,
    pub(crate) vectors: Vec<(VectorName, Vec<f32>)>,
    pub(crate) stop_when: Vec<Condition>,
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

    /// Also changes a feature, or an activation along a vector.
    pub fn intervene(mut self, intervention: Intervention) -> Self {
        self.interventions.push(intervention);
        self
    }

    /// Says what an intervention means by the vector `name`: a direction in the activation at its
    /// hook point, heads side by side.
    pub fn vector(mut self, name: VectorName, values: Vec<f32>) -> Self {
        self.vectors.push((name, values));
        self
    }

    /// Also ends a generation after the first generated token at which `condition` holds. That
    /// token is given out; the prompt's do not count.
    pub fn stop_when(mut self, condition: Condition) -> Self {
        self.stop_when.push(condition);
        self
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.track.is_empty()
            && self.capture.is_empty()
            && self.interventions.is_empty()
            && self.stop_when.is_empty()
    }

    /// The numbers of a vector that an intervention was checked to have.
    pub(crate) fn values_of(&self, name: &VectorName) -> &[f32] {
        let mut vectors = self.vectors.iter();
        &vectors.find(|(known, _)| known == name).expect("the check found the vector").1
    }
}
