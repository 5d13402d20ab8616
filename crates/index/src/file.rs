//! The file of an index: gzipped lines of JSON, a header and then one line for each feature.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use nanoscope_checkpoint::{files, sae_folders, write_atomically};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RuntimeError};
use serde::{Deserialize, Serialize};

use crate::entry::FeatureEntry;
use crate::error::IndexError;
use crate::feature_index::FeatureIndex;
use crate::fingerprint::fingerprint;
use crate::shared_text::SharedText;
use crate::shares::SteeringShares;
use crate::token_text::visible;
use crate::writing_options::Writing;

const FORMAT: &str = "nanoscope-feature-index";
const VERSION: u32 = 1;

/// The maximum length of a line in bytes. Ten tokens, ten promoted ones and three examples take about 2,000.
const MAX_LINE: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u32,
    hook: String,
    d_sae: u32,
    fingerprint: String,
    tokens: u64,
    steering: Option<SteeringShares>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    writing: Option<Writing>,
}

/// The file of an index, and the SAE that it must belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFile {
    /// The file.
    pub path: PathBuf,
    /// The hook point of the SAE.
    pub hook: HookPoint,
    /// The number of its features.
    pub d_sae: usize,
    /// Its [`fingerprint`](crate::fingerprint()).
    pub fingerprint: u64,
}

impl FeatureIndex {
    /// The name of the index's file, which is made from the SAE's fingerprint.
    pub fn file_name(fingerprint: u64) -> String {
        format!("index-{fingerprint:016x}.jsonl.gz")
    }

    /// The files in which an index of the SAE in the file `sae` can be, in the order in which they are
    /// tried: in the SAE's folder, unless `is_kept` is false or it lies in the user's cache, and in
    /// nanoscope's folder of the user's data.
    pub fn places(sae: &Path, fingerprint: u64, is_kept: bool) -> Vec<PathBuf> {
        let name = Self::file_name(fingerprint);
        sae_folders(sae, is_kept).into_iter().map(|dir| dir.join(&name)).collect()
    }

    /// Finds the index of the SAE at `hook` of `model`, whose file is `sae`: in nanoscope's folder of the
    /// user's data, or beside it.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model has no SAE there.
    pub fn find(
        model: &InterpretableModel,
        hook: HookPoint,
        sae: &Path,
    ) -> Result<Option<IndexFile>, RuntimeError> {
        let has_indexes = |dir: &PathBuf| {
            let mut names = files::read_dir(dir).into_iter().flatten();
            names.any(|path| path.file_name().is_some_and(|name| is_index(&name.to_string_lossy())))
        };
        // An index that a person made in the user's folder precedes one that came with the SAE.
        let beside = sae.parent().map(Path::to_owned);
        let folders: Vec<PathBuf> =
            sae_folders(sae, false).into_iter().chain(beside).filter(has_indexes).collect();
        // The fingerprint takes longer than to see that there is nothing.
        if folders.is_empty() {
            return Ok(None);
        }
        let fingerprint = fingerprint(model, hook)?;
        let name = Self::file_name(fingerprint);
        let path = folders.into_iter().map(|dir| dir.join(&name)).find(|path| files::is_file(path));
        let d_sae = model.sae(hook)?.config().d_sae();
        Ok(path.map(|path| IndexFile { path, hook, d_sae, fingerprint }))
    }

    /// Reads the index in a file. The content is not trusted: no more lines are read than the SAE has
    /// features, each has a limit, and all numbers are checked.
    ///
    /// # Errors
    /// [`IndexError::Io`], [`IndexError::Invalid`], [`IndexError::OtherSae`].
    pub fn read(file: &IndexFile) -> Result<Self, IndexError> {
        let path = &file.path;
        let io = |source| IndexError::Io { path: path.clone(), source };
        let packed = files::open(path).map_err(io)?;
        let invalid = |reason: String| IndexError::Invalid { path: path.clone(), reason };
        let mut lines = Lines(BufReader::new(MultiGzDecoder::new(BufReader::new(packed))));
        let first = lines.next().map_err(invalid)?;
        let first = first.ok_or_else(|| invalid("it is empty".to_owned()))?;
        let header: Header = parse(&first, 1).map_err(invalid)?;
        if header.format != FORMAT || header.version != VERSION {
            let Header { format, version, .. } = header;
            return Err(invalid(format!(
                "its format is {format} {version}, not {FORMAT} {VERSION}"
            )));
        }
        let hook: HookPoint = header
            .hook
            .parse()
            .map_err(|error: nanoscope_hooks::HookError| invalid(error.to_string()))?;
        let fingerprint = u64::from_str_radix(&header.fingerprint, 16)
            .map_err(|_| invalid("its fingerprint is not a hexadecimal number".to_owned()))?;
        let wrong_shares = header.steering.as_ref().is_some_and(|shares| !shares.is_valid());
        if wrong_shares || header.writing.as_ref().is_some_and(|writing| !writing.is_valid()) {
            return Err(invalid("its strengths of steering are out of range".to_owned()));
        }
        let other = |reason: String| Err(IndexError::OtherSae { path: path.clone(), reason });
        if hook != file.hook {
            return other(format!("its hook point is {hook}, not {}", file.hook));
        }
        if header.d_sae as usize != file.d_sae {
            return other(format!("it has {} features, and the SAE {}", header.d_sae, file.d_sae));
        }
        if fingerprint != file.fingerprint {
            return other("its weights differ".to_owned());
        }
        let mut known = HashSet::new();
        let mut features = Vec::new();
        while let Some(line) = lines.next().map_err(invalid)? {
            if features.len() == file.d_sae {
                return Err(invalid(format!("it has more than {} features", file.d_sae)));
            }
            let number = features.len() as u32;
            let mut entry: FeatureEntry = parse(&line, features.len() + 2).map_err(invalid)?;
            if let Some(problem) = entry.problem(number) {
                return Err(invalid(format!("feature {number}: {problem}")));
            }
            entry.name = visible(&entry.name).into();
            entry.texts_mut().for_each(|text| intern(&mut known, text));
            features.push(entry);
        }
        if features.len() != file.d_sae {
            let (found, expected) = (features.len(), file.d_sae);
            return Err(invalid(format!("it has {found} features instead of {expected}")));
        }
        let Header { tokens, steering: shares, writing, .. } = header;
        Ok(Self { hook, fingerprint, tokens, shares, writing, features })
    }

    /// Writes the index to the file `path`, which is replaced as a whole.
    ///
    /// # Errors
    /// [`IndexError::Checkpoint`].
    pub fn write(&self, path: &Path) -> Result<(), IndexError> {
        Ok(write_atomically(path, &self.to_bytes())?)
    }

    /// The content of the file.
    fn to_bytes(&self) -> Vec<u8> {
        let header = Header {
            format: FORMAT.to_owned(),
            version: VERSION,
            hook: self.hook.to_string(),
            d_sae: self.features.len() as u32,
            fingerprint: format!("{:016x}", self.fingerprint),
            tokens: self.tokens,
            steering: self.shares.clone(),
            writing: self.writing.clone(),
        };
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        let mut line =
            |json: Vec<u8>| packed.write_all(&json).and_then(|()| packed.write_all(b"\n"));
        let to_json = "numbers and strings serialise to JSON";
        let to_memory = "writing to memory does not fail";
        line(serde_json::to_vec(&header).expect(to_json)).expect(to_memory);
        for entry in &self.features {
            line(serde_json::to_vec(entry).expect(to_json)).expect(to_memory);
        }
        packed.finish().expect(to_memory)
    }
}

/// Returns whether a file is called like an index.
fn is_index(name: &str) -> bool {
    name.starts_with("index-") && name.ends_with(".jsonl.gz")
}

/// Replaces `text` by the same text in `known`, which takes memory once.
fn intern(known: &mut HashSet<SharedText>, text: &mut SharedText) {
    if let Some(same) = known.get(text) {
        *text = same.clone();
    } else {
        known.insert(text.clone());
    }
}

fn parse<T: for<'de> Deserialize<'de>>(line: &[u8], number: usize) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))
}

/// Reads lines of limited length.
struct Lines<R>(R);

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.0).take(MAX_LINE);
        limited.read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
        if line.len() as u64 == MAX_LINE {
            return Err(format!("a line has more than {MAX_LINE} bytes"));
        }
        Ok((!line.is_empty()).then_some(line))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::entry::IndexedExample;

    fn index() -> FeatureIndex {
        let entry = |feature: u32| FeatureEntry {
            feature,
            name: format!("fires on ·t{feature}").into(),
            fires: u64::from(feature) * 3,
            max: 4.5,
            mean: 0.25,
            fires_on: vec![(" dog".into(), 5)],
            writes: vec![("dogs".into(), 3)],
            texts: Some(12),
            share: Some(0.25),
            promotes: vec![(" bark".into(), 0.97)],
            suppresses: vec![(" cat".into(), -0.5)],
            examples: vec![IndexedExample {
                tokens: vec!["a".into(), " dog".into()],
                peak: 1,
                values: vec![(1, 4.5)],
            }],
        };
        let shares = SteeringShares { default: 0.35, breaks: Some(0.6), features: 32 };
        let index =
            FeatureIndex::new(HookPoint::ResidPost(1), 0xabc, 90, (0..3).map(entry).collect());
        let writing = Writing { texts: 4, tokens: 32, share: 0.35 };
        FeatureIndex { shares: Some(shares), writing: Some(writing), ..index }
    }

    fn file(path: &Path) -> IndexFile {
        let (path, hook) = (path.to_owned(), HookPoint::ResidPost(1));
        IndexFile { path, hook, d_sae: 3, fingerprint: 0xabc }
    }

    fn packed(lines: &str) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(lines.as_bytes()).unwrap();
        packed.finish().unwrap()
    }

    fn lines(index: &FeatureIndex) -> String {
        let mut text = String::new();
        MultiGzDecoder::new(&*index.to_bytes()).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn what_is_written_reads_back_the_same_and_texts_are_shared() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("index.jsonl.gz");
        index().write(&path).unwrap();

        let read = FeatureIndex::read(&file(&path)).unwrap();

        assert_eq!(read, index());
        let entries: Vec<_> = read.iter().collect();
        assert!(entries[0].fires_on[0].0.is_shared_with(&entries[2].examples[0].tokens[1]));
        assert_eq!(read.density(entries[1]), 3.0 / 90.0);
    }

    #[test]
    fn a_file_that_contradicts_itself_or_is_damaged_is_refused_with_the_reason() {
        let (dir, good) = (TempDir::new().unwrap(), lines(&index()));
        let path = dir.path().join("index.jsonl.gz");
        let huge = "x".repeat(MAX_LINE as usize + 1);
        let last = good.lines().last().unwrap().to_owned() + "\n";
        let cases = [
            (String::new(), "it is empty"),
            (good.replace("feature-index", "other"), "its format is"),
            (good.replace("\"version\":1", "\"version\":9"), "nanoscope-feature-index 9"),
            (
                good.replace("\"d_sae\":3", "\"d_sae\":4000000000"),
                "4000000000 features, and the SAE 3",
            ),
            (good.replace("0000000000000abc", "0000000000000abd"), "its weights differ"),
            (good.replace("blocks.1.", "blocks.0."), "its hook point is blocks.0"),
            (
                good.trim_end().rsplit_once('\n').unwrap().0.to_owned() + "\n",
                "2 features instead of 3",
            ),
            (
                good.clone() + &last.replace("\"feature\":2", "\"feature\":3"),
                "more than 3 features",
            ),
            (good.replace("\"share\":0.25", "\"share\":0"), "share of the norm is out of range"),
            (good.replace("\"texts\":4", "\"texts\":0"), "out of range"),
            (good.replace("dogs", &"x".repeat(2000)), "too long"),
            (good.replace("\"feature\":2", "\"feature\":1"), "missing or repeated"),
            (good.replace("\"max\":4.5", "\"max\":1e99"), "not finite"),
            (good.replace("\"peak\":1", "\"peak\":7"), "points outside"),
            (good.replace("\"default\":0.35", "\"default\":-1"), "out of range"),
            (good.replace("0000000000000abc", "xyz"), "hexadecimal"),
            (good.replace("·t0", &huge), "more than 1048576 bytes"),
        ];
        for (text, reason) in cases {
            std::fs::write(&path, packed(&text)).unwrap();
            let error = FeatureIndex::read(&file(&path)).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let whole = packed(&good);
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(FeatureIndex::read(&file(&path)).is_err());
        std::fs::write(&path, "not packed").unwrap();
        assert!(FeatureIndex::read(&file(&path)).is_err());
    }

    #[test]
    fn a_name_of_a_file_has_no_hidden_characters() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("index.jsonl.gz");
        std::fs::write(&path, packed(&lines(&index()).replace("·t1", "\\u202e"))).unwrap();

        let name = FeatureIndex::read(&file(&path)).unwrap().get(1).unwrap().name.clone();

        assert!(name.contains("⟨202E⟩"), "{name}");
    }
}
