//! Tokenizers of families other than nanochat's, with the files beside `tokenizer.json`.

use std::path::Path;

use nanoscope_tokenizer::{ChatTemplate, TokenId, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::error::CheckpointError;
use crate::files;
use crate::read::json;
use crate::tokenizer::files::{invalid, read_if_there, utf8};

/// Loads the tokenizer with the JSON `bytes` of the file at `path` in the first of `dirs`. The model's own
/// files may be in the second.
pub(super) fn load(
    dirs: [&Path; 2],
    path: &Path,
    bytes: &[u8],
) -> Result<Tokenizer, CheckpointError> {
    let [dir, _] = dirs;
    let tokenizer = Tokenizer::from_hugging_face_json(utf8(path, bytes)?)
        .map_err(|source| invalid(path, source))?;
    let config_path = dir.join(CONFIG_FILE);
    let config: Config = read_or_default(&config_path)?;
    let model: Model = of_model(dirs, MODEL_FILE)?;
    let model = match model.text_config {
        Some(text) if model.eos_token_id.is_none() && model.bos_token_id.is_none() => *text,
        _ => model,
    };
    let generation: Model = of_model(dirs, GENERATION_FILE)?;
    let ends = ends(&config, [&generation, &model], &tokenizer);
    let tokens = config.special_tokens();
    // GPT-2, Pythia and Qwen put nothing in front of a text, but a token between documents.
    let named = config.others.get("bos_token").and_then(token_text);
    let bos = generation.bos_token_id.or(model.bos_token_id);
    let bos = bos.filter(|&id| tokenizer.token_text(id).is_some());
    let start = named.and_then(|name| tokenizer.special(name)).or(bos).or(ends.first().copied());

    let template_path = dir.join(TEMPLATE_FILE);
    let (path, template) = match read_if_there(&template_path)? {
        Some(bytes) => {
            let template = utf8(&template_path, &bytes)?.to_owned();
            (template_path, Some(template))
        }
        None => (config_path, config.template()),
    };
    let start = tokenizer.bos().or(start);
    let tokenizer = tokenizer.with_ends(ends).with_document_start(start);
    let Some(template) = template else {
        return Ok(tokenizer);
    };
    let template = ChatTemplate::new(&template, tokens).map_err(|source| invalid(&path, source))?;
    Ok(tokenizer.with_chat_template(template))
}

/// The names and contents of the files that [`load`] reads beside `tokenizer.json`; none for nanochat's
/// tokenizer.
pub(super) fn config_files(tokenizer: &Tokenizer) -> Vec<(&'static str, String)> {
    if !tokenizer.is_hugging_face() {
        return Vec::new();
    }
    let mut config = Map::new();
    if let Some(template) = tokenizer.chat_template() {
        config.extend(template.tokens().clone());
        config.insert("chat_template".to_owned(), template.source().into());
    }
    let ends = tokenizer.ends();
    if let Some(end) = ends.first().and_then(|&id| tokenizer.token_text(id)) {
        config.insert("eos_token".to_owned(), end.into());
    }
    vec![
        (CONFIG_FILE, Json::Object(config).to_string()),
        (
            GENERATION_FILE,
            json!({"bos_token_id": tokenizer.document_start(), "eos_token_id": ends}).to_string(),
        ),
    ]
}

/// A `tokenizer_config.json`, as far as it is used: the ids' own settings are in `tokenizer.json`.
#[derive(Default, Deserialize)]
#[serde(expecting = "the settings of a tokenizer")]
struct Config {
    #[serde(default)]
    chat_template: Option<Templates>,
    #[serde(flatten)]
    others: Map<String, Json>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a template or a list of named templates")]
enum Templates {
    One(String),
    Named(Vec<Named>),
}

#[derive(Deserialize)]
struct Named {
    name: String,
    template: String,
}

impl Config {
    /// The one template, or the one that transformers takes of several.
    fn template(self) -> Option<String> {
        match self.chat_template? {
            Templates::One(template) => Some(template),
            Templates::Named(list) => {
                list.into_iter().find(|named| named.name == "default").map(|named| named.template)
            }
        }
    }

    /// The special tokens that have a name, such as `bos_token`, for a template.
    fn special_tokens(&self) -> Map<String, Json> {
        let named = self.others.iter().filter(|(name, _)| name.ends_with("_token"));
        named
            .filter_map(|(name, value)| Some((name.clone(), Json::from(token_text(value)?))))
            .collect()
    }
}

/// The tokens in `generation_config.json`, and in a model's `config.json`.
#[derive(Default, Deserialize)]
#[serde(default, expecting = "the configuration of a model")]
struct Model {
    bos_token_id: Option<TokenId>,
    eos_token_id: Option<Ids>,
    /// The part of a model of images and texts that is about texts.
    text_config: Option<Box<Model>>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "expected an id or a list of ids")]
enum Ids {
    One(TokenId),
    Several(Vec<TokenId>),
}

impl Ids {
    fn list(self) -> Vec<TokenId> {
        match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
        }
    }
}

/// The text of a token, which is a string or an object with its `content`.
fn token_text(value: &Json) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// The tokens that end a text: `eos_token` first, then those of `generation_config.json`, or of the model's
/// `config.json` if that has none.
fn ends(config: &Config, models: [&Model; 2], tokenizer: &Tokenizer) -> Vec<TokenId> {
    let named = config.others.get("eos_token").and_then(token_text);
    let mut ends: Vec<TokenId> =
        named.and_then(|name| tokenizer.special(name)).into_iter().collect();
    let listed = models.into_iter().find_map(|model| model.eos_token_id.clone());
    for id in listed.map(Ids::list).unwrap_or_default() {
        if !ends.contains(&id) {
            ends.push(id);
        }
    }
    ends
}

/// The file `name` of the first of `dirs` that has it, or the default.
fn of_model(dirs: [&Path; 2], name: &str) -> Result<Model, CheckpointError> {
    let [own, model] = dirs.map(|dir| dir.join(name));
    read_or_default(if files::exists(&own) { &own } else { &model })
}

fn read_or_default<T: Default + for<'de> Deserialize<'de>>(
    path: &Path,
) -> Result<T, CheckpointError> {
    match read_if_there(path)? {
        Some(bytes) => json::from_slice(path, &bytes),
        None => Ok(T::default()),
    }
}

pub(super) const CONFIG_FILE: &str = "tokenizer_config.json";

const TEMPLATE_FILE: &str = "chat_template.jinja";

pub(super) const GENERATION_FILE: &str = "generation_config.json";

/// The model's own configuration.
const MODEL_FILE: &str = "config.json";
