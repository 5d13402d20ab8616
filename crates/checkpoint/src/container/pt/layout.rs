//! The layouts of tensors in their storages.

use crate::container::dtype::Dtype;
use crate::pickle::{Pickle, Value, ValueId};

/// The functions that rebuild a tensor, with the least number of their arguments. The first four are
/// the storage, offset, shape and stride; the seventh of the third version is the element type. An
/// argument more is the metadata.
pub(super) const REBUILD: [(&str, usize); 3] =
    [("torch._utils._rebuild_tensor", 4), ("torch._utils._rebuild_tensor_v2", 6), (REBUILD_V3, 7)];
const REBUILD_V3: &str = "torch._utils._rebuild_tensor_v3";

/// A storage that a pickle refers to.
pub(super) struct Storage {
    /// The name of its entry in the zip.
    pub(super) key: String,
    /// `None` for a storage of bytes.
    pub(super) dtype: Option<Dtype>,
    /// The number of elements that tensors may use.
    len: usize,
    /// The first of them.
    offset: usize,
}

/// The place of a tensor's numbers, in elements. All of its sums and products fit `usize`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The name of the storage's entry in the zip.
    pub(super) key: String,
    pub(super) dtype: Dtype,
    /// The place of the first number in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
    /// The place after the last number in the storage.
    pub(super) end: usize,
    /// True if the tensor has the negatives of the stored numbers.
    negative: bool,
}

impl Storage {
    /// Reads the persistent id `("storage", type, key, location, length[, view])`.
    pub(super) fn read(pickle: &Pickle<'_>, id: ValueId) -> Result<Self, String> {
        let Value::Tuple(fields) = pickle.get(id) else {
            return Err(format!("a persistent id is {}, not a tuple", pickle.get(id).kind()));
        };
        let [tag, storage_type, key, _location, len, view @ ..] = &fields[..] else {
            return Err(format!("a storage has {} fields, expected at least 5", fields.len()));
        };
        if *pickle.get(*tag) != Value::Text("storage") {
            return Err("a persistent id is not of a storage".to_owned());
        }
        let name = match pickle.get(*storage_type) {
            Value::Global(name) => {
                let name = name.strip_prefix("torch.").unwrap_or(name);
                name.strip_prefix("storage.").unwrap_or(name)
            }
            Value::Text(name) => name,
            other => return Err(format!("the type of a storage is {}", other.kind())),
        };
        let dtype = match name {
            "UntypedStorage" => None,
            name => Some(storage_dtype(name)),
        };
        let key = match pickle.get(*key) {
            Value::Text(key) => (*key).to_owned(),
            Value::Int(key) => key.to_string(),
            other => return Err(format!("the key of a storage is {}", other.kind())),
        };
        let mut len = size(pickle, *len, "storage length")?;
        if len.checked_mul(dtype.map_or(1, |dtype| dtype.size().max(1))).is_none() {
            return Err(format!("the length of storage `{key}` in bytes overflows"));
        }
        let mut offset = 0;
        match view.first().map(|view| pickle.get(*view)) {
            None | Some(Value::None) => {}
            // Files before PyTorch 1.6 describe a view of another storage: (key, offset, length).
            Some(Value::Tuple(view)) if view.len() == 3 && dtype.is_some() => {
                offset = size(pickle, view[1], "view offset")?;
                let end = offset.checked_add(size(pickle, view[2], "view length")?);
                let inside = end.filter(|end| *end <= len);
                len = inside.ok_or_else(|| format!("a view extends past storage `{key}`"))?;
            }
            Some(other) => return Err(format!("the view of a storage is {}", other.kind())),
        }
        Ok(Self { key, dtype, len, offset })
    }
}

impl Layout {
    /// Reads the arguments of `function`, which is one of [`REBUILD`] and has at least `arity`.
    pub(super) fn read(
        pickle: &Pickle<'_>,
        function: &str,
        args: &[ValueId],
        arity: usize,
    ) -> Result<Self, String> {
        if args.len() < arity {
            let found = args.len();
            return Err(format!("{function} has {found} arguments, expected at least {arity}"));
        }
        let Value::Persistent(id) = pickle.get(args[0]) else {
            let found = pickle.get(args[0]).kind();
            return Err(format!("a tensor is made of {found}, expected a storage"));
        };
        let storage = Storage::read(pickle, *id)?;
        let offset = size(pickle, args[1], "offset")?;
        let shape = sizes(pickle, args[2], "shape")?;
        let stride = sizes(pickle, args[3], "stride")?;
        let named = if function == REBUILD_V3 {
            match pickle.get(args[6]) {
                Value::Global(name) => Some(dtype(name)),
                other => return Err(format!("an element type is {}", other.kind())),
            }
        } else {
            None
        };
        let dtype = match (storage.dtype, named) {
            (Some(stored), Some(named)) if stored != named => {
                return Err(format!(
                    "a tensor of {named} uses storage `{}` of {stored}",
                    storage.key
                ));
            }
            (Some(dtype), _) | (None, Some(dtype)) => dtype,
            (None, None) => {
                return Err(format!("the element type of storage `{}` is unknown", storage.key));
            }
        };
        let overflow = || format!("the size of a tensor of shape {shape:?} overflows");
        let offset = offset.checked_add(storage.offset).ok_or_else(overflow)?;
        let end = end(&shape, &stride, offset)?.ok_or_else(overflow)?;
        let bytes = shape.iter().try_fold(dtype.size().max(1), |len, &dim| len.checked_mul(dim));
        bytes.ok_or_else(overflow)?;
        if end > storage.len {
            return Err(format!(
                "a tensor of shape {shape:?} and stride {stride:?} at offset {offset} needs {end} \
                 elements, but storage `{}` has {}",
                storage.key, storage.len
            ));
        }
        let negative = match args.get(arity) {
            Some(&metadata) if arity > 4 => is_negative(pickle, metadata)?,
            _ => false,
        };
        if negative && !dtype.is_float() {
            return Err(format!("a negative view of {dtype} is not supported"));
        }
        Ok(Self { key: storage.key, dtype, offset, shape, stride, end, negative })
    }

    /// Makes every boolean 0 or 1, and negates the numbers of a negative view.
    pub(super) fn normalise(&self, bytes: &mut [u8]) {
        if self.dtype == Dtype::Bool {
            for byte in bytes.iter_mut() {
                *byte = u8::from(*byte != 0);
            }
        }
        if self.negative {
            // The sign is the highest bit of the last byte, in every type of floating-point numbers.
            for byte in bytes.iter_mut().skip(self.dtype.size() - 1).step_by(self.dtype.size()) {
                *byte ^= 0x80;
            }
        }
    }

    /// The number of bytes of the tensor.
    pub(super) fn byte_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size()
    }

    /// True if the numbers are stored one after the other in row-major order.
    pub(super) fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.stride).rev().all(|(&len, &step)| {
            let fits = len <= 1 || step == expected;
            expected *= len;
            fits
        })
    }

    /// Copies the numbers out of `window`, which starts at the first one, in row-major order.
    pub(super) fn gather(&self, window: &[u8]) -> Vec<u8> {
        let size = self.dtype.size();
        let mut bytes = Vec::with_capacity(self.byte_len());
        let dims = self.shape.iter().zip(&self.stride).filter(|&(&len, _)| len != 1);
        let dims: Vec<(usize, usize)> = dims.map(|(&len, &step)| (len, step)).collect();
        let (mut index, mut at) = (vec![0; dims.len()], 0);
        while bytes.len() < self.byte_len() {
            bytes.extend_from_slice(&window[at * size..][..size]);
            for (index, &(len, step)) in index.iter_mut().zip(&dims).rev() {
                *index += 1;
                at += step;
                if *index < len {
                    break;
                }
                *index = 0;
                at -= len * step;
            }
        }
        bytes
    }
}

/// Returns the place after the last number of a tensor, or `None` if it overflows.
fn end(shape: &[usize], stride: &[usize], offset: usize) -> Result<Option<usize>, String> {
    if shape.len() != stride.len() {
        let (found, expected) = (stride.len(), shape.len());
        return Err(format!("a stride has the rank {found}, but the shape has {expected}"));
    }
    if shape.contains(&0) {
        return Ok(Some(offset));
    }
    let last = shape
        .iter()
        .zip(stride)
        .try_fold(offset, |at, (&len, &step)| at.checked_add((len - 1).checked_mul(step)?));
    Ok(last.and_then(|last| last.checked_add(1)))
}

/// Returns whether the metadata of a tensor make it a negative view. torch writes a dictionary of
/// flags that are set.
fn is_negative(pickle: &Pickle<'_>, metadata: ValueId) -> Result<bool, String> {
    let flags = match pickle.get(metadata) {
        Value::None => return Ok(false),
        Value::Dict(flags) => flags,
        other => return Err(format!("the metadata of a tensor is {}", other.kind())),
    };
    let mut negative = false;
    for &(key, value) in flags {
        match (pickle.get(key), pickle.get(value)) {
            (Value::Text("neg"), Value::Bool(value)) => negative = *value,
            (Value::Text("conj"), Value::Bool(false)) => {}
            (Value::Text("conj"), _) => {
                return Err("a conjugate view is not supported".to_owned());
            }
            (Value::Text(name), _) => {
                let name = name.escape_debug();
                return Err(format!("a tensor with the metadata `{name}` is not supported"));
            }
            (other, _) => return Err(format!("a tensor has metadata under {}", other.kind())),
        }
    }
    Ok(negative)
}

fn storage_dtype(name: &str) -> Dtype {
    match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        "ComplexFloatStorage" => Dtype::Unread("torch.complex64"),
        "ComplexDoubleStorage" => Dtype::Unread("torch.complex128"),
        "QInt8Storage" => Dtype::Unread("torch.qint8"),
        "QUInt8Storage" => Dtype::Unread("torch.quint8"),
        "QInt32Storage" => Dtype::Unread("torch.qint32"),
        "QUInt4x2Storage" => Dtype::Unread("torch.quint4x2"),
        "QUInt2x4Storage" => Dtype::Unread("torch.quint2x4"),
        _ => Dtype::Unread("of an unknown type"),
    }
}

fn dtype(name: &str) -> Dtype {
    match name {
        "torch.float64" | "torch.double" => Dtype::F64,
        "torch.float32" | "torch.float" => Dtype::F32,
        "torch.float16" | "torch.half" => Dtype::F16,
        "torch.bfloat16" => Dtype::BF16,
        "torch.float8_e4m3fn" => Dtype::F8E4M3,
        "torch.float8_e5m2" => Dtype::F8E5M2,
        "torch.int64" | "torch.long" => Dtype::I64,
        "torch.int32" | "torch.int" => Dtype::I32,
        "torch.int16" | "torch.short" => Dtype::I16,
        "torch.int8" => Dtype::I8,
        "torch.uint8" => Dtype::U8,
        "torch.bool" => Dtype::Bool,
        "torch.float8_e4m3fnuz" => Dtype::Unread("torch.float8_e4m3fnuz"),
        "torch.float8_e5m2fnuz" => Dtype::Unread("torch.float8_e5m2fnuz"),
        "torch.float8_e8m0fnu" => Dtype::Unread("torch.float8_e8m0fnu"),
        "torch.float4_e2m1fn_x2" => Dtype::Unread("torch.float4_e2m1fn_x2"),
        "torch.uint16" => Dtype::Unread("torch.uint16"),
        "torch.uint32" => Dtype::Unread("torch.uint32"),
        "torch.uint64" => Dtype::Unread("torch.uint64"),
        "torch.complex32" | "torch.chalf" => Dtype::Unread("torch.complex32"),
        "torch.complex64" | "torch.cfloat" => Dtype::Unread("torch.complex64"),
        "torch.complex128" | "torch.cdouble" => Dtype::Unread("torch.complex128"),
        _ => Dtype::Unread("of an unknown type"),
    }
}

/// Returns whether a name in `torch` is that of an element type.
pub(super) fn is_dtype(name: &str) -> bool {
    const STARTS: [&str; 11] = [
        "float", "bfloat16", "half", "double", "int", "uint", "short", "long", "bool", "complex",
        "bits",
    ];
    STARTS.iter().any(|start| name.starts_with(start))
        || ["chalf", "cfloat", "cdouble"].contains(&name)
        || name.starts_with("qint")
        || name.starts_with("quint")
}

fn size(pickle: &Pickle<'_>, id: ValueId, what: &str) -> Result<usize, String> {
    match pickle.get(id) {
        Value::Int(size) => {
            usize::try_from(*size).map_err(|_| format!("{what} must be non-negative, got {size}"))
        }
        other => Err(format!("{what} must be an int, got {}", other.kind())),
    }
}

fn sizes(pickle: &Pickle<'_>, id: ValueId, what: &str) -> Result<Vec<usize>, String> {
    match pickle.get(id) {
        Value::Tuple(items) | Value::List(items) => {
            items.iter().map(|&item| size(pickle, item, what)).collect()
        }
        other => Err(format!("{what} must be a tuple, got {}", other.kind())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(shape: &[usize], stride: &[usize]) -> Layout {
        let end = end(shape, stride, 0).unwrap().unwrap();
        let (shape, stride) = (shape.to_vec(), stride.to_vec());
        let (key, dtype) = ("0".to_owned(), Dtype::U8);
        Layout { key, dtype, offset: 0, shape, stride, end, negative: false }
    }

    #[test]
    fn strided_numbers_are_gathered_row_by_row() {
        let window: Vec<u8> = (0..24).collect();
        for (shape, stride, expected) in [
            (&[2, 3][..], &[3, 1][..], &[0, 1, 2, 3, 4, 5][..]),
            (&[3, 2], &[1, 3], &[0, 3, 1, 4, 2, 5]),
            (&[2, 1, 2], &[4, 99, 2], &[0, 2, 4, 6]),
            (&[2, 2], &[0, 1], &[0, 1, 0, 1]),
            (&[2, 2, 2], &[12, 1, 3], &[0, 3, 1, 4, 12, 15, 13, 16]),
            (&[], &[], &[0]),
            (&[0, 3], &[3, 1], &[]),
        ] {
            assert_eq!(layout(shape, stride).gather(&window), expected, "{shape:?} {stride:?}");
        }
    }

    #[test]
    fn a_dimension_of_length_one_may_have_any_stride() {
        assert!(layout(&[1, 3, 1], &[7, 1, 5]).is_contiguous());
        assert!(layout(&[], &[]).is_contiguous());
        assert!(!layout(&[2, 3], &[1, 2]).is_contiguous());
        assert!(!layout(&[2, 3], &[4, 1]).is_contiguous());
    }
}
