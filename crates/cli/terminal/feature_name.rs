//! The names of features: where they come from, and how they are drawn.

use std::borrow::Cow;

use anstyle::Style;
use nanoscope_checkpoint::Labels;

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

/// Looks up the name of a feature, if it has one.
pub(crate) fn feature_name(labels: Option<&Labels>, feature: u32) -> Option<FeatureName<'_>> {
    labels?.get(feature).map(|label| FeatureName::new(label, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_automatic_name_is_marked_and_dim() {
        let given = FeatureName::new("a dog\u{1b}[31m", false);
        let automatic = FeatureName::new("fires on ·dog · promotes ·wagged", true);

        assert_eq!(given.shown(40), "a dog\\u{1b}[31m");
        assert_eq!(automatic.shown(40), "~ fires on ·dog · promotes ·wagged");
        assert_eq!(automatic.shown(12), "~ fires on …");
        assert_eq!((given.style(), automatic.style()), (LABEL, DIM));
        assert_eq!(feature_name(None, 3), None);
    }
}
