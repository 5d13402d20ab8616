//! Reading of the files of a tokenizer.

use std::io::{self, Read};
use std::path::Path;

use nanoscope_tokenizer::TokenizerError;

use crate::error::CheckpointError;
use crate::files;
use crate::python_json;
use crate::read::lfs;

/// Reads a file of at most [`MAX_FILE_BYTES`]; `None` if it does not exist.
pub(super) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, CheckpointError> {
    let io_error = |source| CheckpointError::Io { path: path.to_owned(), source };
    let file = match files::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io_error)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(CheckpointError::FileTooLarge { path: path.to_owned(), max: MAX_FILE_BYTES });
    }
    lfs::check(path, &bytes)?;
    Ok(Some(bytes))
}

/// The text of a file, without a byte order mark.
pub(super) fn utf8<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, CheckpointError> {
    let text = std::str::from_utf8(python_json::without_byte_order_mark(bytes));
    text.map_err(|error| CheckpointError::Io {
        path: path.to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

pub(super) fn invalid(path: &Path, source: TokenizerError) -> CheckpointError {
    CheckpointError::Tokenizer { path: path.to_owned(), source }
}

/// Maximum length of a tokenizer file in bytes; nanochat's with 65,536 tokens has less than a million.
const MAX_FILE_BYTES: u64 = 1 << 26;
