//! Tokens as they are drawn.

use nanoscope_index::visible;

/// `token` in one line in which every character is seen: `·` stands for a space, `↵` for a line break,
/// `⟨202E⟩` for an invisible character or one that changes the direction of the text.
pub(super) fn shown(token: &str) -> String {
    visible(token).replace(' ', "·")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_seen() {
        assert_eq!(shown(" dog  \n"), "·dog··↵");
        assert_eq!(shown("\u{202e}evil\u{200f}"), "⟨202E⟩evil⟨200F⟩");
        assert_eq!(shown("\0\u{1b}[31m"), "⟨0000⟩⟨001B⟩[31m");
        assert_eq!(shown("日本"), "日本");
    }
}
