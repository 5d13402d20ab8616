//! The output folder of a run.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{CheckpointError, is_temporary, python_json};

use super::config::RunConfig;
use super::config_error::ConfigError;
use super::held_out::HeldOutText;
use super::partial_config::PartialConfig;
use super::run_error::RunError;

/// A run's folder, locked against other processes while this value exists.
///
/// The operating system holds the lock, so it disappears with the process, however that ends.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    /// The configuration of a new or extended run, until it is written to the folder.
    config: Option<String>,
    /// Locked until closed.
    _lock: File,
}

const CONFIG: &str = "config.toml";
const HELD_OUT: &str = "held_out.json";
const LOCK: &str = "lock";
/// The key that may grow when a run is resumed.
const STEPS: &str = "recipe.steps";
/// Depth of the folder tree: SAEs are in `HOOK/best`.
const MAX_DEPTH: usize = 2;

impl RunFolder {
    /// Creates a new folder at `dir`. The configuration is written to it only when the
    /// [`TrainingRun`](crate::TrainingRun) can start, so that a failed start does not block
    /// another.
    ///
    /// # Errors
    /// [`RunError::NotEmpty`] if the folder is not empty, [`RunError::Locked`], [`RunError::Io`].
    pub fn create(dir: &Path, config: &RunConfig) -> Result<Self, RunError> {
        Self::check_empty(dir)?;
        fs::create_dir_all(dir).map_err(|source| RunError::io(dir, source))?;
        let mut folder = Self::lock(dir)?;
        clear_temporary(dir, 0)?;
        // Another process may have been faster.
        if dir.join(CONFIG).exists() {
            return Err(RunError::NotEmpty { dir: dir.to_owned(), is_run: true });
        }
        folder.config = Some(config.to_toml());
        Ok(folder)
    }

    /// Writes the configuration of a new or extended run to the folder, and which text it holds out.
    pub(crate) fn begin(&mut self, held_out: Option<&HeldOutText>) -> Result<(), RunError> {
        if let Some(held_out) = held_out {
            let text = serde_json::to_vec(held_out).expect("numbers and names make JSON");
            write_atomically(&self.dir.join(HELD_OUT), &text)?;
        }
        match self.config.take() {
            Some(text) => write_atomically(&self.dir.join(CONFIG), text.as_bytes()),
            None => Ok(()),
        }
    }

    /// Reads which text the run in `dir` held out.
    ///
    /// # Errors
    /// [`RunError::NoRun`]; [`RunError::NoHeldOutText`] if the run did not record it;
    /// [`RunError::Damaged`], [`RunError::Io`].
    pub fn held_out_text(dir: &Path) -> Result<HeldOutText, RunError> {
        if !dir.join(CONFIG).is_file() {
            return Err(RunError::NoRun { dir: dir.to_owned() });
        }
        let path = dir.join(HELD_OUT);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunError::NoHeldOutText { dir: dir.to_owned() });
            }
            text => text.map_err(|source| RunError::io(&path, source))?,
        };
        let damaged = |reason: String| RunError::DamagedFile { path: path.clone(), reason };
        let held_out: HeldOutText =
            python_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let last = held_out.text.tokens / (held_out.text.context_length as u64).max(1);
        let ends = held_out.contexts.iter().flatten();
        if !ends.is_sorted() || held_out.contexts.iter().any(|&[_, end]| end > last) {
            return Err(damaged("its contexts are out of order or out of range".to_owned()));
        }
        Ok(held_out)
    }

    /// Checks that a folder is empty. A lock and temporary files are ignored: a run that died
    /// before it started leaves them behind.
    ///
    /// # Errors
    /// [`RunError::NotEmpty`], [`RunError::Io`].
    pub fn check_empty(dir: &Path) -> Result<(), RunError> {
        let io = |source| RunError::io(dir, source);
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(io(error)),
        };
        for entry in entries {
            let name = entry.map_err(io)?.file_name();
            if name != LOCK && !is_temporary(&name) {
                let is_run = dir.join(CONFIG).is_file();
                return Err(RunError::NotEmpty { dir: dir.to_owned(), is_run });
            }
        }
        Ok(())
    }

    /// Opens the folder of a run to resume, and returns its configuration.
    ///
    /// # Errors
    /// [`RunError::NoRun`], [`RunError::Locked`], [`RunError::Config`], [`RunError::Io`].
    pub fn open(dir: &Path) -> Result<(Self, RunConfig), RunError> {
        if !dir.join(CONFIG).is_file() {
            return Err(RunError::NoRun { dir: dir.to_owned() });
        }
        let folder = Self::lock(dir)?;
        clear_temporary(dir, MAX_DEPTH)?;
        let config = PartialConfig::read(&dir.join(CONFIG))?.check()?;
        Ok((folder, config))
    }

    /// Reads the configuration of the run in `dir`, so that it can be overridden.
    ///
    /// # Errors
    /// [`RunError::NoRun`], [`RunError::Config`].
    pub fn partial_config(dir: &Path) -> Result<PartialConfig, RunError> {
        if !dir.join(CONFIG).is_file() {
            return Err(RunError::NoRun { dir: dir.to_owned() });
        }
        Ok(PartialConfig::read(&dir.join(CONFIG))?)
    }

    fn lock(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join(LOCK);
        let io = |source| RunError::io(&path, source);
        let mut options = File::options();
        let mut lock =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {
                let pid = std::process::id().to_string();
                lock.set_len(0)
                    .and_then(|()| lock.seek(SeekFrom::Start(0)))
                    .and_then(|_| lock.write_all(pid.as_bytes()))
                    .map_err(io)?;
            }
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let read = (&lock).take(20).read_to_string(&mut pid);
                let is_number = read.is_ok() && pid.parse::<u32>().is_ok();
                let pid = is_number.then_some(pid);
                return Err(RunError::Locked { dir: dir.to_owned(), pid });
            }
            // Some cluster file systems are mounted without lock support.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        Ok(Self { dir: dir.to_owned(), config: None, _lock: lock })
    }

    /// Prepares to continue the run with the configuration `now`, which may have more steps than
    /// the one `before` and must not differ otherwise. More steps are written to the folder when the
    /// [`TrainingRun`](crate::TrainingRun) can start.
    ///
    /// # Errors
    /// [`ConfigError::Changed`] with the differences.
    pub fn resume_with(&mut self, before: &RunConfig, now: &RunConfig) -> Result<(), ConfigError> {
        self.check_continues(before, now)?;
        if now.recipe.steps > before.recipe.steps {
            self.config = Some(now.to_toml());
        }
        Ok(())
    }

    /// Checks that `now` differs from `before` at most by more steps.
    pub(crate) fn check_continues(
        &self,
        before: &RunConfig,
        now: &RunConfig,
    ) -> Result<(), ConfigError> {
        let mut differences = now.differences(before);
        if now.recipe.steps > before.recipe.steps {
            differences.retain(|difference| difference.key != STEPS);
        }
        if differences.is_empty() {
            return Ok(());
        }
        Err(ConfigError::Changed { dir: self.dir.clone(), differences })
    }

    /// Path of the folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.dir.join("checkpoints")
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.dir.join("metrics.jsonl")
    }

    pub(crate) fn curves(&self) -> PathBuf {
        self.dir.join("curves.svg")
    }
}

/// Removes temporary files left by a killed process.
fn clear_temporary(dir: &Path, deep: usize) -> Result<(), RunError> {
    let io = |source| RunError::io(dir, source);
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let (kind, path) = (entry.file_type().map_err(io)?, entry.path());
        let is_ours = is_temporary(&entry.file_name());
        if kind.is_dir() && is_ours {
            fs::remove_dir_all(&path).map_err(|source| RunError::io(path, source))?;
        } else if kind.is_dir() && deep > 0 {
            clear_temporary(&path, deep - 1)?;
        } else if kind.is_file() && is_ours {
            fs::remove_file(&path).map_err(|source| RunError::io(path, source))?;
        }
    }
    Ok(())
}

/// Writes `bytes` to a temporary file beside `path` and renames it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    nanoscope_checkpoint::write_atomically(path, bytes).map_err(|error| match error {
        CheckpointError::Io { path, source } => RunError::io(path, source),
        other => other.into(),
    })
}
