//! Excerpts of a text, as a language model gets them.

use nanoscope_tokenizer::Tokenizer;

/// The share of an excerpt's largest activation above which a token is marked, as in delphi.
const MARK_ABOVE: f32 = 0.3;
/// The number of marked tokens whose strength is listed.
const MAX_LISTED: usize = 10;
/// The strength of a feature's largest activation.
const MAX_STRENGTH: f32 = 10.0;

/// A few tokens of a text, with the activations of a feature.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Excerpt {
    bytes: Vec<u8>,
    /// The end of each token in `bytes`, and the activation.
    tokens: Vec<(u32, f32)>,
}

impl Excerpt {
    /// The excerpt with these tokens, in which a feature fires at some indices. Special tokens are left out.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn new(tokenizer: &Tokenizer, tokens: &[u32], firings: &[(u32, f32)]) -> Self {
        let mut dense = vec![0.0; tokens.len()];
        for &(at, value) in firings {
            dense[at as usize] = value;
        }
        let mut excerpt = Self::default();
        for (&token, value) in tokens.iter().zip(dense) {
            if let Some(bytes) = tokenizer.token_bytes(token)
                && !tokenizer.is_special(token)
            {
                excerpt.push(bytes, value);
            }
        }
        excerpt
    }

    fn push(&mut self, token: &[u8], value: f32) {
        self.bytes.extend(token);
        self.tokens.push((self.bytes.len() as u32, value));
    }

    /// The text in one line, without marks.
    pub fn plain(&self) -> String {
        one_line(&self.bytes)
    }

    /// The text in one line, with the tokens on which the feature is strong between `<<` and `>>`.
    /// Neighbours share one pair of marks.
    pub fn marked(&self) -> String {
        let marked: Vec<(&[u8], bool)> =
            self.tokens().map(|(token, value)| (token, self.is_marked(value))).collect();
        let mut text = Vec::new();
        for run in marked.chunk_by(|a, b| a.1 == b.1) {
            let tokens = run.iter().flat_map(|&(token, _)| token);
            if run[0].1 {
                text.extend(b"<<".iter().chain(tokens).chain(b">>"));
            } else {
                text.extend(tokens);
            }
        }
        one_line(&text)
    }

    /// The marked tokens with their strengths from 1 to 10, where 10 is the activation `max`.
    pub fn strengths(&self, max: f32) -> Vec<(String, u32)> {
        let strength = |value: f32| {
            let share = if max > 0.0 { value / max } else { 0.0 };
            (share * MAX_STRENGTH).round().clamp(1.0, MAX_STRENGTH) as u32
        };
        let marked = self.tokens().filter(|&(_, value)| self.is_marked(value));
        marked.take(MAX_LISTED).map(|(token, value)| (one_line(token), strength(value))).collect()
    }

    fn tokens(&self) -> impl Iterator<Item = (&[u8], f32)> {
        let starts = std::iter::once(0).chain(self.tokens.iter().map(|&(end, _)| end as usize));
        let token = |(start, &(end, value)): (usize, &(u32, f32))| {
            (&self.bytes[start..end as usize], value)
        };
        starts.zip(&self.tokens).map(token)
    }

    fn is_marked(&self, value: f32) -> bool {
        let max = self.tokens.iter().fold(0.0_f32, |max, &(_, value)| max.max(value));
        value > 0.0 && value > MARK_ABOVE * max
    }
}

/// The text of `bytes`, with line breaks as `\n`.
fn one_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\\n").replace(['\n', '\r'], "\\n")
}

#[cfg(test)]
impl Excerpt {
    /// The excerpt of whole texts and their activations.
    pub(crate) fn of(tokens: &[(&str, f32)]) -> Self {
        let mut excerpt = Self::default();
        for &(text, value) in tokens {
            excerpt.push(text.as_bytes(), value);
        }
        excerpt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strong_tokens_are_marked_and_neighbours_share_a_pair_of_marks() {
        let of = |tokens: &[(&str, f32)]| Excerpt::of(tokens).marked();

        assert_eq!(
            of(&[("The", 0.0), (" big", 4.0), (" dog", 9.0), (" ran", 2.7)]),
            "The<< big dog>> ran"
        );
        assert_eq!(of(&[("a", 1.0), ("b", 0.0), ("c", 1.0)]), "<<a>>b<<c>>");
        assert_eq!(of(&[("a", 0.0), ("\n", 0.0)]), "a\\n");
        assert_eq!(of(&[("a", -1.0), ("b", f32::NAN)]), "ab");
        assert_eq!(of(&[]), "");
    }

    #[test]
    fn a_character_in_two_tokens_is_whole() {
        let mut excerpt = Excerpt::default();
        excerpt.push(b"c\xc3", 1.0);
        excerpt.push(b"\xa9", 1.0);

        assert_eq!((excerpt.plain(), excerpt.marked()), ("cé".to_owned(), "<<cé>>".to_owned()));
    }

    #[test]
    fn strengths_go_from_one_to_ten() {
        let excerpt = Excerpt::of(&[(" dog", 8.0), (" x", 0.1), (" cat", 4.0), (" pet", 2.5)]);
        let strengths = |max| -> Vec<u32> {
            excerpt.strengths(max).into_iter().map(|(_, strength)| strength).collect()
        };

        assert_eq!(strengths(8.0), [10, 5, 3]);
        assert_eq!(strengths(800.0), [1, 1, 1]);
        assert_eq!(strengths(0.0), [1, 1, 1]);
        assert_eq!(strengths(4.0), [10, 10, 6]);
    }
}
