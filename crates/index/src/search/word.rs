//! A word of a query, and the tokens that stand for it.

use nanoscope_tokenizer::Tokenizer;

/// The endings with which a token still stands for a word.
const ENDINGS: [&str; 5] = ["", "s", "es", "ed", "ing"];
/// The same after an `e` that is lost: `dance`, `dancing`.
const ENDINGS_WITHOUT_E: [&str; 2] = ["ing", "ed"];
/// The smallest number of letters of a word's first piece that says something about it.
const MIN_PIECE: usize = 2;

/// The tokens of a vocabulary that stand for a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WordTokens {
    /// The word, in lower case.
    pub(super) word: String,
    /// The tokens, with and without a space before them and in any case, with common endings.
    pub(super) ids: Vec<u32>,
    /// True if the vocabulary has the word only in pieces; `ids` are then the first piece.
    pub(super) is_piece: bool,
}

impl WordTokens {
    /// The tokens that stand for `word` among `texts`, indexed by id.
    pub(super) fn new(word: &str, texts: &[String], tokenizer: &Tokenizer) -> Self {
        let word = word.to_lowercase();
        let ids = texts.iter().zip(0..).filter(|(text, _)| stands_for(text, &word));
        let ids: Vec<u32> = ids.map(|(_, id)| id).collect();
        if !ids.is_empty() {
            return Self { word, ids, is_piece: false };
        }
        let spaced = tokenizer.encode(&format!(" {word}")).unwrap_or_default();
        let first = spaced.first().copied().filter(|&id| {
            texts.get(id as usize).is_some_and(|text| text.trim().chars().count() >= MIN_PIECE)
        });
        Self { word, ids: first.into_iter().collect(), is_piece: true }
    }

    /// Returns whether `text` is one of the tokens.
    pub(super) fn matches(&self, text: &str) -> bool {
        stands_for(text, &self.word)
    }
}

/// Returns whether a token stands for `word`, which is in lower case.
fn stands_for(token: &str, word: &str) -> bool {
    // Most tokens differ in their first letter.
    let token = token.trim();
    let same_start = token.chars().next().zip(word.chars().next());
    if !same_start.is_some_and(|(a, b)| a.to_lowercase().eq(b.to_lowercase())) {
        return false;
    }
    let token = token.to_lowercase();
    let ends = |word: &str, endings: &[&str]| {
        token.strip_prefix(word).is_some_and(|rest| endings.contains(&rest))
    };
    ends(word, &ENDINGS)
        || word.strip_suffix('e').is_some_and(|stem| ends(stem, &ENDINGS_WITHOUT_E))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_for_a_word_with_any_space_case_and_common_ending() {
        for (token, word, expected) in [
            (" dog", "dog", true),
            ("Dog", "dog", true),
            (" dogs", "dog", true),
            (" dogma", "dog", false),
            (" do", "dog", false),
            (" dancing", "dance", true),
            (" danced", "dance", true),
            (" rainy", "rain", false),
            (" card", "car", false),
            (" beard", "bear", false),
            (" they", "the", false),
            (" raining", "rain", true),
            (" Élan", "élan", true),
            ("", "dog", false),
            ("\n", "dog", false),
        ] {
            assert_eq!(stands_for(token, word), expected, "{token:?} for {word}");
        }
    }
}
