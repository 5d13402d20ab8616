//! Feature labels, which users can edit while the server runs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use nanoscope_checkpoint::{CheckpointError, Labels, UpdatedLabels, UserLabels};
use nanoscope_hooks::HookPoint;
use nanoscope_index::fingerprint;

use crate::config::Config;
use crate::error::{ServeError, with_causes};
use crate::served_model::ServedModel;

/// The labels of all features. Edited labels take precedence over those that came with the SAEs.
#[derive(Debug, Clone)]
pub(crate) struct LabelBook {
    saes: Arc<BTreeMap<HookPoint, SaeLabels>>,
}

/// Where edited labels are: in a file, or in memory only, with the reason if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    File(PathBuf),
    Memory(Option<String>),
}

/// The labels of one SAE.
#[derive(Debug)]
struct SaeLabels {
    original: Labels,
    /// The files of edited labels; `None` keeps them in memory only.
    files: Option<UserLabels>,
    /// Edited labels. An empty one hides the original.
    edited: RwLock<BTreeMap<u32, String>>,
    place: RwLock<Place>,
    /// Changes that are in no file yet. Held while the files are rewritten; readers do not wait for it.
    unsaved: Mutex<BTreeMap<u32, Option<String>>>,
}

impl LabelBook {
    /// Loads the labels of `served`, and the edited labels: from the folder in `config`, otherwise from
    /// the files of each SAE.
    ///
    /// # Errors
    /// [`ServeError::Labels`] if the folder cannot be read or a file in it is not a label file. The file
    /// is not overwritten.
    pub(crate) fn open(served: &ServedModel, config: &Config) -> Result<Self, ServeError> {
        let mut saes = BTreeMap::new();
        for (&hook, sae) in served.model.saes() {
            let info = served.sae_info.get(&hook);
            let files = match &config.labels {
                Some(dir) => {
                    // Different SAEs at one hook point have different features, so they need
                    // different files.
                    let mark = fingerprint(&served.model, hook).expect("the model has this SAE");
                    let path = dir.join(format!("{hook}-{mark:016x}.json"));
                    Some(UserLabels::at(path, sae.config().d_sae()))
                }
                None => info.and_then(|info| info.user_labels.clone()),
            };
            let place = match files.as_ref().map(UserLabels::place) {
                Some(Ok(path)) => Place::File(path.to_owned()),
                Some(Err(error)) => Place::Memory(Some(with_causes(&error))),
                None => Place::Memory(None),
            };
            let edited = files.as_ref().map_or(Ok(BTreeMap::new()), UserLabels::read);
            let sae_labels = SaeLabels {
                original: info.map(|info| info.labels.clone()).unwrap_or_default(),
                edited: RwLock::new(edited.map_err(|source| ServeError::Labels { source })?),
                place: RwLock::new(place),
                unsaved: Mutex::default(),
                files,
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

    /// Returns whether the label of a feature was written by a language model and not edited since.
    pub(crate) fn is_automatic(&self, hook: HookPoint, feature: u32) -> bool {
        let Some(sae_labels) = self.saes.get(&hook) else { return false };
        let edited = sae_labels.edited.read().unwrap_or_else(PoisonError::into_inner);
        !edited.contains_key(&feature) && sae_labels.original.is_automatic(feature)
    }

    /// The number of labels of the SAE at `hook`.
    pub(crate) fn count(&self, hook: HookPoint) -> usize {
        self.all(hook).len()
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

    /// Where edited labels of the SAE at `hook` are saved.
    pub(crate) fn place(&self, hook: HookPoint) -> Place {
        let place =
            |sae: &SaeLabels| sae.place.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.saes.get(&hook).map_or(Place::Memory(None), place)
    }

    /// Sets a feature's label, or removes it if `label` is empty. Blocks while the file is written.
    ///
    /// The file is read again first, so that changes by another process or a person are kept. If it
    /// cannot be written, the label is kept in memory, and written with the next one that can be.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read; nothing changes in that case.
    pub(crate) fn set(
        &self,
        hook: HookPoint,
        feature: u32,
        label: &str,
    ) -> Result<Place, CheckpointError> {
        let Some(sae) = self.saes.get(&hook) else { return Ok(Place::Memory(None)) };
        let mut unsaved = sae.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        let remove = label.is_empty() && sae.original.get(feature).is_none();
        let change = (!remove).then(|| label.to_owned());
        let place = if let Some(files) = &sae.files {
            let mut changes = unsaved.clone();
            changes.insert(feature, change);
            let UpdatedLabels { labels, saved } = files.update(&changes)?;
            // The same SAE can be at several hook points.
            for same in self.saes.values().filter(|other| other.files.as_ref() == Some(files)) {
                same.edited.write().unwrap_or_else(PoisonError::into_inner).clone_from(&labels);
            }
            match saved {
                Ok(path) => {
                    unsaved.clear();
                    Place::File(path)
                }
                Err(error) => {
                    *unsaved = changes;
                    Place::Memory(Some(with_causes(&error)))
                }
            }
        } else {
            let mut edited = sae.edited.write().unwrap_or_else(PoisonError::into_inner);
            match change {
                Some(label) => drop(edited.insert(feature, label)),
                None => drop(edited.remove(&feature)),
            }
            Place::Memory(None)
        };
        sae.place.write().unwrap_or_else(PoisonError::into_inner).clone_from(&place);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
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

    #[test]
    fn labels_that_cannot_be_written_are_kept_and_written_later() {
        let dir = tempfile::tempdir().unwrap();
        // In the place of the folder, so that root cannot write there either.
        let blocked = dir.path().join("labels");
        fs::write(&blocked, "").unwrap();
        let labels = book(dir.path()).unwrap();
        assert!(matches!(labels.place(HOOK), Place::Memory(Some(_))));

        let place = labels.set(HOOK, 3, "given").unwrap();
        assert!(matches!(&place, Place::Memory(Some(why)) if why.contains("labels")), "{place:?}");
        assert_eq!(labels.get(HOOK, 3).as_deref(), Some("given"));
        fs::remove_file(&blocked).unwrap();
        let Place::File(path) = labels.set(HOOK, 4, "too").unwrap() else { panic!("not saved") };

        assert_eq!(path, file(dir.path()));
        assert_eq!(labels.place(HOOK), Place::File(path.clone()));
        let text = fs::read_to_string(path).unwrap();
        assert!(text.contains("given") && text.contains("too"), "{text}");
    }

    #[test]
    fn labels_go_to_the_files_of_their_sae_unless_a_folder_is_given() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sae-labels.json");
        let mut served = served_model();
        let files = UserLabels::at(path.clone(), crate::server_fixture::D_SAE);
        served.sae_info.get_mut(&HOOK).unwrap().user_labels = Some(files);

        let labels = LabelBook::open(&served, &Config::default()).unwrap();
        assert_eq!(labels.set(HOOK, 3, "given").unwrap(), Place::File(path.clone()));
        let again = LabelBook::open(&served, &Config::default()).unwrap();
        assert_eq!(again.get(HOOK, 3).as_deref(), Some("given"));

        let config = Config { labels: Some(dir.path().join("labels")), ..Config::default() };
        let other = LabelBook::open(&served, &config).unwrap();
        assert_eq!(other.get(HOOK, 3), None);
        other.set(HOOK, 5, "elsewhere").unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("elsewhere"));
    }
}
