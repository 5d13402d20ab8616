//! A pickle writer that can also write what Python never would.

use std::io::Write;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A Python value.
#[derive(Debug, Clone)]
pub enum Py {
    /// `None`
    None,
    /// `bool`
    Bool(bool),
    /// `int`, written with eight bytes
    Int(i64),
    /// `float`
    Float(f64),
    /// `str`
    Text(String),
    /// `list`
    List(Vec<Py>),
    /// `tuple`
    Tuple(Vec<Py>),
    /// `dict` with strings for keys
    Dict(Vec<(String, Py)>),
    /// `module.name(*args)`
    Call(&'static str, &'static str, Vec<Py>),
    /// `torch.Tensor`
    Tensor(PyTensor),
    /// Pickle instructions, written unchanged.
    Raw(Vec<u8>),
}

/// A tensor as its pickle describes it. Nothing checks that the storage holds it.
#[derive(Debug, Clone)]
pub struct PyTensor {
    /// Name of the storage's class, `FloatStorage` for float32.
    pub storage_type: &'static str,
    /// Name of the storage's file in `data/`.
    pub key: String,
    /// Number of elements that the storage claims to have.
    pub claims: i64,
    /// Index in the storage of the first element.
    pub offset: i64,
    /// Length of each dimension.
    pub shape: Vec<i64>,
    /// Elements to skip per step of each dimension.
    pub stride: Vec<i64>,
}

impl PyTensor {
    /// A contiguous tensor that is all of the float32 storage `key`.
    pub fn whole(key: &str, shape: &[usize]) -> Self {
        let stride = (1..=shape.len()).map(|dim| shape[dim..].iter().product::<usize>() as i64);
        Self {
            storage_type: "FloatStorage",
            key: key.to_owned(),
            claims: shape.iter().product::<usize>() as i64,
            offset: 0,
            shape: shape.iter().map(|&len| len as i64).collect(),
            stride: stride.collect(),
        }
    }
}

impl From<&str> for Py {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<&serde_json::Value> for Py {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value;
        match value {
            Value::Null => Self::None,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(number.as_f64().unwrap()),
            },
            Value::String(text) => Self::Text(text.clone()),
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            Value::Object(entries) => {
                Self::Dict(entries.iter().map(|(key, value)| (key.clone(), value.into())).collect())
            }
        }
    }
}

/// Pickles `value` with protocol 2.
pub fn pickle(value: &Py) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    write(value, &mut out);
    out.push(b'.');
    out
}

/// A file as `torch.save` writes it, with this pickle and these storages by key.
///
/// # Panics
/// If two storages have the same key.
pub fn torch_zip(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries = vec![("archive/data.pkl".to_owned(), pickle)];
    entries.extend(storages.iter().map(|(key, bytes)| (format!("archive/data/{key}"), *bytes)));
    entries.push(("archive/version".to_owned(), b"3\n"));
    zip_archive(&entries, CompressionMethod::Stored)
}

/// A zip archive with these entries.
///
/// # Panics
/// If two entries have the same name.
pub fn zip_archive(entries: &[(String, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in entries {
        zip.start_file(name, options).expect("each name is there once");
        zip.write_all(bytes).expect("memory takes everything");
    }
    zip.finish().expect("memory takes everything").into_inner()
}

fn write(value: &Py, out: &mut Vec<u8>) {
    let each = |items: &[Py], end: u8, out: &mut Vec<u8>| {
        out.push(b'(');
        for item in items {
            write(item, out);
        }
        out.push(end);
    };
    match value {
        Py::None => out.push(b'N'),
        Py::Bool(value) => out.push(if *value { 0x88 } else { 0x89 }),
        Py::Int(value) => {
            out.extend([0x8a, 8]);
            out.extend(value.to_le_bytes());
        }
        Py::Float(value) => {
            out.push(b'G');
            out.extend(value.to_be_bytes());
        }
        Py::Text(text) => {
            out.push(b'X');
            out.extend((text.len() as u32).to_le_bytes());
            out.extend(text.bytes());
        }
        Py::List(items) => {
            out.push(b']');
            each(items, b'e', out);
        }
        Py::Tuple(items) => each(items, b't', out),
        Py::Dict(entries) => {
            out.extend(b"}(");
            for (key, value) in entries {
                write(&key.as_str().into(), out);
                write(value, out);
            }
            out.push(b'u');
        }
        Py::Call(module, name, args) => {
            global(module, name, out);
            each(args, b't', out);
            out.push(b'R');
        }
        Py::Tensor(tensor) => write(&rebuilt(tensor), out),
        Py::Raw(bytes) => out.extend(bytes),
    }
}

fn global(module: &str, name: &str, out: &mut Vec<u8>) {
    out.extend(format!("c{module}\n{name}\n").bytes());
}

/// `_rebuild_tensor_v2(storage, offset, shape, stride, False, OrderedDict())`
fn rebuilt(tensor: &PyTensor) -> Py {
    let ints = |values: &[i64]| Py::Tuple(values.iter().map(|&value| Py::Int(value)).collect());
    let mut storage_type = Vec::new();
    global("torch", tensor.storage_type, &mut storage_type);
    let id = Py::Tuple(vec![
        "storage".into(),
        Py::Raw(storage_type),
        tensor.key.as_str().into(),
        "cpu".into(),
        Py::Int(tensor.claims),
    ]);
    let mut storage = Vec::new();
    write(&id, &mut storage);
    storage.push(b'Q');
    Py::Call(
        "torch._utils",
        "_rebuild_tensor_v2",
        vec![
            Py::Raw(storage),
            Py::Int(tensor.offset),
            ints(&tensor.shape),
            ints(&tensor.stride),
            Py::Bool(false),
            Py::Call("collections", "OrderedDict", vec![]),
        ],
    )
}
