//! Checks that a list of merges, as Hugging Face's `tokenizers` applies it, gives tiktoken's ids.
//!
//! The merges are checked, not applied: a Hugging Face tokenizer runs on tiktoken's engine, as
//! nanochat's own does. The check takes time linear in the file, and refuses a file for which the
//! two would differ.

use std::collections::HashMap;

use crate::bpe::Tokenizer;
use crate::limits::TokenId;

/// Errors in a list of merges.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A part of a merge, or its result, is not in the vocabulary.
    #[error("merge {place} of `{left}` and `{right}` needs `{missing}`, which is not a token")]
    UnknownToken {
        /// Index of the merge in the list.
        place: usize,
        /// Its first part.
        left: String,
        /// Its second part.
        right: String,
        /// The bytes that are not a token.
        missing: String,
    },
    /// A merge is listed twice.
    #[error("merge {place} of `{left}` and `{right}` is listed twice")]
    Duplicate {
        /// Index of the merge in the list.
        place: usize,
        /// Its first part.
        left: String,
        /// Its second part.
        right: String,
    },
    /// The merges do not produce a token from its own bytes, so it would only occur as a whole piece
    /// of a text.
    #[error("the merges do not produce token {id} `{token}` from its bytes")]
    Unreachable {
        /// The token.
        id: TokenId,
        /// Its bytes as lossy UTF-8.
        token: String,
    },
    /// Two merges are not in the order of the tokens that they produce.
    #[error("the merges that produce the tokens {earlier} and {later} are in the opposite order")]
    OutOfOrder {
        /// The lower id.
        earlier: TokenId,
        /// The higher id, whose merge comes first.
        later: TokenId,
    },
}

/// The two parts of a merge, in bytes.
pub type Merge = (Vec<u8>, Vec<u8>);

/// Checks that `merges`, applied in their order, give the same ids as `tokenizer`.
///
/// `tokenizers` merges the listed pairs, in the order of the list. tiktoken merges any pair whose
/// concatenation is a token, the one with the lowest id first, and encodes a piece that is a token as
/// that token. The two agree if listed merges produce every token from its own bytes, and the last
/// merge of each token is listed in the order of ids. The bytes between two positions that no merge
/// crosses are then merged as they would be on their own, so two adjacent tokens whose concatenation
/// is a token are always the two that the last merge of that token joins. This merge is listed, both
/// algorithms apply it, and both consider the available pairs in the same order. Other splits of a
/// token may be listed too, as transformers' converter does; they never occur.
///
/// # Errors
///
/// [`MergeError`] for the first merge or token that does not fit.
pub fn check_merges(tokenizer: &Tokenizer, merges: &[Merge]) -> Result<(), MergeError> {
    let listed = find_tokens(tokenizer, merges)?;
    let vocab_size = tokenizer.vocab_size();
    let mut produced = Produced { origins: vec![Origin::None; vocab_size], pairs: HashMap::new() };
    for id in (0..=u8::MAX).filter_map(|byte| tokenizer.id_of(&[byte])) {
        produced.origins[id as usize] = Origin::Byte;
    }
    let mut last: Option<(usize, TokenId)> = None;
    for id in 0..vocab_size as TokenId {
        let token = tokenizer.token_bytes(id).expect("ids are dense");
        if token.len() < 2 || tokenizer.is_special(id) {
            continue;
        }
        let splits = listed.get(&id).map_or(&[][..], Vec::as_slice);
        let Some(&(place, left, right)) =
            splits.iter().find(|&&(_, left, right)| produced.meet(left, right, id))
        else {
            return Err(MergeError::Unreachable { id, token: text(token) });
        };
        if let Some((last_place, last_id)) = last
            && place < last_place
        {
            return Err(MergeError::OutOfOrder { earlier: last_id, later: id });
        }
        last = Some((place, id));
        produced.origins[id as usize] = Origin::Merge(left, right);
        produced.pairs.insert((left, right), id);
    }
    Ok(())
}

/// One way to split a token: the index of a merge, and the two tokens that it joins.
type Split = (usize, TokenId, TokenId);

/// Converts the merges to ids, grouped by the token that they produce.
fn find_tokens(
    tokenizer: &Tokenizer,
    merges: &[Merge],
) -> Result<HashMap<TokenId, Vec<Split>>, MergeError> {
    let mut listed: HashMap<TokenId, Vec<Split>> = HashMap::new();
    for (place, (left, right)) in merges.iter().enumerate() {
        let find = |bytes: &[u8]| {
            tokenizer.id_of(bytes).ok_or_else(|| MergeError::UnknownToken {
                place,
                left: text(left),
                right: text(right),
                missing: text(bytes),
            })
        };
        let (first, second) = (find(left)?, find(right)?);
        let splits = listed.entry(find(&[left.as_slice(), right].concat())?).or_default();
        // Two splits of a token differ in their first part.
        if splits.iter().any(|&(_, known, _)| known == first) {
            return Err(MergeError::Duplicate { place, left: text(left), right: text(right) });
        }
        splits.push((place, first, second));
    }
    Ok(listed)
}

/// The tokens that the merges produce, up to a certain id.
struct Produced {
    /// The origin of each token.
    origins: Vec<Origin>,
    /// The token that each pair is merged into.
    pairs: HashMap<(TokenId, TokenId), TokenId>,
}

#[derive(Clone, Copy)]
enum Origin {
    /// Not produced yet.
    None,
    /// A single byte.
    Byte,
    /// The last merge joins these two tokens.
    Merge(TokenId, TokenId),
}

impl Produced {
    /// Returns whether the bytes of `left` and `right` are merged into these two tokens before any
    /// merge crosses the boundary between them, so that the merge into `whole` is the first to do so.
    ///
    /// Undoes the merges one by one, the last one first, and looks for a merge across the boundary
    /// that would have been applied earlier. (The idea is that of `is_valid_token_pair` in the crate
    /// `bpe` of github/rust-gems.)
    fn meet(&self, mut left: TokenId, mut right: TokenId, whole: TokenId) -> bool {
        let mut limit = whole;
        loop {
            if self.pairs.get(&(left, right)).is_some_and(|&across| across < limit) {
                return false;
            }
            match (self.origins[left as usize], self.origins[right as usize]) {
                (Origin::None, _) | (_, Origin::None) => return false,
                (Origin::Byte, Origin::Byte) => return true,
                (Origin::Merge(_, inner), Origin::Byte) => (left, limit) = (inner, left),
                (Origin::Merge(_, inner), Origin::Merge(..)) if left > right => {
                    (left, limit) = (inner, left);
                }
                // Of two equal merges the left one is applied first.
                (_, Origin::Merge(inner, _)) => (right, limit) = (inner, right + 1),
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}
