//! Files of activations by other tools, read in parts.

use std::path::{Path, PathBuf};

use crate::container::finite::first_not_finite;
use crate::container::shared_file::SharedFile;
use crate::container::{Dtype, TensorFile, convert};
use crate::error::CheckpointError;

/// A tensor of activations in a file, `[…, d_in]`, read by rows.
///
/// Only the requested rows are in memory if the file stores tensors contiguously (safetensors, `.npy`,
/// `.npz`). A `.pt` file is read completely.
#[derive(Debug)]
pub struct ActivationFile {
    path: PathBuf,
    key: String,
    shape: Vec<usize>,
    rows: usize,
    d_in: usize,
    numbers: Numbers,
}

#[derive(Debug)]
enum Numbers {
    InFile { file: SharedFile, from: u64, dtype: Dtype },
    InMemory(Vec<f32>),
}

/// The treatment of a tensor with a dimension for the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heads {
    /// The last dimension alone is the width.
    Apart,
    /// The last two together may be.
    Flattened,
}

impl ActivationFile {
    /// Opens the activations of width `d_in` under `key` in the file at `path`, `[…, d_in]`. Without a
    /// key, the file must have only one tensor.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read, or the tensor is missing or ambiguous;
    /// [`CheckpointError::ActivationWidth`] if its rows have another width, [`CheckpointError::Heads`] if
    /// its last two dimensions multiply to `d_in`.
    pub fn open(path: &Path, key: Option<&str>, d_in: usize) -> Result<Self, CheckpointError> {
        Self::open_as(path, key, d_in, Heads::Apart)
    }

    /// As [`open`](Self::open), of a tensor whose last two dimensions may also multiply to `d_in`, as at
    /// `hook_z` (`[…, heads, d_head]`). The heads of an activation are concatenated.
    ///
    /// # Errors
    /// As [`open`](Self::open), without [`CheckpointError::Heads`].
    pub fn open_flattening_heads(
        path: &Path,
        key: Option<&str>,
        d_in: usize,
    ) -> Result<Self, CheckpointError> {
        Self::open_as(path, key, d_in, Heads::Flattened)
    }

    fn open_as(
        path: &Path,
        key: Option<&str>,
        d_in: usize,
        heads: Heads,
    ) -> Result<Self, CheckpointError> {
        let file = TensorFile::open(path)?;
        let key = match key {
            Some(key) => key.to_owned(),
            None => only_tensor(&file)?,
        };
        let shape = file.info(&key)?.shape.clone();
        let info = file.info_of_shape(&key, &shape)?;
        let (dtype, len) = (info.dtype, info.len());
        let width_is = |n: usize| {
            shape.len() > n && shape[shape.len() - n..].iter().product::<usize>() == d_in
        };
        let by_head = width_is(2) && !width_is(1);
        if by_head && heads == Heads::Apart {
            let (path, tensor) = (path.to_owned(), key);
            return Err(CheckpointError::Heads { path, tensor, found: shape, d_in });
        }
        if !(width_is(1) || by_head || shape == [d_in]) {
            let (path, tensor) = (path.to_owned(), key);
            return Err(CheckpointError::ActivationWidth { path, tensor, found: shape, d_in });
        }
        let numbers = match file.numbers_in_file(&key) {
            Some((file, from)) => Numbers::InFile { file, from, dtype },
            None => {
                let mut values = Vec::with_capacity(len);
                file.for_each_chunk(&key, &mut |part| values.extend_from_slice(part))?;
                Numbers::InMemory(values)
            }
        };
        Ok(Self { path: path.to_owned(), key, shape, rows: len / d_in, d_in, numbers })
    }

    /// The number of activations.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The shape of the tensor in the file.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The name of the tensor.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Reads the activations `from..to`, row-major, `[to - from, d_in]`.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::NotFinite`] with the index of a number that is not
    /// finite.
    ///
    /// # Panics
    /// If the rows are out of range.
    pub fn read(&mut self, from: usize, to: usize) -> Result<Vec<f32>, CheckpointError> {
        assert!(from <= to && to <= self.rows, "rows {from}..{to} of {}", self.rows);
        let (first, last) = (from * self.d_in, to * self.d_in);
        let values = match &self.numbers {
            Numbers::InMemory(values) => values[first..last].to_vec(),
            Numbers::InFile { file, from, dtype } => {
                let mut bytes = vec![0; (last - first) * dtype.size()];
                let start = *from + (first * dtype.size()) as u64;
                file.read_at(start, &mut bytes)
                    .map_err(|source| CheckpointError::io(&self.path, source))?;
                convert::floats(&bytes, *dtype)
            }
        };
        match first_not_finite(&values) {
            Some(at) => Err(CheckpointError::NotFinite {
                path: self.path.clone(),
                tensor: self.key.clone(),
                at: first + at,
            }),
            None => Ok(values),
        }
    }
}

fn only_tensor(file: &TensorFile) -> Result<String, CheckpointError> {
    let names: Vec<String> = file.tensors().map(|(name, _)| name.to_owned()).collect();
    match names.as_slice() {
        [name] => Ok(name.clone()),
        _ => Err(CheckpointError::WhichTensor { path: file.path().to_owned(), tensors: names }),
    }
}
