//! The values of a pickle.

/// Most bytes that a pickle may have; its values are counted in 32 bits.
pub const MAX_PICKLE_BYTES: usize = u32::MAX as usize;

/// A value of a [`Pickle`], by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(pub(super) u32);

/// What a pickle holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of 64 bits; longer ones are an error.
    Int(i64),
    /// A float.
    Float(f64),
    /// `bytes` or a `bytearray`.
    Bytes(&'a [u8]),
    /// `str`.
    Text(&'a str),
    /// `tuple`.
    Tuple(Vec<ValueId>),
    /// `list`.
    List(Vec<ValueId>),
    /// `set` or `frozenset`, as listed: equal items are not merged.
    Set(Vec<ValueId>),
    /// `dict`, as listed: equal keys are not merged.
    Dict(Vec<(ValueId, ValueId)>),
    /// An allowed class or function, as `module.name`.
    Global(String),
    /// What an allowed class or function would have made.
    Object(Object),
}

/// A call that was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The [`Value::Global`] that would have been called.
    pub class: ValueId,
    /// The arguments, a [`Value::Tuple`].
    pub args: ValueId,
    /// The state that the new object would have been given.
    pub state: Option<ValueId>,
}

/// All values of a pickle, with one of them as its result.
#[derive(Clone, Debug)]
pub struct Pickle<'a> {
    pub(super) values: Vec<Value<'a>>,
    pub(super) root: ValueId,
}

impl<'a> Pickle<'a> {
    /// The result.
    pub fn root(&self) -> &Value<'a> {
        self.get(self.root)
    }

    /// The value that `id` refers to. A container may hold itself, so that whoever follows ids has
    /// to bound the depth.
    ///
    /// # Panics
    ///
    /// If `id` is of a larger pickle.
    pub fn get(&self, id: ValueId) -> &Value<'a> {
        &self.values[id.0 as usize]
    }
}

impl Value<'_> {
    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Bytes(_) => "bytes",
            Self::Text(_) => "a str",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Set(_) => "a set",
            Self::Dict(_) => "a dict",
            Self::Global(_) => "a class or function",
            Self::Object(_) => "an object",
        }
    }
}
