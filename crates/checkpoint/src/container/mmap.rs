//! Files as one piece of memory.

use std::io;

use burn::tensor::{AllocationProperty, Bytes};

use crate::container::shared_file::SharedFile;

/// A file mapped into memory, or one that is there. The map lives as long as the last view of it.
#[derive(Debug, Clone)]
pub(crate) struct MappedFile {
    map: bytes::Bytes,
    /// The mapped file, for data that should not count towards the memory of the process.
    pub(crate) file: SharedFile,
}

impl MappedFile {
    pub(crate) fn new(file: SharedFile) -> io::Result<Self> {
        let map = file.with(|file| file.map())?;
        Ok(Self { map, file })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns the bytes `from..to` without a copy, if they are aligned for float32.
    pub(crate) fn view(&self, from: usize, to: usize) -> Option<Bytes> {
        let aligned = (self.map.as_ptr() as usize + from).is_multiple_of(align_of::<f32>());
        (aligned && cfg!(target_endian = "little"))
            .then(|| Bytes::from_shared(self.map.slice(from..to), AllocationProperty::File))
    }
}
