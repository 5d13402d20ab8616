//! Neuronpedia's explanations: files with one JSON object per line, each a description of a feature.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use crate::error::CheckpointError;
use crate::files;
use crate::labels::label::Label;
use crate::python_json;
use crate::read::{entries, lfs};

/// The folder of an export in batches, and the file of an export in one piece.
const DIR: &str = "explanations";
pub(super) const FILE: &str = "explanations.jsonl";

/// Maximum length of a line in bytes; one with an embedding has 10,000.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Maximum length of an uncompressed file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Maximum length of all descriptions in bytes.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// The beginning of a line that `nanoscope label` wrote. Its key comes first, so that a line that was
/// torn when the program or the machine stopped is recognised.
const OWN_LINE: &[u8] = b"{\"nanoscope\":";

/// The keys of a line that are used.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an explanation of Neuronpedia's")]
struct Line {
    layer: Option<Value>,
    index: Value,
    description: Label,
    /// The language model that wrote the description; none, null or empty if a person did.
    #[serde(rename = "explanationModelName")]
    model: Option<Value>,
    /// There in lines of `nanoscope label`.
    nanoscope: Option<Value>,
}

/// Descriptions of features, by feature.
#[derive(Debug, Default)]
pub(super) struct Descriptions {
    pub(super) labels: BTreeMap<u32, String>,
    /// The features whose description is a language model's.
    pub(super) automatic: BTreeSet<u32>,
}

/// Returns the files of explanations in `dir`: one in one piece, then batches in order of number.
fn files(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let packed = format!("{FILE}.gz");
    let whole =
        [FILE, &packed].into_iter().map(|name| dir.join(name)).filter(|path| files::is_file(path));
    let whole: Vec<PathBuf> = whole.collect();
    let dir = dir.join(DIR);
    if !files::is_dir(&dir) {
        return Ok(whole);
    }
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".gz").unwrap_or(name);
        name.strip_prefix("batch-")?.strip_suffix(".jsonl")?.parse::<u64>().ok()
    };
    let mut files: Vec<_> =
        entries(&dir)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    files.sort();
    Ok(whole.into_iter().chain(files.into_iter().map(|(_, path)| path)).collect())
}

/// Reads the descriptions of features from the files in `dir`, for an SAE with `d_sae` features: the
/// first one of each, or without one the last one of `nanoscope label`.
pub(super) fn read(dir: &Path, d_sae: usize) -> Result<Descriptions, CheckpointError> {
    let mut explanations = Explanations { d_sae, ..Explanations::default() };
    for path in files(dir)? {
        explanations.add(&path)?;
    }
    Ok(explanations.found)
}

/// As [`read`], from one file.
pub(super) fn read_file(path: &Path, d_sae: usize) -> Result<Descriptions, CheckpointError> {
    let mut explanations = Explanations { d_sae, ..Explanations::default() };
    explanations.add(path)?;
    Ok(explanations.found)
}

#[derive(Debug, Default)]
struct Explanations {
    d_sae: usize,
    found: Descriptions,
    /// The features whose description `nanoscope label` wrote.
    own: BTreeSet<u32>,
    /// Length of the labels in bytes.
    text: usize,
    /// The SAE that they describe.
    layer: Option<Value>,
}

impl Explanations {
    fn add(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::io(path, source);
        let file = files::open(path).map_err(io)?;
        let reader: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut reader = BufReader::new(reader.take(MAX_FILE_BYTES + 1));
        let (mut bytes, mut line, mut total) = (Vec::new(), 0, 0);
        loop {
            bytes.clear();
            line += 1;
            let read = (&mut reader).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut bytes);
            total += read.map_err(io)? as u64;
            let broken = |what| CheckpointError::Explanation { path: path.to_owned(), line, what };
            if bytes.is_empty() {
                return Ok(());
            }
            if total > MAX_FILE_BYTES {
                let path = path.to_owned();
                return Err(CheckpointError::FileTooLarge { path, max: MAX_FILE_BYTES });
            }
            if bytes.len() as u64 > MAX_LINE_BYTES {
                return Err(broken(format!("the line has more than {MAX_LINE_BYTES} bytes")));
            }
            lfs::check(path, &bytes)?;
            if bytes.trim_ascii().is_empty() {
                continue;
            }
            match python_json::from_slice(&bytes) {
                Ok(line) => self.line(line).map_err(broken)?,
                Err(error) if error.is_eof() && is_torn(&bytes) => return Ok(()),
                Err(error) => return Err(broken(error.to_string())),
            }
        }
    }

    fn line(&mut self, line: Line) -> Result<(), String> {
        let index = match &line.index {
            Value::String(index) => index.clone(),
            other => match python_json::from_value::<u32>(other.clone()) {
                Ok(index) => index.to_string(),
                Err(_) => other.to_string(),
            },
        };
        let feature = index.parse::<u32>().ok().filter(|&at| (at as usize) < self.d_sae);
        let feature = feature.ok_or_else(|| {
            format!("`{index}` is not a feature index from 0 to {}", self.d_sae - 1)
        })?;
        match (&self.layer, line.layer) {
            (Some(layer), Some(other)) if *layer != other => {
                return Err(format!("the file has explanations for {layer} and for {other}"));
            }
            (None, layer) => self.layer = layer,
            _ => {}
        }
        let Label(Some(label)) = line.description else { return Ok(()) };
        let Descriptions { labels, automatic } = &mut self.found;
        let is_own = line.nanoscope.is_some();
        let before = labels.get(&feature).map(String::len);
        // Those of others may be a person's.
        if before.is_some() && !self.own.contains(&feature) {
            return Ok(());
        }
        self.text = self.text + label.len() - before.unwrap_or(0);
        if self.text > MAX_TEXT_BYTES {
            return Err(format!("the descriptions have more than {MAX_TEXT_BYTES} bytes"));
        }
        labels.insert(feature, label);
        let names_model = line.model.is_some_and(|m| m.as_str().is_some_and(|m| !m.is_empty()));
        set(&mut self.own, feature, is_own);
        set(automatic, feature, is_own || names_model);
        Ok(())
    }
}

/// Adds `feature` to `features`, or removes it.
fn set(features: &mut BTreeSet<u32>, feature: u32, is_in: bool) {
    if is_in {
        features.insert(feature);
    } else {
        features.remove(&feature);
    }
}

/// Returns whether `bytes`, which are not valid JSON, are the beginning of a line of `nanoscope label` at the
/// end of a file.
fn is_torn(bytes: &[u8]) -> bool {
    !bytes.ends_with(b"\n") && (bytes.starts_with(OWN_LINE) || OWN_LINE.starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::labels::Labels;

    fn read_lines(lines: &str) -> Result<Labels, CheckpointError> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), lines).unwrap();
        Labels::read(dir.path(), 10)
    }

    const OWN: &str = r#"{"nanoscope":{"settings":"1"},"index":"3","description":"dogs","explanationModelName":"m"}"#;

    #[test]
    fn a_description_is_automatic_if_its_line_names_a_language_model() {
        let line = |index: u32, model: &str| {
            format!("{{\"index\":\"{index}\",\"description\":\"d\"{model}}}\n")
        };
        let lines = [
            line(0, ""),
            line(1, r#","explanationModelName":null"#),
            line(2, r#","explanationModelName":"""#),
            line(4, r#","explanationModelName":"gpt-4o-mini""#),
            format!("{OWN}\n"),
        ];
        let labels = read_lines(&lines.concat()).unwrap();

        let automatic: Vec<u32> =
            labels.iter().map(|(feature, _)| feature).filter(|&f| labels.is_automatic(f)).collect();
        assert_eq!(automatic, [3, 4]);
        assert!(!labels.is_automatic(9));
    }

    #[test]
    fn the_first_line_of_others_is_taken_and_without_one_the_last_of_ours() {
        let newer = OWN.replace("dogs", "cats");
        let foreign = r#"{"index":"3","description":"foreign"}"#;
        let later = foreign.replace("foreign", "later");
        let taken = |lines: [&str; 3]| {
            let labels = read_lines(&lines.join("\n")).unwrap();
            (labels.get(3).unwrap().to_owned(), labels.is_automatic(3))
        };

        assert_eq!(taken([OWN, OWN, &newer]), ("cats".to_owned(), true));
        assert_eq!(taken([foreign, OWN, &newer]), ("foreign".to_owned(), false));
        assert_eq!(taken([OWN, foreign, &newer]), ("foreign".to_owned(), false));
        assert_eq!(taken([OWN, foreign, &later]), ("foreign".to_owned(), false));
    }

    #[test]
    fn a_file_of_ours_does_not_hide_an_export_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(DIR)).unwrap();
        let batch =
            "{\"index\":1,\"description\":\"one\"}\n{\"index\":3,\"description\":\"three\"}\n";
        fs::write(dir.path().join(DIR).join("batch-0.jsonl"), batch).unwrap();
        let other = OWN.replace("\"3\"", "\"5\"");
        fs::write(dir.path().join(FILE), format!("{OWN}\n{other}\n")).unwrap();

        let labels = Labels::read(dir.path(), 10).unwrap();

        let found: Vec<_> =
            labels.iter().map(|(f, label)| (f, label, labels.is_automatic(f))).collect();
        assert_eq!(found, [(1, "one", false), (3, "three", false), (5, "dogs", true)]);
    }

    #[test]
    fn a_line_of_ours_that_was_torn_at_the_end_is_passed_over_wherever_it_was_torn() {
        let next = OWN.replace("\"3\"", "\"5\"");
        for end in 0..next.len() {
            let labels = read_lines(&format!("{OWN}\n{}", &next[..end])).unwrap();
            assert_eq!((labels.len(), labels.get(3)), (1, Some("dogs")), "{end} bytes");
        }
        assert_eq!(read_lines(&format!("{OWN}\n{next}")).unwrap().len(), 2);
        // Not in the middle, and not in another tool's file.
        assert!(read_lines(&format!("{}\n{OWN}", &next[..40])).is_err());
        assert!(read_lines(&format!("{OWN}\n{{\"index\":\"5\",\"des")).is_err());
    }

    #[test]
    fn a_label_that_a_person_gave_is_not_automatic() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), format!("{OWN}\n")).unwrap();
        let automatic = Labels::read(dir.path(), 10).unwrap();
        let mut edited = automatic.clone();
        edited.add_user_labels([(3, "puppies".to_owned())].into());
        fs::write(dir.path().join("labels.json"), r#"{"3":"puppies"}"#).unwrap();
        let written = Labels::read(dir.path(), 10).unwrap();

        assert!(automatic.is_automatic(3));
        for labels in [edited, written] {
            assert_eq!((labels.get(3), labels.is_automatic(3)), (Some("puppies"), false));
        }
    }

    #[test]
    fn a_file_of_explanations_can_be_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dogs.jsonl");
        fs::write(&path, format!("{OWN}\n")).unwrap();

        let labels = Labels::read_file(&path, 10).unwrap();

        assert_eq!((labels.get(3), labels.is_automatic(3)), (Some("dogs"), true));
        assert!(Labels::read_file(&path, 3).is_err());
    }
}
