//! Memory-mapped files.

use std::io;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes};

use crate::container::shared_file::SharedFile;

/// A file mapped into memory. The map lives as long as the last view of it.
#[derive(Debug, Clone)]
pub(crate) struct MappedFile {
    map: Arc<memmap2::Mmap>,
    /// The mapped file, for data that should not count towards the memory of the process.
    pub(crate) file: SharedFile,
}

/// The owner that `bytes::Bytes` keeps alive while a tensor uses the map.
struct Owner(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl MappedFile {
    pub(crate) fn new(file: SharedFile) -> io::Result<Self> {
        let map = file.with(|file| {
            // SAFETY: the map is only read. As with every memory-mapped loader, nobody may change or
            // truncate the file meanwhile; our own writers never do, they rename a finished file
            // into place.
            #[allow(unsafe_code)]
            unsafe {
                memmap2::Mmap::map(&*file)
            }
        })?;
        Ok(Self { map: Arc::new(map), file })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Returns the bytes `from..to` without a copy, if they are aligned for float32.
    pub(crate) fn view(&self, from: usize, to: usize) -> Option<Bytes> {
        let aligned = (self.map.as_ptr() as usize + from).is_multiple_of(align_of::<f32>());
        (aligned && cfg!(target_endian = "little")).then(|| {
            let bytes = bytes::Bytes::from_owner(Owner(Arc::clone(&self.map))).slice(from..to);
            Bytes::from_shared(bytes, AllocationProperty::File)
        })
    }
}
