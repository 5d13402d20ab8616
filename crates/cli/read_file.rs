use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// The largest file that is read into memory as a whole.
const MAX_BYTES: u64 = 256 << 20;

/// Reads a file, or what a pipe at `path` carries, into memory.
///
/// # Errors
/// If it cannot be read, or has more than 256 MiB.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("could not read {}", path.display()))?;
    if bytes.len() as u64 > MAX_BYTES {
        bail!("{} has more than {} MiB", path.display(), MAX_BYTES >> 20);
    }
    Ok(bytes)
}
