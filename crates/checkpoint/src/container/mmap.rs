//! Files as memory.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes};

use crate::error::CheckpointError;

/// A file mapped into memory; views of it live as long as they need to.
#[derive(Debug, Clone)]
pub(crate) struct Mapped {
    map: Arc<memmap2::Mmap>,
}

/// What `bytes::Bytes` holds while a tensor uses the map.
struct Owner(Arc<memmap2::Mmap>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Mapped {
    pub(crate) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let map = File::open(path).and_then(|file| {
            // SAFETY: the map is only read. That nobody changes or cuts the file meanwhile is what
            // every memory-mapped loader asks of its user; our own writers never do, they rename a
            // finished file into place.
            #[allow(unsafe_code)]
            unsafe {
                memmap2::Mmap::map(&file)
            }
        });
        let map = map.map_err(|source| CheckpointError::io(path, source))?;
        Ok(Self { map: Arc::new(map) })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// The bytes `from..to` without a copy, if they lie where float32 numbers may.
    pub(crate) fn view(&self, from: usize, to: usize) -> Option<Bytes> {
        let aligned = (self.map.as_ptr() as usize + from).is_multiple_of(align_of::<f32>());
        (aligned && cfg!(target_endian = "little")).then(|| {
            let bytes = bytes::Bytes::from_owner(Owner(Arc::clone(&self.map))).slice(from..to);
            Bytes::from_shared(bytes, AllocationProperty::File)
        })
    }
}
