//! Whether a list of merges, as Hugging Face's `tokenizers` applies it, gives tiktoken's ids.

use std::collections::HashMap;

use crate::bpe::Tokenizer;
use crate::limits::TokenId;

/// Why merges would not give the ids that a vocabulary alone gives, or make no sense.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// A merge has a part, or makes something, that is not in the vocabulary.
    #[error("merge {place} of `{left}` and `{right}` names `{missing}`, which is no token")]
    UnknownToken {
        /// The merge's place in the list, from 0.
        place: usize,
        /// Its first part.
        left: String,
        /// Its second part.
        right: String,
        /// What is no token.
        missing: String,
    },
    /// A merge is listed again.
    #[error("merge {place} of `{left}` and `{right}` is listed before")]
    Twice {
        /// The merge's place in the list, from 0.
        place: usize,
        /// Its first part.
        left: String,
        /// Its second part.
        right: String,
    },
    /// No merges make a token from its own bytes, so it would stand only where a text is cut so
    /// that it is a whole piece.
    #[error("the merges do not make token {id} `{token}` of its bytes")]
    Unreachable {
        /// The token.
        id: TokenId,
        /// Its bytes, lossily.
        token: String,
    },
    /// A merge comes before another, and the token that it makes after that one's.
    #[error("the merges that make the tokens {earlier} and {later} are in the opposite order")]
    OtherOrder {
        /// The lower id.
        earlier: TokenId,
        /// The higher id, whose merge comes first.
        later: TokenId,
    },
}

/// A merge as a file lists it, in bytes.
pub type Merge = (Vec<u8>, Vec<u8>);

/// Checks that `merges`, applied in their order, give the ids that `tokenizer` gives.
///
/// `tokenizers` merges the pairs that are listed, the first listed first; tiktoken merges any pair
/// that makes a token, the one with the lowest id first, and takes a piece that is a token as a
/// whole. The two are the same if every token is made of its own bytes by listed merges, the last
/// of them in the order of ids. For then what happens between two places of a text that no merge
/// crosses is what happens to these bytes alone; so two tokens that stand beside each other and
/// together are a token are always the two that its own last merge joins. This merge is listed and
/// is the one that both would apply, and both take the pairs that there are in the same order.
/// Other ways to split a token may be listed, as transformers' converter does: they never occur.
///
/// # Errors
///
/// [`MergeError`] for the first merge or token that does not fit.
pub fn check_merges(tokenizer: &Tokenizer, merges: &[Merge]) -> Result<(), MergeError> {
    let listed = find_tokens(tokenizer, merges)?;
    let vocab_size = tokenizer.vocab_size();
    let mut made = Made { origins: vec![Origin::None; vocab_size], pairs: HashMap::new() };
    for id in (0..=u8::MAX).filter_map(|byte| tokenizer.id_of(&[byte])) {
        made.origins[id as usize] = Origin::Byte;
    }
    let mut last: Option<(usize, TokenId)> = None;
    for id in 0..vocab_size as TokenId {
        let token = tokenizer.token_bytes(id).expect("ids are dense");
        if token.len() < 2 || tokenizer.is_special(id) {
            continue;
        }
        let ways = listed.get(&id).map_or(&[][..], Vec::as_slice);
        let Some(&(place, left, right)) =
            ways.iter().find(|&&(_, left, right)| made.meet(left, right, id))
        else {
            return Err(MergeError::Unreachable { id, token: text(token) });
        };
        if let Some((last_place, last_id)) = last
            && place < last_place
        {
            return Err(MergeError::OtherOrder { earlier: last_id, later: id });
        }
        last = Some((place, id));
        made.origins[id as usize] = Origin::Merge(left, right);
        made.pairs.insert((left, right), id);
    }
    Ok(())
}

/// A merge's place in the list, and the two tokens that it joins.
type Way = (usize, TokenId, TokenId);

/// The merges in ids, by the token that they make.
fn find_tokens(
    tokenizer: &Tokenizer,
    merges: &[Merge],
) -> Result<HashMap<TokenId, Vec<Way>>, MergeError> {
    let mut listed: HashMap<TokenId, Vec<Way>> = HashMap::new();
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
        let ways = listed.entry(find(&[left.as_slice(), right].concat())?).or_default();
        // All the ways to split one token differ in where.
        if ways.iter().any(|&(_, known, _)| known == first) {
            return Err(MergeError::Twice { place, left: text(left), right: text(right) });
        }
        ways.push((place, first, second));
    }
    Ok(listed)
}

/// How the tokens seen so far come to be.
struct Made {
    /// By token.
    origins: Vec<Origin>,
    /// The merges.
    pairs: HashMap<(TokenId, TokenId), TokenId>,
}

#[derive(Clone, Copy)]
enum Origin {
    /// Not by then.
    None,
    /// It is a single byte.
    Byte,
    /// Its last merge joins these two.
    Merge(TokenId, TokenId),
}

impl Made {
    /// Whether the bytes of `left` and `right` become these two tokens before any merge crosses the
    /// border between them, so that the one that makes `whole` of the two does.
    ///
    /// Takes apart what was merged last, again and again, and looks for a merge across the border
    /// that would have come before it. (The idea is that of `is_valid_token_pair` in the crate
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
                // Of two merges of the same kind the left one comes first.
                (_, Origin::Merge(inner, _)) => (right, limit) = (inner, right + 1),
            }
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(80).collect()
}
