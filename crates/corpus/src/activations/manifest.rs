//! The manifest of an activation store: its settings, its parts and their shards.

use std::fmt;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nanoscope_checkpoint::{WeightDtype, python_json};
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::model_activations::ModelActivations;
use super::source::ActivationSource;
use crate::CorpusError;
use crate::text::Corpus;
use crate::tokens::SpecialTokens;

/// The settings that determine the contents of an activation store and its division into shards.
/// Two runs with the same settings write the same shards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// Digest of the model's files, as [`files_sha256`](crate::files_sha256) computes it.
    pub model_sha256: String,
    /// The model's era, such as `E3`.
    pub model_era: String,
    /// Digest of the tokenizer in nanochat's JSON form, as [`text_sha256`](crate::text_sha256)
    /// computes it.
    pub tokenizer_sha256: String,
    /// The hook points, in forward-pass order.
    pub hooks: Vec<HookWidth>,
    /// The data type of the stored activations.
    #[serde(with = "dtype_name")]
    pub dtype: WeightDtype,
    /// Tokens per context.
    pub context_length: usize,
    /// Contexts per shard; the last shard may have fewer.
    pub contexts_per_shard: u64,
    /// Treatment of special tokens.
    pub special_tokens: SpecialTokens,
    /// The corpus.
    pub text: TextInfo,
    /// Rows in all shards.
    pub rows: u64,
    /// Number of shards.
    pub shards: u64,
}

/// A hook point and the width of its activations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HookWidth {
    /// Canonical name of the hook point.
    pub name: String,
    /// Values per row.
    pub width: usize,
}

/// The corpus, as described in a store's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextInfo {
    /// The files, in reading order.
    pub sources: Vec<TextFileInfo>,
    /// Digest of the tokens, [`TokenizedCorpus::sha256`](crate::TokenizedCorpus::sha256).
    pub tokens_sha256: String,
    /// Number of tokens, including the last ones that do not fill a context.
    pub tokens: u64,
    /// Number of documents that begin within these tokens.
    pub documents: u64,
    /// Number of contexts.
    pub contexts: u64,
}

/// A file of a corpus, as described in a store's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFileInfo {
    /// Name of the file, [`TextFile::name`](crate::TextFile::name).
    pub name: String,
    /// File size in bytes (compressed size for `.gz`).
    pub bytes: u64,
}

/// One machine's share of a store: part `i` of `n` has the shards `s` with `s % n == i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorePart {
    /// Index of the part, from 0.
    pub index: u64,
    /// Number of parts.
    #[serde(rename = "of")]
    pub count: u64,
}

/// A complete shard, as listed in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardEntry {
    pub(crate) shard: u64,
    pub(crate) rows: usize,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// The contents of a manifest file.
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

/// Maximum size of a manifest in bytes. A manifest of a million shards has 130 million.
const MAX_MANIFEST_BYTES: u64 = 1 << 28;

impl StoreSettings {
    /// Settings for a store of the activations that `live` computes.
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

    /// Bytes per row, including the token, document, context and position.
    pub fn bytes_per_row(&self) -> u64 {
        /// Size of the token, document, context and position of a row.
        const ORIGIN: usize = 4 + 8 + 8 + 4;

        let numbers: usize = self.hooks.iter().map(|hook| hook.width).sum();
        (numbers * self.dtype.bytes() + ORIGIN) as u64
    }

    /// Describes how these settings differ from `there`, one line per difference.
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
    /// The whole store as a single part.
    pub const WHOLE: Self = Self { index: 0, count: 1 };

    /// Returns whether `shard` belongs to this part.
    pub fn has(self, shard: u64) -> bool {
        shard % self.count == self.index
    }

    /// File name of the part's manifest.
    pub(crate) fn manifest_name(self) -> String {
        format!("{}.json", self.stem())
    }

    /// File name of the part's journal. Its first line is the manifest without shards; each further
    /// line is a complete shard.
    pub(crate) fn journal_name(self) -> String {
        format!("{}{JOURNAL}", self.stem())
    }

    fn stem(self) -> String {
        if self.count == 1 {
            MANIFEST.to_owned()
        } else {
            format!("{MANIFEST}-{}-of-{}", self.index, self.count)
        }
    }
}

const MANIFEST: &str = "manifest";
const JOURNAL: &str = ".partial.jsonl";

/// Returns the kind of file that `name` denotes: manifest, journal or neither.
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

/// Written as `2/8`; the first part is `0/8`.
impl fmt::Display for StorePart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for StorePart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<u64>().ok();
        match text.split_once('/').map(|(index, count)| (number(index), number(count))) {
            Some((Some(index), Some(count))) if index < count => Ok(Self { index, count }),
            Some((Some(_), Some(count))) if count > 0 => {
                Err(format!("the parts of {count} are 0/{count} to {}/{count}", count - 1))
            }
            _ => Err("expected INDEX/PARTS, such as 0/8".to_owned()),
        }
    }
}

impl Manifest {
    pub(crate) fn new(part: StorePart, settings: StoreSettings, shards: Vec<ShardEntry>) -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, part, settings, shards }
    }

    /// Reads a manifest or a journal, and returns it with the number of bytes in its complete
    /// lines.
    ///
    /// A journal is read up to its first incomplete line. Returns `None` if its header line is
    /// incomplete, because no shard has been written yet, and if the journal is not there: another
    /// part deletes its own when it ends, which may be after the folder was listed.
    pub(crate) fn read(path: &Path, kind: Kind) -> Result<Option<(Self, u64)>, CorpusError> {
        let bytes = match read_at_most(path) {
            Err(CorpusError::NoSuchPath { .. }) if kind == Kind::Journal => return Ok(None),
            bytes => bytes?,
        };
        let broken = |error: serde_json::Error| CorpusError::Manifest {
            path: path.to_owned(),
            what: error.to_string(),
        };
        if kind == Kind::Manifest {
            let manifest: Self = python_json::from_slice(&bytes).map_err(broken)?;
            return manifest.checked(path).map(|manifest| Some((manifest, bytes.len() as u64)));
        }
        let mut lines =
            bytes.split_inclusive(|&byte| byte == b'\n').take_while(|line| line.ends_with(b"\n"));
        let Some(head) = lines.next() else { return Ok(None) };
        let mut manifest: Self = python_json::from_slice(head).map_err(broken)?;
        let mut whole = head.len();
        for line in lines {
            manifest.shards.push(python_json::from_slice(line).map_err(broken)?);
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
        let StorePart { index, count } = self.part;
        if index >= count {
            return wrong(format!("part {index} of {count} does not exist"));
        }
        let is_foreign = |entry: &&ShardEntry| {
            !self.part.has(entry.shard) || entry.shard >= self.settings.shards
        };
        if let Some(entry) = self.shards.iter().find(is_foreign) {
            return wrong(format!("shard {} does not belong to part {}", entry.shard, self.part));
        }
        Ok(self)
    }

    /// Checks that this manifest belongs to the same store: equal `settings`, and `count` parts.
    pub(crate) fn agrees(
        &self,
        path: &Path,
        settings: &StoreSettings,
        count: u64,
    ) -> Result<(), CorpusError> {
        let mut differences = settings.differences(&self.settings);
        if self.part.count != count {
            differences
                .push(format!("the number of parts is {} there, {count} here", self.part.count));
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(CorpusError::Differs { path: path.to_owned(), differences })
    }
}

fn read_at_most(path: &Path) -> Result<Vec<u8>, CorpusError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|source| CorpusError::io(path, source))?;
    if bytes.len() as u64 > MAX_MANIFEST_BYTES {
        let what = format!("it has more than {MAX_MANIFEST_BYTES} bytes");
        return Err(CorpusError::Manifest { path: path.to_owned(), what });
    }
    Ok(bytes)
}

/// Lists the manifests and journals in `dir`, sorted by name.
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
            .ok_or_else(|| D::Error::custom(format!("unsupported dtype `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_reads_back_as_it_is_written_and_others_are_refused() {
        let part = StorePart { index: 2, count: 8 };
        assert_eq!(part.to_string().parse(), Ok(part));
        assert_eq!(part.manifest_name(), "manifest-2-of-8.json");
        assert_eq!(StorePart::WHOLE.manifest_name(), "manifest.json");

        for (text, error) in [
            ("8/8", "the parts of 8 are 0/8 to 7/8"),
            ("0/0", "expected INDEX/PARTS, such as 0/8"),
            ("-1/2", "expected INDEX/PARTS, such as 0/8"),
            ("2", "expected INDEX/PARTS, such as 0/8"),
        ] {
            assert_eq!(text.parse::<StorePart>().unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn a_journal_that_vanished_is_not_there_and_a_manifest_that_vanished_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest-0-of-2.partial.jsonl");

        assert_eq!(Manifest::read(&path, Kind::Journal).unwrap(), None);
        assert!(Manifest::read(&path, Kind::Manifest).is_err());
    }

    #[test]
    fn each_shard_belongs_to_one_part() {
        for shard in 0..20 {
            let owners = (0..8).filter(|&index| StorePart { index, count: 8 }.has(shard));
            assert_eq!(owners.count(), 1, "{shard}");
        }
    }
}
