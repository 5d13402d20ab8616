//! From the pieces of a vocabulary to bytes.

use serde_json::Value;

use super::file::unsupported;
use crate::byte_level::byte_of;
use crate::error::TokenizerError;

/// The decoding of pieces to text by a family's `decoder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Each letter of a piece is a byte (GPT-2, NeoX, Llama 3, Qwen).
    ByteLevel,
    /// A piece is text, with another character for a space (Llama 2, Gemma).
    Text {
        /// Replacements in a piece, in this order.
        replaced: Vec<(String, String)>,
        /// Pieces such as `<0x0A>` are bytes.
        byte_fallback: bool,
        /// Number of spaces at the start of a text that are dropped.
        stripped: usize,
    },
}

impl Pieces {
    /// Reads the `decoder` of a `tokenizer.json`.
    pub(super) fn from_decoder(decoder: &Value) -> Result<Self, TokenizerError> {
        let steps = match kind(decoder) {
            "Sequence" => decoder["decoders"].as_array().map_or(&[][..], Vec::as_slice),
            _ => std::slice::from_ref(decoder),
        };
        if let [step] = steps
            && kind(step) == "ByteLevel"
        {
            return Ok(Self::ByteLevel);
        }
        let mut replaced = Vec::new();
        let (mut byte_fallback, mut fused, mut stripped) = (false, false, 0);
        for step in steps {
            let text = |key: &str| step[key].as_str().unwrap_or_default().to_owned();
            match kind(step) {
                "Replace" if !byte_fallback && !fused => match step["pattern"]["String"].as_str() {
                    Some(from) if !from.is_empty() => {
                        replaced.push((from.to_owned(), text("content")));
                    }
                    _ => return Err(unsupported("decoder", "Replace", "a pattern String")),
                },
                "ByteFallback" if !fused => byte_fallback = true,
                "Fuse" => fused = true,
                // Before `Fuse` it would strip each piece.
                "Strip" if fused && text("content") == " " && step["stop"] == 0 => {
                    stripped = step["start"].as_u64().unwrap_or(0) as usize;
                }
                found => return Err(unsupported("decoder", found, EXPECTED)),
            }
        }
        if replaced.is_empty() {
            return Err(unsupported("decoder", kind(decoder), EXPECTED));
        }
        Ok(Self::Text { replaced, byte_fallback, stripped })
    }

    /// Bytes of the piece `text`.
    pub(super) fn bytes(&self, text: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel => {
                // A token with another letter was added as text.
                let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
                bytes.unwrap_or_else(|| text.as_bytes().to_vec())
            }
            Self::Text { replaced, byte_fallback: fallback, .. } => {
                if *fallback && let Some(byte) = byte_fallback(text) {
                    return vec![byte];
                }
                let replace =
                    |text: String, (from, to): &(String, String)| text.replace(from.as_str(), to);
                replaced.iter().fold(text.to_owned(), replace).into_bytes()
            }
        }
    }
}

/// The byte of a piece such as `<0x0A>`.
pub(super) fn byte_fallback(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    if digits.len() == 2 { u8::from_str_radix(digits, 16).ok() } else { None }
}

fn kind(part: &Value) -> &str {
    part["type"].as_str().unwrap_or("null")
}

const EXPECTED: &str = "ByteLevel, or Replace, ByteFallback, Fuse, Strip";

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn llama_2() -> Value {
        json!({"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})
    }

    #[test]
    fn a_piece_is_text_or_a_byte() {
        let pieces = Pieces::from_decoder(&llama_2()).unwrap();

        assert_eq!(pieces.bytes("▁a▁"), b" a ");
        assert_eq!(pieces.bytes("<0xE2>"), [0xe2]);
        assert_eq!(pieces.bytes("<0xE>"), b"<0xE>");
        assert_eq!(Pieces::ByteLevel.bytes("Ġé"), [b' ', 0xe9]);
        assert_eq!(Pieces::ByteLevel.bytes("a b"), b"a b");
    }

    #[test]
    fn a_decoder_of_another_kind_is_refused_by_name() {
        let mut early = llama_2();
        early["decoders"].as_array_mut().unwrap().swap(2, 3);
        for (decoder, says) in [
            (json!(null), "decoder is `null`"),
            (json!({"type": "WordPiece"}), "decoder is `WordPiece`"),
            (json!({"type": "Metaspace", "replacement": "▁"}), "decoder is `Metaspace`"),
            (json!({"type": "Sequence", "decoders": []}), "decoder is `Sequence`"),
            (early, "decoder is `Strip`"),
        ] {
            let error = Pieces::from_decoder(&decoder).unwrap_err().to_string();
            assert!(error.contains(says), "{decoder}: {error}");
        }
    }
}
