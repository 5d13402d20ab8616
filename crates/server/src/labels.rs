//! What features mean, as it changes while a server runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use nanoscope_checkpoint::{CheckpointError, Labels, write_atomically};
use nanoscope_dashboard::fingerprint;
use nanoscope_hooks::HookPoint;

use crate::config::Config;
use crate::error::ServeError;
use crate::served_model::ServedModel;

/// The labels of all features: those that came with the SAEs, and over them those that people gave.
#[derive(Debug, Clone)]
pub(crate) struct LabelBook {
    pages: Arc<BTreeMap<HookPoint, Page>>,
}

/// One SAE's labels.
#[derive(Debug)]
struct Page {
    came: Labels,
    /// Where those that are given are kept; nowhere, then in memory only.
    path: Option<PathBuf>,
    d_sae: usize,
    /// An empty one hides what came.
    given: RwLock<BTreeMap<u32, String>>,
    /// Held while the file changes, which those who only read do not wait for.
    writing: Mutex<()>,
}

impl LabelBook {
    /// The labels of `served`, and those in the folder of `config`.
    ///
    /// # Errors
    /// [`ServeError::Labels`] if the folder cannot be made, or a file of it is none of labels: it is
    /// not written over.
    pub(crate) fn open(served: &ServedModel, config: &Config) -> Result<Self, ServeError> {
        let mut pages = BTreeMap::new();
        for (&hook, sae) in served.model.saes() {
            let d_sae = sae.config().d_sae();
            // Two SAEs of one hook point have different features, so also different files.
            let mark = fingerprint(&served.model, hook).expect("the model has this SAE");
            let path =
                config.labels.as_ref().map(|dir| dir.join(format!("{hook}-{mark:016x}.json")));
            let given = path.as_deref().map_or(Ok(BTreeMap::new()), |path| read(path, d_sae));
            let page = Page {
                came: served
                    .sae_info
                    .get(&hook)
                    .map(|source| source.labels.clone())
                    .unwrap_or_default(),
                given: RwLock::new(given.map_err(|source| ServeError::Labels { source })?),
                writing: Mutex::default(),
                path,
                d_sae,
            };
            pages.insert(hook, page);
        }
        Ok(Self { pages: Arc::new(pages) })
    }

    /// The label of a feature, if it has one.
    pub(crate) fn get(&self, hook: HookPoint, feature: u32) -> Option<String> {
        let page = self.pages.get(&hook)?;
        let given = page.given.read().unwrap_or_else(PoisonError::into_inner);
        let label = given.get(&feature).map(String::as_str).or_else(|| page.came.get(feature))?;
        (!label.is_empty()).then(|| label.to_owned())
    }

    /// How many labels the SAE at `hook` has.
    pub(crate) fn count(&self, hook: HookPoint) -> usize {
        let Some(page) = self.pages.get(&hook) else { return 0 };
        let given = page.given.read().unwrap_or_else(PoisonError::into_inner);
        let came = page.came.iter().filter(|(feature, _)| !given.contains_key(feature));
        let labels = came.map(|(_, label)| label).chain(given.values().map(String::as_str));
        labels.filter(|label| !label.is_empty()).count()
    }

    /// The labels of the SAE at `hook`, in order of index.
    pub(crate) fn of(&self, hook: HookPoint) -> BTreeMap<u32, String> {
        let Some(page) = self.pages.get(&hook) else { return BTreeMap::new() };
        let came = page.came.iter().map(|(feature, label)| (feature, label.to_owned()));
        let mut labels: BTreeMap<u32, String> = came.collect();
        let given = page.given.read().unwrap_or_else(PoisonError::into_inner);
        labels.extend(given.iter().map(|(&feature, label)| (feature, label.clone())));
        labels.retain(|_, label| !label.is_empty());
        labels
    }

    /// Gives a feature a label, or with an empty one takes it away. Blocks while it writes.
    ///
    /// The file is read again before, so that what another process or a person put there stays.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read or written; nothing is changed then.
    pub(crate) fn set(
        &self,
        hook: HookPoint,
        feature: u32,
        label: &str,
    ) -> Result<(), CheckpointError> {
        let Some(page) = self.pages.get(&hook) else { return Ok(()) };
        let _writing = page.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = match &page.path {
            Some(path) => read(path, page.d_sae)?,
            None => page.given.read().unwrap_or_else(PoisonError::into_inner).clone(),
        };
        if label.is_empty() && page.came.get(feature).is_none() {
            new.remove(&feature);
        } else {
            new.insert(feature, label.to_owned());
        }
        if let Some(path) = &page.path {
            if let Some(dir) = path.parent() {
                let io = |source| CheckpointError::Io { path: dir.to_owned(), source };
                std::fs::create_dir_all(dir).map_err(io)?;
            }
            let json = serde_json::to_vec_pretty(&new).expect("numbers and texts are JSON");
            write_atomically(path, &json)?;
        }
        *page.given.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

/// The labels in the file at `path`; none if there is no such file.
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
    fn a_label_outlives_the_server_and_an_empty_one_hides_what_came() {
        let dir = tempfile::tempdir().unwrap();
        let labels = book(dir.path()).unwrap();
        assert_eq!(labels.get(HOOK, 7).as_deref(), Some("came with it"));

        labels.set(HOOK, 3, "given").unwrap();
        labels.set(HOOK, 7, "").unwrap();

        for labels in [labels, book(dir.path()).unwrap()] {
            assert_eq!(labels.get(HOOK, 3).as_deref(), Some("given"));
            assert_eq!(labels.get(HOOK, 7), None);
            assert_eq!(labels.of(HOOK), BTreeMap::from([(3, "given".to_owned())]));
            assert_eq!(labels.count(HOOK), 1);
        }
    }

    /// Every stream reads labels between two tokens.
    #[test]
    fn a_file_is_written_while_somebody_reads_labels() {
        let dir = tempfile::tempdir().unwrap();
        let labels = book(dir.path()).unwrap();
        let reading = labels.pages[&HOOK].given.read().unwrap();

        let writer = labels.clone();
        let writer = std::thread::spawn(move || writer.set(HOOK, 3, "given"));
        let began = Instant::now();
        // The folder is made by the writer too.
        while fs::read_dir(dir.path().join("labels")).map_or(0, Iterator::count) == 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "the writer waits for the reader");
            std::thread::sleep(Duration::from_millis(5));
        }

        drop(reading);
        writer.join().unwrap().unwrap();
        assert_eq!(labels.get(HOOK, 3).as_deref(), Some("given"));
    }

    #[test]
    fn what_somebody_else_wrote_meanwhile_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (book(dir.path()).unwrap(), book(dir.path()).unwrap());

        one.set(HOOK, 1, "one").unwrap();
        other.set(HOOK, 2, "other").unwrap();

        let text = fs::read_to_string(file(dir.path())).unwrap();
        assert!(text.contains("one") && text.contains("other"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_labels_is_not_written_over() {
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
