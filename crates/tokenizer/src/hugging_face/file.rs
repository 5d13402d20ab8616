//! The parts of a `tokenizer.json` that are checked before the engine reads it.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use crate::error::TokenizerError;
use crate::limits::TokenId;
use crate::pattern::check_pattern;

/// A `tokenizer.json`, as far as it is looked into here.
#[derive(Deserialize)]
pub(super) struct File {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    pub(super) decoder: Value,
    model: Model,
}

#[derive(Deserialize)]
struct AddedToken {
    id: TokenId,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct Model {
    /// Older files leave it out.
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
    continuing_subword_prefix: Option<String>,
}

impl File {
    /// Refuses what would give other ids than the family's, or none in reasonable time.
    pub(super) fn check(&self) -> Result<(), TokenizerError> {
        if let Some(kind) = &self.model.kind
            && kind != "BPE"
        {
            return Err(unsupported("model", kind, "BPE"));
        }
        // With dropout the ids of a text are drawn by chance.
        if let Some(dropout) = self.model.dropout
            && dropout != 0.0
        {
            return Err(unsupported("model.dropout", &dropout.to_string(), "null"));
        }
        // The engine panics where a merge's second token does not have the prefix.
        if let Some(prefix) = &self.model.continuing_subword_prefix
            && !prefix.is_empty()
        {
            return Err(unsupported("model.continuing_subword_prefix", prefix, "null"));
        }
        check_kinds("normalizer", &self.normalizer, NORMALIZERS)?;
        check_kinds("pre_tokenizer", &self.pre_tokenizer, PRE_TOKENIZERS)?;
        check_kinds("post_processor", &self.post_processor, POST_PROCESSORS)?;
        if growth(&self.normalizer)? > MAX_GROWTH {
            return Err(unsupported("normalizer", "Replace by a long text", "at most 64 letters"));
        }
        check_templates(&self.post_processor)?;
        check_patterns(&self.normalizer)?;
        check_patterns(&self.pre_tokenizer)
    }

    /// The special tokens, sorted by id.
    pub(super) fn special_tokens(
        &self,
        engine: &tokenizers::Tokenizer,
    ) -> Result<Vec<(String, TokenId)>, TokenizerError> {
        let mut seen = HashSet::new();
        let mut special = Vec::new();
        for token in &self.added_tokens {
            // The engine gives a token its own id where the file's is taken or leaves a gap.
            let given = engine.token_to_id(&token.content);
            if given != Some(token.id) {
                return Err(TokenizerError::AddedTokenId {
                    token: token.content.chars().take(80).collect(),
                    id: token.id,
                    given: given.map_or_else(|| "none".to_owned(), |id| id.to_string()),
                });
            }
            if token.special && seen.insert(token.content.as_str()) {
                special.push((token.content.clone(), token.id));
            }
        }
        special.sort_by_key(|&(_, id)| id);
        Ok(special)
    }
}

/// Checks that a part and its steps are of kinds that are `known`. `Precompiled` and `FixedLength` are
/// not: with some settings the engine panics, or allocates what a number in the file says.
fn check_kinds(
    part: &'static str,
    value: &Value,
    known: &'static str,
) -> Result<(), TokenizerError> {
    if value.is_null() {
        return Ok(());
    }
    let kind = value["type"].as_str().unwrap_or("null");
    if !known.split(", ").any(|name| name == kind) {
        return Err(unsupported(part, kind, known));
    }
    steps(value).try_for_each(|step| check_kinds(part, step, known))
}

/// The steps of a part that is a sequence.
fn steps(part: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["normalizers", "pretokenizers", "processors"];
    lists.into_iter().filter_map(move |list| part[list].as_array()).flatten()
}

/// The largest number of letters that a normalizer makes of one by replacing it.
fn growth(normalizer: &Value) -> Result<usize, TokenizerError> {
    if normalizer["pattern"]["String"] == "" || normalizer["pattern"]["Regex"] == "" {
        return Err(unsupported("normalizer", "Replace", "a pattern that is not empty"));
    }
    let own = normalizer["content"].as_str().map_or(1, |content| content.chars().count().max(1));
    steps(normalizer).try_fold(own, |product, step| Ok(product.saturating_mul(growth(step)?)))
}

/// Checks that the templates of a post-processor name only tokens that it has.
fn check_templates(post_processor: &Value) -> Result<(), TokenizerError> {
    let pieces = ["single", "pair"].into_iter().filter_map(|list| post_processor[list].as_array());
    let mut names = pieces.flatten().filter_map(|piece| piece["SpecialToken"]["id"].as_str());
    match names.find(|name| post_processor["special_tokens"][*name].is_null()) {
        Some(name) => Err(unsupported("post_processor", name, "one of its special_tokens")),
        None => steps(post_processor).try_for_each(check_templates),
    }
}

const NORMALIZERS: &str = "NFC, NFD, NFKC, NFKD, Nmt, Replace, Prepend, Lowercase, Strip, \
                           StripAccents, BertNormalizer, ByteLevel, Sequence";

const PRE_TOKENIZERS: &str = "ByteLevel, Split, Digits, Metaspace, Whitespace, WhitespaceSplit, \
                              Punctuation, BertPreTokenizer, CharDelimiterSplit, UnicodeScripts, \
                              Sequence";

const POST_PROCESSORS: &str =
    "ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing, Sequence";

/// Far above any family's: theirs replace a space by one letter.
const MAX_GROWTH: usize = 64;

/// Checks each regular expression in a normalizer or pre-tokenizer, which may be a sequence.
fn check_patterns(part: &Value) -> Result<(), TokenizerError> {
    match part {
        Value::Object(entries) => {
            if let Some(Value::String(pattern)) = entries.get("Regex") {
                check_pattern(pattern)?;
            }
            entries.values().try_for_each(check_patterns)
        }
        Value::Array(items) => items.iter().try_for_each(check_patterns),
        _ => Ok(()),
    }
}

pub(super) fn unsupported(
    part: &'static str,
    found: &str,
    expected: &'static str,
) -> TokenizerError {
    TokenizerError::UnsupportedPart { part, found: found.chars().take(80).collect(), expected }
}
