//! Neuronpedia's explanations: a line of JSON for each description of a feature.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use crate::error::CheckpointError;
use crate::read::entries;

/// The folder of batches in an export, and the file of one that is in one.
const DIR: &str = "explanations";
const FILE: &str = "explanations.jsonl";

/// Bytes of a line; one with an embedding has 10,000.
const MOST_LINE: u64 = 1 << 20;
/// Bytes of a file, once it is unpacked.
const MOST_FILE: u64 = 1 << 30;
/// Bytes of all descriptions.
const MOST_TEXT: usize = 64 << 20;

/// What of a line is used.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an explanation of Neuronpedia's")]
struct Line {
    layer: Option<Value>,
    index: Value,
    description: String,
}

/// The files of explanations in `dir`, in order of name.
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

/// The first description of each feature in the files of `dir`; `d_sae` features are possible.
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
    /// Bytes of the labels.
    text: usize,
    /// The SAE that they are of.
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
        let mut reader = BufReader::new(reader.take(MOST_FILE + 1));
        let (mut bytes, mut line, mut total) = (Vec::new(), 0, 0);
        loop {
            bytes.clear();
            line += 1;
            let read = (&mut reader).take(MOST_LINE + 1).read_until(b'\n', &mut bytes);
            total += read.map_err(io)? as u64;
            let broken = |what| CheckpointError::Explanation { path: path.to_owned(), line, what };
            if bytes.is_empty() {
                return Ok(());
            }
            if total > MOST_FILE {
                let path = path.to_owned();
                return Err(CheckpointError::FileTooLarge { path, max: MOST_FILE });
            }
            if bytes.len() as u64 > MOST_LINE {
                return Err(broken(format!("more than {MOST_LINE} bytes")));
            }
            if !bytes.trim_ascii().is_empty() {
                self.line(&bytes).map_err(broken)?;
            }
        }
    }

    fn line(&mut self, bytes: &[u8]) -> Result<(), String> {
        let line: Line = serde_json::from_slice(bytes).map_err(|source| source.to_string())?;
        let index = match &line.index {
            Value::String(index) => index.clone(),
            other => other.to_string(),
        };
        let feature = index.parse::<u32>().ok().filter(|&at| (at as usize) < self.d_sae);
        let feature = feature.ok_or_else(|| {
            format!("index `{index}`, which is no feature of 0 to {}", self.d_sae - 1)
        })?;
        match (&self.layer, line.layer) {
            (Some(layer), Some(other)) if *layer != other => {
                return Err(format!("explanations of {layer} and of {other}"));
            }
            (None, layer) => self.layer = layer,
            _ => {}
        }
        if let Entry::Vacant(place) = self.labels.entry(feature) {
            self.text += line.description.len();
            if self.text > MOST_TEXT {
                return Err(format!("more than {MOST_TEXT} bytes of descriptions"));
            }
            place.insert(line.description);
        }
        Ok(())
    }
}
