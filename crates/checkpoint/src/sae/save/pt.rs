//! Writing `.pt` files for `torch.load`: zips of uncompressed entries, one of them a pickle.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::container::{WeightDtype, pt};
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::save::saved_weight::SavedWeight;
use crate::write::write_file_atomically;

/// Returns the name of torch's storage for a number type.
fn storage_of(dtype: WeightDtype) -> &'static str {
    match dtype {
        WeightDtype::F32 => "FloatStorage",
        WeightDtype::F16 => "HalfStorage",
        WeightDtype::BF16 => "BFloat16Storage",
    }
}

/// Count of numbers converted at a time.
const CHUNK: usize = 1 << 14;

fn write_values(values: &[f32], dtype: WeightDtype, out: &mut impl Write) -> io::Result<()> {
    let mut bytes = Vec::new();
    for chunk in values.chunks(CHUNK) {
        bytes.clear();
        dtype.append(chunk, &mut bytes).expect("write_pt checked that all numbers fit");
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Writes `{state_dict_key: OrderedDict(tensors), key: value, ...}` to `path`, atomically.
pub(crate) fn write_pt(
    path: &Path,
    state_dict: (&str, &[SavedWeight]),
    others: &[(&str, &Value)],
) -> Result<(), CheckpointError> {
    SavedWeight::check_all(state_dict.1, path)?;
    let pickle = pickle(state_dict, others);
    // Readers limit the pickle, ours included.
    pt::check_pickle(&pickle)
        .map_err(|source| SaeFileError::MetadataTooLarge { path: path.to_owned(), source })?;
    // torch names the folder in the archive after the file.
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("archive");
    write_file_atomically(path, |temporary| {
        archive(temporary, stem, &pickle, state_dict.1)
            .map_err(|source| CheckpointError::io(path, source))
    })
}

/// The alignment of each storage, as in torch, so that files can be mapped.
const ALIGNMENT: u16 = 64;

fn archive(path: &Path, stem: &str, pickle: &[u8], tensors: &[SavedWeight]) -> io::Result<()> {
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path)?));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .with_alignment(ALIGNMENT);
    let mut entry = |name: &str, bytes: &[u8]| -> io::Result<()> {
        zip.start_file(format!("{stem}/{name}"), options)?;
        zip.write_all(bytes)
    };
    entry("data.pkl", pickle)?;
    entry("byteorder", b"little")?;
    for (key, tensor) in tensors.iter().enumerate() {
        let numbers = tensor.len() as u64;
        let large = numbers * size_of::<f32>() as u64 > u64::from(u32::MAX);
        zip.start_file(format!("{stem}/data/{key}"), options.large_file(large))?;
        tensor.with_values(|values| write_values(values, tensor.dtype, &mut zip))?;
    }
    zip.start_file(format!("{stem}/version"), options)?;
    zip.write_all(b"3\n")?;
    zip.finish()?.into_inner()?.sync_all()
}

/// Returns the pickle that rebuilds the dictionary, with protocol 2 as in torch.
fn pickle((key, tensors): (&str, &[SavedWeight]), others: &[(&str, &Value)]) -> Vec<u8> {
    let mut out = Pickler(vec![0x80, 2]);
    out.op(b'}');
    out.op(b'(');
    out.string(key);
    out.ordered_dict();
    out.op(b'(');
    for (storage, tensor) in tensors.iter().enumerate() {
        out.string(tensor.name);
        out.tensor(tensor, storage);
    }
    out.op(b'u');
    for (key, value) in others {
        out.string(key);
        out.value(value);
    }
    out.op(b'u');
    out.op(b'.');
    out.0
}

/// Writes pickle opcodes, one method for each kind of value.
struct Pickler(Vec<u8>);

impl Pickler {
    fn op(&mut self, opcode: u8) {
        self.0.push(opcode);
    }

    fn global(&mut self, module: &str, name: &str) {
        self.0.extend(format!("c{module}\n{name}\n").bytes());
    }

    fn string(&mut self, value: &str) {
        self.op(b'X');
        self.0.extend((value.len() as u32).to_le_bytes());
        self.0.extend(value.bytes());
    }

    fn int(&mut self, value: i64) {
        if let Ok(value) = i32::try_from(value) {
            self.op(b'J');
            self.0.extend(value.to_le_bytes());
        } else {
            self.0.extend([0x8a, 8]);
            self.0.extend(value.to_le_bytes());
        }
    }

    fn ints(&mut self, values: impl IntoIterator<Item = usize>) {
        self.op(b'(');
        for value in values {
            self.int(value as i64);
        }
        self.op(b't');
    }

    /// `OrderedDict()`
    fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.op(b')');
        self.op(b'R');
    }

    /// `_rebuild_tensor_v2(storage, 0, shape, stride, False, OrderedDict())`
    fn tensor(&mut self, tensor: &SavedWeight, storage: usize) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.op(b'(');
        // The storage is a persistent id, which the reader resolves.
        self.op(b'(');
        self.string("storage");
        self.global("torch", storage_of(tensor.dtype));
        self.string(&storage.to_string());
        self.string("cpu");
        self.int(tensor.len() as i64);
        self.op(b't');
        self.op(b'Q');
        self.int(0);
        self.ints(tensor.shape.iter().copied());
        let strides = (1..=tensor.shape.len()).map(|dim| tensor.shape[dim..].iter().product());
        self.ints(strides);
        self.op(0x89);
        self.ordered_dict();
        self.op(b't');
        self.op(b'R');
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.op(b'N'),
            Value::Bool(value) => self.op(if *value { 0x88 } else { 0x89 }),
            Value::Number(value) => match value.as_i64() {
                Some(value) => self.int(value),
                None => {
                    self.op(b'G');
                    self.0.extend(value.as_f64().unwrap_or(f64::NAN).to_be_bytes());
                }
            },
            Value::String(value) => self.string(value),
            Value::Array(items) => {
                self.op(b']');
                self.op(b'(');
                for item in items {
                    self.value(item);
                }
                self.op(b'e');
            }
            Value::Object(entries) => {
                self.op(b'}');
                self.op(b'(');
                for (key, value) in entries {
                    self.string(key);
                    self.value(value);
                }
                self.op(b'u');
            }
        }
    }
}
