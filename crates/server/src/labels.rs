//! Feature labels, which users can edit while the server runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use nanoscope_checkpoint::{CheckpointError, Labels, write_atomically};
use nanoscope_dashboard::fingerprint;
use nanoscope_hooks::HookPoint;

use crate::config::Config;
use crate::error::ServeError;
use crate::served_model::ServedModel;

/// The labels of all features. Edited labels take precedence over those that came with the SAEs.
#[derive(Debug, Clone)]
pub(crate) struct LabelBook {
    saes: Arc<BTreeMap<HookPoint, SaeLabels>>,
}

/// The labels of one SAE.
#[derive(Debug)]
struct SaeLabels {
    original: Labels,
    /// The file of edited labels; `None` keeps them in memory only.
    path: Option<PathBuf>,
    d_sae: usize,
    /// Edited labels. An empty one hides the original.
    edited: RwLock<BTreeMap<u32, String>>,
    /// Held while the file is rewritten. Readers do not wait for it.
    writing: Mutex<()>,
}

impl LabelBook {
    /// Loads the labels of `served`, and the edited labels from the folder in `config`.
    ///
    /// # Errors
    /// [`ServeError::Labels`] if the folder cannot be read or a file in it is not a label file. The file
    /// is not overwritten.
    pub(crate) fn open(served: &ServedModel, config: &Config) -> Result<Self, ServeError> {
        let mut saes = BTreeMap::new();
        for (&hook, sae) in served.model.saes() {
            let d_sae = sae.config().d_sae();
            // Different SAEs at one hook point have different features, so they need different files.
            let mark = fingerprint(&served.model, hook).expect("the model has this SAE");
            let path =
                config.labels.as_ref().map(|dir| dir.join(format!("{hook}-{mark:016x}.json")));
            let edited = path.as_deref().map_or(Ok(BTreeMap::new()), |path| read(path, d_sae));
            let sae_labels = SaeLabels {
                original: served
                    .sae_info
                    .get(&hook)
                    .map(|source| source.labels.clone())
                    .unwrap_or_default(),
                edited: RwLock::new(edited.map_err(|source| ServeError::Labels { source })?),
                writing: Mutex::default(),
                path,
                d_sae,
            };
            saes.insert(hook, sae_labels);
        }
        Ok(Self { saes: Arc::new(saes) })
    }

    /// The label of a feature.
    pub(crate) fn get(&self, hook: HookPoint, feature: u32) -> Option<String> {
        let sae_labels = self.saes.get(&hook)?;
        let edited = sae_labels.edited.read().unwrap_or_else(PoisonError::into_inner);
        let label = edited
            .get(&feature)
            .map(String::as_str)
            .or_else(|| sae_labels.original.get(feature))?;
        (!label.is_empty()).then(|| label.to_owned())
    }

    /// The number of labels of the SAE at `hook`.
    pub(crate) fn count(&self, hook: HookPoint) -> usize {
        let Some(sae_labels) = self.saes.get(&hook) else { return 0 };
        let edited = sae_labels.edited.read().unwrap_or_else(PoisonError::into_inner);
        let original =
            sae_labels.original.iter().filter(|(feature, _)| !edited.contains_key(feature));
        let labels = original.map(|(_, label)| label).chain(edited.values().map(String::as_str));
        labels.filter(|label| !label.is_empty()).count()
    }

    /// All labels of the SAE at `hook`, by feature index.
    pub(crate) fn all(&self, hook: HookPoint) -> BTreeMap<u32, String> {
        let Some(sae_labels) = self.saes.get(&hook) else { return BTreeMap::new() };
        let original =
            sae_labels.original.iter().map(|(feature, label)| (feature, label.to_owned()));
        let mut labels: BTreeMap<u32, String> = original.collect();
        let edited = sae_labels.edited.read().unwrap_or_else(PoisonError::into_inner);
        labels.extend(edited.iter().map(|(&feature, label)| (feature, label.clone())));
        labels.retain(|_, label| !label.is_empty());
        labels
    }

    /// Sets a feature's label, or removes it if `label` is empty. Blocks while the file is written.
    ///
    /// The file is read again first, so that changes by another process or a person are kept.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read or written; nothing changes in that case.
    pub(crate) fn set(
        &self,
        hook: HookPoint,
        feature: u32,
        label: &str,
    ) -> Result<(), CheckpointError> {
        let Some(sae_labels) = self.saes.get(&hook) else { return Ok(()) };
        let _writing = sae_labels.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = match &sae_labels.path {
            Some(path) => read(path, sae_labels.d_sae)?,
            None => sae_labels.edited.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        if label.is_empty() && sae_labels.original.get(feature).is_none() {
            new.remove(&feature);
        } else {
            new.insert(feature, label.to_owned());
        }
        if let Some(path) = &sae_labels.path {
            if let Some(dir) = path.parent() {
                let io = |source| CheckpointError::Io { path: dir.to_owned(), source };
                std::fs::create_dir_all(dir).map_err(io)?;
            }
            let json =
                serde_json::to_vec_pretty(&new).expect("numbers and strings serialise to JSON");
            write_atomically(path, &json)?;
        }
        *sae_labels.edited.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

/// The labels in the file at `path`; empty if the file does not exist.
fn read(path: &Path, d_sae: usize) -> Result<BTreeMap<u32, String>, CheckpointError> {
    match path.try_exists() {
        Ok(false) => Ok(BTreeMap::new()),
        _ => {
            let labels = Labels::read_file(path, d_sae)?;
            Ok(labels.iter().map(|(feature, label)| (feature, label.to_owned())).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::server_fixture::{HOOK, served_model};

    fn book(dir: &Path) -> Result<LabelBook, ServeError> {
        let config = Config { labels: Some(dir.join("labels")), ..Config::default() };
        LabelBook::open(&served_model(), &config)
    }

    fn file(dir: &Path) -> PathBuf {
        let mut files = fs::read_dir(dir.join("labels")).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "there is one file for one SAE");
        file
    }

    #[test]
    fn a_label_survives_a_restart_and_an_empty_one_hides_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let labels = book(dir.path()).unwrap();
        assert_eq!(labels.get(HOOK, 7).as_deref(), Some("came with it"));

        labels.set(HOOK, 3, "given").unwrap();
        labels.set(HOOK, 7, "").unwrap();

        for labels in [labels, book(dir.path()).unwrap()] {
            assert_eq!(labels.get(HOOK, 3).as_deref(), Some("given"));
            assert_eq!(labels.get(HOOK, 7), None);
            assert_eq!(labels.all(HOOK), BTreeMap::from([(3, "given".to_owned())]));
            assert_eq!(labels.count(HOOK), 1);
        }
    }

    /// Every stream reads labels between tokens, so a reader must not block a writer's file access.
    #[test]
    fn a_file_is_written_while_labels_are_being_read() {
        let dir = tempfile::tempdir().unwrap();
        let labels = book(dir.path()).unwrap();
        let reading = labels.saes[&HOOK].edited.read().unwrap();

        let writer = labels.clone();
        let writer = std::thread::spawn(move || writer.set(HOOK, 3, "given"));
        let began = Instant::now();
        // The writer also creates the folder.
        while fs::read_dir(dir.path().join("labels")).map_or(0, Iterator::count) == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "the writer waits for the reader");
            std::thread::sleep(Duration::from_millis(5));
        }

        drop(reading);
        writer.join().unwrap().unwrap();
        assert_eq!(labels.get(HOOK, 3).as_deref(), Some("given"));
    }

    #[test]
    fn labels_written_by_another_process_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (book(dir.path()).unwrap(), book(dir.path()).unwrap());

        one.set(HOOK, 1, "one").unwrap();
        other.set(HOOK, 2, "other").unwrap();

        let text = fs::read_to_string(file(dir.path())).unwrap();
        assert!(text.contains("one") && text.contains("other"), "{text}");
    }

    #[test]
    fn a_file_that_is_not_a_label_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let labels = book(dir.path()).unwrap();
        labels.set(HOOK, 1, "one").unwrap();
        let file = file(dir.path());
        fs::write(&file, "my thesis").unwrap();

        assert!(labels.set(HOOK, 2, "two").is_err());
        assert!(book(dir.path()).is_err());

        assert_eq!(labels.get(HOOK, 2), None);
        assert_eq!(fs::read_to_string(&file).unwrap(), "my thesis");
    }
}
