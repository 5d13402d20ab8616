//! Checkpoints, written atomically.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, TensorData};
use nanoscope_checkpoint::{python_json, save_tensors};
use nanoscope_corpus::{file_sha256, text_sha256};
use nanoscope_hooks::HookPoint;
use safetensors::SafeTensors;
use safetensors::tensor::View;
use serde::{Deserialize, Serialize};

use super::folder::write_atomically;
use super::run_error::RunError;
use crate::Snapshot;

/// The state of a run after a step.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoint {
    pub(crate) state: State,
    /// One snapshot per hook point, in the run's order.
    pub(crate) snapshots: Vec<Snapshot>,
}

/// The state of a run besides its trainers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    pub(crate) step: u64,
    /// Segments and rows of the source, including those held out.
    pub(crate) segments: u64,
    pub(crate) rows: u64,
    /// Seconds spent training.
    pub(crate) seconds: f64,
    /// The configuration as TOML; older versions did not write it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) config: Option<String>,
    pub(crate) hooks: BTreeMap<String, HookState>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HookState {
    /// The step with the best evaluation so far, and its loss.
    pub(crate) best: Option<Best>,
    /// Width of the activations.
    pub(crate) width: usize,
    /// SHA-256 of the snapshot's file.
    pub(crate) sha256: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Best {
    pub(crate) step: u64,
    #[serde(with = "exact")]
    pub(crate) loss: f64,
}

/// Stores a number as text: serde_json may read a JSON number with a different last digit.
mod exact {
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(number: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

const STATE: &str = "state.json";
/// Prefix of folders that are being written or removed.
const UNFINISHED: &str = ".unfinished-";

/// Writes `checkpoint` to the folder of its step in `dir`, and removes all but the last `keep`
/// checkpoints. Those of later steps are removed too: the run resumed before them, so they were
/// rejected as damaged.
pub(crate) fn save(
    dir: &Path,
    hooks: &[HookPoint],
    mut checkpoint: Checkpoint,
    keep: usize,
) -> Result<PathBuf, RunError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::io(path, source)
    };
    let name = format!("step-{}", checkpoint.state.step);
    let (path, unfinished) = (dir.join(&name), dir.join(format!("{UNFINISHED}{name}")));
    fs::create_dir_all(dir).map_err(io(dir))?;
    remove(&unfinished)?;
    fs::create_dir(&unfinished).map_err(io(&unfinished))?;
    let guard = Unfinished(&unfinished);

    for (hook, snapshot) in hooks.iter().zip(checkpoint.snapshots) {
        let file = unfinished.join(file_name(*hook));
        save_tensors(
            &file,
            snapshot.tensors.into_iter().map(|(name, data)| (name, StoredTensor(data))),
        )?;
        let state = checkpoint.state.hooks.entry(hook.to_string()).or_default();
        state.sha256 = file_sha256(&file)?;
    }
    let text = serde_json::to_vec_pretty(&checkpoint.state).expect("numbers and names make JSON");
    write_atomically(&unfinished.join(STATE), &text)?;
    // A folder for this step exists if it was rejected as damaged.
    remove_atomically(dir, &path)?;
    fs::rename(&unfinished, &path).map_err(io(&path))?;
    guard.done();
    sync(dir)?;

    let (mut whole, later): (Vec<u64>, Vec<u64>) =
        steps(dir)?.into_iter().partition(|step| *step <= checkpoint.state.step);
    whole.truncate(whole.len().saturating_sub(keep));
    for step in whole.into_iter().chain(later) {
        remove_atomically(dir, &dir.join(format!("step-{step}")))?;
    }
    Ok(path)
}

/// The checkpoints found for a run.
#[derive(Debug)]
pub(crate) struct Found {
    /// The last intact checkpoint; `None` if none has been written yet.
    pub(crate) last: Option<Checkpoint>,
    /// Later checkpoints that were rejected, with the reasons.
    pub(crate) refused: Vec<RunError>,
}

/// Loads the last intact checkpoint in `dir`.
pub(crate) fn load_last(dir: &Path, hooks: &[HookPoint]) -> Result<Found, RunError> {
    clear_unfinished(dir)?;
    let mut refused = Vec::new();
    for step in steps(dir)?.into_iter().rev() {
        match load(&dir.join(format!("step-{step}")), step, hooks) {
            Ok(checkpoint) => return Ok(Found { last: Some(checkpoint), refused }),
            Err(error) => refused.push(error),
        }
    }
    if refused.is_empty() {
        return Ok(Found { last: None, refused });
    }
    let source = Box::new(refused.remove(0));
    Err(RunError::NoWholeCheckpoint { dir: dir.to_owned(), source })
}

fn load(path: &Path, step: u64, hooks: &[HookPoint]) -> Result<Checkpoint, RunError> {
    let file = path.join(STATE);
    let damaged = |path: &Path, reason: String| RunError::Damaged { path: path.to_owned(), reason };
    let text = fs::read(&file).map_err(|error| damaged(&file, error.to_string()))?;
    let state: State =
        python_json::from_slice(&text).map_err(|error| damaged(&file, error.to_string()))?;
    if state.step != step {
        return Err(damaged(&file, format!("it belongs to step {}", state.step)));
    }
    let mut snapshots = Vec::with_capacity(hooks.len());
    for hook in hooks {
        let name = hook.to_string();
        let entry = state.hooks.get(&name);
        let entry = entry.ok_or_else(|| damaged(&file, format!("it has no entry for {name}")))?;
        let file = path.join(file_name(*hook));
        let bytes = fs::read(&file).map_err(|error| damaged(&file, error.to_string()))?;
        if text_sha256(&bytes) != entry.sha256 {
            return Err(damaged(&file, "its SHA-256 does not match the recorded one".to_owned()));
        }
        let tensors = tensors(&bytes).map_err(|reason| damaged(&file, reason))?;
        snapshots.push(Snapshot { step, tensors });
    }
    Ok(Checkpoint { state, snapshots })
}

fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, TensorData>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    file.iter()
        .map(|(name, view)| {
            let shape = view.shape().to_vec();
            let data = match view.dtype() {
                safetensors::Dtype::F32 => {
                    let of = |&bytes: &[u8; 4]| f32::from_le_bytes(bytes);
                    TensorData::new(view.data().as_chunks().0.iter().map(of).collect(), shape)
                }
                safetensors::Dtype::I64 => {
                    let of = |&bytes: &[u8; 8]| i64::from_le_bytes(bytes);
                    TensorData::new(view.data().as_chunks().0.iter().map(of).collect(), shape)
                }
                other => return Err(format!("{name} is {other:?}, not float32 or int64")),
            };
            Ok((name.to_owned(), data))
        })
        .collect()
}

/// Adapts a tensor for writing to a safetensors file.
pub(crate) struct StoredTensor(pub(crate) TensorData);

impl View for StoredTensor {
    fn dtype(&self) -> safetensors::Dtype {
        match self.0.dtype() {
            DType::F32 => safetensors::Dtype::F32,
            DType::I64 => safetensors::Dtype::I64,
            other => unreachable!("a snapshot has no {other:?}"),
        }
    }

    fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    fn data(&self) -> Cow<'_, [u8]> {
        self.0.as_bytes().into()
    }

    fn data_len(&self) -> usize {
        self.0.as_bytes().len()
    }
}

fn file_name(hook: HookPoint) -> String {
    format!("{hook}.safetensors")
}

/// Steps of the checkpoints in `dir`, ascending.
fn steps(dir: &Path) -> Result<Vec<u64>, RunError> {
    let mut steps: Vec<u64> =
        names(dir)?.iter().filter_map(|name| name.strip_prefix("step-")?.parse().ok()).collect();
    steps.sort_unstable();
    Ok(steps)
}

fn names(dir: &Path) -> Result<Vec<String>, RunError> {
    let io = |source| RunError::io(dir, source);
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|entry| Ok(entry.map_err(io)?.file_name().to_string_lossy().into_owned()))
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io(error)),
    }
}

/// Removes a checkpoint, renaming it first so that its name never refers to a partial one.
fn remove_atomically(dir: &Path, path: &Path) -> Result<(), RunError> {
    if !path.exists() {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = dir.join(format!("{UNFINISHED}old-{name}"));
    remove(&aside)?;
    fs::rename(path, &aside).map_err(|source| RunError::io(path, source))?;
    remove(&aside)
}

fn clear_unfinished(dir: &Path) -> Result<(), RunError> {
    for name in names(dir)?.iter().filter(|name| name.starts_with(UNFINISHED)) {
        remove(&dir.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), RunError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunError::io(path, error)),
        _ => Ok(()),
    }
}

/// Makes renames in `dir` durable. Where folders cannot be opened, this is left to the system.
fn sync(dir: &Path) -> Result<(), RunError> {
    match File::open(dir) {
        Ok(opened) => opened.sync_all().map_err(|source| RunError::io(dir, source)),
        Err(_) => Ok(()),
    }
}

/// A folder that is removed on drop unless it was finished: a partial checkpoint would keep a full
/// disk full.
struct Unfinished<'a>(&'a Path);

impl Unfinished<'_> {
    fn done(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // The original error is the one to report.
        let _ = fs::remove_dir_all(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOKS: [HookPoint; 1] = [HookPoint::ResidPost(1)];
    /// As a JSON number this is read back as 31.24527019143944.
    const LOSS: f64 = 31.245_270_191_439_438;

    fn checkpoint(step: u64) -> Checkpoint {
        let hook = HookState { best: Some(Best { step, loss: LOSS }), ..HookState::default() };
        let state = State {
            step,
            segments: 3,
            rows: 30,
            seconds: 1.5,
            config: None,
            hooks: [(HOOKS[0].to_string(), hook)].into(),
        };
        let tensors = BTreeMap::from([
            ("w".to_owned(), TensorData::new(vec![step as f32, -0.0, f32::MIN_POSITIVE], [3, 1])),
            ("seen".to_owned(), TensorData::new(vec![-1_i64, i64::MAX], [2])),
        ]);
        Checkpoint { state, snapshots: vec![Snapshot { step, tensors }] }
    }

    fn last(dir: &Path) -> (u64, Vec<String>) {
        let found = load_last(dir, &HOOKS).unwrap();
        (found.last.unwrap().state.step, found.refused.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_checkpoint_reads_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let mut saved = checkpoint(7);
        // A configuration may name thousands of texts.
        saved.state.config = Some("a text\n".repeat(300_000));
        save(dir.path(), &HOOKS, saved, 2).unwrap();

        let read = load_last(dir.path(), &HOOKS).unwrap().last.unwrap();

        assert_eq!(read.snapshots[0].step, 7);
        assert_eq!(read.snapshots[0].tensors, checkpoint(7).snapshots[0].tensors);
        assert_eq!(
            read.state.hooks["blocks.1.hook_resid_post"].best,
            Some(Best { step: 7, loss: LOSS })
        );
    }

    #[test]
    fn the_last_ones_are_kept_and_unfinished_ones_cleared() {
        let dir = tempfile::tempdir().unwrap();
        for step in [1, 2, 10] {
            save(dir.path(), &HOOKS, checkpoint(step), 2).unwrap();
        }
        fs::create_dir(dir.path().join(".unfinished-step-11")).unwrap();

        assert_eq!(last(dir.path()), (10, vec![]));
        let mut left = names(dir.path()).unwrap();
        left.sort();
        assert_eq!(left, ["step-10", "step-2"]);
    }

    #[test]
    fn a_damaged_checkpoint_is_refused_by_name_and_the_one_before_it_taken() {
        let dir = tempfile::tempdir().unwrap();
        for step in [1, 2] {
            save(dir.path(), &HOOKS, checkpoint(step), 2).unwrap();
        }
        let file = dir.path().join("step-2/blocks.1.hook_resid_post.safetensors");
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();

        let (step, refused) = last(dir.path());

        assert_eq!(step, 1);
        let expected = format!(
            "the checkpoint {} is damaged: its SHA-256 does not match the recorded one",
            file.display()
        );
        assert_eq!(refused, [expected]);
    }

    #[test]
    fn a_damaged_checkpoint_does_not_count_as_one_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        for step in [1, 2, 10] {
            save(dir.path(), &HOOKS, checkpoint(step), 2).unwrap();
        }
        fs::write(dir.path().join("step-10/state.json"), "{").unwrap();
        assert_eq!(last(dir.path()).0, 2);

        save(dir.path(), &HOOKS, checkpoint(3), 2).unwrap();

        let mut left = names(dir.path()).unwrap();
        left.sort();
        assert_eq!(left, ["step-2", "step-3"]);
    }

    #[test]
    fn when_none_is_whole_that_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &HOOKS, checkpoint(4), 2).unwrap();
        fs::write(dir.path().join("step-4/state.json"), "{").unwrap();

        let error = load_last(dir.path(), &HOOKS).unwrap_err();

        assert!(error.to_string().ends_with("is intact; the last was rejected"), "{error}");
        let RunError::NoWholeCheckpoint { source, .. } = error else { panic!("{error}") };
        assert!(
            source.to_string().contains("state.json is damaged: EOF while parsing"),
            "{source}"
        );
    }

    #[test]
    fn a_checkpoint_that_was_refused_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        save(dir.path(), &HOOKS, checkpoint(4), 2).unwrap();
        fs::write(dir.path().join("step-4/state.json"), "{").unwrap();

        save(dir.path(), &HOOKS, checkpoint(4), 2).unwrap();

        assert_eq!(last(dir.path()), (4, vec![]));
    }
}
