use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use bytes::Bytes;

/// An open file of the file system, or one in memory.
#[derive(Debug)]
pub struct OpenFile(Content);

#[derive(Debug)]
enum Content {
    Disk(File),
    Memory(Cursor<Bytes>),
}

impl OpenFile {
    /// The size in bytes.
    pub(crate) fn len(&self) -> io::Result<u64> {
        match &self.0 {
            Content::Disk(file) => Ok(file.metadata()?.len()),
            Content::Memory(bytes) => Ok(bytes.get_ref().len() as u64),
        }
    }

    /// A second handle. One of a disk shares its position with the first.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match &self.0 {
            Content::Disk(file) => file.try_clone().map(Self::from),
            Content::Memory(bytes) => Ok(Self(Content::Memory(bytes.clone()))),
        }
    }

    /// The whole content: mapped into memory, or already there.
    pub(crate) fn map(&self) -> io::Result<Bytes> {
        match &self.0 {
            Content::Memory(bytes) => Ok(bytes.get_ref().clone()),
            Content::Disk(file) => {
                // SAFETY: the map is only read. As with every memory-mapped loader, nobody may change or
                // truncate the file meanwhile; our own writers never do, they rename a finished file
                // into place.
                #[allow(unsafe_code)]
                let map = unsafe { memmap2::Mmap::map(file) }?;
                Ok(Bytes::from_owner(map))
            }
        }
    }
}

impl From<File> for OpenFile {
    fn from(file: File) -> Self {
        Self(Content::Disk(file))
    }
}

impl From<Bytes> for OpenFile {
    fn from(bytes: Bytes) -> Self {
        Self(Content::Memory(Cursor::new(bytes)))
    }
}

impl Read for OpenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Content::Disk(file) => file.read(buffer),
            Content::Memory(bytes) => bytes.read(buffer),
        }
    }

    // A file knows how much is left, so that the buffer grows once.
    fn read_to_end(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.0 {
            Content::Disk(file) => file.read_to_end(buffer),
            Content::Memory(bytes) => bytes.read_to_end(buffer),
        }
    }
}

impl Seek for OpenFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.0 {
            Content::Disk(file) => file.seek(to),
            Content::Memory(bytes) => bytes.seek(to),
        }
    }
}
