//! The phrases in which two texts differ.

use anstyle::Style;
use similar::{ChangeTag, TextDiff};

/// The style of a phrase that only one of two texts has.
const DIFFERENT: Style = Style::new().bold().underline();

/// The most words that two texts share between phrases that count as one phrase.
const MAX_SHARED_WORDS: usize = 1;

/// Marks in each of two texts the phrases that the other does not have.
pub(crate) fn marked_differences(before: &str, after: &str) -> [String; 2] {
    let diff = TextDiff::from_words(before, after);
    let mut parts: Vec<(ChangeTag, String)> = Vec::new();
    for change in diff.iter_all_changes() {
        match parts.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => parts.push((change.tag(), change.value().to_owned())),
        }
    }
    // A word in between does not divide a phrase.
    let is_bridge = |at: usize| {
        let (tag, text) = &parts[at];
        let inside = at > 0 && at + 1 < parts.len();
        *tag == ChangeTag::Equal && inside && text.split_whitespace().count() <= MAX_SHARED_WORDS
    };
    let side = |own: ChangeTag| {
        let mut out = String::new();
        let mut phrase = String::new();
        for (at, (tag, text)) in parts.iter().enumerate() {
            if *tag == own || is_bridge(at) {
                phrase.push_str(text);
            } else if *tag == ChangeTag::Equal {
                out.push_str(&marked(&std::mem::take(&mut phrase)));
                out.push_str(text);
            }
        }
        out.push_str(&marked(&phrase));
        out
    };
    [side(ChangeTag::Delete), side(ChangeTag::Insert)]
}

/// A phrase in its style, word by word, so that lines can be broken in it.
fn marked(phrase: &str) -> String {
    let words = phrase.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_end();
        if bare.is_empty() {
            return word.to_owned();
        }
        format!("{DIFFERENT}{bare}{DIFFERENT:#}{}", &word[bare.len()..])
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The marked texts with the marks as brackets.
    fn marks(before: &str, after: &str) -> [String; 2] {
        let (on, off) = (format!("{DIFFERENT}"), format!("{DIFFERENT:#}"));
        marked_differences(before, after)
            .map(|text| text.replace(&on, "[").replace(&off, "]").replace("] [", " "))
    }

    #[test]
    fn only_phrases_that_differ_are_marked() {
        assert_eq!(
            marks("There was a little girl named Lily.", "There was a little dog named Spot."),
            ["There was a little [girl named Lily.]", "There was a little [dog named Spot.]"]
        );
        assert_eq!(marks("a b c d e f", "a x c d e f"), ["a [b] c d e f", "a [x] c d e f"]);
        assert_eq!(marks("same text", "same text"), ["same text", "same text"]);
        assert_eq!(marks("", "new words"), ["", "[new words]"]);
    }

    #[test]
    fn without_its_marks_a_text_is_the_same() {
        let (before, after) = ("Once upon\na  time , é", "Once  a dog\n\nupon é!");
        let [a, b] = marked_differences(before, after);
        assert_eq!(anstream::adapter::strip_str(&a).to_string(), before);
        assert_eq!(anstream::adapter::strip_str(&b).to_string(), after);
    }
}
