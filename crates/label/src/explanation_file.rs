//! The file that a run appends its explanations to.

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::python_json;
use serde_json::{Value, json};

use crate::LabelError;
use crate::explained::Explained;

/// The SAE that the explanations of a run are about, and the settings by which they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The hook point of the SAE.
    pub hook: String,
    /// A number that identifies the SAE, such as its [`fingerprint`](nanoscope_dashboard::fingerprint()).
    pub sae: u64,
    /// The digest of everything that the explanations depend on.
    pub settings: String,
}

/// A file of explanations in Neuronpedia's form: one JSON object per line, with `index`, `description`,
/// `explanationModelName` and `score`, and under the key `nanoscope` their [`Origin`].
///
/// A line is written at once and is on the disk before the next feature is begun. A last line that was torn
/// is removed when the next one is written; lines of others stay.
#[derive(Debug)]
pub struct ExplanationFile {
    path: PathBuf,
    origin: Origin,
    /// The length of the file when it was read.
    read: u64,
    /// The length of the whole lines, and whether the last of them ends.
    len: u64,
    ends: bool,
    done: BTreeSet<u32>,
    outdated: BTreeSet<u32>,
    file: Option<File>,
}

impl ExplanationFile {
    /// Reads which features the file at `path` has explanations of, if it exists. Nothing is written.
    ///
    /// # Errors
    /// [`LabelError::NotExplanations`] if it has other content, [`LabelError::OtherSae`], and
    /// [`LabelError::Io`].
    pub fn read(path: &Path, origin: Origin) -> Result<Self, LabelError> {
        let text = match fs::metadata(path) {
            Ok(about) if !about.is_file() => {
                return Err(LabelError::io(path, io::Error::other("not a regular file")));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            _ => fs::read(path).map_err(|source| LabelError::io(path, source))?,
        };
        let mut read = Self {
            path: path.to_owned(),
            origin,
            read: text.len() as u64,
            len: 0,
            ends: true,
            done: BTreeSet::new(),
            outdated: BTreeSet::new(),
            file: None,
        };
        for (at, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
            let ends = line.ends_with(b"\n");
            match python_json::from_slice::<Value>(line) {
                Ok(value) => read.line(&value).map_err(|wrong| wrong.at(path, at + 1))?,
                Err(_) if line.trim_ascii().is_empty() => {}
                Err(error) if !ends && error.is_eof() && line.starts_with(b"{") => break,
                Err(error) => return Err(Wrong::Line(error.to_string()).at(path, at + 1)),
            }
            read.len += line.len() as u64;
            read.ends = ends;
        }
        Ok(read)
    }

    /// The features that have an explanation made with these settings.
    pub fn done(&self) -> &BTreeSet<u32> {
        &self.done
    }

    /// The features whose explanation was made with other settings: another model, another text.
    pub fn outdated(&self) -> &BTreeSet<u32> {
        &self.outdated
    }

    /// Opens the file for writing, before anything is paid for.
    ///
    /// # Errors
    /// [`LabelError::InUse`] if another run writes it, and [`LabelError::Io`].
    pub fn open(&mut self) -> Result<(), LabelError> {
        let io = |source| LabelError::io(&self.path, source);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.path)
            .map_err(io)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(LabelError::InUse { path: self.path.clone() });
            }
            // A file system without locks.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        // Another run may have appended and ended since it was read.
        if file.metadata().map_err(io)?.len() != self.read {
            return Err(io(io::Error::other("it was changed since it was read; start again")));
        }
        file.set_len(self.len).and_then(|()| file.seek(SeekFrom::End(0))).map_err(io)?;
        if !self.ends {
            file.write_all(b"\n").map_err(io)?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Appends the explanation of a feature, written by `model`.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), which is called first if needed.
    pub fn append(&mut self, explained: &Explained, model: &str) -> Result<(), LabelError> {
        if self.file.is_none() {
            self.open()?;
        }
        let file = self.file.as_mut().expect("it was opened");
        let mut line = line(explained, model, &self.origin).to_string();
        line.push('\n');
        file.write_all(line.as_bytes())
            .and_then(|()| file.sync_data())
            .map_err(|source| LabelError::io(&self.path, source))?;
        self.outdated.remove(&explained.feature);
        self.done.insert(explained.feature);
        Ok(())
    }

    /// Takes note of a line.
    fn line(&mut self, line: &Value) -> Result<(), Wrong> {
        let index = match &line["index"] {
            Value::String(index) => index.parse().ok(),
            index => python_json::from_value::<u32>(index.clone()).ok(),
        };
        let feature = index.ok_or_else(|| Wrong::Line("it has no `index`".to_owned()))?;
        let own = &line["nanoscope"];
        if own.is_null() {
            return Ok(());
        }
        let hook = own["hook"].as_str().unwrap_or_default();
        if hook != self.origin.hook || own["sae"] != hex(self.origin.sae) {
            return Err(Wrong::Sae(hook.to_owned()));
        }
        let is_done = own["settings"] == self.origin.settings;
        let (these, others) = if is_done {
            (&mut self.done, &mut self.outdated)
        } else {
            (&mut self.outdated, &mut self.done)
        };
        others.remove(&feature);
        these.insert(feature);
        Ok(())
    }
}

/// The reason why a line cannot be continued.
enum Wrong {
    Line(String),
    Sae(String),
}

impl Wrong {
    fn at(self, path: &Path, line: usize) -> LabelError {
        let path = path.to_owned();
        match self {
            Self::Line(reason) => LabelError::NotExplanations { path, line, reason },
            Self::Sae(found) => LabelError::OtherSae { path, found },
        }
    }
}

fn line(explained: &Explained, model: &str, origin: &Origin) -> Value {
    let Explained { feature, density, explanation, detection, .. } = explained;
    // The first key marks the line as ours, so that readers recognise one that was torn.
    json!({
        "nanoscope": {
            "hook": origin.hook,
            "sae": hex(origin.sae),
            "settings": origin.settings,
            "density": density,
            "tested": detection.contexts(),
        },
        "index": feature.to_string(),
        "description": explanation,
        "explanationModelName": model,
        "typeName": "nanoscope_detection",
        "score": detection.balanced_accuracy(),
    })
}

fn hex(sae: u64) -> String {
    format!("{sae:016x}")
}

#[cfg(test)]
mod tests {
    use nanoscope_checkpoint::Labels;

    use super::*;
    use crate::client::Usage;
    use crate::score::Detection;

    fn origin(settings: &str) -> Origin {
        Origin {
            hook: "blocks.0.hook_resid_post".to_owned(),
            sae: 7,
            settings: settings.to_owned(),
        }
    }

    fn explained(feature: u32, explanation: &str) -> Explained {
        Explained {
            feature,
            density: 0.01,
            explanation: explanation.to_owned(),
            detection: Detection { hits: 3, misses: 1, false_alarms: 1, rejections: 1 },
            usage: Usage::default(),
        }
    }

    fn write(path: &Path, settings: &str, features: &[(u32, &str)]) {
        let mut file = ExplanationFile::read(path, origin(settings)).unwrap();
        for &(feature, explanation) in features {
            file.append(&explained(feature, explanation), "m").unwrap();
        }
    }

    fn done(path: &Path, settings: &str) -> (Vec<u32>, Vec<u32>) {
        let file = ExplanationFile::read(path, origin(settings)).unwrap();
        (file.done().iter().copied().collect(), file.outdated().iter().copied().collect())
    }

    #[test]
    fn what_was_written_is_done_and_is_read_as_labels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("explanations.jsonl");
        write(&path, "a", &[(3, "dogs"), (5, "cats")]);

        assert_eq!(done(&path, "a"), (vec![3, 5], vec![]));
        assert_eq!(done(&path, "b"), (vec![], vec![3, 5]));
        let labels = Labels::read(dir.path(), 8).unwrap();
        assert_eq!(labels.iter().collect::<Vec<_>>(), [(3, "dogs"), (5, "cats")]);
        assert!(labels.is_automatic(3));
        let text = fs::read_to_string(&path).unwrap();
        let line: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(
            line,
            json!({
                "nanoscope": {
                    "hook": "blocks.0.hook_resid_post", "sae": "0000000000000007", "settings": "a",
                    "density": 0.01, "tested": 6,
                },
                "index": "3", "description": "dogs", "explanationModelName": "m",
                "typeName": "nanoscope_detection", "score": 0.625,
            })
        );

        write(&path, "b", &[(3, "puppies")]);
        assert_eq!(done(&path, "b"), (vec![3], vec![5]));
        assert_eq!(Labels::read(dir.path(), 8).unwrap().get(3), Some("puppies"));
    }

    #[test]
    fn a_run_continues_after_a_line_that_was_torn_anywhere() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("explanations.jsonl");
        write(&path, "a", &[(3, "dogs"), (5, "c\u{e4}ts")]);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;

        for end in first..=whole.len() {
            fs::write(&path, &whole[..end]).unwrap();
            let expected: &[u32] = if end >= whole.len() - 1 { &[3, 5] } else { &[3] };
            assert_eq!(done(&path, "a").0, expected, "{end} bytes");
            write(&path, "a", &[(6, "birds")]);
            let labels = Labels::read(dir.path(), 8).unwrap();
            assert_eq!(labels.len(), expected.len() + 1, "{end} bytes");
            assert_eq!(labels.get(6), Some("birds"), "{end} bytes");
        }
    }

    #[test]
    fn lines_of_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("explanations.jsonl");
        let foreign = r#"{"layer":"0-res","index":1,"description":"theirs","embedding":[NaN]}"#;
        fs::write(&path, foreign).unwrap();
        write(&path, "a", &[(3, "dogs")]);

        assert!(fs::read_to_string(&path).unwrap().starts_with(&format!("{foreign}\n")));
        assert_eq!(done(&path, "a"), (vec![3], vec![]));
        assert_eq!(Labels::read(dir.path(), 8).unwrap().len(), 2);
    }

    #[test]
    fn a_file_of_something_else_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("explanations.jsonl");
        let other = line(&explained(1, "a"), "m", &Origin { sae: 8, ..origin("a") });
        for (text, says) in [
            ("some notes\n", "line 1: not an explanation"),
            (
                "{\"index\":1,\"description\":\"a\"}\n{\"id\":2}\n",
                "line 2: not an explanation: it has no `index`",
            ),
            ("{\"index\":1}\n{\"index\n{\"index\":2}\n", "line 2"),
            (&*format!("{other}\n"), "another SAE, at blocks.0.hook_resid_post"),
        ] {
            fs::write(&path, text).unwrap();
            let error = ExplanationFile::read(&path, origin("a")).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert!(ExplanationFile::read(dir.path(), origin("a")).is_err());
    }

    #[test]
    fn two_runs_do_not_write_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("explanations.jsonl");
        let read = || ExplanationFile::read(&path, origin("a")).unwrap();
        let (mut first, mut second) = (read(), read());
        first.open().unwrap();

        assert!(matches!(second.open(), Err(LabelError::InUse { .. })));
        drop(first);
        second.open().unwrap();
    }
}
