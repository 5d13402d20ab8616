//! The identity of an SAE's file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use sha2::{Digest, Sha256};

/// Number and length of the blocks that are read. A file of up to 16 MiB is read as a whole.
const BLOCKS: u64 = 1024;
const BLOCK_BYTES: u64 = 16 << 10;

/// 16 hexadecimal digits that identify the content of the file at `path`: of the SHA-256 over its
/// length and evenly spaced blocks of it. The name, the folder and the tool that reads it do not matter.
pub(super) fn sae_identity(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    let mut hash = Sha256::new_with_prefix(len.to_le_bytes());
    if len <= BLOCKS * BLOCK_BYTES {
        io::copy(&mut file, &mut Hasher(&mut hash))?;
    } else {
        let mut block = vec![0; BLOCK_BYTES as usize];
        for at in 0..BLOCKS {
            // The last block ends with the file.
            let start = u128::from(len - BLOCK_BYTES) * u128::from(at) / u128::from(BLOCKS - 1);
            file.seek(SeekFrom::Start(start as u64))?;
            file.read_exact(&mut block)?;
            hash.update(&block);
        }
    }
    let first = hash.finalize().first_chunk().copied().map(u64::from_be_bytes);
    Ok(format!("{:016x}", first.expect("a SHA-256 has 32 bytes")))
}

struct Hasher<'h>(&'h mut Sha256);

impl io::Write for Hasher<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_has_its_identity_from_its_content_alone() {
        let dir = tempfile::tempdir().unwrap();
        let identity = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            sae_identity(&path).unwrap()
        };
        let large = vec![7; (BLOCKS * BLOCK_BYTES) as usize + 3];
        let mut changed = large.clone();
        *changed.last_mut().unwrap() = 8;

        assert_eq!(identity("a", b"weights"), identity("b", b"weights"));
        assert_ne!(identity("a", b"weights"), identity("a", b"weight"));
        assert_eq!(identity("a", &large), identity("b", &large));
        assert_ne!(identity("a", &large), identity("a", &changed));
        assert_ne!(identity("a", &large), identity("a", &large[1..]));
        assert_eq!(identity("a", b"").len(), 16);
    }
}
