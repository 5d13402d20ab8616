//! Search for the text of special tokens.

use aho_corasick::{AhoCorasick, MatchKind};

use crate::error::TokenizerError;
use crate::limits::TokenId;

/// Finds special tokens in a text, in time linear in the text however many there are.
#[derive(Clone, Debug)]
pub(crate) struct SpecialSpellings {
    /// The patterns are the special tokens' texts, in their order.
    automaton: AhoCorasick,
}

impl SpecialSpellings {
    pub(crate) fn new(special_tokens: &[(String, TokenId)]) -> Result<Self, TokenizerError> {
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(special_tokens.iter().map(|(text, _)| text))
            .map_err(|error| TokenizerError::SpecialTokensTooLarge { source: error.into() })?;
        Ok(Self { automaton })
    }

    /// The special tokens in `text` from left to right, without overlaps.
    pub(crate) fn find(&self, text: &str) -> impl Iterator<Item = Found> {
        self.automaton.find_iter(text).map(|found| Found {
            index: found.pattern().as_usize(),
            start: found.start(),
            end: found.end(),
        })
    }
}

/// A special token in a text, which takes the bytes `start..end`.
pub(crate) struct Found {
    /// Its index in the list of special tokens.
    pub(crate) index: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}
