//! Printable text for the bytes of a token.

use std::fmt::Write;

/// Converts bytes to printable text, which [`unescape`] converts back.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' {
                text.push_str("\\\\");
            } else if is_printable(character) {
                text.push(character);
            } else {
                let mut buffer = [0; 4];
                escape_bytes(character.encode_utf8(&mut buffer).as_bytes(), &mut text);
            }
        }
        escape_bytes(chunk.invalid(), &mut text);
    }
    text
}

fn escape_bytes(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("writing to a string cannot fail");
    }
}

/// Returns whether the character is written unescaped. `escape_debug` escapes the others: controls,
/// unassigned characters, combining marks and all spaces but U+0020.
fn is_printable(character: char) -> bool {
    matches!(character, '"' | '\'') || character.escape_debug().count() == 1
}

/// Converts the text of [`escape`] back to bytes; `None` for an unknown escape.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                after
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                bytes.push(hex_digit(*high)? << 4 | hex_digit(*low)?);
                after
            }
            (b'\\', _) => return None,
            _ => {
                bytes.push(byte);
                after
            }
        };
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_is_readable_where_the_bytes_are() {
        let cases: [(&[u8], &str); 6] = [
            (b" the", " the"),
            (b"\n\\x", "\\x0a\\\\x"),
            ("é“".as_bytes(), "é“"),
            (b"\xe4\xbd", "\\xe4\\xbd"),
            (b"a\xffb", "a\\xffb"),
            ("\u{200b}\"'".as_bytes(), "\\xe2\\x80\\x8b\"'"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text).as_deref(), Some(bytes), "{text}");
        }
    }

    #[test]
    fn a_backslash_that_starts_no_escape_is_refused() {
        for text in ["\\", "\\n", "\\x", "\\x4", "\\xg0", "\\x+1"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
