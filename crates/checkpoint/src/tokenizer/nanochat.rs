//! Loading tokenizers from nanochat's folder, and saving them in our own format.

use std::fs;
use std::path::Path;

use nanoscope_tokenizer::{JSON_FORMAT, TokenId, Tokenizer, TokenizerParts};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::CheckpointError;
use crate::files;
use crate::pickle::{Pickle, Value, ValueId, read_pickle};
use crate::python_json;
use crate::tokenizer::files::{invalid, read_if_there, utf8};
use crate::tokenizer::{family, hugging_face};
use crate::write::write_atomically;

/// Loads the tokenizer in `dir`, which is nanochat's `<base>/tokenizer` or a model's folder.
///
/// It is read from `tokenizer.json` in our own format ([`Tokenizer::to_json`]), otherwise from
/// `tokenizer.pkl`, nanochat's pickled `tiktoken.core.Encoding`, otherwise from `tokenizer.json` in
/// Hugging Face's format. The pickle is read as data and may refer to no other class or function.
///
/// A `tokenizer.json` without `<|bos|>` is a family's. Its chat template is `chat_template.jinja` or the
/// one in `tokenizer_config.json`, and a model's text ends with the `eos_token` there and with those of
/// `generation_config.json`.
///
/// `dir` may also be the path of one of the two files, which stands for its folder.
///
/// # Errors
///
/// [`CheckpointError::NoTokenizer`] if neither file exists, [`CheckpointError::ForeignTokenizer`] if
/// there is only a `tokenizer.json` in another format, and the variants for files that cannot be read,
/// are too large or damaged, or have an invalid vocabulary.
pub fn load_tokenizer(dir: &Path) -> Result<Tokenizer, CheckpointError> {
    load_tokenizer_for(dir, dir)
}

/// Loads the tokenizer in `dir` for the model in the folder `model`: as [`load_tokenizer`], with the
/// `config.json` and `generation_config.json` of `model` where `dir` has none.
///
/// # Errors
///
/// As [`load_tokenizer`].
pub fn load_tokenizer_for(dir: &Path, model: &Path) -> Result<Tokenizer, CheckpointError> {
    let is_file =
        [JSON_FILE, PICKLE_FILE].iter().any(|name| dir.ends_with(name)) && files::is_file(dir);
    let dir = dir.parent().filter(|_| is_file).unwrap_or(dir);
    let json = dir.join(JSON_FILE);
    let pickle = dir.join(PICKLE_FILE);

    let own_or_foreign = read_if_there(&json)?;
    if let Some(bytes) = &own_or_foreign
        && let Ok(Tag { format: Some(format), .. }) = python_json::from_slice(bytes)
        && format == JSON_FORMAT
    {
        return from_json(&json, bytes);
    }
    if let Some(bytes) = read_if_there(&pickle)? {
        return from_pickle(&pickle, &bytes);
    }
    let Some(bytes) = own_or_foreign else {
        return Err(CheckpointError::NoTokenizer { dir: dir.to_owned() });
    };
    match python_json::from_slice(&bytes) {
        Ok(Tag { format: None, model: Some(_) }) if hugging_face::is_nanochat(&bytes) => {
            hugging_face::from_json(&json, &bytes)
        }
        Ok(Tag { format: None, model: Some(_) }) => family::load([dir, model], &json, &bytes),
        Ok(_) => Err(CheckpointError::ForeignTokenizer { path: json }),
        Err(source) => Err(CheckpointError::Json { path: json, source }),
    }
}

/// Returns whether `dir` has a file that [`load_tokenizer`] reads.
pub(crate) fn has_tokenizer(dir: &Path) -> bool {
    [JSON_FILE, PICKLE_FILE].iter().any(|name| files::is_file(&dir.join(name)))
}

/// Saves `tokenizer` to `tokenizer.json` in `dir`, which is created if needed; of a family's tokenizer
/// also its chat template and special tokens, to `tokenizer_config.json`, and the tokens that end a text,
/// to `generation_config.json`. The files are replaced atomically.
///
/// # Errors
///
/// [`CheckpointError::Io`].
pub fn save_tokenizer(dir: &Path, tokenizer: &Tokenizer) -> Result<(), CheckpointError> {
    fs::create_dir_all(dir)
        .map_err(|source| CheckpointError::Io { path: dir.to_owned(), source })?;
    for (name, text) in tokenizer_files(tokenizer) {
        write_atomically(&dir.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// The names of all files that [`save_tokenizer`] can write.
pub(crate) const TOKENIZER_FILES: [&str; 3] =
    [JSON_FILE, family::CONFIG_FILE, family::GENERATION_FILE];

/// The names and contents of the files that [`save_tokenizer`] writes.
pub(crate) fn tokenizer_files(tokenizer: &Tokenizer) -> Vec<(&'static str, String)> {
    let mut files = vec![(JSON_FILE, tokenizer.to_json())];
    files.extend(family::config_files(tokenizer));
    files
}

/// The keys that identify the format of a `tokenizer.json`.
#[derive(Deserialize)]
struct Tag {
    format: Option<serde_json::Value>,
    model: Option<IgnoredAny>,
}

fn from_json(path: &Path, bytes: &[u8]) -> Result<Tokenizer, CheckpointError> {
    Tokenizer::from_json(utf8(path, bytes)?).map_err(|source| invalid(path, source))
}

fn from_pickle(path: &Path, bytes: &[u8]) -> Result<Tokenizer, CheckpointError> {
    let pickle = read_pickle(bytes, &[ENCODING])
        .map_err(|source| CheckpointError::Pickle { path: path.to_owned(), source })?;
    let parts = encoding_parts(&pickle).map_err(|difference| CheckpointError::NotATokenizer {
        path: path.to_owned(),
        what: difference.what,
        expected: difference.expected,
        found: difference.found,
    })?;
    Tokenizer::new(parts).map_err(|source| invalid(path, source))
}

/// A difference between a pickle and a pickled tokenizer.
struct Difference {
    what: &'static str,
    expected: &'static str,
    found: String,
}

/// Finds the parts in the state that `Encoding.__setstate__` would receive.
fn encoding_parts(pickle: &Pickle<'_>) -> Result<TokenizerParts, Difference> {
    let Value::Object(encoding) = pickle.root() else {
        return Err(differs("the result", "a tiktoken Encoding", pickle.root()));
    };
    let Some(state) = encoding.state else {
        return Err(Difference {
            what: "the Encoding's state",
            expected: "a dict",
            found: "missing".to_owned(),
        });
    };
    let Value::Dict(state) = pickle.get(state) else {
        // tiktoken pickles an encoding that it ships, such as gpt2, as its name only.
        return Err(differs("the Encoding's state", "a dict", pickle.get(state)));
    };

    let mut pattern = None;
    let mut ranks = None;
    let mut special_tokens = None;
    let mut name = None;
    for &(key, value) in state {
        let key = text(pickle, "a key of the state", key)?;
        let again = match key {
            "name" => name.replace(text(pickle, "name", value)?).is_some(),
            "pat_str" => pattern.replace(text(pickle, "pat_str", value)?).is_some(),
            "mergeable_ranks" => {
                let found = ids(pickle, "mergeable_ranks", value, token_bytes)?;
                ranks.replace(found).is_some()
            }
            "special_tokens" => {
                let found = ids(pickle, "special_tokens", value, |pickle, key| {
                    text(pickle, "a special token", key).map(str::to_owned)
                })?;
                special_tokens.replace(found).is_some()
            }
            _ => {
                return Err(Difference {
                    what: "a key of the state",
                    expected: "a key that tiktoken writes",
                    found: format!("{key:.80?}"),
                });
            }
        };
        if again {
            return Err(Difference {
                what: "a key of the state",
                expected: "each key once",
                found: format!("{key:?} again"),
            });
        }
    }
    Ok(TokenizerParts {
        pattern: pattern.ok_or_else(|| missing("pat_str"))?.to_owned(),
        ranks: ranks.ok_or_else(|| missing("mergeable_ranks"))?,
        special_tokens: special_tokens.ok_or_else(|| missing("special_tokens"))?,
    })
}

/// Reads a dict from tokens to ids.
fn ids<K>(
    pickle: &Pickle<'_>,
    what: &'static str,
    dict: ValueId,
    read_key: impl Fn(&Pickle<'_>, ValueId) -> Result<K, Difference>,
) -> Result<Vec<(K, TokenId)>, Difference> {
    let Value::Dict(entries) = pickle.get(dict) else {
        return Err(differs(what, "a dict", pickle.get(dict)));
    };
    entries
        .iter()
        .map(|&(key, id)| {
            let key = read_key(pickle, key)?;
            match pickle.get(id) {
                Value::Int(id) => {
                    let id = TokenId::try_from(*id).map_err(|_| Difference {
                        what: "a token's id",
                        expected: "an int of 32 bits",
                        found: id.to_string(),
                    })?;
                    Ok((key, id))
                }
                other => Err(differs("a token's id", "an int", other)),
            }
        })
        .collect()
}

fn token_bytes(pickle: &Pickle<'_>, key: ValueId) -> Result<Vec<u8>, Difference> {
    match pickle.get(key) {
        Value::Bytes(bytes) => Ok(bytes.to_vec()),
        other => Err(differs("a token", "bytes", other)),
    }
}

fn text<'a>(
    pickle: &Pickle<'a>,
    what: &'static str,
    value: ValueId,
) -> Result<&'a str, Difference> {
    match pickle.get(value) {
        Value::Text(text) => Ok(text),
        other => Err(differs(what, "a str", other)),
    }
}

fn differs(what: &'static str, expected: &'static str, found: &Value<'_>) -> Difference {
    Difference { what, expected, found: found.kind().to_owned() }
}

fn missing(what: &'static str) -> Difference {
    Difference { what, expected: "an entry of the state", found: "missing".to_owned() }
}

/// The only class that a `tokenizer.pkl` may refer to.
const ENCODING: &str = "tiktoken.core.Encoding";

/// The file that nanochat writes.
const PICKLE_FILE: &str = "tokenizer.pkl";

/// The file that we write, under the same name as Hugging Face's.
pub(crate) const JSON_FILE: &str = "tokenizer.json";
