use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::DashboardError;

/// Reads the file at `path`, which may have at most `max_bytes` bytes.
pub(crate) fn read_at_most(path: &Path, max_bytes: u64) -> Result<Vec<u8>, DashboardError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max_bytes + 1).read_to_end(&mut bytes));
    read.map_err(|source| DashboardError::io(path, source))?;
    if bytes.len() as u64 > max_bytes {
        let reason = format!("it has more than {max_bytes} bytes");
        return Err(DashboardError::InvalidDashboard { path: path.to_owned(), reason });
    }
    Ok(bytes)
}
