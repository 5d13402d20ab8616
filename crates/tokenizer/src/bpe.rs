//! Byte-pair encoding over a validated vocabulary.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use tiktoken_rs::CoreBPE;

use crate::chat_template::ChatTemplate;
use crate::conversation::{ASSISTANT_END, BOS};
use crate::error::TokenizerError;
use crate::escape::escape;
use crate::hugging_face::HuggingFace;
use crate::limits::{MAX_TOKEN_BYTES, MAX_VOCAB, TokenId};
use crate::pattern::check_pattern;
use crate::special_spellings::SpecialSpellings;

/// The parts of a tokenizer, as read from a file and not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizerParts {
    /// Regular expression that splits a text into pieces. Bytes are merged within a piece only.
    pub pattern: String,
    /// Bytes of each ordinary token with its id, which is also its merge priority (lower ids first).
    pub ranks: Vec<(Vec<u8>, TokenId)>,
    /// Text of each special token with its id.
    pub special_tokens: Vec<(String, TokenId)>,
}

/// Encodes text to ids and decodes ids to text.
///
/// Ordinary and special tokens together have the ids from 0 on. nanochat's leave no gap, and each of
/// the 256 bytes is a token, so that every text can be encoded.
#[derive(Clone)]
pub struct Tokenizer {
    pub(crate) pattern: String,
    /// Bytes of every token, special ones included, by id; no bytes where there is no token.
    pub(crate) tokens: Vec<Vec<u8>>,
    /// Ids of the ordinary tokens, sorted by their bytes.
    pub(crate) ordinary: Vec<TokenId>,
    /// Sorted by id.
    pub(crate) special_tokens: Vec<(String, TokenId)>,
    pub(crate) spellings: SpecialSpellings,
    pub(crate) engine: Engine,
    /// The token in front of every text.
    pub(crate) bos: Option<TokenId>,
    /// The token that starts a document.
    pub(crate) document_start: Option<TokenId>,
    /// The tokens that end a text.
    pub(crate) ends: Vec<TokenId>,
    pub(crate) chat_template: Option<Arc<ChatTemplate>>,
}

/// The encoder behind a tokenizer.
#[derive(Clone)]
pub(crate) enum Engine {
    /// nanochat's.
    Tiktoken(Box<CoreBPE>),
    /// That of a family with a `tokenizer.json`.
    HuggingFace(Arc<HuggingFace>),
}

impl Tokenizer {
    /// Checks `parts` and builds the encoder.
    ///
    /// # Errors
    ///
    /// [`TokenizerError`], whose variants about the pattern, the tokens and their ids cover everything
    /// that parts from an untrusted file can get wrong.
    pub fn new(parts: TokenizerParts) -> Result<Self, TokenizerError> {
        let TokenizerParts { pattern, ranks, mut special_tokens } = parts;
        check_pattern(&pattern)?;
        let vocab_size = ranks.len().saturating_add(special_tokens.len());
        if vocab_size > MAX_VOCAB {
            return Err(TokenizerError::VocabularyTooLarge { found: vocab_size });
        }

        special_tokens.sort_by_key(|&(_, id)| id);
        let mut names = HashSet::new();
        for (name, _) in &special_tokens {
            if !names.insert(name.as_str()) {
                return Err(TokenizerError::DuplicateSpecialToken { name: name.clone() });
            }
        }

        let mut ordinary: Vec<TokenId> = ranks.iter().map(|&(_, id)| id).collect();
        let specials = special_tokens.iter().map(|(name, id)| (name.as_bytes().to_vec(), *id));
        let tokens = place_by_id(ranks.into_iter().chain(specials), vocab_size)?;

        ordinary.sort_by_key(|&id| &tokens[id as usize]);
        if let Some(twins) =
            ordinary.windows(2).find(|pair| tokens[pair[0] as usize] == tokens[pair[1] as usize])
        {
            return Err(TokenizerError::DuplicateToken {
                token: escape(&tokens[twins[0] as usize]),
                first: twins[0].min(twins[1]),
                second: twins[0].max(twins[1]),
            });
        }
        for byte in 0..=u8::MAX {
            if find_token(&tokens, &ordinary, &[byte]).is_none() {
                return Err(TokenizerError::MissingByte { byte });
            }
        }

        let engine = build_engine(&pattern, &tokens, &ordinary)?;
        let spellings = SpecialSpellings::new(&special_tokens)?;
        let special =
            |name: &str| special_tokens.iter().find(|(text, _)| text == name).map(|&(_, id)| id);
        Ok(Self {
            bos: special(BOS),
            document_start: special(BOS),
            ends: [ASSISTANT_END, BOS].into_iter().filter_map(special).collect(),
            chat_template: None,
            pattern,
            tokens,
            ordinary,
            special_tokens,
            spellings,
            engine: Engine::Tiktoken(Box::new(engine)),
        })
    }

    /// Encodes `text`. The text of a special token is encoded as plain text, as in nanochat: only ids
    /// that the caller adds are special. Tokens that a family added and that are not special are read.
    /// [`encode_with_special_tokens`](Self::encode_with_special_tokens)
    /// reads it as the token.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::PatternGaveUp`] if the split pattern runs into its backtracking limit,
    /// [`TokenizerError::PatternSkipsText`] if it does not match a part of the text, and
    /// [`TokenizerError::HuggingFace`] for a text that a family's tokenizer cannot encode.
    pub fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let engine = match &self.engine {
            Engine::Tiktoken(engine) => engine,
            Engine::HuggingFace(engine) => return engine.encode(text),
        };
        // `encode_ordinary` would panic where this returns an error.
        let (mut ids, _) = engine
            .encode(text, &HashSet::new())
            .map_err(|source| TokenizerError::PatternGaveUp { text_bytes: text.len(), source })?;
        ids.retain(|&id| id != EMPTY_PIECE);
        let covered: usize = ids.iter().map(|&id| self.tokens[id as usize].len()).sum();
        if covered != text.len() {
            return Err(TokenizerError::PatternSkipsText {
                skipped: text.len().abs_diff(covered),
                text_bytes: text.len(),
            });
        }
        Ok(ids)
    }

    /// Concatenates the bytes of `ids`. The bytes of a special token are those of its name.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::UnknownToken`] for an id outside the vocabulary.
    pub fn decode_bytes(&self, ids: &[TokenId]) -> Result<Vec<u8>, TokenizerError> {
        let mut bytes = Vec::with_capacity(ids.len().saturating_mul(4));
        for &id in ids {
            bytes.extend_from_slice(self.known_token(id)?);
        }
        Ok(bytes)
    }

    /// Decodes `ids` to text; bytes that are not UTF-8 become U+FFFD. Where the family's decoder drops
    /// a space at the start of a text (Llama 2), it is dropped. An id without a token, which a family's
    /// model can choose if its embedding has more rows than the vocabulary, has no text.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::UnknownToken`] for an id outside nanochat's vocabulary.
    pub fn decode(&self, ids: &[TokenId]) -> Result<String, TokenizerError> {
        if let Engine::HuggingFace(_) = &self.engine {
            let mut stream = self.stream();
            let mut text = String::new();
            for &id in ids {
                text.push_str(&stream.push(id)?);
            }
            text.push_str(&stream.finish());
            return Ok(text);
        }
        let bytes = self.decode_bytes(ids)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Bytes of the token `id`, or `None` outside the vocabulary.
    pub fn token_bytes(&self, id: TokenId) -> Option<&[u8]> {
        self.tokens.get(id as usize).map(Vec::as_slice)
    }

    /// Text of the token `id` for display, with U+FFFD in place of bytes that are not UTF-8 on their
    /// own; `None` outside the vocabulary.
    pub fn token_text(&self, id: TokenId) -> Option<Cow<'_, str>> {
        self.token_bytes(id).map(String::from_utf8_lossy)
    }

    /// Id of the ordinary token with exactly these bytes.
    pub fn id_of(&self, bytes: &[u8]) -> Option<TokenId> {
        find_token(&self.tokens, &self.ordinary, bytes)
    }

    /// Number of tokens, special ones included; one more than the largest id.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// Regular expression that splits a text into pieces; empty for a family's tokenizer, whose file
    /// can have several.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(crate) fn known_token(&self, id: TokenId) -> Result<&[u8], TokenizerError> {
        match (self.token_bytes(id), &self.engine) {
            (Some(bytes), _) => Ok(bytes),
            (None, Engine::HuggingFace(_)) => Ok(&[]),
            (None, Engine::Tiktoken(_)) => {
                Err(TokenizerError::UnknownToken { id, vocab_size: self.vocab_size() })
            }
        }
    }
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer")
            .field("pattern", &self.pattern)
            .field("vocab_size", &self.vocab_size())
            .field("special_tokens", &self.special_tokens)
            .finish_non_exhaustive()
    }
}

/// Orders the tokens by id. There are as many tokens as ids, so if no id is used twice, no id is
/// missing.
fn place_by_id(
    tokens: impl Iterator<Item = (Vec<u8>, TokenId)>,
    vocab_size: usize,
) -> Result<Vec<Vec<u8>>, TokenizerError> {
    let mut by_id = vec![Vec::new(); vocab_size];
    for (bytes, id) in tokens {
        if bytes.is_empty() {
            return Err(TokenizerError::EmptyToken { id });
        }
        if bytes.len() > MAX_TOKEN_BYTES {
            return Err(TokenizerError::TokenTooLong { id, found: bytes.len() });
        }
        let slot = by_id.get_mut(id as usize).ok_or(TokenizerError::IdGap { id, vocab_size })?;
        if !slot.is_empty() {
            return Err(TokenizerError::DuplicateId { id });
        }
        *slot = bytes;
    }
    Ok(by_id)
}

fn find_token(tokens: &[Vec<u8>], ordinary: &[TokenId], bytes: &[u8]) -> Option<TokenId> {
    ordinary
        .binary_search_by_key(&bytes, |&id| &tokens[id as usize])
        .ok()
        .map(|index| ordinary[index])
}

fn build_engine(
    pattern: &str,
    tokens: &[Vec<u8>],
    ordinary: &[TokenId],
) -> Result<CoreBPE, TokenizerError> {
    let mut encoder =
        ordinary.iter().map(|&id| (tokens[id as usize].clone(), id)).collect::<Vec<_>>();
    encoder.push((Vec::new(), EMPTY_PIECE));
    let unused = [(UNUSED_SPECIAL.to_owned(), EMPTY_PIECE)];
    CoreBPE::new(encoder.into_iter().collect(), unused.into_iter().collect(), pattern)
        .map_err(|source| TokenizerError::InvalidPattern { source: source.into() })
}

/// Id of the empty piece in the engine. A pattern like `a*` produces empty pieces, and the engine
/// panics on a piece that it cannot look up and that has no bytes to merge.
const EMPTY_PIECE: TokenId = TokenId::MAX;

/// The only special token that the engine knows; it is never allowed in an encoding. Without special
/// tokens, the engine's scan for them stops at every byte; with one that starts with a multi-byte
/// character it would split the text within that character and panic.
const UNUSED_SPECIAL: &str = "<|never|>";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_PATTERN_BYTES;

    fn bytes_and(merges: &[&str]) -> TokenizerParts {
        let single = (0..=u8::MAX).map(|byte| vec![byte]);
        let merged = merges.iter().map(|text| text.as_bytes().to_vec());
        let ranks: Vec<_> = single.chain(merged).zip(0..).collect();
        let bos = ranks.len() as TokenId;
        TokenizerParts {
            pattern: r"\w+|\W+".to_owned(),
            ranks,
            special_tokens: vec![(BOS.to_owned(), bos)],
        }
    }

    #[track_caller]
    fn refusal(change: impl FnOnce(&mut TokenizerParts)) -> String {
        let mut parts = bytes_and(&["lo", "low"]);
        change(&mut parts);
        Tokenizer::new(parts).unwrap_err().to_string()
    }

    #[test]
    fn merges_apply_in_the_order_of_their_ids() {
        let tokenizer = Tokenizer::new(bytes_and(&["ow", "lo", "low"])).unwrap();

        // "ow" has the lower id, so it is merged first, and "lo" never is.
        assert_eq!(tokenizer.encode("low").unwrap(), [258]);
        assert_eq!(tokenizer.encode("slow lo").unwrap(), [115, 258, 32, 257]);
        assert_eq!(tokenizer.encode("lowl").unwrap(), [258, 108]);
    }

    #[test]
    fn the_text_of_a_special_token_is_encoded_as_plain_text() {
        let tokenizer = Tokenizer::new(bytes_and(&[])).unwrap();

        let ids = tokenizer.encode("<|bos|><|never|>").unwrap();

        assert!(ids.iter().all(|&id| id < 256), "{ids:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), "<|bos|><|never|>");
    }

    #[test]
    fn a_document_starts_with_bos_and_a_vocabulary_without_it_is_an_error() {
        let mut parts = bytes_and(&["lo"]);
        let tokenizer = Tokenizer::new(parts.clone()).unwrap();

        assert_eq!(tokenizer.encode_with_bos("low").unwrap(), [257, 256, 119]);
        assert_eq!(tokenizer.encode_with_bos("").unwrap(), [257]);

        parts.special_tokens.clear();
        let error = Tokenizer::new(parts).unwrap().encode_with_bos("low").unwrap_err();
        assert_eq!(error.to_string(), "the vocabulary has no special token <|bos|>");
    }

    #[test]
    fn lookups_distinguish_ordinary_and_special_tokens() {
        let tokenizer = Tokenizer::new(bytes_and(&["lo"])).unwrap();

        assert_eq!(tokenizer.vocab_size(), 258);
        assert_eq!(tokenizer.id_of(b"lo"), Some(256));
        assert_eq!(tokenizer.id_of(b"<|bos|>"), None);
        assert_eq!(tokenizer.bos(), Some(257));
        assert_eq!(tokenizer.special("lo"), None);
        assert!(tokenizer.is_special(257) && !tokenizer.is_special(256));
        assert_eq!(tokenizer.special_tokens(), [(BOS.to_owned(), 257)]);
        assert_eq!(tokenizer.token_bytes(256), Some(b"lo".as_slice()));
        assert_eq!(tokenizer.token_text(200).unwrap(), "\u{fffd}");
        assert_eq!(tokenizer.token_bytes(258), None);
    }

    #[test]
    fn an_id_outside_the_vocabulary_is_not_decoded() {
        let tokenizer = Tokenizer::new(bytes_and(&[])).unwrap();

        let error = tokenizer.decode(&[65, 257]).unwrap_err();

        assert!(matches!(error, TokenizerError::UnknownToken { id: 257, vocab_size: 257 }));
        assert_eq!(error.to_string(), "token id 257 is outside the vocabulary of 257 tokens");
    }

    #[test]
    fn bytes_that_are_not_utf8_decode_to_the_replacement_character() {
        let tokenizer = Tokenizer::new(bytes_and(&[])).unwrap();

        assert_eq!(tokenizer.decode(&[97, 0xe4, 0xbd, 98]).unwrap(), "a\u{fffd}b");
        assert_eq!(tokenizer.decode_bytes(&[97, 0xe4, 0xbd]).unwrap(), [97, 0xe4, 0xbd]);
    }

    #[test]
    fn a_pattern_that_matches_nothing_or_skips_text_does_not_panic() {
        let mut parts = bytes_and(&[]);
        parts.pattern = "a*".to_owned();
        let tokenizer = Tokenizer::new(parts).unwrap();

        assert_eq!(tokenizer.encode("aaa").unwrap(), [97, 97, 97]);
        assert_eq!(
            tokenizer.encode("aé").unwrap_err().to_string(),
            "the split pattern does not match 2 of the text's 3 bytes"
        );
    }

    #[test]
    fn a_multi_byte_special_token_does_not_disturb_its_own_text() {
        let mut parts = bytes_and(&[]);
        parts.special_tokens.push(("é!".to_owned(), 257));
        let tokenizer = Tokenizer::new(parts).unwrap();

        assert_eq!(tokenizer.encode("é!").unwrap(), [195, 169, 33]);
    }

    #[test]
    fn every_broken_vocabulary_is_named() {
        let cases = [
            (
                refusal(|parts| parts.pattern = "(".to_owned()),
                "the split pattern is not a valid regular expression",
            ),
            (
                refusal(|parts| parts.pattern = "a".repeat(MAX_PATTERN_BYTES + 1)),
                "the split pattern has 4097 bytes, more than 4096",
            ),
            (
                refusal(|parts| parts.pattern = r"(?<x>a)\g<x>".to_owned()),
                "the split pattern uses \"(?<x\" at byte 0, which is not supported",
            ),
            (
                refusal(|parts| parts.pattern = "(?:a{300}){300}".to_owned()),
                "the counts in the split pattern multiply to more than 65536",
            ),
            (
                refusal(|parts| parts.ranks[65].0 = b"AA".to_vec()),
                "the single byte 0x41 has no token",
            ),
            (refusal(|parts| parts.ranks[256].0.clear()), "token 256 is empty"),
            (
                refusal(|parts| parts.ranks[256].0 = vec![97; MAX_TOKEN_BYTES + 1]),
                "token 256 has 65537 bytes, more than 65536",
            ),
            (refusal(|parts| parts.ranks[256].1 = 7), "token id 7 is given twice"),
            (
                refusal(|parts| parts.ranks[257].0 = b"lo".to_vec()),
                "\"lo\" is both token 256 and token 257",
            ),
            (
                refusal(|parts| parts.special_tokens[0].1 = 259),
                "token id 259 leaves a gap; 259 tokens have the ids from 0 on",
            ),
            (
                refusal(|parts| parts.special_tokens.push((BOS.to_owned(), 259))),
                "the special token <|bos|> is given twice",
            ),
            (
                refusal(|parts| parts.ranks = vec![(vec![0], 0); MAX_VOCAB]),
                "the vocabulary has 1048577 tokens, more than 1048576",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
    }
}
