//! The record of the files of a mirror, from which an unchanged object is known.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::error::RemoteError;
use crate::objects::{RemoteObject, Version};

/// The files of a mirror that are whole, with the versions of the objects that they are copies of.
///
/// On the disk it is a list of lines, one for each file that is complete. A line that a kill cut off is left out,
/// and its object is downloaded again.
#[derive(Debug)]
pub(crate) struct Record {
    path: PathBuf,
    head: Head,
    files: BTreeMap<String, KeptFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    location: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptFile {
    name: String,
    bytes: u64,
    of: Version,
    /// The time at which the file was written, in nanoseconds since 1970, which an edit changes.
    written: u64,
}

const NAME: &str = "record.jsonl";
const VERSION: u32 = 1;
/// The largest record that is read, in bytes. A million files with names of average length have half of it.
const MAX_BYTES: u64 = 1 << 28;

impl Record {
    /// Reads the record in `dir`; it is empty if there is none, or that of another location.
    pub(crate) fn open(dir: &Path, location: &str) -> Result<Self, RemoteError> {
        let path = dir.join(NAME);
        let head = Head { version: VERSION, location: location.to_owned() };
        let mut files = BTreeMap::new();
        match File::open(&path) {
            Ok(file) => {
                let mut lines = BufReader::new(file.take(MAX_BYTES)).lines().map_while(Result::ok);
                if lines.next().and_then(|line| serde_json::from_str(&line).ok())
                    == Some(head.clone())
                {
                    let kept = lines.map_while(|line| serde_json::from_str::<KeptFile>(&line).ok());
                    files = kept.map(|file| (file.name.clone(), file)).collect();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(RemoteError::io(&path, error)),
        }
        Ok(Self { path, head, files })
    }

    /// Returns whether the file at `path` is a whole copy of `object`.
    pub(crate) fn is_current(&self, object: &RemoteObject, path: &Path) -> bool {
        let Some(kept) = self.files.get(&object.name) else { return false };
        kept.of == object.version
            && kept.of.is_known()
            && kept.bytes == object.bytes
            && fs::symlink_metadata(path).is_ok_and(|there| {
                there.is_file() && there.len() == kept.bytes && written(&there) == kept.written
            })
    }

    /// Forgets the files that are not `named`, and writes the record anew from `scratch`.
    pub(crate) fn rewrite(
        &mut self,
        named: impl Fn(&str) -> bool,
        scratch: &Path,
    ) -> Result<(), RemoteError> {
        self.files.retain(|name, _| named(name));
        let partial = scratch.join(NAME);
        let write = || {
            let mut out = io::BufWriter::new(File::create(&partial)?);
            writeln!(out, "{}", line(&self.head))?;
            for file in self.files.values() {
                writeln!(out, "{}", line(file))?;
            }
            out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
            fs::rename(&partial, &self.path)
        };
        write().map_err(|error| RemoteError::io(&self.path, error))
    }

    /// Adds the file at `path`, which is a whole copy of the version `of` of the object `name`.
    pub(crate) fn add(&mut self, name: &str, of: Version, path: &Path) -> Result<(), RemoteError> {
        let there = fs::metadata(path).map_err(|error| RemoteError::io(path, error))?;
        let file =
            KeptFile { name: name.to_owned(), bytes: there.len(), of, written: written(&there) };
        OpenOptions::new()
            .append(true)
            .open(&self.path)
            .and_then(|mut out| out.write_all(format!("{}\n", line(&file)).as_bytes()))
            .map_err(|error| RemoteError::io(&self.path, error))?;
        self.files.insert(name.to_owned(), file);
        Ok(())
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers are JSON")
}

fn written(there: &Metadata) -> u64 {
    let since = there.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}
