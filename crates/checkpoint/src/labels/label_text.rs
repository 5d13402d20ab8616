//! The text of a label.

use thiserror::Error;

/// Characters that are not seen, or that change the order in which others are seen, and that
/// [`char::is_control`] does not include: formatting characters, direction marks, fillers, selectors
/// of variants that no label needs, and tags (Unicode 17, `Default_Ignorable_Code_Point`, and
/// `Bidi_Control`). The variation selectors U+FE0E and U+FE0F, which emoji use, are not among them.
const INVISIBLE: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0d}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Reasons why a text cannot be a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LabelTextError {
    /// A character is not seen, or reverses the text after it.
    #[error("the character U+{:04X} is invisible or changes the direction of the text", *character as u32)]
    Invisible {
        /// The first such character.
        character: char,
    },
    /// No character of it is seen.
    #[error("the text has no visible character")]
    Blank,
}

/// Returns `text` without white space at its ends, if it can be a label: one line with visible text,
/// and no character that is invisible or changes the direction of the text.
///
/// # Errors
/// [`LabelTextError`]
pub fn label_text(text: &str) -> Result<&str, LabelTextError> {
    let text = text.trim();
    if let Some(character) = text.chars().find(|&c| is_invisible(c)) {
        return Err(LabelTextError::Invisible { character });
    }
    if is_blank(text) { Err(LabelTextError::Blank) } else { Ok(text) }
}

/// A label from a file or a program, in one line in which every character is seen: `⟨202E⟩` stands for
/// U+202E, a space for a tab and a line break. It is empty if nothing of the text is seen.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            '\t' | '\n' | '\r' => out.push(' '),
            c if is_invisible(c) => out.extend([format!("⟨{:04X}⟩", c as u32)]),
            c => out.push(c),
        }
    }
    if is_blank(&out) { String::new() } else { out }
}

/// Returns whether `c` is a control character, is not seen, or changes the direction of the text.
pub fn is_invisible(c: char) -> bool {
    c.is_control() || INVISIBLE.iter().any(|&(first, last)| (first..=last).contains(&c))
}

/// Returns whether `text`, which has no [invisible](is_invisible) characters, shows nothing: spaces,
/// variation selectors, and the Braille pattern without dots.
fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c.is_whitespace() || matches!(c, '\u{2800}' | '\u{fe0e}' | '\u{fe0f}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_can_read_is_a_label_and_is_trimmed() {
        for text in [
            "a dog",
            "  size adjectives\n",
            "שלום עולם",
            "العربية",
            "हिन्दी",
            "日本語　の",
            "❤️ love",
            "👩 woman",
            "<b>not markup</b>",
            "e\u{301}",
            "–",
        ] {
            assert_eq!(label_text(text), Ok(text.trim()), "{text:?}");
            assert_eq!(shown(text), text.trim(), "{text:?}");
        }
    }

    #[test]
    fn every_invisible_or_reversing_character_is_refused_and_escaped_wherever_it_is() {
        let ranges = [
            0x00..=0x1f,
            0x7f..=0x9f,
            0x200b..=0x200f,
            0x2028..=0x202e,
            0x2060..=0x206f,
            0xe0000..=0xe007f,
            0xe0100..=0xe01ef,
        ];
        let single = [0xad, 0x34f, 0x61c, 0x115f, 0x180e, 0x3164, 0xfeff, 0xffa0, 0xfff9];
        for code in ranges.into_iter().flatten().chain(single) {
            let c = char::from_u32(code).unwrap();
            for text in [format!("a{c}b"), format!("{c}ab"), format!("ab{c}"), c.to_string()] {
                // White space at the ends is trimmed.
                let inner = text.trim();
                if inner.contains(c) {
                    let refused = Err(LabelTextError::Invisible { character: c });
                    assert_eq!(label_text(&text), refused, "U+{code:04X} in {text:?}");
                }
                let seen = shown(&text);
                assert!(!seen.contains(c), "U+{code:04X} in {seen:?}");
                let becomes_space = matches!(c, '\t' | '\n' | '\r');
                if inner.contains(c) && !becomes_space {
                    assert!(seen.contains(&format!("⟨{code:04X}⟩")), "U+{code:04X} in {seen:?}");
                }
            }
        }
    }

    #[test]
    fn a_text_that_shows_nothing_is_not_a_label() {
        for text in ["", " ", "\n\t", "\u{a0}", "\u{3000}\u{2003}", "\u{2800}", "\u{fe0f}"] {
            assert_eq!(label_text(text), Err(LabelTextError::Blank), "{text:?}");
            assert_eq!(shown(text), "", "{text:?}");
        }
    }
}
