//! Files of sparse features, written in batches.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use nanoscope_sae::SparseFeatures;
use serde_json::json;

use crate::error::CheckpointError;
use crate::write::{PendingFile, TemporaryFile};

/// Writes features to a safetensors file in compressed sparse row format, as expected by SciPy's
/// `csr_matrix((values, indices, indptr), shape)`:
///
/// - `indptr`: `[rows + 1]`, int64; row `r` has the entries `indptr[r]..indptr[r + 1]`
/// - `indices`: `[entries]`, int32, ascending in each row
/// - `values`: `[entries]`, float32
/// - `shape`: `[2]`, int64: rows and `d_sae`
///
/// The number of entries is not known beforehand, and each tensor must be contiguous. Therefore
/// `values` are written to a second temporary file, which is appended at the end; only one batch is in
/// memory. The file gets its name when it is complete.
#[derive(Debug)]
pub struct FeatureWriter {
    path: PathBuf,
    d_sae: usize,
    rows: usize,
    /// Eight bytes per row, much less than the activations themselves.
    indptr: Vec<i64>,
    file: BufWriter<PendingFile>,
    values: BufWriter<TemporaryFile>,
}

/// Bytes reserved for the header and its length; it has about 300.
const HEADER_BYTES: usize = 1024;

impl FeatureWriter {
    /// Creates a file at `path` for `rows` rows of `d_sae` features. A device or a FIFO at `path` gets
    /// the bytes at the end.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn create(path: &Path, rows: usize, d_sae: usize) -> Result<Self, CheckpointError> {
        let file = PendingFile::create(path)?;
        let values = BufWriter::new(file.scratch()?);
        let mut file = BufWriter::new(file);
        let layout = Layout { rows, entries: 0 };
        file.seek(SeekFrom::Start((HEADER_BYTES + layout.indices()) as u64))
            .map_err(|source| CheckpointError::io(path, source))?;
        Ok(Self { path: path.to_owned(), d_sae, rows, indptr: vec![0], file, values })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    ///
    /// # Panics
    /// If there are more rows than announced, or they belong to another SAE.
    pub fn push(&mut self, features: &SparseFeatures) -> Result<(), CheckpointError> {
        assert_eq!(features.d_sae(), self.d_sae, "features of another SAE");
        assert!(self.indptr.len() + features.rows() <= self.rows + 1, "more rows than announced");
        self.append(features).map_err(|source| CheckpointError::io(&self.path, source))
    }

    fn append(&mut self, features: &SparseFeatures) -> io::Result<()> {
        let (indptr, indices, values) = features.csr();
        let before = *self.indptr.last().expect("it begins with 0");
        self.indptr.extend(indptr[1..].iter().map(|&end| before + end as i64));
        for index in indices {
            self.file.write_all(&(*index as i32).to_le_bytes())?;
        }
        for value in values {
            self.values.write_all(&value.to_le_bytes())?;
        }
        Ok(())
    }

    /// Completes the file and renames it to its path.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    ///
    /// # Panics
    /// If there are fewer rows than announced.
    pub fn finish(self) -> Result<(), CheckpointError> {
        assert_eq!(self.indptr.len(), self.rows + 1, "fewer rows than announced");
        let path = self.path.clone();
        self.assemble().map_err(|source| CheckpointError::io(&path, source))?.finish()
    }

    fn assemble(self) -> io::Result<PendingFile> {
        let entries = *self.indptr.last().expect("it begins with 0") as usize;
        let mut file = self.file;
        let mut values = self.values.into_inner().map_err(io::IntoInnerError::into_error)?;
        values.rewind()?;
        io::copy(&mut values, &mut file)?;
        file.rewind()?;
        file.write_all(&Layout { rows: self.rows, entries }.header())?;
        for number in [self.rows as i64, self.d_sae as i64].iter().chain(&self.indptr) {
            file.write_all(&number.to_le_bytes())?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

/// The offsets of the tensors, relative to the end of the header.
struct Layout {
    rows: usize,
    entries: usize,
}

/// The offset of `indptr`, after `shape`.
const INDPTR: usize = 2 * size_of::<i64>();

impl Layout {
    fn indices(&self) -> usize {
        INDPTR + (self.rows + 1) * size_of::<i64>()
    }

    fn values(&self) -> usize {
        self.indices() + self.entries * size_of::<i32>()
    }

    /// Returns the header, preceded by its length and padded with spaces, as the format allows.
    fn header(&self) -> Vec<u8> {
        let end = self.values() + self.entries * size_of::<f32>();
        let tensor = |dtype: &str, shape: &[usize], from: usize, to: usize| json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, to] });
        let header = json!({
            "shape": tensor("I64", &[2], 0, INDPTR),
            "indptr": tensor("I64", &[self.rows + 1], INDPTR, self.indices()),
            "indices": tensor("I32", &[self.entries], self.indices(), self.values()),
            "values": tensor("F32", &[self.entries], self.values(), end),
        });
        let mut bytes = ((HEADER_BYTES - size_of::<u64>()) as u64).to_le_bytes().to_vec();
        bytes.extend(header.to_string().bytes());
        assert!(bytes.len() <= HEADER_BYTES, "the header is longer than the reserved space");
        bytes.resize(HEADER_BYTES, b' ');
        bytes
    }
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn rows_pushed_in_batches_are_one_csr_matrix() {
        let mut first = SparseFeatures::new(5);
        first.push_row([(1, 2.0), (4, -3.0)]);
        first.push_row([]);
        let mut second = SparseFeatures::new(5);
        second.push_row([(0, 0.5)]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("features.safetensors");

        let mut writer = FeatureWriter::create(&path, 3, 5).unwrap();
        writer.push(&first).unwrap();
        writer.push(&second).unwrap();
        assert!(!path.exists(), "it exists before it is complete");
        writer.finish().unwrap();

        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let ints = |name: &str| -> Vec<i64> {
            let (numbers, _) = file.tensor(name).unwrap().data().as_chunks::<8>();
            numbers.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
        };
        let indices = file.tensor("indices").unwrap().data().as_chunks::<4>().0;
        let values = file.tensor("values").unwrap().data().as_chunks::<4>().0;
        assert_eq!(ints("shape"), [3, 5]);
        assert_eq!(ints("indptr"), [0, 2, 2, 3]);
        assert_eq!(indices.iter().map(|&b| i32::from_le_bytes(b)).collect::<Vec<_>>(), [1, 4, 0]);
        assert_eq!(
            values.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<_>>(),
            [2.0, -3.0, 0.5]
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "temporary files remain");
    }
}
