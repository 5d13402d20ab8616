//! SHA-256 digests of files and texts.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::CorpusError;

/// Returns the SHA-256 of a file as hexadecimal digits.
///
/// # Errors
/// [`CorpusError::Io`].
pub fn file_sha256(path: &Path) -> Result<String, CorpusError> {
    let io = |source| CorpusError::io(path, source);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path).map_err(io)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(read) => hash.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io(error)),
        }
    }
}

/// Returns the combined SHA-256 of several files: the digest of their hexadecimal digests, one per
/// line, in this order. It does not depend on the files' names.
///
/// # Errors
/// [`CorpusError::Io`].
pub fn files_sha256(paths: &[PathBuf]) -> Result<String, CorpusError> {
    let mut hash = Sha256::new();
    for path in paths {
        hash.update(file_sha256(path)?);
        hash.update("\n");
    }
    Ok(hex(&hash.finalize()))
}

/// Returns the SHA-256 of a text or of bytes as hexadecimal digits.
pub fn text_sha256(text: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(text))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_other_programs() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "abc").unwrap();

        // FIPS 180-2, appendix B.1; the second value is from `sha256sum a | cut -c1-64 |
        // sha256sum`.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(file_sha256(&path).unwrap(), abc);
        assert_eq!(text_sha256("abc"), abc);
        assert_eq!(
            files_sha256(&[path]).unwrap(),
            "620a3df236da0af638c2a61c86951463731998f91dbb3ed629f47b9fe00ad118"
        );
    }
}
