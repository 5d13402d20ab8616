use std::fmt::Write;

use nanoscope_tokenizer::Tokenizer;

/// A token's text as it is; of bytes that are no text on their own their numbers (`\xe2\x80`), and
/// without a tokenizer the token's id.
pub(crate) fn token_text(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    let Some(bytes) = tokenizer.and_then(|tokenizer| tokenizer.token_bytes(id)) else {
        return format!("<{id}>");
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "\\x{byte:02x}").expect("a string takes everything");
            text
        }),
    }
}

/// `text` on one line, without characters that are not seen or turn the line around.
pub(crate) fn visible(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '\n' => out.push('↵'),
            '\t' => out.push('⇥'),
            c if is_hidden(c) => write!(out, "⟨{:04X}⟩", c as u32).expect("a string takes it"),
            c => out.push(c),
        }
        out
    })
}

/// Controls, and what orders, joins or hides other characters.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            u32::from(c),
            0xad | 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff
                | 0xfff9..=0xfffb | 0xe0000..=0xe007f
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_hidden_is_left() {
        assert_eq!(visible("a\u{202e}b\u{2028}\r\n"), "a⟨202E⟩b⟨2028⟩⟨000D⟩↵");
        assert_eq!(visible("<script> & é 語"), "<script> & é 語");
    }
}
