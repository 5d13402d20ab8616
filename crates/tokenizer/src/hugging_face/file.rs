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
