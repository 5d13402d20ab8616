//! Tokenizers of other families, by Hugging Face's `tokenizers`.

mod file;
mod pieces;

pub(crate) use pieces::Pieces;

use std::fmt;
use std::sync::OnceLock;

use tokenizers::ModelWrapper;

use crate::catch_panic::catch_panic;
use crate::error::TokenizerError;
use crate::limits::{MAX_TOKEN_BYTES, MAX_VOCAB, TokenId};
use file::File;
use pieces::byte_fallback;

/// The engine for a `tokenizer.json` of a family other than nanochat's.
pub(crate) struct HuggingFace {
    /// Takes the text of special tokens as text.
    plain: tokenizers::Tokenizer,
    /// Takes it as the tokens. A copy of the vocabulary, made when it is first needed.
    special: OnceLock<tokenizers::Tokenizer>,
    /// The decoding of pieces to bytes.
    pub(crate) pieces: Pieces,
    /// Ids of the tokens that are a byte in place of a piece of text, sorted.
    bytes: Vec<TokenId>,
}

/// A tokenizer as read: the engine and what [`Tokenizer`](crate::Tokenizer) holds beside it.
pub(crate) struct Parts {
    pub(crate) engine: HuggingFace,
    /// Bytes of every token by id; without bytes where an id has no token.
    pub(crate) tokens: Vec<Vec<u8>>,
    /// Sorted by id.
    pub(crate) special_tokens: Vec<(String, TokenId)>,
    /// The token that the post-processor puts in front of a text.
    pub(crate) bos: Option<TokenId>,
}

impl Parts {
    pub(crate) fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let file: File =
            serde_json::from_str(json).map_err(|source| TokenizerError::Json { source })?;
        file.check()?;
        let pieces = Pieces::from_decoder(&file.decoder)?;
        let mut plain = by_library(|| json.parse::<tokenizers::Tokenizer>())?;
        if !matches!(plain.get_model(), ModelWrapper::BPE(_)) {
            return Err(TokenizerError::UnsupportedPart {
                part: "model",
                found: "another".to_owned(),
                expected: "BPE",
            });
        }
        // A file can carry the settings of the program that wrote it; they would cut texts.
        plain.with_truncation(None).map_err(|source| TokenizerError::HuggingFace { source })?;
        plain.with_padding(None);
        plain.set_encode_special_tokens(true);

        let special_tokens = file.special_tokens(&plain)?;
        let tokens = token_table(&plain, &pieces)?;
        let bytes = byte_tokens(&plain, &pieces, tokens.len());
        let engine = HuggingFace { plain, special: OnceLock::new(), pieces, bytes };
        let bos = engine.bos()?;
        let added = engine.encode_with_added("a")?;
        if let Some(&id) = added.iter().find(|&&id| id as usize >= tokens.len()) {
            return Err(TokenizerError::UnknownToken { id, vocab_size: tokens.len() });
        }
        Ok(Self { engine, tokens, special_tokens, bos })
    }
}

impl HuggingFace {
    /// Encodes a text in which special tokens are text.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        encode(&self.plain, text, ADD_NOTHING)
    }

    /// Encodes a text in which special tokens are text, with what the post-processor adds.
    pub(crate) fn encode_with_added(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        encode(&self.plain, text, ADD_SPECIAL_TOKENS)
    }

    /// Encodes a text in which special tokens are the tokens.
    pub(crate) fn encode_special(&self, text: &str) -> Result<Vec<TokenId>, TokenizerError> {
        let engine = self.special.get_or_init(|| {
            let mut engine = self.plain.clone();
            engine.set_encode_special_tokens(false);
            engine
        });
        encode(engine, text, ADD_NOTHING)
    }

    /// The token that the post-processor puts in front of a text.
    fn bos(&self) -> Result<Option<TokenId>, TokenizerError> {
        let (plain, added) = (self.encode("a")?, self.encode_with_added("a")?);
        let in_front = added.strip_suffix(plain.as_slice()).is_some_and(|front| !front.is_empty())
            || added.first() != plain.first();
        Ok(added.first().copied().filter(|_| in_front))
    }

    /// Returns whether the token `id` is a byte in place of a piece of text.
    pub(crate) fn is_byte(&self, id: TokenId) -> bool {
        self.bytes.binary_search(&id).is_ok()
    }

    /// The tokenizer in the format that it was read from.
    pub(crate) fn to_json(&self) -> String {
        self.plain.to_string(true).expect("what was read can be written")
    }
}

impl fmt::Debug for HuggingFace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HuggingFace").field("pieces", &self.pieces).finish_non_exhaustive()
    }
}

fn encode(
    engine: &tokenizers::Tokenizer,
    text: &str,
    add: bool,
) -> Result<Vec<TokenId>, TokenizerError> {
    let encoding = by_library(|| engine.encode_fast(text, add))?;
    Ok(encoding.get_ids().to_vec())
}

/// Runs the library, which panics on some files and texts.
fn by_library<T>(
    work: impl FnOnce() -> Result<T, Box<dyn std::error::Error + Send + Sync>>,
) -> Result<T, TokenizerError> {
    let outcome = catch_panic(work).unwrap_or_else(|panic| Err(panic.into()));
    outcome.map_err(|source| TokenizerError::HuggingFace { source })
}

fn token_table(
    engine: &tokenizers::Tokenizer,
    pieces: &Pieces,
) -> Result<Vec<Vec<u8>>, TokenizerError> {
    let vocab = engine.get_vocab(true);
    let mut ids: Vec<TokenId> = vocab.into_values().collect();
    ids.sort_unstable();
    // The text of an id with two tokens would be either of them, by chance.
    if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(TokenizerError::DuplicateId { id: twice[0] });
    }
    let size = ids.last().map_or(0, |&id| id as usize + 1);
    if size > MAX_VOCAB {
        return Err(TokenizerError::VocabularyTooLarge { found: size });
    }
    (0..size as TokenId)
        .map(|id| {
            let bytes = engine.id_to_token(id).map_or_else(Vec::new, |text| pieces.bytes(&text));
            if bytes.len() > MAX_TOKEN_BYTES {
                return Err(TokenizerError::TokenTooLong { id, found: bytes.len() });
            }
            Ok(bytes)
        })
        .collect()
}

fn byte_tokens(engine: &tokenizers::Tokenizer, pieces: &Pieces, vocab_size: usize) -> Vec<TokenId> {
    if !matches!(pieces, Pieces::Text { byte_fallback: true, .. }) {
        return Vec::new();
    }
    let is_byte = |&id: &TokenId| engine.id_to_token(id).as_deref().and_then(byte_fallback);
    (0..vocab_size as TokenId).filter(|id| is_byte(id).is_some()).collect()
}

const ADD_NOTHING: bool = false;
const ADD_SPECIAL_TOKENS: bool = true;
