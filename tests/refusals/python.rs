//! Pickles by hand, with what Python would not write in them.

/// A Python value.
#[derive(Debug, Clone)]
pub(crate) enum Py {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Py>),
    Tuple(Vec<Py>),
    Dict(Vec<(String, Py)>),
    /// `module.name(*args)`
    Call(&'static str, &'static str, Vec<Py>),
    Tensor(PyTensor),
    /// Any instructions.
    Raw(Vec<u8>),
}

/// A tensor as its pickle describes it, whatever its storage is.
#[derive(Debug, Clone)]
pub(crate) struct PyTensor {
    pub(crate) storage_type: &'static str,
    pub(crate) key: String,
    /// Elements that the storage claims.
    pub(crate) claims: i64,
    pub(crate) offset: i64,
    pub(crate) shape: Vec<i64>,
    pub(crate) stride: Vec<i64>,
}

impl PyTensor {
    /// All of a float32 storage.
    pub(crate) fn whole(key: &str, shape: &[usize]) -> Self {
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

/// The pickle of `value`, protocol 2.
pub(crate) fn pickle(value: &Py) -> Vec<u8> {
    let mut out = vec![0x80, 2];
    write(value, &mut out);
    out.push(b'.');
    out
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
