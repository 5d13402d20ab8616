//! Neuronpedia's explanations: files with one JSON object per line, each a description of a feature.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use crate::error::CheckpointError;
use crate::labels::label::Label;
use crate::python_json;
use crate::read::{entries, lfs};

/// The folder of an export in batches, and the file of an export in one piece.
const DIR: &str = "explanations";
const FILE: &str = "explanations.jsonl";

/// Maximum length of a line in bytes; one with an embedding has 10,000.
const MAX_LINE_BYTES: u64 = 1 << 20;
/// Maximum length of an uncompressed file in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Maximum length of all descriptions in bytes.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// The keys of a line that are used.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an explanation of Neuronpedia's")]
struct Line {
    layer: Option<Value>,
    index: Value,
    description: Label,
}

/// Returns the files of explanations in `dir`, in order of name.
fn files(dir: &Path) -> Result<Vec<PathBuf>, CheckpointError> {
    let packed = format!("{FILE}.gz");
    let one = [FILE, &packed].into_iter().map(|name| dir.join(name)).find(|path| path.is_file());
    if let Some(path) = one {
        return Ok(vec![path]);
    }
    let dir = dir.join(DIR);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let number = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        let name = name.strip_suffix(".gz").unwrap_or(name);
        name.strip_prefix("batch-")?.strip_suffix(".jsonl")?.parse::<u64>().ok()
    };
    let mut files: Vec<_> =
        entries(&dir)?.into_iter().filter_map(|path| Some((number(&path)?, path))).collect();
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

/// Reads the first description of each feature from the files in `dir`, for an SAE with `d_sae`
/// features.
pub(crate) fn read(dir: &Path, d_sae: usize) -> Result<BTreeMap<u32, String>, CheckpointError> {
    let mut explanations = Explanations { d_sae, ..Explanations::default() };
    for path in files(dir)? {
        explanations.add(&path)?;
    }
    Ok(explanations.labels)
}

#[derive(Debug, Default)]
struct Explanations {
    d_sae: usize,
    labels: BTreeMap<u32, String>,
    /// Length of the labels in bytes.
    text: usize,
    /// The SAE that they describe.
    layer: Option<Value>,
}

impl Explanations {
    fn add(&mut self, path: &Path) -> Result<(), CheckpointError> {
        let io = |source| CheckpointError::io(path, source);
        let file = File::open(path).map_err(io)?;
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
            if !bytes.trim_ascii().is_empty() {
                self.line(&bytes).map_err(broken)?;
            }
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), String> {
        let line: Line = python_json::from_slice(bytes).map_err(|source| source.to_string())?;
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
        if let (Entry::Vacant(place), Label(Some(label))) =
            (self.labels.entry(feature), line.description)
        {
            self.text += label.len();
            if self.text > MAX_TEXT_BYTES {
                return Err(format!("the descriptions have more than {MAX_TEXT_BYTES} bytes"));
            }
            place.insert(label);
        }
        Ok(())
    }
}
