//! `.pt` files: a zip of a pickle, which describes the tensors, and of their numbers.

mod archive;
mod contents;
mod layout;
mod plain_value;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use crate::container::mapped_tensors::TensorInfo;
#[cfg(feature = "sae")]
use crate::container::mapped_tensors::rename;
use crate::container::pt::archive::{Archive, Entry};
use crate::container::pt::contents::{PtContents, Refusal};
use crate::container::pt::layout::Layout;
use crate::container::shared_file::SharedFile;
use crate::error::CheckpointError;
use crate::pickle::PickleError;
pub(crate) use plain_value::PlainValue;

/// The name of the format, for people.
pub(super) const FORMAT: &str = "PyTorch .pt";

/// Bytes of a tensor read at a time; a multiple of every element size.
const CHUNK_BYTES: usize = 4 << 20;

/// An opened `.pt` file.
#[derive(Clone)]
pub(super) struct PtFile {
    path: PathBuf,
    file: SharedFile,
    storages: HashMap<String, Entry>,
    layouts: BTreeMap<String, Layout>,
    /// The entries of the root dictionary.
    pub(super) entries: BTreeMap<String, PlainValue>,
    pub(super) infos: BTreeMap<String, TensorInfo>,
}

/// Checks that a pickle, which is about to be written, can be read back.
#[cfg(feature = "sae")]
pub(crate) fn check_pickle(pickle: &[u8]) -> Result<(), PickleError> {
    match contents::read(pickle) {
        Ok(_) => Ok(()),
        Err(Refusal::Pickle(source)) => Err(source),
        Err(Refusal::Values(what)) => unreachable!("our own pickles have valid tensors: {what}"),
    }
}

impl PtFile {
    pub(super) fn open(path: &Path, file: SharedFile) -> Result<Self, CheckpointError> {
        let Archive { pickle, storages } = archive::open(path, &file)?;
        let PtContents { tensors: layouts, entries } =
            contents::read(&pickle).map_err(|refusal| refused(path, refusal))?;
        let mut infos = BTreeMap::new();
        for (name, layout) in &layouts {
            // A view can repeat a short storage indefinitely. No file we support does that, and
            // nothing is allocated that the file's size does not back.
            if layout.byte_len() as u64 > file.len() {
                return Err(CheckpointError::Oversized {
                    path: path.to_owned(),
                    tensor: name.clone(),
                    claimed: layout.byte_len() as u64,
                    file_len: file.len(),
                });
            }
            let (shape, dtype) = (layout.shape.clone(), layout.dtype);
            infos.insert(name.clone(), TensorInfo { shape, dtype });
        }
        Ok(Self { path: path.to_owned(), file, storages, layouts, entries, infos })
    }

    /// Replaces the name of each tensor by the one that `to` returns for it, and removes those for which
    /// it returns none. The new names must be distinct.
    #[cfg(feature = "sae")]
    pub(super) fn rename(&mut self, to: &dyn Fn(&str) -> Option<String>) {
        rename(&mut self.layouts, to);
        rename(&mut self.infos, to);
    }

    /// Returns the bytes of a tensor in row-major order, whatever its strides.
    pub(super) fn bytes(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let layout = &self.layouts[name];
        let read = || {
            let mut window = self.window(layout)?;
            let mut bytes = vec![0; window.left];
            window.read(&mut bytes)?;
            let mut bytes = if layout.is_contiguous() { bytes } else { layout.gather(&bytes) };
            layout.normalise(&mut bytes);
            Ok(bytes)
        };
        read().map_err(|source| self.unreadable(name, source))
    }

    /// Calls `with` on the bytes of a tensor in row-major order, one chunk at a time. Only one chunk is
    /// in memory if they are stored in that order.
    pub(super) fn for_each_chunk(
        &self,
        name: &str,
        with: &mut dyn FnMut(&[u8]),
    ) -> Result<(), CheckpointError> {
        let layout = &self.layouts[name];
        if !layout.is_contiguous() {
            self.bytes(name)?.chunks(CHUNK_BYTES).for_each(with);
            return Ok(());
        }
        let mut read = || {
            let mut window = self.window(layout)?;
            let mut buffer = vec![0; CHUNK_BYTES.min(window.left)];
            while window.left > 0 {
                let bytes = &mut buffer[..CHUNK_BYTES.min(window.left)];
                window.read(bytes)?;
                layout.normalise(bytes);
                with(bytes);
            }
            Ok(())
        };
        read().map_err(|source| self.unreadable(name, source))
    }

    /// Returns the part of a storage from a tensor's first number to its last.
    fn window(&self, layout: &Layout) -> io::Result<Window<'_>> {
        let key = layout.key.escape_debug();
        let entry = self.storages.get(&layout.key).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("storage `{key}` was not found"))
        })?;
        let size = layout.dtype.size();
        let available = entry.len / size as u64;
        if layout.end as u64 > available {
            let what = format!(
                "shape {:?} requires {} elements of storage `{key}`, but only {available} are available",
                layout.shape, layout.end
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
        }
        let left = (layout.end - layout.offset) * size;
        // The checksum is of the whole entry.
        let checksum = entry.checksum.filter(|_| left as u64 == entry.len);
        Ok(Window {
            file: &self.file,
            position: entry.start + (layout.offset * size) as u64,
            left,
            checksum: checksum.map(|expected| (expected, crc32fast::Hasher::new())),
        })
    }

    fn unreadable(&self, name: &str, source: io::Error) -> CheckpointError {
        let (path, tensor) = (self.path.clone(), name.to_owned());
        CheckpointError::UnreadableTensor { path, tensor, source }
    }
}

fn refused(path: &Path, refusal: Refusal) -> CheckpointError {
    let path = path.to_owned();
    match refusal {
        Refusal::Pickle(PickleError::ForbiddenGlobal { name, .. }) => {
            CheckpointError::PythonObject { path, name }
        }
        Refusal::Pickle(source) => CheckpointError::Pickle { path, source },
        Refusal::Values(what) => CheckpointError::Pt { path, what },
    }
}

/// A part of a storage that is read from start to end.
struct Window<'a> {
    file: &'a SharedFile,
    position: u64,
    /// The number of bytes that are not read yet.
    left: usize,
    /// The expected checksum, and that of the bytes so far.
    checksum: Option<(u32, crc32fast::Hasher)>,
}

impl Window<'_> {
    /// Fills `bytes` with the next ones. Checks the checksum at the end.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_at(self.position, bytes)?;
        self.position += bytes.len() as u64;
        self.left -= bytes.len();
        if let Some((expected, hasher)) = &mut self.checksum {
            hasher.update(bytes);
            if self.left == 0 && hasher.clone().finalize() != *expected {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "Invalid checksum"));
            }
        }
        Ok(())
    }
}
