//! `.npz` files: zips of numpy arrays, one `.npy` each, plain or compressed.

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::io::BufWriter;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::container::mapped_tensors::MappedTensors;
use crate::container::mmap::MappedFile;
use crate::container::npy::Array;
use crate::container::shared_file::SharedFile;
use crate::error::CheckpointError;
use crate::files::OpenFile;

/// The name of the format, for people.
pub(crate) const FORMAT: &str = "numpy .npz";
const EXTENSION: &str = ".npy";

/// Maximum size of the unpacked arrays, as a multiple of the size of the file, and in addition to that.
/// Weights become hardly smaller when they are packed, except for those that are still zero.
const MAX_RATIO: u64 = 64;
const MAX_MORE_BYTES: u64 = 64 << 20;

/// Alignment of an unpacked array in bytes, as numpy has it.
const ALIGNMENT: u64 = 64;

/// Returns whether a file that starts with these bytes is a zip whose first entry is an array.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    let name = || {
        let length = start.get(26..28)?;
        start.get(30..30 + usize::from(u16::from_le_bytes([length[0], length[1]])))
    };
    start.starts_with(b"PK\x03\x04") && name().is_some_and(|name| name.ends_with(b".npy"))
}

/// Reads the headers of the arrays in the file at `path`. Compressed arrays are unpacked to a temporary
/// file.
pub(crate) fn open(path: &Path, file: MappedFile) -> Result<MappedTensors, CheckpointError> {
    let broken = |what: String| CheckpointError::Npz { path: path.to_owned(), what };
    let mut archive = ZipArchive::new(Cursor::new(file.bytes())).map_err(|source| {
        broken(format!("the zip has no central directory; is the file complete? ({source})"))
    })?;
    if archive.has_duplicate_names() {
        return Err(broken("two arrays have the same name".to_owned()));
    }
    let mut entries = Vec::new();
    for index in 0..archive.len() {
        entries.push(entry(path, &mut archive, index)?);
    }
    let file = if entries.iter().any(|entry| entry.packed) {
        let unpacked = unpack(path, &mut archive, file.bytes().len() as u64, &mut entries)?;
        let unpacked = SharedFile::new(unpacked).and_then(MappedFile::new);
        unpacked.map_err(|source| CheckpointError::io(path, source))?
    } else {
        drop(archive);
        file
    };
    let (mut infos, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for Entry { name, start, len, .. } in entries {
        let Some(array) = name.strip_suffix(EXTENSION) else {
            return Err(broken(format!("its entry `{name}` is not an array")));
        };
        let range = || {
            let start = usize::try_from(start).ok()?;
            Some((start, start.checked_add(usize::try_from(len).ok()?)?))
        };
        let bytes = range().and_then(|(start, end)| Some((start, file.bytes().get(start..end)?)));
        let (start, bytes) =
            bytes.ok_or_else(|| broken(format!("`{name}` extends past the end of the file")))?;
        let Array { info, range: (from, to) } =
            Array::parse(bytes).map_err(|what| broken(format!("`{name}`: {what}")))?;
        infos.insert(array.to_owned(), info);
        offsets.insert(array.to_owned(), (start + from, start + to));
    }
    Ok(MappedTensors { format: FORMAT, file, infos, offsets, architecture: None })
}

/// An array in the file of arrays.
struct Entry {
    name: String,
    packed: bool,
    /// The place of its first byte.
    start: u64,
    /// The number of its bytes, unpacked.
    len: u64,
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

fn entry(path: &Path, archive: &mut Archive<'_>, index: usize) -> Result<Entry, CheckpointError> {
    let broken = |what: String| CheckpointError::Npz { path: path.to_owned(), what };
    let entry = archive.by_index_raw(index).map_err(|source| broken(source.to_string()))?;
    let name = entry.name().map_err(|source| broken(source.to_string()))?.into_owned();
    let len = entry.size();
    let packed = match entry.compression() {
        CompressionMethod::Stored if len == entry.compressed_size() => false,
        CompressionMethod::Deflated => true,
        // numpy writes no others.
        method => return Err(broken(format!("`{name}` is compressed by {method}"))),
    };
    let start = entry.data_start();
    let start = start.ok_or_else(|| broken(format!("`{name}` has no data in the file")))?;
    Ok(Entry { name, packed, start, len })
}

/// Unpacks all arrays to one file, and sets their places in it.
fn unpack(
    path: &Path,
    archive: &mut Archive<'_>,
    packed: u64,
    entries: &mut [Entry],
) -> Result<OpenFile, CheckpointError> {
    let broken = |what: String| CheckpointError::Npz { path: path.to_owned(), what };
    let max = packed.saturating_mul(MAX_RATIO).saturating_add(MAX_MORE_BYTES);
    let claimed = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.len));
    if claimed > max {
        return Err(broken(format!(
            "its arrays unpack from {packed} bytes to {claimed}, more than the {max} allowed"
        )));
    }
    let temporary = |source| CheckpointError::io(&std::env::temp_dir(), source);
    let mut out = Unpacked::new().map_err(temporary)?;
    let mut at = 0_u64;
    for (index, entry) in entries.iter_mut().enumerate() {
        at = at.next_multiple_of(ALIGNMENT);
        out.0.seek(SeekFrom::Start(at)).map_err(temporary)?;
        let array = archive.by_index(index).map_err(|source| broken(source.to_string()))?;
        let len = copy(array, &mut out.0, entry.len)
            .map_err(temporary)?
            .map_err(|source| broken(format!("`{}`: {source}", entry.name)))?;
        if len != entry.len {
            return Err(broken(format!(
                "`{}` unpacks to {len} bytes or more, but claims {}",
                entry.name, entry.len
            )));
        }
        (entry.start, at) = (at, at + len);
    }
    out.finish().map_err(temporary)
}

/// The unpacked arrays while they are written: a temporary file, which vanishes with its last handle.
#[cfg(not(target_arch = "wasm32"))]
struct Unpacked(BufWriter<std::fs::File>);

#[cfg(not(target_arch = "wasm32"))]
impl Unpacked {
    fn new() -> io::Result<Self> {
        Ok(Self(BufWriter::new(tempfile::tempfile()?)))
    }

    fn finish(self) -> io::Result<OpenFile> {
        Ok(self.0.into_inner().map_err(io::IntoInnerError::into_error)?.into())
    }
}

/// The unpacked arrays while they are written: memory, because a browser has no temporary files.
#[cfg(target_arch = "wasm32")]
struct Unpacked(Cursor<Vec<u8>>);

#[cfg(target_arch = "wasm32")]
impl Unpacked {
    #[allow(clippy::unnecessary_wraps)] // as the one with a file
    fn new() -> io::Result<Self> {
        Ok(Self(Cursor::default()))
    }

    #[allow(clippy::unnecessary_wraps)]
    fn finish(self) -> io::Result<OpenFile> {
        Ok(bytes::Bytes::from(self.0.into_inner()).into())
    }
}

/// Copies at most one byte more than `len` and returns their number. The outer error is of `to`, the
/// inner one of `from`.
fn copy(from: impl Read, to: &mut impl Write, len: u64) -> io::Result<Result<u64, io::Error>> {
    let mut from = from.take(len.saturating_add(1));
    let (mut buffer, mut copied) = (vec![0; 1 << 16], 0);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Ok(copied)),
            Ok(read) => {
                to.write_all(&buffer[..read])?;
                copied += read as u64;
            }
            Err(source) => return Ok(Err(source)),
        }
    }
}
