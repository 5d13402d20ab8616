//! Tensors by name, from a `.pt`, safetensors, `.npz` or GGUF file, read one at a time.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use pytorch_reader::{PickleValue, PytorchReader};

#[cfg(feature = "sae")]
use crate::container::WeightDtype;
use crate::container::mmap::Mapped;
use crate::container::transpose::Turned;
use crate::container::{Order, convert, gguf, npz, torch_zip};
use crate::error::CheckpointError;

/// A file of named tensors, opened but not yet read.
pub struct TensorFile {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Pt { reader: PytorchReader, value: PickleValue, infos: BTreeMap<String, TensorInfo> },
    Mapped(MappedTensors),
}

/// Tensors that lie in a file as they are.
#[derive(Debug)]
pub(crate) struct MappedTensors {
    /// A word for the format, for people.
    pub(crate) format: &'static str,
    pub(crate) mapped: Mapped,
    pub(crate) infos: BTreeMap<String, TensorInfo>,
    /// Where in the file each tensor's numbers are, row-major and little-endian.
    pub(crate) offsets: BTreeMap<String, (usize, usize)>,
    /// What a GGUF file says it is.
    pub(crate) architecture: Option<String>,
}

/// What a file says of one of its tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// The element type in the file.
    pub dtype: Dtype,
}

/// The element type of a tensor in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl Dtype {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    fn from_pt(dtype: pytorch_reader::DType) -> Option<Self> {
        use pytorch_reader::DType;
        Some(match dtype {
            DType::F64 => Self::F64,
            DType::F32 => Self::F32,
            DType::F16 => Self::F16,
            DType::BF16 => Self::BF16,
            DType::I64 => Self::I64,
            DType::I32 => Self::I32,
            DType::I16 => Self::I16,
            DType::I8 => Self::I8,
            DType::U8 => Self::U8,
            DType::Bool => Self::Bool,
            DType::U64 | DType::U32 | DType::U16 => return None,
        })
    }

    fn from_safetensors(dtype: safetensors::Dtype) -> Option<Self> {
        use safetensors::Dtype;
        Some(match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            _ => return None,
        })
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

impl TensorInfo {
    /// Numbers in the tensor; no less than the file's own size allows, so it does not overflow.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no numbers.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl TensorFile {
    /// Opens the file at `path`, recognising by its content what it is. No tensor is read yet.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read, is of no known format, is damaged, or
    /// mentions a Python object that has no business in a file of tensors.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let mut start = [0; START];
        let read = regular_file(path)
            .and_then(|mut file| read_start(&mut file, &mut start))
            .map_err(|source| CheckpointError::io(path, source))?;
        let start = &start[..read];
        let mapped = if looks_like_safetensors(start) {
            open_safetensors(path)?
        } else if npz::looks_like(start) {
            npz::open(path)?
        } else if gguf::looks_like(start) {
            gguf::open(path)?
        } else {
            return Self::open_pt(path);
        };
        Ok(Self { path: path.to_owned(), kind: Kind::Mapped(mapped) })
    }

    fn open_pt(path: &Path) -> Result<Self, CheckpointError> {
        let broken = |reason| CheckpointError::Pt { path: path.to_owned(), reason };
        torch_zip::check(path)?;
        let value = PytorchReader::read_pickle_data(path, None).map_err(broken)?;
        if let Some(name) = foreign_object(&value) {
            return Err(CheckpointError::PythonObject {
                path: path.to_owned(),
                name: name.to_owned(),
            });
        }
        let reader = PytorchReader::new(path).map_err(broken)?;
        let file_len = file_len(path)?;
        let mut infos = BTreeMap::new();
        for (name, tensor) in reader.tensors() {
            // A view can repeat a short storage without end; nothing that we read does, and what
            // the file cannot back is not allocated.
            if tensor.byte_len() as u64 > file_len {
                return Err(CheckpointError::Oversized {
                    path: path.to_owned(),
                    tensor: name.clone(),
                    claimed: tensor.byte_len() as u64,
                    file_len,
                });
            }
            if let Some(dtype) = Dtype::from_pt(tensor.dtype()) {
                infos.insert(name.clone(), TensorInfo { shape: tensor.shape().to_vec(), dtype });
            }
        }
        Ok(Self { path: path.to_owned(), kind: Kind::Pt { reader, value, infos } })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A word for the format, for people.
    pub fn format(&self) -> &'static str {
        match &self.kind {
            Kind::Pt { .. } => "PyTorch .pt",
            Kind::Mapped(mapped) => mapped.format,
        }
    }

    /// What a GGUF file says it is, its `general.architecture`.
    pub(crate) fn gguf_architecture(&self) -> Option<&str> {
        match &self.kind {
            Kind::Mapped(mapped) => mapped.architecture.as_deref(),
            Kind::Pt { .. } => None,
        }
    }

    fn infos(&self) -> &BTreeMap<String, TensorInfo> {
        match &self.kind {
            Kind::Pt { infos, .. } => infos,
            Kind::Mapped(mapped) => &mapped.infos,
        }
    }

    /// Every tensor's name, in alphabetical order, with what the file says of it.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &TensorInfo)> {
        self.infos().iter().map(|(name, info)| (name.as_str(), info))
    }

    /// What the file says of the tensor `name`.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`].
    pub fn info(&self, name: &str) -> Result<&TensorInfo, CheckpointError> {
        self.infos().get(name).ok_or_else(|| CheckpointError::MissingTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
        })
    }

    /// What the file says of the tensor `name`, whose shape there must be `expected`.
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

    /// What the dictionary at a `.pt` file's root holds under `key`, tensors as their type's name.
    pub(crate) fn value(&self, key: &str) -> Option<&PickleValue> {
        match &self.kind {
            Kind::Pt { value: PickleValue::Dict(entries), .. } => entries.get(key),
            _ => None,
        }
    }

    /// The tensor `name` as float32, which must have `expected` as its shape here; transposed on
    /// the way if the file has it the other way round.
    ///
    /// # Errors
    /// [`CheckpointError`] if the tensor is missing, has another shape, is not of numbers, cannot
    /// be read, or holds a number that is not finite. The last is not looked for where the data
    /// are mapped as they are (float32 in any file but a `.pt`): that would read what mapping leaves
    /// unread.
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
        let not_finite = |at| CheckpointError::NotFinite {
            path: self.path.clone(),
            tensor: name.to_owned(),
            at,
        };
        match &self.kind {
            Kind::Pt { .. } => convert::owned(self.pt_bytes(name)?, info.dtype, expected, order)
                .map_err(not_finite),
            Kind::Mapped(MappedTensors { mapped, offsets, .. }) => {
                let (from, to) = offsets[name];
                match (order, info.dtype, mapped.view(from, to)) {
                    // Nothing is read here: the pages come in as the weights are used.
                    (Order::AsStored, Dtype::F32, Some(view)) => Ok(TensorData::from_bytes(
                        view,
                        expected.to_vec(),
                        burn::tensor::DType::F32,
                    )),
                    (Order::AsStored, ..) => {
                        convert::borrowed(&mapped.bytes()[from..to], info.dtype, expected, order)
                            .map_err(not_finite)
                    }
                    (Order::Transposed, ..) => {
                        let shape = <[usize; 2]>::try_from(info.shape.as_slice());
                        let mut turned = Turned::new(shape.expect("only matrices are transposed"));
                        self.each_part(name, &mut |values| turned.push(values))?;
                        turned.finish(expected).map_err(not_finite)
                    }
                }
            }
        }
    }
}

impl TensorFile {
    /// The bytes of a tensor of a `.pt` file, in row-major order whatever its strides.
    fn pt_bytes(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        let Kind::Pt { reader, .. } = &self.kind else { unreachable!("the file is no .pt") };
        let tensor = reader.get(name).expect("infos lists the reader's tensors");
        tensor.read().map_err(|source| CheckpointError::UnreadableTensor {
            path: self.path.clone(),
            tensor: name.to_owned(),
            source,
        })
    }

    /// The whole numbers of the tensor `name`, which must have `len` of them, of 32 or 64 bits.
    ///
    /// # Errors
    /// [`CheckpointError`] if the tensor is missing, has another shape than `[len]` or another type,
    /// or cannot be read.
    pub fn integers(&self, name: &str, len: usize) -> Result<Vec<i64>, CheckpointError> {
        let dtype = self.info_of_shape(name, &[len])?.dtype;
        let bytes = match &self.kind {
            Kind::Pt { .. } => self.pt_bytes(name)?,
            Kind::Mapped(MappedTensors { offsets, .. }) => {
                let io = |source| CheckpointError::io(&self.path, source);
                let (from, to) = offsets[name];
                let mut file = File::open(&self.path).map_err(io)?;
                file.seek(io::SeekFrom::Start(from as u64)).map_err(io)?;
                let mut bytes = vec![0; to - from];
                file.read_exact(&mut bytes).map_err(io)?;
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

    /// Gives the numbers of the tensor `name` in the file's order, as float32, a part at a time.
    /// Of any but a `.pt` no more than a part is in memory.
    ///
    /// # Errors
    /// [`CheckpointError`] if the tensor is missing or cannot be read.
    pub(crate) fn each_part(
        &self,
        name: &str,
        part: &mut dyn FnMut(&[f32]),
    ) -> Result<(), CheckpointError> {
        let dtype = self.info(name)?.dtype;
        let mut give = |bytes: &[u8]| part(&convert::floats(bytes, dtype));
        match &self.kind {
            Kind::Pt { .. } => self.pt_bytes(name)?.chunks(AT_ONCE).for_each(give),
            Kind::Mapped(MappedTensors { offsets, .. }) => {
                // Read and not mapped: the pages of a map count as the process' memory.
                let io = |source| CheckpointError::io(&self.path, source);
                let (from, to) = offsets[name];
                let mut file = File::open(&self.path).map_err(io)?;
                file.seek(io::SeekFrom::Start(from as u64)).map_err(io)?;
                let mut buffer = vec![0; AT_ONCE.min(to - from)];
                let mut left = to - from;
                while left > 0 {
                    let bytes = &mut buffer[..AT_ONCE.min(left)];
                    file.read_exact(bytes).map_err(io)?;
                    give(bytes);
                    left -= bytes.len();
                }
            }
        }
        Ok(())
    }
}

#[cfg(feature = "sae")]
impl TensorFile {
    /// Whether it is a file of PyTorch's own, which can hold more than tensors.
    pub(crate) fn is_pt(&self) -> bool {
        matches!(self.kind, Kind::Pt { .. })
    }

    /// The lengths of the matrix `name`.
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

    /// The only number of the tensor `name`.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is missing, has more numbers or none, or is not finite.
    pub(crate) fn one(&self, name: &str) -> Result<f32, CheckpointError> {
        let info = self.info(name)?;
        if info.len() != 1 {
            self.info_of_shape(name, &[])?;
        }
        let data = self.read(name, &info.shape.clone(), Order::AsStored)?;
        Ok(data.iter::<f32>().next().expect("it has one number"))
    }

    /// As [`read`](Self::read), with the numbers rounded to `dtype`. Of any but a `.pt` no more
    /// than the result and a small part of the tensor is in memory, unless it is transposed.
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
        let not_finite = |at| CheckpointError::NotFinite {
            path: self.path.clone(),
            tensor: name.to_owned(),
            at,
        };
        let mut bytes = Vec::new();
        if order == Order::AsStored {
            let len = self.info_of_shape(name, expected)?.len();
            bytes.reserve_exact(len * dtype.burn().size());
            let (mut done, mut bad) = (0, None);
            self.each_part(name, &mut |values| {
                if let Err(at) = dtype.append(values, &mut bytes) {
                    bad = bad.or(Some(done + at));
                }
                done += values.len();
            })?;
            if let Some(at) = bad {
                return Err(not_finite(at));
            }
        } else {
            let data = self.read(name, expected, order)?;
            let values = data.as_slice::<f32>().expect("what is read is float32");
            bytes.reserve_exact(size_of_val(values) / 2);
            dtype.append(values, &mut bytes).map_err(not_finite)?;
        }
        Ok(TensorData::from_bytes_vec(bytes, expected.to_vec(), dtype.burn()))
    }

    /// The bytes of the file from which on to which the tensor `name` lies there as it is, row-major;
    /// none if it has to be read some other way.
    pub(crate) fn place(&self, name: &str) -> Option<(u64, u64)> {
        match &self.kind {
            Kind::Pt { .. } => None,
            Kind::Mapped(MappedTensors { offsets, .. }) => {
                offsets.get(name).map(|&(from, to)| (from as u64, to as u64))
            }
        }
    }
}

fn open_safetensors(path: &Path) -> Result<MappedTensors, CheckpointError> {
    let mapped = Mapped::open(path)?;
    let header = safetensors::SafeTensors::deserialize(mapped.bytes())
        .map_err(|reason| CheckpointError::Safetensors { path: path.to_owned(), reason })?;
    let start = mapped.bytes().as_ptr() as usize;
    let (mut infos, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for (name, view) in header.iter() {
        if let Some(dtype) = Dtype::from_safetensors(view.dtype()) {
            let from = view.data().as_ptr() as usize - start;
            infos.insert(name.to_owned(), TensorInfo { shape: view.shape().to_vec(), dtype });
            offsets.insert(name.to_owned(), (from, from + view.data().len()));
        }
    }
    Ok(MappedTensors { format: "safetensors", mapped, infos, offsets, architecture: None })
}

/// Bytes of a tensor that are converted at once; a multiple of every number's size.
const AT_ONCE: usize = 4 << 20;

/// Bytes at the start of a file that tell its format.
const START: usize = 256;

/// Opens the file at `path`. Not a folder, which cannot be read, and no pipe, which may never end.
fn regular_file(path: &Path) -> io::Result<File> {
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

/// A safetensors file starts with the length of its header and the header's brace; no zip, pickle
/// or tar has a brace there after a length that small.
fn looks_like_safetensors(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|length| {
        u64::from_le_bytes(*length) < (1 << 32)
            && !start.starts_with(b"PK")
            && length[5..] == [0, 0, 0]
    })
}

fn file_len(path: &Path) -> Result<u64, CheckpointError> {
    Ok(std::fs::metadata(path).map_err(|source| CheckpointError::io(path, source))?.len())
}

/// The name of a Python object in `value` that is not known to be harmless.
fn foreign_object(value: &PickleValue) -> Option<&str> {
    match value {
        PickleValue::Unsupported(name) if !torch_zip::is_harmless(name) => Some(name),
        PickleValue::List(items) => items.iter().find_map(foreign_object),
        PickleValue::Dict(entries) => entries.values().find_map(foreign_object),
        _ => None,
    }
}

impl CheckpointError {
    /// An IO error with the file it happened on.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
