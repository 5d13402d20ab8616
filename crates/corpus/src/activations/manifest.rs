//! What a store's activations are of, as its manifest says it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nanoscope_checkpoint::WeightDtype;
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model_activations::ModelActivations;
use super::source::ActivationSource;
use crate::CorpusError;
use crate::text::Corpus;
use crate::tokens::SpecialTokens;

/// Everything on which the numbers of an activation store depend, and how they are divided into
/// shards. Two runs with the same settings write the same shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// The model's files, [`files_sha256`](crate::files_sha256) of them.
    pub model_sha256: String,
    /// The era whose function the model computes, such as `E3`.
    pub model_era: String,
    /// The tokenizer in nanochat's JSON form, [`text_sha256`](crate::text_sha256) of it.
    pub tokenizer_sha256: String,
    /// The hook points, in the order in which a pass reaches them.
    pub hooks: Vec<HookWidth>,
    /// The numbers that activations are written in.
    #[serde(with = "dtype_name")]
    pub dtype: WeightDtype,
    /// Tokens of a context.
    pub context_length: usize,
    /// Contexts of a shard; the last one may have fewer.
    pub contexts_per_shard: u64,
    /// Whether special tokens have rows.
    pub special_tokens: SpecialTokens,
    /// The corpus.
    pub text: TextInfo,
    /// Rows of all shards.
    pub rows: u64,
    /// How many shards there are.
    pub shards: u64,
}

/// A hook point and how many numbers an activation has there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookWidth {
    /// Its canonical name.
    pub name: String,
    /// Numbers per row.
    pub width: usize,
}

/// A corpus as a store's manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextInfo {
    /// The files, in the order in which they are read.
    pub sources: Vec<TextFileInfo>,
    /// [`TokenizedCorpus::sha256`](crate::TokenizedCorpus::sha256).
    pub tokens_sha256: String,
    /// Tokens, those at the end that fill no context included.
    pub tokens: u64,
    /// Documents that begin within these.
    pub documents: u64,
    /// Contexts.
    pub contexts: u64,
}

/// A file of a corpus as a store's manifest has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFileInfo {
    /// [`TextFile::name`](crate::TextFile::name).
    pub name: String,
    /// Its size, packed as it is.
    pub bytes: u64,
}

/// One machine's share of a store: shard `s` belongs to part `s` mod `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorePart {
    /// Which part, from 0.
    pub index: u64,
    /// How many parts there are.
    pub of: u64,
}

/// A shard that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardEntry {
    pub(crate) shard: u64,
    pub(crate) rows: usize,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A manifest's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: String,
    pub(crate) version: u32,
    pub(crate) part: StorePart,
    pub(crate) settings: StoreSettings,
    pub(crate) shards: Vec<ShardEntry>,
}

const FORMAT: &str = "nanoscope-activations";
const VERSION: u32 = 1;

/// Most bytes of a manifest; one of a million shards has 130 million.
const MAX_MANIFEST_BYTES: u64 = 1 << 28;

impl StoreSettings {
    /// The settings of a store of `live`'s activations.
    pub fn new(
        live: &ModelActivations,
        corpus: &Corpus,
        model_sha256: String,
        model_era: String,
        tokenizer_sha256: String,
        dtype: WeightDtype,
    ) -> Self {
        let hook =
            |&(point, width): &(HookPoint, usize)| HookWidth { name: point.to_string(), width };
        let tokens = live.tokens();
        let sources = corpus.files().iter();
        let sources = sources.map(|s| TextFileInfo { name: s.name.clone(), bytes: s.bytes });
        Self {
            model_sha256,
            model_era,
            tokenizer_sha256,
            hooks: live.points().iter().map(hook).collect(),
            dtype,
            context_length: tokens.context_len(),
            contexts_per_shard: live.contexts_per_segment(),
            special_tokens: live.special(),
            text: TextInfo {
                sources: sources.collect(),
                tokens_sha256: tokens.sha256().to_owned(),
                tokens: tokens.len(),
                documents: tokens.documents(),
                contexts: tokens.contexts(),
            },
            rows: (0..live.len()).map(|shard| live.rows(shard) as u64).sum(),
            shards: live.len(),
        }
    }

    /// Bytes that a row takes.
    pub fn bytes_per_row(&self) -> u64 {
        /// Token, document, context and position.
        const ORIGIN: usize = 4 + 8 + 8 + 4;

        let numbers: usize = self.hooks.iter().map(|hook| hook.width).sum();
        (numbers * self.dtype.bytes() + ORIGIN) as u64
    }

    /// What differs from `there`, a line each.
    fn differences(&self, there: &Self) -> Vec<String> {
        let value = |settings| serde_json::to_value(settings).expect("settings are JSON");
        let mut lines = Vec::new();
        differences("", &value(there), &value(self), &mut lines);
        lines
    }
}

fn differences(name: &str, there: &Value, here: &Value, lines: &mut Vec<String>) {
    match (there, here) {
        (Value::Object(there), Value::Object(here)) => {
            for (key, there) in there {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                differences(&name, there, here.get(key).unwrap_or(&Value::Null), lines);
            }
        }
        _ if there == here => {}
        _ => lines.push(format!("{name} is {} there, {} here", short(there), short(here))),
    }
}

fn short(value: &Value) -> String {
    const SHOWN: usize = 200;

    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

impl StorePart {
    /// The only part of a store that is made by one run.
    pub const WHOLE: Self = Self { index: 0, of: 1 };

    /// Whether shard `shard` belongs to this part.
    pub fn has(self, shard: u64) -> bool {
        shard % self.of == self.index
    }

    /// The name of its manifest.
    pub(crate) fn manifest_name(self) -> String {
        format!("{}.json", self.stem())
    }

    /// The name of its journal: the manifest without shards on the first line, then a line for each
    /// shard that is complete.
    pub(crate) fn journal_name(self) -> String {
        format!("{}{JOURNAL}", self.stem())
    }

    fn stem(self) -> String {
        if self.of == 1 {
            MANIFEST.to_owned()
        } else {
            format!("{MANIFEST}-{}-of-{}", self.index, self.of)
        }
    }
}

const MANIFEST: &str = "manifest";
const JOURNAL: &str = ".partial.jsonl";

/// Whether a file of this name is a manifest or a journal.
pub(crate) fn kind(name: &str) -> Option<Kind> {
    let stem = |end| name.strip_suffix(end).filter(|stem: &&str| stem.starts_with(MANIFEST));
    if stem(JOURNAL).is_some() {
        Some(Kind::Journal)
    } else {
        stem(".json").map(|_| Kind::Manifest)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Manifest,
    Journal,
}

/// A part as it is written, `2/8`, the first one being `0/8`.
impl fmt::Display for StorePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for StorePart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok();
        match text.split_once('/').map(|(index, of)| (number(index), number(of))) {
            Some((Some(index), Some(of))) if index < of => Ok(Self { index, of }),
            Some((Some(_), Some(of))) if of > 0 => {
                Err(format!("the parts of {of} are 0/{of} to {}/{of}", of - 1))
            }
            _ => Err("it is not of the form INDEX/PARTS, such as 0/8".to_owned()),
        }
    }
}

impl Manifest {
    pub(crate) fn new(part: StorePart, settings: StoreSettings, shards: Vec<ShardEntry>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, part, settings, shards }
    }

    /// Reads a manifest; of a journal its first line and, as long as they are whole, those after
    /// it. None if a journal ends in its first line: then nothing was made yet. The second number is
    /// how many bytes of a journal are whole lines.
    pub(crate) fn read(path: &Path, kind: Kind) -> Result<Option<(Self, u64)>, CorpusError> {
        let io = |source| CorpusError::io(path, source);
        let found = fs::metadata(path).map_err(io)?.len();
        if found > MAX_MANIFEST_BYTES {
            let what = format!("it has {found} bytes, at most {MAX_MANIFEST_BYTES} are read");
            return Err(CorpusError::Manifest { path: path.to_owned(), what });
        }
        let bytes = fs::read(path).map_err(io)?;
        let broken = |error: serde_json::Error| CorpusError::Manifest {
            path: path.to_owned(),
            what: error.to_string(),
        };
        if kind == Kind::Manifest {
            let manifest: Self = serde_json::from_slice(&bytes).map_err(broken)?;
            return manifest.checked(path).map(|manifest| Some((manifest, bytes.len() as u64)));
        }
        let mut lines =
            bytes.split_inclusive(|&byte| byte == b'\n').take_while(|line| line.ends_with(b"\n"));
        let Some(head) = lines.next() else { return Ok(None) };
        let mut manifest: Self = serde_json::from_slice(head).map_err(broken)?;
        let mut whole = head.len();
        for line in lines {
            manifest.shards.push(serde_json::from_slice(line).map_err(broken)?);
            whole += line.len();
        }
        manifest.checked(path).map(|manifest| Some((manifest, whole as u64)))
    }

    fn checked(self, path: &Path) -> Result<Self, CorpusError> {
        let wrong = |what: String| Err(CorpusError::Manifest { path: path.to_owned(), what });
        if self.format != FORMAT || self.version != VERSION {
            return wrong(format!(
                "its format is `{}` version {}, not `{FORMAT}` version {VERSION}",
                self.format, self.version
            ));
        }
        let StorePart { index, of } = self.part;
        if index >= of {
            return wrong(format!("part {index} of {of} parts"));
        }
        let of_part = |entry: &&ShardEntry| {
            !self.part.has(entry.shard) || entry.shard >= self.settings.shards
        };
        if let Some(entry) = self.shards.iter().find(of_part) {
            return wrong(format!(
                "it has shard {}, which is none of part {}",
                entry.shard, self.part
            ));
        }
        Ok(self)
    }

    /// Checks that this is of the same store as `settings` and `of` parts.
    pub(crate) fn agrees(
        &self,
        path: &Path,
        settings: &StoreSettings,
        of: u64,
    ) -> Result<(), CorpusError> {
        let mut differences = settings.differences(&self.settings);
        if self.part.of != of {
            differences.push(format!("the parts are {} there, {of} here", self.part.of));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(CorpusError::Differs { path: path.to_owned(), differences })
    }
}

/// The manifests and journals in a folder, by name.
pub(crate) fn in_folder(dir: &Path) -> Result<Vec<(PathBuf, Kind)>, CorpusError> {
    let io = |source| CorpusError::io(dir, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if let Some(kind) = name.to_str().and_then(kind) {
            found.push((dir.join(&name), kind));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

pub(crate) fn shard_path(dir: &Path, shard: u64) -> PathBuf {
    dir.join(format!("shard-{shard:06}.safetensors"))
}

mod dtype_name {
    use std::fmt::Display;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::WeightDtype;

    pub(super) fn serialize<S: Serializer>(dtype: &impl Display, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(dtype)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<WeightDtype, D::Error> {
        let name = String::deserialize(from)?;
        [WeightDtype::F32, WeightDtype::F16, WeightDtype::BF16]
            .into_iter()
            .find(|dtype| dtype.to_string() == name)
            .ok_or_else(|| D::Error::custom(format!("a store has no numbers of type `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_back_as_it_is_written_and_others_are_refused() {
        let part = StorePart { index: 2, of: 8 };
        assert_eq!(part.to_string().parse(), Ok(part));
        assert_eq!(part.manifest_name(), "manifest-2-of-8.json");
        assert_eq!(StorePart::WHOLE.manifest_name(), "manifest.json");

        for (text, error) in [
            ("8/8", "the parts of 8 are 0/8 to 7/8"),
            ("0/0", "it is not of the form INDEX/PARTS, such as 0/8"),
            ("-1/2", "it is not of the form INDEX/PARTS, such as 0/8"),
            ("2", "it is not of the form INDEX/PARTS, such as 0/8"),
        ] {
            assert_eq!(text.parse::<StorePart>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn each_shard_belongs_to_one_part() {
        for shard in 0..20 {
            let owners = (0..8).filter(|&index| StorePart { index, of: 8 }.has(shard));
            assert_eq!(owners.count(), 1, "{shard}");
        }
    }
}
