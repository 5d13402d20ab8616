//! A file of named tensors, which are read one at a time.

use std::collections::BTreeMap;
#[cfg(feature = "sae")]
use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;

#[cfg(feature = "sae")]
use crate::container::WeightDtype;
use crate::container::convert::{self, Order};
use crate::container::dtype::Dtype;
#[cfg(feature = "sae")]
use crate::container::mapped_tensors::rename;
use crate::container::mapped_tensors::{MappedTensors, TensorInfo};
use crate::container::pt::{self, PlainValue, PtFile};
use crate::container::transpose::Transposer;
use crate::container::{gguf, npz, safetensors};
use crate::error::CheckpointError;

/// A file of named tensors, opened but not yet read.
pub struct TensorFile {
    path: PathBuf,
    contents: Contents,
}

enum Contents {
    Pt(PtFile),
    Mapped(MappedTensors),
}

impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TensorFile {
    /// Opens the file at `path`, recognising its format by its content. Reads no tensor yet.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read, has an unknown format, is damaged, or
    /// mentions a Python object that does not belong in a file of tensors.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let mut start = [0; START_BYTES];
        let read = open_regular_file(path)
            .and_then(|mut file| read_start(&mut file, &mut start))
            .map_err(|source| CheckpointError::io(path, source))?;
        let start = &start[..read];
        let contents = if safetensors::looks_like(start) {
            Contents::Mapped(safetensors::open(path)?)
        } else if npz::looks_like(start) {
            Contents::Mapped(npz::open(path)?)
        } else if gguf::looks_like(start) {
            Contents::Mapped(gguf::open(path)?)
        } else {
            Contents::Pt(PtFile::open(path)?)
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the format, for people.
    pub fn format(&self) -> &'static str {
        match &self.contents {
            Contents::Pt(_) => pt::FORMAT,
            Contents::Mapped(tensors) => tensors.format,
        }
    }

    /// The `general.architecture` of a GGUF file.
    pub(crate) fn gguf_architecture(&self) -> Option<&str> {
        match &self.contents {
            Contents::Mapped(tensors) => tensors.architecture.as_deref(),
            Contents::Pt(_) => None,
        }
    }

    fn infos(&self) -> &BTreeMap<String, TensorInfo> {
        match &self.contents {
            Contents::Pt(file) => &file.infos,
            Contents::Mapped(tensors) => &tensors.infos,
        }
    }

    /// Iterates over the tensors' names, in alphabetical order, with shape and element type.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.infos().iter().map(|(name, info)| (name.as_str(), info))
    }

    /// The shape and element type of the tensor `name`.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`].
    pub fn info(&self, name: &str) -> Result<&TensorInfo, CheckpointError> {
        self.infos().get(name).ok_or_else(|| CheckpointError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }

    /// The shape and element type of the tensor `name`, whose shape in the file must be `expected`.
    pub(crate) fn info_of_shape(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<&TensorInfo, CheckpointError> {
        let info = self.info(name)?;
        if info.shape == expected {
            return Ok(info);
        }
        Err(CheckpointError::ShapeMismatch {
            path: self.path.clone(),
            tensor: name.to_owned(),
            expected: expected.to_vec(),
            found: info.shape.clone(),
        })
    }

    /// The value under `key` in the root dictionary of a `.pt` file. A tensor is represented by the
    /// name of its type.
    pub(crate) fn value(&self, key: &str) -> Option<&PlainValue> {
        match &self.contents {
            Contents::Pt(file) => file.entries.get(key),
            Contents::Mapped(_) => None,
        }
    }

    /// Reads the tensor `name` as float32, in the shape `expected`. With [`Order::Transposed`] the
    /// file has the transpose of `expected`.
    ///
    /// # Errors
    /// [`CheckpointError`] if the tensor is missing, has another shape, is not numeric, cannot be
    /// read, or contains a number that is not finite. That last check is skipped for data mapped
    /// without conversion (float32 in any format except `.pt`), because it would read pages that
    /// mapping leaves unread.
    pub fn read(
        &self,
        name: &str,
        expected: &[usize],
        order: Order,
    ) -> Result<TensorData, CheckpointError> {
        let in_file: Vec<usize> = match order {
            Order::AsStored => expected.to_vec(),
            Order::Transposed => expected.iter().rev().copied().collect(),
        };
        let info = self.info_of_shape(name, &in_file)?;
        let not_finite = |at| self.not_finite(name, at);
        if order == Order::Transposed {
            let shape = <[usize; 2]>::try_from(info.shape.as_slice());
            let mut transposer = Transposer::new(shape.expect("only matrices are transposed"));
            self.for_each_chunk(name, &mut |values| transposer.push(values))?;
            return transposer.finish(expected).map_err(not_finite);
        }
        match &self.contents {
            Contents::Pt(file) => {
                convert::owned(file.bytes(name)?, info.dtype, expected, order).map_err(not_finite)
            }
            Contents::Mapped(MappedTensors { file, offsets, .. }) => {
                let (from, to) = offsets[name];
                match (info.dtype, file.view(from, to)) {
                    // Nothing is read here: pages are loaded when the weights are used.
                    (Dtype::F32, Some(view)) => Ok(TensorData::from_bytes(
                        view,
                        expected.to_vec(),
                        burn::tensor::DType::F32,
                    )),
                    _ => convert::borrowed(&file.bytes()[from..to], info.dtype, expected, order)
                        .map_err(not_finite),
                }
            }
        }
    }

    fn not_finite(&self, name: &str, at: usize) -> CheckpointError {
        CheckpointError::NotFinite { path: self.path.clone(), tensor: name.to_owned(), at }
    }

    /// Reads the integers of the tensor `name`, of shape `[len]` and 32 or 64 bits each.
    ///
    /// # Errors
    /// [`CheckpointError`] if the tensor is missing, has another shape or element type, or cannot
    /// be read.
    pub fn integers(&self, name: &str, len: usize) -> Result<Vec<i64>, CheckpointError> {
        let dtype = self.info_of_shape(name, &[len])?.dtype;
        let bytes = match &self.contents {
            Contents::Pt(file) => file.bytes(name)?,
            Contents::Mapped(tensors) => {
                let (from, to) = tensors.offsets[name];
                let mut bytes = vec![0; to - from];
                self.open_at(from)
                    .and_then(|mut file| file.read_exact(&mut bytes))
                    .map_err(|source| CheckpointError::io(&self.path, source))?;
                bytes
            }
        };
        match dtype {
            Dtype::I64 => Ok(bytes.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect()),
            Dtype::I32 => {
                Ok(bytes.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect())
            }
            found => Err(CheckpointError::NotIntegers {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found,
            }),
        }
    }

    /// Calls `with` on the numbers of the tensor `name` as float32, in the file's order, one chunk at
    /// a time. Only one chunk is in memory, except for a tensor of a `.pt` file that is stored in another
    /// order.
    ///
    /// # Errors
    /// [`CheckpointError`] if the tensor is missing or cannot be read.
    pub(crate) fn for_each_chunk(
        &self,
        name: &str,
        with: &mut dyn FnMut(&[f32]),
    ) -> Result<(), CheckpointError> {
        let dtype = self.info(name)?.dtype;
        let mut convert = |bytes: &[u8]| with(&convert::floats(bytes, dtype));
        match &self.contents {
            Contents::Pt(file) => file.for_each_chunk(name, &mut convert)?,
            Contents::Mapped(tensors) => {
                // Read rather than mapped: mapped pages count towards the memory of the process.
                let io = |source| CheckpointError::io(&self.path, source);
                let (from, to) = tensors.offsets[name];
                let mut file = self.open_at(from).map_err(io)?;
                let mut left = to - from;
                let mut buffer = vec![0; CHUNK_BYTES.min(left)];
                while left > 0 {
                    let bytes = &mut buffer[..CHUNK_BYTES.min(left)];
                    file.read_exact(bytes).map_err(io)?;
                    convert(bytes);
                    left -= bytes.len();
                }
            }
        }
        Ok(())
    }

    fn open_at(&self, offset: usize) -> io::Result<File> {
        let mut file = File::open(&self.path)?;
        file.seek(io::SeekFrom::Start(offset as u64))?;
        Ok(file)
    }
}

#[cfg(feature = "sae")]
impl TensorFile {
    /// True if PyTorch wrote the file, so that it can contain more than tensors.
    pub(crate) fn is_pt(&self) -> bool {
        matches!(self.contents, Contents::Pt(_))
    }

    /// Removes the parts of the names that wrappers of modules add, `_orig_mod` (`torch.compile`) and
    /// `module` (`DataParallel`, `DistributedDataParallel`), unless two tensors would have the same
    /// name. Returns the file, and whether a name changed.
    pub(crate) fn without_wrappers(mut self) -> (Self, bool) {
        let names = || self.infos().keys();
        let distinct: BTreeSet<String> = names().map(|name| without_wrappers(name)).collect();
        let is_changed = names().any(|name| !distinct.contains(name));
        if !is_changed || distinct.len() != self.infos().len() {
            return (self, false);
        }
        match &mut self.contents {
            Contents::Pt(file) => file.rename(&without_wrappers),
            Contents::Mapped(tensors) => {
                rename(&mut tensors.infos, &without_wrappers);
                rename(&mut tensors.offsets, &without_wrappers);
            }
        }
        (self, true)
    }

    /// Iterates over the entries of the root dictionary of a `.pt` file.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &PlainValue)> {
        let entries = match &self.contents {
            Contents::Pt(file) => Some(&file.entries),
            Contents::Mapped(_) => None,
        };
        entries.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// The shape of the matrix `name`.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is missing or has another number of dimensions.
    pub(crate) fn matrix_shape(&self, name: &str) -> Result<[usize; 2], CheckpointError> {
        let found = &self.info(name)?.shape;
        let shape = <[usize; 2]>::try_from(found.as_slice());
        shape.map_err(|_| CheckpointError::NotAMatrix {
            path: self.path.clone(),
            tensor: name.to_owned(),
            found: found.clone(),
        })
    }

    /// Reads the only number of the tensor `name`.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is missing, does not have exactly one number, or is not finite.
    pub(crate) fn read_scalar(&self, name: &str) -> Result<f32, CheckpointError> {
        let info = self.info(name)?;
        if info.len() != 1 {
            self.info_of_shape(name, &[])?;
        }
        let data = self.read(name, &info.shape.clone(), Order::AsStored)?;
        Ok(data.iter::<f32>().next().expect("it has one number"))
    }

    /// As [`read`](Self::read), with the numbers rounded to `dtype`. Only the result and one chunk
    /// are in memory, except for a transposed tensor.
    ///
    /// # Errors
    /// As [`read`](Self::read); also if a number does not fit `dtype`.
    pub(crate) fn read_as(
        &self,
        name: &str,
        expected: &[usize],
        order: Order,
        dtype: WeightDtype,
    ) -> Result<TensorData, CheckpointError> {
        if dtype == WeightDtype::F32 {
            return self.read(name, expected, order);
        }
        let mut bytes = Vec::new();
        if order == Order::AsStored {
            let len = self.info_of_shape(name, expected)?.len();
            bytes.reserve_exact(len * dtype.burn().size());
            let (mut done, mut bad) = (0, None);
            self.for_each_chunk(name, &mut |values| {
                if let Err(at) = dtype.append(values, &mut bytes) {
                    bad = bad.or(Some(done + at));
                }
                done += values.len();
            })?;
            if let Some(at) = bad {
                return Err(self.not_finite(name, at));
            }
        } else {
            let data = self.read(name, expected, order)?;
            let values = data.as_slice::<f32>().expect("tensors are read as float32");
            bytes.reserve_exact(size_of_val(values) / 2);
            dtype.append(values, &mut bytes).map_err(|at| self.not_finite(name, at))?;
        }
        Ok(TensorData::from_bytes_vec(bytes, expected.to_vec(), dtype.burn()))
    }

    /// The first byte of the tensor `name` in the file and the one after its last, if it is stored
    /// there contiguously and row-major; otherwise `None`.
    pub(crate) fn byte_range(&self, name: &str) -> Option<(u64, u64)> {
        match &self.contents {
            Contents::Pt(_) => None,
            Contents::Mapped(tensors) => {
                tensors.offsets.get(name).map(|&(from, to)| (from as u64, to as u64))
            }
        }
    }
}

#[cfg(feature = "sae")]
fn without_wrappers(name: &str) -> String {
    let parts = name.split('.').filter(|part| !["_orig_mod", "module"].contains(part));
    parts.collect::<Vec<_>>().join(".")
}

/// Bytes of a tensor converted at a time; a multiple of every element size.
const CHUNK_BYTES: usize = 4 << 20;

/// Bytes at the start of a file that identify its format.
const START_BYTES: usize = 256;

/// Opens the file at `path`. Refuses folders, which cannot be read, and pipes, which may never end.
fn open_regular_file(path: &Path) -> io::Result<File> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    File::open(path)
}

fn read_start(file: &mut File, start: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < start.len() {
        match file.read(&mut start[read..])? {
            0 => break,
            n => read += n,
        }
    }
    Ok(read)
}
