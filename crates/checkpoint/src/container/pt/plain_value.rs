//! The values of a `.pt` file that are not tensors.

use std::collections::BTreeMap;

/// A Python value without references to others.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PlainValue {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A float.
    Float(f64),
    /// `str`.
    Text(String),
    /// `list`, `tuple` or `set`.
    List(Vec<PlainValue>),
    /// `dict` or `OrderedDict`. A key that is an integer is written in decimal.
    Dict(BTreeMap<String, PlainValue>),
    /// The length of `bytes` or of a `bytearray`.
    Bytes(usize),
    /// The type of a tensor, a storage or another Python object, or a class itself.
    Other(String),
}

impl PlainValue {
    /// The kind of the value, for messages.
    pub(super) fn kind(&self) -> &str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Text(_) => "a str",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
            Self::Bytes(_) => "bytes",
            Self::Other(name) => name,
        }
    }
}
