//! Writes an activation store, shard by shard.
//!
//! A store contains no times, paths or random names (but for
//! [`CollectedFrom`](super::CollectedFrom), which is not read with it). A shard is written under one fixed temporary
//! name and then renamed, so a killed run leaves nothing that the next run does not overwrite, and
//! two folders can be compared byte for byte. Complete shards are listed in a journal with one line
//! each, because rewriting a manifest for each shard would take quadratic time.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{WeightDtype, save_tensors_through, write_through};
use safetensors::Dtype;
use safetensors::tensor::View;
use serde::Serialize;

use super::manifest::{
    Kind, Manifest, ShardEntry, StorePart, StoreSettings, in_folder, shard_path,
};
use super::origins::Origins;
use super::source::ActivationBatch;
use super::store_files::is_shard;
use crate::CorpusError;
use crate::digest::file_sha256;

/// Writes one part of an activation store to a folder.
///
/// A shard gets its final name only when it is complete, and is then recorded in the part's
/// journal. A run that was killed leaves its complete shards, and the next run writes the missing
/// ones. Machines may write different parts to the same folder at the same time.
#[derive(Debug)]
pub struct ActivationStoreWriter {
    dir: PathBuf,
    part: StorePart,
    settings: StoreSettings,
    journal: Journal,
    done: BTreeMap<u64, ShardEntry>,
}

impl ActivationStoreWriter {
    /// Starts or resumes `part` of a store in `dir`, which is created if needed.
    ///
    /// # Errors
    /// [`CorpusError::Differs`] if the folder holds a store of another model, tokenizer or text, or
    /// with other settings; [`CorpusError::Busy`] if another run is writing this part;
    /// [`CorpusError::Manifest`], [`CorpusError::Io`].
    pub fn open(dir: &Path, part: StorePart, settings: StoreSettings) -> Result<Self, CorpusError> {
        fs::create_dir_all(dir).map_err(|source| CorpusError::io(dir, source))?;
        check_not_foreign(dir)?;
        let mut journal = Journal::lock(dir.join(part.journal_name()))?;
        let mut done = BTreeMap::new();
        for (found, kind) in in_folder(dir)? {
            let Some((manifest, bytes)) = Manifest::read(&found, kind)? else { continue };
            manifest.agrees(&found, &settings, part.count)?;
            if manifest.part == part {
                if kind == Kind::Journal {
                    journal.whole = bytes;
                }
                done.extend(manifest.shards.into_iter().map(|entry| (entry.shard, entry)));
            }
        }
        done.retain(|&shard, entry| {
            fs::metadata(shard_path(dir, shard)).is_ok_and(|file| file.len() == entry.bytes)
        });
        journal.truncate()?;
        Ok(Self { dir: dir.to_owned(), part, settings, journal, done })
    }

    /// The shards of this part that remain to be written, ascending.
    pub fn missing(&self) -> Vec<u64> {
        let own = (0..self.settings.shards).filter(|&shard| self.part.has(shard));
        own.filter(|shard| !self.done.contains_key(shard)).collect()
    }

    /// Number of complete shards of this part.
    pub fn complete(&self) -> usize {
        self.done.len()
    }

    /// The store's settings.
    pub fn settings(&self) -> &StoreSettings {
        &self.settings
    }

    /// Upper bound on the size in bytes of shards with these numbers of rows.
    pub fn bytes(&self, rows: impl IntoIterator<Item = usize>) -> u64 {
        /// Allowance for a tensor's entry in the header, which takes about 100 bytes.
        const PER_TENSOR: u64 = 256;

        let header = PER_TENSOR * (self.settings.hooks.len() as u64 + 5);
        let size = |rows| rows as u64 * self.settings.bytes_per_row() + header;
        rows.into_iter().map(size).sum()
    }

    /// Checks that `needed` bytes of disk space are free.
    ///
    /// # Errors
    /// [`CorpusError::NoRoom`]; [`CorpusError::Io`] if the file system does not report its free
    /// space.
    pub fn check_room(&self, needed: u64) -> Result<(), CorpusError> {
        let free = free_space(&self.dir)?;
        if needed > free {
            return Err(CorpusError::NoRoom { path: self.dir.clone(), needed, free });
        }
        Ok(())
    }

    /// Writes `shard`.
    ///
    /// # Errors
    /// [`CorpusError::NotFinite`] for a value that is not finite in the store's dtype;
    /// [`CorpusError::Checkpoint`], [`CorpusError::Io`]. Complete shards are kept.
    ///
    /// # Panics
    /// If `rows` does not have the store's hook points and widths, or as many rows as `origins`.
    pub fn write(
        &mut self,
        shard: u64,
        rows: &ActivationBatch,
        origins: &Origins,
    ) -> Result<(), CorpusError> {
        assert_eq!((rows.len, rows.at.len()), (origins.len(), self.settings.hooks.len()));
        let dtype = self.settings.dtype;
        let mut tensors = Vec::new();
        for (hook, values) in self.settings.hooks.iter().zip(&rows.at) {
            assert_eq!(values.len(), rows.len * hook.width, "{}", hook.name);
            if let Some(at) = dtype.first_not_finite(values) {
                return Err(CorpusError::NotFinite {
                    hook: hook.name.clone(),
                    dtype,
                    shard,
                    row: at / hook.width,
                    value: values[at],
                });
            }
            let shape = vec![rows.len, hook.width];
            tensors.push((
                hook.name.clone(),
                Tensor { shape, numbers: Numbers::Float(dtype, values) },
            ));
        }
        let vector = |numbers| Tensor { shape: vec![rows.len], numbers };
        for (name, numbers) in [
            (TOKEN_IDS, Numbers::I32(&origins.tokens)),
            (DOCUMENT_IDS, Numbers::I64(&origins.documents)),
            (CONTEXT_IDS, Numbers::I64(&origins.contexts)),
            (POSITIONS, Numbers::I32(&origins.positions)),
        ] {
            tensors.push((name.to_owned(), vector(numbers)));
        }
        let path = shard_path(&self.dir, shard);
        save_tensors_through(&partial(&path), &path, tensors)?;
        let bytes = fs::metadata(&path).map_err(|source| CorpusError::io(&path, source))?.len();
        let entry = ShardEntry { shard, rows: rows.len, bytes, sha256: file_sha256(&path)? };
        if self.journal.whole == 0 {
            self.journal.append(&Manifest::new(self.part, self.settings.clone(), Vec::new()))?;
        }
        self.journal.append(&entry)?;
        self.done.insert(shard, entry);
        Ok(())
    }

    /// Writes the part's manifest.
    ///
    /// # Errors
    /// [`CorpusError::Checkpoint`], [`CorpusError::Io`].
    ///
    /// # Panics
    /// If shards are missing.
    pub fn finish(&self) -> Result<(), CorpusError> {
        assert!(self.missing().is_empty(), "all shards must be complete");
        let path = self.dir.join(self.part.manifest_name());
        let shards = self.done.values().cloned().collect();
        let manifest = Manifest::new(self.part, self.settings.clone(), shards);
        let mut text = serde_json::to_vec_pretty(&manifest).expect("a manifest is JSON");
        text.push(b'\n');
        write_through(&partial(&path), &path, &text)?;
        let journal = &self.journal.path;
        fs::remove_file(journal).map_err(|source| CorpusError::io(journal, source))
    }
}

/// The journal of complete shards. Only one run at a time holds it. It is deleted if that run wrote
/// no shard, so that a run with other settings can follow one that failed early.
#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: File,
    /// Size of the complete lines in bytes.
    whole: u64,
}

impl Journal {
    fn lock(path: PathBuf) -> Result<Self, CorpusError> {
        loop {
            let file = File::options().read(true).append(true).create(true).open(&path);
            let file = file.map_err(|source| CorpusError::io(&path, source))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => return Err(CorpusError::Busy { path }),
                // Some network file systems do not support locks.
                Ok(()) | Err(TryLockError::Error(_)) => {}
            }
            // The run that held it may have deleted it since it was opened.
            if is_at(&file, &path) {
                return Ok(Self { path, file, whole: 0 });
            }
        }
    }

    /// Truncates the file after its last complete line: a killed run may have left part of another.
    fn truncate(&self) -> Result<(), CorpusError> {
        self.file.set_len(self.whole).map_err(|source| CorpusError::io(&self.path, source))
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), CorpusError> {
        let mut text = serde_json::to_vec(line).expect("a journal is JSON");
        text.push(b'\n');
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        written.map_err(|source| CorpusError::io(&self.path, source))?;
        self.whole += text.len() as u64;
        Ok(())
    }
}

/// Returns whether an open file is the one at `path`.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let same = |(a, b): (fs::Metadata, fs::Metadata)| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().and_then(|opened| Ok((opened, fs::metadata(path)?))).is_ok_and(same)
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> bool {
    path.exists()
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.file.metadata().is_ok_and(|file| file.len() == 0) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Names of the tensors that hold the origins of rows.
pub(crate) const TOKEN_IDS: &str = "token_ids";
pub(crate) const DOCUMENT_IDS: &str = "document_ids";
pub(crate) const CONTEXT_IDS: &str = "context_ids";
pub(crate) const POSITIONS: &str = "positions";

/// Free disk space in bytes on the file system of `dir`, as available to unprivileged users.
///
/// # Errors
/// [`CorpusError::Io`].
pub fn free_space(dir: &Path) -> Result<u64, CorpusError> {
    fs4::available_space(dir).map_err(|source| CorpusError::io(dir, source))
}

/// The temporary path of a file while it is written. It is always the same, so that the next run
/// overwrites what a killed run left behind.
fn partial(path: &Path) -> PathBuf {
    path.with_added_extension("partial")
}

/// A tensor that is encoded to bytes as it is written.
struct Tensor<'a> {
    shape: Vec<usize>,
    numbers: Numbers<'a>,
}

enum Numbers<'a> {
    Float(WeightDtype, &'a [f32]),
    I32(&'a [u32]),
    I64(&'a [u64]),
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::Float(WeightDtype::F32, _) => Dtype::F32,
            Numbers::Float(WeightDtype::F16, _) => Dtype::F16,
            Numbers::Float(WeightDtype::BF16, _) => Dtype::BF16,
            Numbers::I32(_) => Dtype::I32,
            Numbers::I64(_) => Dtype::I64,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.numbers {
            Numbers::Float(dtype, values) => dtype.encode(values).expect("they are finite"),
            Numbers::I32(values) => values.iter().flat_map(|&v| (v as i32).to_le_bytes()).collect(),
            Numbers::I64(values) => values.iter().flat_map(|&v| (v as i64).to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        let bytes = match self.numbers {
            Numbers::Float(dtype, _) => dtype.bytes(),
            Numbers::I32(_) => 4,
            Numbers::I64(_) => 8,
        };
        self.shape.iter().product::<usize>() * bytes
    }
}

/// Checks that shards in the folder, which would be replaced, belong to a store that is described.
fn check_not_foreign(dir: &Path) -> Result<(), CorpusError> {
    if !in_folder(dir)?.is_empty() {
        return Ok(());
    }
    let entries = fs::read_dir(dir).map_err(|source| CorpusError::io(dir, source))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    match names.find(|name| name.to_str().is_some_and(is_shard)) {
        Some(name) => Err(CorpusError::Differs {
            path: dir.join(name),
            differences: vec!["the folder has no manifest and no journal".to_owned()],
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activations::manifest::{HookWidth, TextInfo};
    use crate::tokens::SpecialTokens;

    fn settings() -> StoreSettings {
        let text = TextInfo {
            sources: Vec::new(),
            tokens_sha256: String::new(),
            tokens: 16,
            documents: 1,
            contexts: 4,
        };
        StoreSettings {
            model_sha256: String::new(),
            model_era: "E6".to_owned(),
            tokenizer_sha256: String::new(),
            hooks: vec![HookWidth { name: "hook_embed".to_owned(), width: 1 }],
            dtype: WeightDtype::F32,
            context_length: 4,
            contexts_per_shard: 1,
            special_tokens: SpecialTokens::Keep,
            text,
            rows: 16,
            shards: 4,
        }
    }

    fn write(dir: &Path, index: u64) -> Result<(), CorpusError> {
        let part = StorePart { index, count: 4 };
        let mut writer = ActivationStoreWriter::open(dir, part, settings())?;
        let rows = ActivationBatch { len: 4, at: vec![vec![0.0; 4]] };
        let origins = Origins {
            tokens: vec![0; 4],
            documents: vec![0; 4],
            contexts: vec![index; 4],
            positions: vec![0, 1, 2, 3],
        };
        writer.write(index, &rows, &origins)?;
        writer.finish()
    }

    #[test]
    fn shards_that_no_manifest_describes_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let foreign = dir.path().join("shard-00000.safetensors");
        fs::write(&foreign, "somebody's").unwrap();

        let error = write(dir.path(), 0).unwrap_err();

        assert!(matches!(&error, CorpusError::Differs { path, .. } if *path == foreign), "{error}");
        assert_eq!(fs::read(&foreign).unwrap(), b"somebody's");
    }

    #[test]
    fn parts_that_begin_and_end_at_the_same_moment_do_not_disturb_each_other() {
        for _ in 0..40 {
            let dir = tempfile::tempdir().unwrap();
            std::thread::scope(|scope| {
                for index in 0..4 {
                    let dir = dir.path();
                    scope.spawn(move || write(dir, index).unwrap());
                }
            });
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 8);
        }
    }

    #[test]
    fn a_journal_that_was_deleted_while_it_was_opened_is_not_the_one_that_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let before = Journal::lock(path.clone()).unwrap();

        fs::remove_file(&path).unwrap();

        assert!(!is_at(&before.file, &path));
        let after = Journal::lock(path.clone()).unwrap();
        assert!(is_at(&after.file, &path));
        assert!(matches!(Journal::lock(path), Err(CorpusError::Busy { .. })));
    }
}
