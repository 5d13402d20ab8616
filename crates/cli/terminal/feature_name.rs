//! The names of features: where they come from, and how they are drawn.

use std::borrow::Cow;
use std::collections::BTreeMap;

use anstyle::Style;
use nanoscope::Microscope;
use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;

use crate::terminal::display::{DIM, LABEL, cut, visible};

/// The mark in front of an automatic name.
const AUTOMATIC: &str = "~ ";

/// The name of a feature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FeatureName<'n> {
    text: Cow<'n, str>,
    /// False for a label that a person gave.
    pub(crate) automatic: bool,
}

impl<'n> FeatureName<'n> {
    pub(crate) fn new(text: impl Into<Cow<'n, str>>, automatic: bool) -> Self {
        Self { text: text.into(), automatic }
    }

    /// The name as it was given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The name for a terminal, without control characters and with the mark of an automatic one, cut
    /// to `cells`.
    pub(crate) fn shown(&self, cells: usize) -> String {
        let mark = if self.automatic { AUTOMATIC } else { "" };
        cut(&format!("{mark}{}", visible(&self.text)), cells)
    }

    /// The style of the name: an automatic one is dim.
    pub(crate) fn style(&self) -> Style {
        if self.automatic { DIM } else { LABEL }
    }
}

/// The names of the features of a model's SAEs.
pub(crate) trait Naming: std::fmt::Debug + Send + Sync {
    /// Computes the names of `features`, with their activations, that are to be shown.
    fn prepare(&self, hook: HookPoint, features: &[(u32, f32)]);

    /// The name of a feature, if it has one.
    fn name(&self, hook: HookPoint, feature: u32) -> Option<FeatureName<'_>>;
}

impl Naming for Microscope {
    fn prepare(&self, hook: HookPoint, features: &[(u32, f32)]) {
        // Only a feature that the SAE does not have is an error, and it has no name.
        let _ = self.prepare_names(hook, features.iter().map(|&(feature, _)| feature));
    }

    fn name(&self, hook: HookPoint, feature: u32) -> Option<FeatureName<'_>> {
        let name = Microscope::name(self, hook, feature)?;
        Some(FeatureName::new(name.text.to_string(), name.is_automatic))
    }
}

/// Labels alone, for tests.
impl Naming for BTreeMap<HookPoint, Labels> {
    fn prepare(&self, _: HookPoint, _: &[(u32, f32)]) {}

    fn name(&self, hook: HookPoint, feature: u32) -> Option<FeatureName<'_>> {
        let labels = self.get(&hook)?;
        Some(FeatureName::new(labels.get(feature)?, labels.is_automatic(feature)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_name_is_marked_and_dim() {
        let given = FeatureName::new("a dog\u{1b}[31m", false);
        let automatic = FeatureName::new("fires on ·dog · promotes ·wagged", true);

        assert_eq!(given.shown(40), "a dog⟨001B⟩[31m");
        assert_eq!(automatic.shown(40), "~ fires on ·dog · promotes ·wagged");
        assert_eq!(automatic.shown(12), "~ fires on …");
        assert_eq!((given.style(), automatic.style()), (LABEL, DIM));
    }
}
