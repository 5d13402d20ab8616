//! The zip of a `.pt` file.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::result::ZipError;
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use crate::container::pt::contents::MAX_PICKLE_BYTES;
use crate::container::shared_file::SharedFile;
use crate::error::CheckpointError;

/// The parts of an opened `.pt` file.
pub(super) struct Archive {
    /// The content of `data.pkl`.
    pub(super) pickle: Vec<u8>,
    /// The storages, by the names of their entries in `data/`.
    pub(super) storages: HashMap<String, Entry>,
}

/// The place of a storage in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) len: u64,
    /// The checksum of the whole. torch writes 0 if it is configured to compute none.
    pub(super) checksum: Option<u32>,
}

/// Opens a zip of uncompressed entries with one pickle, as written by every `torch.save` since
/// PyTorch 1.6.
pub(super) fn open(path: &Path, file: &SharedFile) -> Result<Archive, CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let damaged = |what: String| CheckpointError::Pt { path: path.to_owned(), what };
    let broken = |source: ZipError| damaged(source.to_string());
    let foreign =
        |found: &str| CheckpointError::NotTorch { path: path.to_owned(), found: found.to_owned() };

    let file_len = file.len();
    if let Some(found) = other_format(&file.start(START_BYTES).map_err(io)?) {
        return Err(foreign(found));
    }
    // The copy shares its position with the file, which is only read at explicit places.
    let stream = BufReader::new(file.with(|file| file.try_clone()).map_err(io)?);
    let mut archive = ZipArchive::new(stream).map_err(|source| {
        // A zip ends with its central directory.
        damaged(format!("the zip has no central directory; is the file complete? ({source})"))
    })?;
    if archive.has_duplicate_names() {
        return Err(damaged("two entries of the zip have the same name".to_owned()));
    }
    let mut entries = HashMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return Err(CheckpointError::Compressed { path: path.to_owned(), entry: name });
        }
        let (len, checksum) = (entry.size(), Some(entry.crc32()).filter(|&sum| sum != 0));
        let start = entry
            .data_start()
            .filter(|start| start.checked_add(len).is_some_and(|end| end <= file_len))
            .ok_or_else(|| damaged(format!("`{name}` extends past the end of the file")))?;
        entries.insert(name, (index, Entry { start, len, checksum }));
    }
    let mut pickles =
        entries.keys().filter(|name| *name == PICKLE || name.ends_with("/data.pkl")).cloned();
    let root = match (pickles.next(), pickles.next()) {
        (Some(name), None) => name[..name.len() - PICKLE.len()].to_owned(),
        (None, _) => return Err(foreign("a zip without a data.pkl")),
        (Some(_), Some(_)) => return Err(foreign("a zip with more than one data.pkl")),
    };
    let mut read = |name: &str| {
        let &(index, Entry { checksum, .. }) = entries.get(&format!("{root}{name}"))?;
        let options = ZipReadOptions::new().ignore_crc32(checksum.is_none());
        let read =
            archive.by_index_with_options(index, options).map_err(broken).and_then(|entry| {
                let mut bytes = Vec::new();
                // Most likely the checksum is wrong, rather than an error of the operating system.
                let read = entry.take(MAX_PICKLE_BYTES as u64 + 1).read_to_end(&mut bytes);
                read.map(|_| bytes).map_err(|source| damaged(format!("`{name}`: {source}")))
            });
        Some(read)
    };
    let (_, Entry { len, .. }) = entries[&format!("{root}{PICKLE}")];
    if len > MAX_PICKLE_BYTES as u64 {
        return Err(foreign(&format!("a zip with a data.pkl of {len} bytes")));
    }
    let pickle = read(PICKLE).expect("the entry was just found")?;
    let order = read("byteorder").transpose()?;
    match order.as_deref().map(<[u8]>::trim_ascii) {
        None | Some(b"little") => {}
        Some(b"big") => {
            return Err(damaged("its numbers are big-endian, which is not supported".to_owned()));
        }
        Some(_) => {
            return Err(damaged("its `byteorder` is neither `little` nor `big`".to_owned()));
        }
    }
    let folder = format!("{root}data/");
    let storages = entries
        .into_iter()
        .filter_map(|(name, (_, entry))| Some((name.strip_prefix(&folder)?.to_owned(), entry)))
        .collect();
    Ok(Archive { pickle, storages })
}

const PICKLE: &str = "data.pkl";
/// Bytes at the start of a file that identify a tar.
const START_BYTES: u64 = 262;

/// Returns the kind of a file that starts with these bytes, unless it is a zip.
fn other_format(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => None,
        [] => Some("an empty file"),
        _ if start.get(257..262) == Some(b"ustar") => {
            Some("a tar archive, as PyTorch wrote before 0.1.10")
        }
        [0x80, 0..=5, ..] => Some("a pickle, as PyTorch wrote before 1.6"),
        _ => Some("of an unknown format"),
    }
}
