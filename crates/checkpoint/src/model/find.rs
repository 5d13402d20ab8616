//! The search for a model's weights.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::container::INDEX_FILE;
use crate::error::CheckpointError;
use crate::files;
use crate::model::native;
use crate::read::entries;

/// nanochat's folders of checkpoints in its base folder, in the order in which they are searched.
const SOURCES: [&str; 4] =
    ["base_checkpoints", "chatsft_checkpoints", "chatrl_checkpoints", "mid_checkpoints"];

/// The folder of experiments in the base folder. Since July 2026 an experiment has its checkpoints and
/// its tokenizer: `experiments/<name>/<tag>/<source>/model_<step>.pt`.
const EXPERIMENTS: &str = "experiments";

/// The sources of an experiment's tags, in the order in which they are searched.
const EXPERIMENT_SOURCES: [&str; 4] = ["base", "sft", "rl", "mid"];

/// Returns the weights file of the model at `path`.
pub(super) fn weights(path: &Path) -> Result<PathBuf, CheckpointError> {
    let metadata = files::metadata(path).map_err(|source| CheckpointError::io(path, source))?;
    if metadata.is_file {
        return Ok(path.to_owned());
    }
    if let Some(weights) = in_folder(path)? {
        return Ok(weights);
    }
    let dir = |name: &str| Some(path.join(name)).filter(|dir| files::is_dir(dir));
    let mut found = Vec::new();
    for source in SOURCES.into_iter().filter_map(dir) {
        let weights = in_folder(&source)?;
        if let Some(weights) = weights.or(in_tags(&source, None)?.map(|tag| tag.weights)) {
            found.push(weights);
            break;
        }
    }
    if let Some(experiments) = dir(EXPERIMENTS) {
        found.extend(in_experiments(&experiments)?);
    }
    if found.is_empty() {
        found.extend(below(path)?);
    }
    match (found.pop(), found.is_empty()) {
        (Some(weights), true) => Ok(weights),
        (Some(weights), false) => {
            found.push(weights);
            let folder = |weights: &PathBuf| weights.parent().unwrap_or(path).to_owned();
            let folders = found.iter().map(folder).collect();
            Err(CheckpointError::SeveralModels { path: path.to_owned(), folders })
        }
        (None, _) => Err(CheckpointError::NoModel { path: path.to_owned() }),
    }
}

/// Returns the weights below `dir`, which can be a folder of tags, a tag of an experiment, an experiment
/// or the folder of experiments.
fn below(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let tag = in_tags(dir, None)?;
    let is_depth = tag.as_ref().is_some_and(|tag| tag.depth.is_some());
    // The folder of a tag has sources like `base`, of which not the newest counts.
    let source = if is_depth { None } else { in_sources(dir)? };
    let weights = match source.or(tag.map(|tag| tag.weights)) {
        Some(weights) => Some(weights),
        None => in_experiment(dir)?,
    };
    weights.map_or_else(|| in_experiments(dir), |weights| Ok(vec![weights]))
}

/// Returns the weights file directly in `dir`, that of the highest step.
fn in_folder(dir: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    // One file comes before several, as in transformers.
    for weights in [native::WEIGHTS_FILE, INDEX_FILE].map(|name| dir.join(name)) {
        if files::is_file(&weights) {
            return Ok(Some(weights));
        }
    }
    let steps = entries(dir)?.into_iter().filter_map(|path| Some((step_of(&path)?, path)));
    Ok(steps.max().map(|(_, path)| path))
}

/// The folder of a model.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Tag {
    depth: Option<u64>,
    /// The time of the last change, if there is no depth.
    modified: Option<SystemTime>,
    weights: PathBuf,
}

/// Returns the tag in `dir` that nanochat would choose among those with a checkpoint: `d<N>` with the
/// highest `N`, otherwise the newest. In an experiment, each tag has folders of sources.
fn in_tags(dir: &Path, source: Option<&str>) -> Result<Option<Tag>, CheckpointError> {
    let tags = folders(dir)?.into_iter().filter_map(|tag| {
        let inside = source.map_or_else(|| tag.clone(), |source| tag.join(source));
        // A folder that cannot be listed has nothing for us.
        let weights = in_folder(&inside).ok()??;
        let depth = depth(&tag);
        let modified = || files::metadata(&tag).ok()?.modified;
        Some(Tag { depth, modified: if depth.is_some() { None } else { modified() }, weights })
    });
    Ok(tags.max())
}

/// Returns the weights in the folder of a tag of an experiment.
fn in_sources(tag: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    for source in EXPERIMENT_SOURCES.map(|name| tag.join(name)) {
        if files::is_dir(&source)
            && let Some(weights) = in_folder(&source)?
        {
            return Ok(Some(weights));
        }
    }
    Ok(None)
}

/// Returns the weights in the folder of an experiment.
fn in_experiment(experiment: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    for source in EXPERIMENT_SOURCES {
        if let Some(tag) = in_tags(experiment, Some(source))? {
            return Ok(Some(tag.weights));
        }
    }
    Ok(None)
}

/// Returns the weights of each experiment in `dir`.
fn in_experiments(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let experiments = folders(dir)?;
    Ok(experiments.iter().filter_map(|experiment| in_experiment(experiment).ok()?).collect())
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    Ok(entries(dir)?.into_iter().filter(|path| files::is_dir(path)).collect())
}

/// Parses the depth in `d20`, as nanochat does.
fn depth(tag: &Path) -> Option<u64> {
    let digits = tag.file_name()?.to_str()?.strip_prefix('d')?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse::<u64>().ok()
}

/// Parses the step in `model_000100.pt`.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("model_")?.strip_suffix(".pt")?.parse().ok()
}
