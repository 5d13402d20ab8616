//! GPT-2's alphabet, in which files write bytes as letters.

/// Returns the byte that `letter` represents in GPT-2's byte-level alphabet: a byte with a visible
/// character is that character, and the others are the characters from U+0100 on, in order.
pub fn byte_of(letter: char) -> Option<u8> {
    // 0..=32, 127..=160 and 173 are not visible.
    match u32::from(letter) {
        code @ (33..=126 | 161..=172 | 174..=255) => Some(code as u8),
        code @ 256..=288 => Some((code - 256) as u8),
        code @ 289..=322 => Some((code - 289 + 127) as u8),
        323 => Some(173),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letters_are_those_of_gpt_2_and_each_byte_has_one() {
        let mut bytes: Vec<u8> = (0..1000).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();

        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        for (letter, byte) in [('a', b'a'), ('Ġ', b' '), ('Ċ', b'\n'), ('Ń', 0xad), ('é', 0xe9)]
        {
            assert_eq!(byte_of(letter), Some(byte), "{letter}");
        }
    }
}
