use std::fmt::Write;

use nanoscope_checkpoint::is_invisible;
use nanoscope_tokenizer::Tokenizer;

/// Returns a token's text. Bytes that are not valid UTF-8 on their own are written in hexadecimal
/// (`\xe2\x80`); without a tokenizer, the text is the token's id in angle brackets.
pub fn token_text(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    let Some(bytes) = tokenizer.and_then(|tokenizer| tokenizer.token_bytes(id)) else {
        return format!("<{id}>");
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
            text
        }),
    }
}

/// Writes a token for people: a space at its beginning as `·`, and [`visible`].
///
/// ```
/// use nanoscope_index::shown_token;
///
/// assert_eq!(shown_token(" dog"), "·dog");
/// assert_eq!(shown_token("\n\n"), "↵↵");
/// assert_eq!(shown_token("  "), "··");
/// ```
pub fn shown_token(text: &str) -> String {
    let trimmed = text.trim_start_matches(' ');
    let mut shown = "·".repeat(text.len() - trimmed.len());
    shown.push_str(&visible(trimmed));
    shown
}

/// Replaces line breaks, tabs, and characters that are invisible or change the direction of text by visible
/// symbols.
pub fn visible(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' => out.push('↵'),
            '\t' => out.push('⇥'),
            c if is_invisible(c) => {
                write!(out, "⟨{:04X}⟩", c as u32).expect("writing to a string does not fail");
            }
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_visible_stays_as_it_is(text in any::<String>()) {
            let shown = visible(&text);

            prop_assert!(!shown.chars().any(is_invisible), "{shown:?}");
            prop_assert_eq!(visible(&shown), shown);
        }
    }

    #[test]
    fn nothing_hidden_is_left() {
        assert_eq!(visible("a\u{202e}b\u{2028}\r\n"), "a⟨202E⟩b⟨2028⟩⟨000D⟩↵");
        assert_eq!(visible("<script> & é 語"), "<script> & é 語");
    }
}
