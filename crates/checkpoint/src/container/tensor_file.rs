//! A file of named tensors, which are read one at a time.

use std::collections::BTreeMap;
#[cfg(feature = "sae")]
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;

use crate::container::convert::{self, Order};
use crate::container::dtype::Dtype;
use crate::container::finite::first_not_finite;
#[cfg(feature = "sae")]
use crate::container::mapped_tensors::rename;
use crate::container::mapped_tensors::{MappedTensors, TensorInfo};
use crate::container::mmap::MappedFile;
use crate::container::pt::{self, PlainValue, PtFile};
use crate::container::scales::scale_of;
use crate::container::shared_file::SharedFile;
use crate::container::transpose::Transposer;
use crate::container::{gguf, npy, npz, safetensors};
use crate::error::CheckpointError;
use crate::read::lfs;

/// A file of named tensors, opened but not yet read.
#[derive(Clone)]
pub struct TensorFile {
    path: PathBuf,
    contents: Contents,
}

#[derive(Clone)]
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
        let io = |source| CheckpointError::io(path, source);
        // Opened once: a second time the path might lead to another file.
        let file = SharedFile::open(path).map_err(io)?;
        let start = file.start(START_BYTES).map_err(io)?;
        lfs::check(path, &start)?;
        let map = || MappedFile::new(file.clone()).map_err(io);
        let contents = if safetensors::looks_like(&start) {
            Contents::Mapped(safetensors::open(path, map()?)?)
        } else if npz::looks_like(&start) {
            Contents::Mapped(npz::open(path, map()?)?)
        } else if npy::looks_like(&start) {
            Contents::Mapped(npy::open(path, map()?)?)
        } else if gguf::looks_like(&start) {
            Contents::Mapped(gguf::open(path, map()?)?)
        } else {
            Contents::Pt(PtFile::open(path, file)?)
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

    /// The shape and element type of the tensor `name`, even if that type is not read.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`].
    pub fn info(&self, name: &str) -> Result<&TensorInfo, CheckpointError> {
        self.infos().get(name).ok_or_else(|| CheckpointError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }

    /// As [`info`](Self::info), for a tensor that will be read.
    fn readable(&self, name: &str) -> Result<&TensorInfo, CheckpointError> {
        let info = self.info(name)?;
        let (path, tensor) = (|| self.path.clone(), || name.to_owned());
        if let Dtype::Unread(dtype) = info.dtype {
            return Err(CheckpointError::UnreadDtype { path: path(), tensor: tensor(), dtype });
        }
        if info.dtype.is_float8()
            && let Some(scale) = scale_of(name, self.tensors().map(|(name, _)| name))
        {
            let scale = scale.to_owned();
            return Err(CheckpointError::ScaledFloat8 { path: path(), tensor: tensor(), scale });
        }
        Ok(info)
    }

    /// The shape and element type of the tensor `name`, whose shape in the file must be `expected`, and
    /// whose type must be one that is read.
    pub(crate) fn info_of_shape(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<&TensorInfo, CheckpointError> {
        let info = self.readable(name)?;
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
    /// [`CheckpointError`] if the tensor is missing, has another shape, has a type that is not read,
    /// cannot be read, or contains a number that is not finite.
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
                convert::owned(file.bytes(name)?, info.dtype, expected).map_err(not_finite)
            }
            Contents::Mapped(MappedTensors { file, offsets, .. }) => {
                if info.dtype == Dtype::F32
                    && let Some(mapped) = self.mapped(name, expected)?
                {
                    return Ok(mapped);
                }
                let (from, to) = offsets[name];
                convert::borrowed(&file.bytes()[from..to], info.dtype, expected).map_err(not_finite)
            }
        }
    }

    /// The tensor `name`, whose shape in the file must be `shape`, as the file has it: mapped, in its own
    /// type. `None` if it cannot be mapped, or is not float32, bfloat16 or float16.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(super) fn mapped(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<Option<TensorData>, CheckpointError> {
        let info = self.info_of_shape(name, shape)?;
        let Some(dtype) = info.dtype.weight() else {
            return Ok(None);
        };
        let Contents::Mapped(MappedTensors { file, offsets, .. }) = &self.contents else {
            return Ok(None);
        };
        let (from, to) = offsets[name];
        let Some(view) = file.view(from, to) else {
            return Ok(None);
        };
        self.check_finite(name)?;
        Ok(Some(TensorData::from_bytes(view, shape.to_vec(), dtype.burn())))
    }

    /// Checks that every number of the tensor `name` is finite.
    fn check_finite(&self, name: &str) -> Result<(), CheckpointError> {
        let (mut done, mut bad) = (0, None);
        self.for_each_chunk(name, &mut |values| {
            if bad.is_none() {
                bad = first_not_finite(values).map(|at| done + at);
            }
            done += values.len();
        })?;
        bad.map_or(Ok(()), |at| Err(self.not_finite(name, at)))
    }

    pub(crate) fn not_finite(&self, name: &str, at: usize) -> CheckpointError {
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
                let read = tensors.file.file.read_at(from as u64, &mut bytes);
                read.map_err(|source| CheckpointError::io(&self.path, source))?;
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
        let dtype = self.readable(name)?.dtype;
        let mut convert = |bytes: &[u8]| match bytemuck::try_cast_slice(bytes) {
            Ok(values) if dtype == Dtype::F32 && cfg!(target_endian = "little") => with(values),
            _ => with(&convert::floats(bytes, dtype)),
        };
        match &self.contents {
            Contents::Pt(file) => file.for_each_chunk(name, &mut convert)?,
            Contents::Mapped(tensors) => {
                // Read rather than mapped: mapped pages count towards the memory of the process.
                let (mut from, to) = tensors.offsets[name];
                let mut buffer = vec![0_u32; CHUNK_BYTES.min(to - from).div_ceil(size_of::<u32>())];
                let buffer: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer);
                while from < to {
                    let len = CHUNK_BYTES.min(to - from);
                    let bytes = &mut buffer[..len];
                    let read = tensors.file.file.read_at(from as u64, bytes);
                    read.map_err(|source| CheckpointError::io(&self.path, source))?;
                    convert(bytes);
                    from += len;
                }
            }
        }
        Ok(())
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
        self.rename(&|name| Some(without_wrappers(name)));
        (self, true)
    }

    /// The file with only the tensors in the dictionary `key`, by their names there; none if that has no
    /// tensors.
    pub(crate) fn within(&self, key: &str) -> Option<Self> {
        let within = |name: &str| name.strip_prefix(key)?.strip_prefix('.').map(str::to_owned);
        self.infos().keys().find_map(|name| within(name))?;
        let mut inner = self.clone();
        inner.rename(&within);
        Some(inner)
    }

    fn rename(&mut self, to: &dyn Fn(&str) -> Option<String>) {
        match &mut self.contents {
            Contents::Pt(file) => file.rename(to),
            Contents::Mapped(tensors) => {
                rename(&mut tensors.infos, to);
                rename(&mut tensors.offsets, to);
            }
        }
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

    /// The file that has the numbers of the tensor `name` one after the other, row-major, and the place
    /// of the first one in bytes; `None` if the file has them in another form.
    #[cfg(feature = "sae")]
    pub(crate) fn numbers_in_file(&self, name: &str) -> Option<(SharedFile, u64)> {
        match &self.contents {
            Contents::Pt(_) => None,
            Contents::Mapped(tensors) => {
                tensors.offsets.get(name).map(|&(from, _)| (tensors.file.file.clone(), from as u64))
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
const START_BYTES: u64 = 256;
