//! A file of activations as an activation source.

use std::io;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{ActivationFile, CheckpointError, TensorFile};
use nanoscope_hooks::HookPoint;

use super::source::{ActivationBatch, ActivationSource};
use crate::CorpusError;

/// Activations at one hook point, read from a file one segment at a time. A `.pt` file is loaded
/// whole.
#[derive(Debug)]
pub struct FileActivations {
    file: ActivationFile,
    path: PathBuf,
    point: [(HookPoint, usize); 1],
    rows_per_segment: usize,
}

/// Maximum values in a segment: 4 MB of float32.
const MAX_SEGMENT_VALUES: usize = 1 << 20;
/// Minimum segments of a file that has at least this many rows, so that held-out ones can be spread over
/// all of it.
const MIN_SEGMENTS: usize = 160;

impl FileActivations {
    /// Opens the activations at `hook` in the file at `path`: a tensor `[…, d_in]`, or
    /// `[…, heads, d_head]` for [`HookPoint::Z`]. `tensor` names it if the file has several.
    ///
    /// # Errors
    /// [`CorpusError::NoActivations`], [`CorpusError::Checkpoint`].
    pub fn open(path: &Path, tensor: Option<&str>, hook: HookPoint) -> Result<Self, CorpusError> {
        let (tensor, shape) = shape(path, tensor)?;
        let together = if matches!(hook, HookPoint::Z(_)) && shape.len() > 2 { 2 } else { 1 };
        let width: usize = shape.iter().rev().take(together).product();
        let none = || CorpusError::NoActivations {
            path: path.to_owned(),
            tensor: tensor.clone(),
            shape: shape.clone(),
        };
        if width == 0 || shape.len() < 2 {
            return Err(none());
        }
        let file = if together == 2 {
            ActivationFile::open_flattening_heads(path, Some(&tensor), width)?
        } else {
            ActivationFile::open(path, Some(&tensor), width)?
        };
        if file.rows() == 0 {
            return Err(none());
        }
        let rows_per_segment = (MAX_SEGMENT_VALUES / width).min(file.rows() / MIN_SEGMENTS).max(1);
        Ok(Self { file, path: path.to_owned(), point: [(hook, width)], rows_per_segment })
    }
}

/// Returns the name and shape of the selected tensor.
fn shape(path: &Path, tensor: Option<&str>) -> Result<(String, Vec<usize>), CheckpointError> {
    let file = TensorFile::open(path)?;
    if let Some(name) = tensor {
        return Ok((name.to_owned(), file.info(name)?.shape.clone()));
    }
    let all: Vec<_> = file.tensors().map(|(name, info)| (name, &info.shape)).collect();
    match all[..] {
        [(name, shape)] => Ok((name.to_owned(), shape.clone())),
        _ => Err(CheckpointError::WhichTensor {
            path: path.to_owned(),
            tensors: all.iter().map(|(name, _)| (*name).to_owned()).collect(),
        }),
    }
}

impl ActivationSource for FileActivations {
    fn points(&self) -> &[(HookPoint, usize)] {
        &self.point
    }

    fn len(&self) -> u64 {
        self.file.rows().div_ceil(self.rows_per_segment) as u64
    }

    fn rows(&self, index: u64) -> usize {
        assert!(index < self.len(), "segment {index} is out of range");
        let from = index as usize * self.rows_per_segment;
        self.rows_per_segment.min(self.file.rows() - from)
    }

    fn segment(&mut self, index: u64) -> Result<ActivationBatch, CorpusError> {
        let len = self.rows(index);
        let from = index as usize * self.rows_per_segment;
        let numbers = self.file.read(from, from + len).map_err(|error| CorpusError::Io {
            path: self.path.clone(),
            source: io::Error::other(error),
        })?;
        Ok(ActivationBatch { len, at: vec![numbers] })
    }
}
