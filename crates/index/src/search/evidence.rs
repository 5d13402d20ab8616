use std::fmt;

use nanoscope_hooks::HookPoint;

use crate::shared_text::SharedText;
use crate::token_text::{shown_token, visible};

/// A feature that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// The hook point of its SAE.
    pub hook: HookPoint,
    /// Its index.
    pub feature: u32,
    /// The strength of the match; hits are in descending order of it.
    pub score: f32,
    /// The reasons, the most important first.
    pub evidence: Vec<Evidence>,
}

/// A reason for which a feature was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Evidence {
    /// The index was searched for.
    Index,
    /// Texts contain a word with the feature turned up.
    Writes {
        /// The word as it was written, in lower case.
        word: SharedText,
        /// The number of texts with the word.
        count: u32,
        /// The number of texts.
        of: u32,
    },
    /// It promotes a token, with its direct effect on the logit.
    Promotes {
        /// The token's text.
        token: String,
        /// The effect, less the mean over the vocabulary.
        effect: f32,
    },
    /// A word of its label.
    Label {
        /// The word of the query.
        word: String,
    },
    /// It fires on a token.
    FiresOn {
        /// The token's text.
        token: SharedText,
        /// The number of its top activations that are on the token.
        count: u64,
        /// The number of its top activations.
        of: u64,
    },
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index => f.write_str("its index"),
            Self::Writes { word, count, of } => {
                write!(f, "writes \"{}\" in {count} of {of} texts", visible(word))
            }
            Self::Promotes { token, effect } => {
                write!(f, "promotes {} {effect:+.2}", shown_token(token))
            }
            Self::Label { word } => write!(f, "its label has \"{word}\""),
            Self::FiresOn { token, count, of } => {
                write!(f, "fires on {} in {count} of its {of} top activations", shown_token(token))
            }
        }
    }
}

impl Hit {
    /// The reasons in one line.
    ///
    /// ```
    /// use nanoscope_hooks::HookPoint;
    /// use nanoscope_index::{Evidence, Hit};
    ///
    /// let evidence = vec![
    ///     Evidence::Promotes { token: " dog".into(), effect: 0.97 },
    ///     Evidence::FiresOn { token: " Max".into(), count: 5, of: 8 },
    /// ];
    /// let hit = Hit { hook: HookPoint::ResidPost(3), feature: 1909, score: 0.9, evidence };
    /// assert_eq!(hit.why(), "promotes ·dog +0.97; fires on ·Max in 5 of its 8 top activations");
    /// ```
    pub fn why(&self) -> String {
        let reasons: Vec<String> = self.evidence.iter().map(ToString::to_string).collect();
        reasons.join("; ")
    }
}
