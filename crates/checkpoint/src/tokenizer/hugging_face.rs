//! nanochat's tokenizers in the `tokenizer.json` format of Hugging Face's `tokenizers`.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use nanoscope_tokenizer::{
    BOS, MAX_VOCAB, Merge, TokenId, Tokenizer, TokenizerParts, byte_of, check_merges,
};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::CheckpointError;
use crate::python_json;
use crate::read::json;

/// Returns whether the tokenizer is nanochat's: it has nanochat's token at the start of a document.
pub(super) fn is_nanochat(bytes: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Added {
        content: String,
    }
    #[derive(Deserialize)]
    struct Names {
        added_tokens: Vec<Added>,
    }
    let names: Result<Names, _> = python_json::from_slice(bytes);
    // What cannot be read is refused with the words of nanochat's reader.
    names.map_or(true, |names| names.added_tokens.iter().any(|token| token.content == BOS))
}

/// Parses nanochat's tokenizer from the JSON `bytes` of the file at `path`.
pub(super) fn from_json(path: &Path, bytes: &[u8]) -> Result<Tokenizer, CheckpointError> {
    // The kinds of the parts come first, so that a tokenizer of another kind is refused for its kind,
    // rather than for a key that only that kind has.
    json::from_slice::<Kinds>(path, bytes)?.check(path)?;
    let file: File = json::from_slice(path, bytes)?;
    file.check(path)?;

    let special_tokens: Vec<_> =
        file.added_tokens.into_iter().map(|token| (token.content, token.id)).collect();
    // Tokenizers trained by `tokenizers` have the special tokens in the vocabulary as well.
    let twins: HashSet<_> = special_tokens.iter().cloned().collect();
    let Pairs(vocab) = file.model.vocab;
    let ranks = vocab.into_iter().filter(|entry| !twins.contains(entry));
    let ranks = ranks
        .map(|(text, id)| Ok((to_bytes(path, &text)?, id)))
        .collect::<Result<_, CheckpointError>>()?;
    let (split, _) = file.pre_tokenizer.pretokenizers;
    let parts = TokenizerParts { pattern: split.pattern.regex, ranks, special_tokens };
    let tokenizer = Tokenizer::new(parts)
        .map_err(|source| CheckpointError::Tokenizer { path: path.to_owned(), source })?;

    let Merges(listed) = file.model.merges;
    let listed = listed
        .into_iter()
        .map(|(left, right)| Ok((to_bytes(path, &left)?, to_bytes(path, &right)?)))
        .collect::<Result<Vec<Merge>, CheckpointError>>()?;
    check_merges(&tokenizer, &listed)
        .map_err(|source| CheckpointError::Merges { path: path.to_owned(), source })?;
    Ok(tokenizer)
}

/// The kind of each part of a tokenizer.
#[derive(Deserialize)]
#[serde(expecting = "a tokenizer")]
struct Kinds {
    model: Kind,
    normalizer: Option<Kind>,
    pre_tokenizer: Option<Kind>,
    post_processor: Option<Kind>,
    decoder: Option<Kind>,
}

#[derive(Deserialize)]
#[serde(expecting = "a part of a tokenizer")]
struct Kind {
    #[serde(rename = "type")]
    name: String,
    /// The items of a sequence of pre-tokenizers.
    #[serde(default)]
    pretokenizers: Vec<Kind>,
}

impl Kinds {
    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let name = |kind: &Option<Kind>| kind.as_ref().map_or("null", |kind| &kind.name).to_owned();
        let steps = match &self.pre_tokenizer {
            Some(kind) if kind.name == "Sequence" => {
                let names: Vec<_> = kind.pretokenizers.iter().map(|k| k.name.as_str()).collect();
                names.join(", ")
            }
            other => name(other),
        };
        for (key, found, known) in [
            ("model", self.model.name.clone(), &["BPE"][..]),
            ("normalizer", name(&self.normalizer), &["null"]),
            ("pre_tokenizer", steps, &["Split, ByteLevel"]),
            ("post_processor", name(&self.post_processor), &["ByteLevel", "null"]),
            ("decoder", name(&self.decoder), &["ByteLevel"]),
        ] {
            if !known.contains(&found.as_str()) {
                return Err(unknown_value(path, key, &found, known[0]));
            }
        }
        Ok(())
    }
}

/// A tokenizer as written by `tokenizers`, of the supported kinds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    truncation: Option<IgnoredAny>,
    padding: Option<IgnoredAny>,
    added_tokens: Vec<AddedToken>,
    #[serde(rename = "normalizer")]
    _normalizer: IgnoredAny,
    pre_tokenizer: PreTokenizers,
    /// A `ByteLevel` here changes offsets but no ids.
    #[serde(default, rename = "post_processor")]
    _post_processor: IgnoredAny,
    #[serde(rename = "decoder")]
    _decoder: IgnoredAny,
    model: Model,
}

/// A token in addition to the model's. The ignored keys determine where it is searched for in a text;
/// here, as in nanochat, the text of a special token is plain text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddedToken {
    id: TokenId,
    content: String,
    special: bool,
    #[serde(default, rename = "single_word")]
    _single_word: IgnoredAny,
    #[serde(default, rename = "lstrip")]
    _lstrip: IgnoredAny,
    #[serde(default, rename = "rstrip")]
    _rstrip: IgnoredAny,
    #[serde(default, rename = "normalized")]
    _normalized: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PreTokenizers {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    pretokenizers: (Split, ByteLevel),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Split {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    pattern: Pattern,
    behavior: String,
    invert: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    #[serde(rename = "Regex")]
    regex: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ByteLevel {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    add_prefix_space: bool,
    /// True if GPT-2's pattern splits as well, which is the default in files that predate this key.
    #[serde(default = "yes")]
    use_regex: bool,
    #[serde(default, rename = "trim_offsets")]
    _trim_offsets: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Model {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    vocab: Pairs,
    merges: Merges,
    // The handling of characters without a token; every character has one, made of its bytes.
    #[serde(default, rename = "unk_token")]
    _unk_token: IgnoredAny,
    #[serde(default, rename = "fuse_unk")]
    _fuse_unk: IgnoredAny,
    #[serde(default, rename = "byte_fallback")]
    _byte_fallback: IgnoredAny,
    // If true, a piece that is a token is not merged. The merges give the same token, or are refused.
    #[serde(default, rename = "ignore_merges")]
    _ignore_merges: IgnoredAny,
}

fn yes() -> bool {
    true
}

impl File {
    fn check(&self, path: &Path) -> Result<(), CheckpointError> {
        let (split, byte_level) = &self.pre_tokenizer.pretokenizers;
        let model = &self.model;
        let set = |is: bool| if is { "set" } else { "null" };
        let is = |is: bool| if is { "true" } else { "false" };
        let affix = |text: &Option<String>| text.clone().unwrap_or_default();
        for (key, found, known) in [
            ("version", self.version.as_str(), "1.0"),
            ("truncation", set(self.truncation.is_some()), "null"),
            ("padding", set(self.padding.is_some()), "null"),
            ("behavior", &split.behavior, "Isolated"),
            ("invert", is(split.invert), "false"),
            ("add_prefix_space", is(byte_level.add_prefix_space), "false"),
            ("use_regex", is(byte_level.use_regex), "false"),
            ("dropout", set(model.dropout.is_some_and(|share| share != 0.0)), "null"),
            ("continuing_subword_prefix", &affix(&model.continuing_subword_prefix), ""),
            ("end_of_word_suffix", &affix(&model.end_of_word_suffix), ""),
        ] {
            if found != known {
                let known = if known.is_empty() { "null" } else { known };
                return Err(unknown_value(path, key, found, known));
            }
        }
        match self.added_tokens.iter().find(|token| !token.special) {
            Some(token) => Err(CheckpointError::AddedToken {
                path: path.to_owned(),
                token: truncated(&token.content),
            }),
            None => Ok(()),
        }
    }
}

/// All entries of an object from text to id. A map would hide a text that appears twice.
struct Pairs(Vec<(String, TokenId)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object from token to id")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                    if entries.len() > MAX_VOCAB {
                        return Err(A::Error::custom(format!("more than {MAX_VOCAB} tokens")));
                    }
                }
                Ok(Pairs(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Merges, each a pair of texts, or in old files one text with a space between the two.
struct Merges(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Merges {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Merges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of merges")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merges, A::Error> {
                let mut merges = Vec::new();
                while let Some(OneMerge(left, right)) = list.next_element()? {
                    merges.push((left, right));
                    if merges.len() > MAX_VOCAB {
                        return Err(A::Error::custom(format!("more than {MAX_VOCAB} merges")));
                    }
                }
                Ok(Merges(merges))
            }
        }

        deserializer.deserialize_seq(List)
    }
}

struct OneMerge(String, String);

impl<'de> Deserialize<'de> for OneMerge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;

        impl<'de> Visitor<'de> for Parts {
            type Value = OneMerge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneMerge, E> {
                match text.split_once(' ') {
                    Some((left, right)) => Ok(OneMerge(left.to_owned(), right.to_owned())),
                    None => Err(E::custom("a merge has no space")),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<OneMerge, A::Error> {
                let mut part = || -> Result<Option<String>, A::Error> { parts.next_element() };
                match (part()?, part()?, part()?) {
                    (Some(left), Some(right), None) => Ok(OneMerge(left, right)),
                    _ => Err(A::Error::custom("a merge does not have two tokens")),
                }
            }
        }

        deserializer.deserialize_any(Parts)
    }
}

/// Decodes a token written in the byte-level alphabet.
fn to_bytes(path: &Path, token: &str) -> Result<Vec<u8>, CheckpointError> {
    let bytes = token.chars().map(byte_of).collect::<Option<_>>();
    bytes.ok_or_else(|| CheckpointError::ForeignLetter {
        path: path.to_owned(),
        token: truncated(token),
    })
}

fn truncated(text: &str) -> String {
    text.chars().take(80).collect()
}

fn unknown_value(
    path: &Path,
    key: &'static str,
    found: &str,
    known: &'static str,
) -> CheckpointError {
    CheckpointError::UnknownValue { path: path.to_owned(), key, found: truncated(found), known }
}
