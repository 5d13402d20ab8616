//! Reads a complete activation store.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{ActivationFile, TensorFile};
use nanoscope_hooks::HookPoint;

use super::manifest::{
    Kind, Manifest, ShardEntry, StorePart, StoreSettings, in_folder, shard_path,
};
use super::origins::Origins;
use super::source::{ActivationBatch, ActivationSource, SourceText, StoredFrom};
use super::store_writer::{CONTEXT_IDS, DOCUMENT_IDS, POSITIONS, TOKEN_IDS};
use crate::CorpusError;
use crate::digest::file_sha256;

/// Activations in a folder of shards, written by one run or by several in parts.
///
/// Each segment is a shard. Its checksum is verified the first time it is read. Only the requested
/// tensors of one shard are in memory.
#[derive(Debug)]
pub struct ActivationStore {
    dir: PathBuf,
    settings: StoreSettings,
    shards: Vec<ShardEntry>,
    points: Vec<(HookPoint, usize)>,
    verified: Vec<bool>,
}

impl ActivationStore {
    /// Opens the store in `dir` with all its hook points.
    ///
    /// # Errors
    /// [`CorpusError::NoStore`]; [`CorpusError::Incomplete`], naming missing parts or shards;
    /// [`CorpusError::Differs`] if the parts belong to different stores; [`CorpusError::Manifest`];
    /// [`CorpusError::ChangedShard`] if a shard's size differs from its manifest.
    pub fn open(dir: &Path) -> Result<Self, CorpusError> {
        let mut found: Vec<(PathBuf, Manifest)> = Vec::new();
        let mut journals = Vec::new();
        for (path, kind) in in_folder(dir)? {
            match kind {
                Kind::Journal => journals.push(path),
                Kind::Manifest => {
                    let (manifest, _) = Manifest::read(&path, kind)?.expect("a manifest is whole");
                    found.push((path, manifest));
                }
            }
        }
        let Some((_, first)) = found.first() else {
            return Err(match journals.pop() {
                Some(_) => {
                    incomplete(dir, vec!["a manifest (it is still being written)".to_owned()])
                }
                None => CorpusError::NoStore { path: dir.to_owned() },
            });
        };
        let (settings, count) = (first.settings.clone(), first.part.count);
        for (path, manifest) in &found {
            manifest.agrees(path, &settings, count)?;
        }
        if count != found.len() as u64 {
            let is_there = |index: &u64| found.iter().any(|(_, m)| m.part.index == *index);
            let missing = (0..count).filter(|index| !is_there(index)).take(MAX_MISSING_NAMED);
            let names = missing.map(|index| StorePart { index, count }.manifest_name());
            return Err(incomplete(dir, names.collect()));
        }
        let manifest = found[0].0.clone();
        let entries = found.into_iter().flat_map(|(_, manifest)| manifest.shards);
        let shards: BTreeMap<u64, ShardEntry> = entries.map(|entry| (entry.shard, entry)).collect();
        if shards.len() as u64 != settings.shards {
            let missing = (0..settings.shards).filter(|shard| !shards.contains_key(shard));
            let names = missing.take(MAX_MISSING_NAMED).map(|shard| format!("shard {shard}"));
            return Err(incomplete(dir, names.collect()));
        }
        let shards: Vec<ShardEntry> = shards.into_values().collect();
        let wrong = |what: String| CorpusError::Manifest { path: manifest.clone(), what };
        let numbers = shards.iter().map(|entry| entry.rows as u64);
        let rows = numbers.fold(0, u64::saturating_add);
        if rows != settings.rows || rows == 0 {
            return Err(wrong(format!(
                "its shards have {rows} rows in total, expected {}",
                settings.rows
            )));
        }
        let points = points(&settings).map_err(wrong)?;
        for entry in &shards {
            check_size(dir, entry, &settings)?;
        }
        let verified = vec![false; shards.len()];
        Ok(Self { dir: dir.to_owned(), settings, shards, points, verified })
    }

    /// Restricts the store to the activations at `points`, in this order.
    ///
    /// # Errors
    /// [`CorpusError::NotCollected`].
    pub fn select(mut self, points: &[HookPoint]) -> Result<Self, CorpusError> {
        let find = |&point: &HookPoint| {
            let found = self.points.iter().find(|(other, _)| *other == point).copied();
            found.ok_or_else(|| CorpusError::NotCollected {
                path: self.dir.clone(),
                point,
                found: self.points.iter().map(|(point, _)| point.to_string()).collect(),
            })
        };
        self.points = points.iter().map(find).collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The settings the store was written with.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// Returns the token, document, context and position of each row of shard `index`.
    ///
    /// # Errors
    /// As [`segment`](ActivationSource::segment).
    ///
    /// # Panics
    /// If `index` is out of range.
    pub fn origins(&mut self, index: u64) -> Result<Origins, CorpusError> {
        let path = self.verify(index)?;
        let file = TensorFile::open(&path)?;
        let len = self.rows(index);
        let numbers = |name: &str| -> Result<Vec<u64>, CorpusError> {
            let out_of_range =
                |found| CorpusError::NoIndex { path: path.clone(), tensor: name.to_owned(), found };
            let values = file.integers(name, len)?.into_iter();
            values.map(|value| u64::try_from(value).map_err(|_| out_of_range(value))).collect()
        };
        let small = |name: &str| -> Result<Vec<u32>, CorpusError> {
            // An i32 was checked to be non-negative; an i64 this large is not one that we wrote.
            let narrow = |value| {
                u32::try_from(value).map_err(|_| CorpusError::NoIndex {
                    path: path.clone(),
                    tensor: name.to_owned(),
                    found: value as i64,
                })
            };
            numbers(name)?.into_iter().map(narrow).collect()
        };
        Ok(Origins {
            tokens: small(TOKEN_IDS)?,
            documents: numbers(DOCUMENT_IDS)?,
            contexts: numbers(CONTEXT_IDS)?,
            positions: small(POSITIONS)?,
        })
    }

    /// Verifies a shard's checksum the first time it is read, and returns the shard's path.
    fn verify(&mut self, index: u64) -> Result<PathBuf, CorpusError> {
        let at = place(index);
        let (entry, path) = (&self.shards[at], shard_path(&self.dir, index));
        if !self.verified[at] {
            let found = file_sha256(&path)?;
            if found != entry.sha256 {
                let expected = format!("SHA-256 {}", entry.sha256);
                let found = format!("SHA-256 {found}");
                return Err(CorpusError::ChangedShard { path, expected, found });
            }
            self.verified[at] = true;
        }
        Ok(path)
    }
}

/// Maximum number of missing parts or shards that an error names.
const MAX_MISSING_NAMED: usize = 20;

fn incomplete(dir: &Path, missing: Vec<String>) -> CorpusError {
    CorpusError::Incomplete { path: dir.to_owned(), missing }
}

fn points(settings: &StoreSettings) -> Result<Vec<(HookPoint, usize)>, String> {
    let mut points: Vec<(HookPoint, usize)> = Vec::new();
    for hook in &settings.hooks {
        let point: HookPoint = hook.name.parse().map_err(|error| format!("{error}"))?;
        if points.iter().any(|&(other, _)| other == point) || hook.width == 0 {
            return Err(format!("{point} is listed twice or has width 0"));
        }
        points.push((point, hook.width));
    }
    if points.is_empty() { Err("it has no hook points".to_owned()) } else { Ok(points) }
}

/// Checks that a shard has the size given in its manifest, and is large enough for its rows.
fn check_size(dir: &Path, entry: &ShardEntry, settings: &StoreSettings) -> Result<(), CorpusError> {
    let path = shard_path(dir, entry.shard);
    let found = match fs::metadata(&path) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Err(incomplete(dir, vec![name]));
        }
        Err(source) => return Err(CorpusError::io(path, source)),
    };
    let per_row = settings.hooks.iter().fold(0_u64, |sum, hook| {
        sum.saturating_add((hook.width as u64).saturating_mul(settings.dtype.bytes() as u64))
    });
    let least = per_row.saturating_mul(entry.rows as u64);
    if found != entry.bytes || found < least {
        let expected = format!("{} bytes for {} rows", entry.bytes, entry.rows);
        return Err(CorpusError::ChangedShard { path, expected, found: format!("{found} bytes") });
    }
    Ok(())
}

fn place(index: u64) -> usize {
    usize::try_from(index).expect("shards are counted in memory")
}

impl ActivationSource for ActivationStore {
    fn points(&self) -> &[(HookPoint, usize)] {
        &self.points
    }

    fn len(&self) -> u64 {
        self.shards.len() as u64
    }

    fn rows(&self, index: u64) -> usize {
        self.shards[place(index)].rows
    }

    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError> {
        let path = self.verify(index)?;
        let len = self.rows(index);
        let mut at = Vec::new();
        for &(point, width) in &self.points {
            let mut file = ActivationFile::open(&path, Some(&point.to_string()), width)?;
            if file.shape() != [len, width] {
                let expected = format!("{point} of shape [{len}, {width}]");
                let found = format!("{:?}", file.shape());
                return Err(CorpusError::ChangedShard { path, expected, found });
            }
            at.push(file.read(0, len)?);
        }
        Ok(ActivationBatch { len, at })
    }

    fn stored_from(&self) -> Option<StoredFrom> {
        let StoreSettings { model_sha256, model_era, text, context_length, .. } = &self.settings;
        Some(StoredFrom {
            model_sha256: model_sha256.clone(),
            model_era: model_era.clone(),
            texts: text.sources.iter().map(|source| source.name.clone()).collect(),
            context_length: *context_length,
        })
    }

    fn text(&self) -> Option<SourceText> {
        Some(SourceText {
            tokens_sha256: self.settings.text.tokens_sha256.clone(),
            tokens: self.settings.text.tokens,
            context_length: self.settings.context_length,
        })
    }

    fn text_contexts(&self, index: u64) -> Option<Range<u64>> {
        let from = index.checked_mul(self.settings.contexts_per_shard)?;
        let end = from.checked_add(self.settings.contexts_per_shard)?;
        Some(from..end.min(self.settings.text.contexts))
    }
}
