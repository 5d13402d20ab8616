//! The values of a pickle.

/// Maximum length of a pickle in bytes; its values are counted in 32 bits.
pub const MAX_PICKLE_BYTES: usize = u32::MAX as usize;

/// The index of a value in a [`Pickle`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(pub(super) u32);

/// A value in a pickle.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of 64 bits. Longer ones are an error.
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
    /// `set` or `frozenset`, with equal items not merged.
    Set(Vec<ValueId>),
    /// `dict`, with equal keys not merged.
    Dict(Vec<(ValueId, ValueId)>),
    /// An allowed class or function, as `module.name`.
    Global(String),
    /// The result of calling an allowed class or function, which was not called.
    Object(Object),
    /// Data outside the pickle, with its identification.
    Persistent(ValueId),
}

/// A call that was recorded instead of executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The [`Value::Global`] to call.
    pub class: ValueId,
    /// The arguments, a [`Value::Tuple`].
    pub args: ValueId,
    /// The entries added to the new object, if it is an `OrderedDict`.
    pub items: Vec<(ValueId, ValueId)>,
    /// The state for the new object.
    pub state: Option<ValueId>,
}

/// All values of a pickle, one of which is the result.
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

    /// The index of the result.
    pub(crate) fn root_id(&self) -> ValueId {
        self.root
    }

    /// Returns the value with this index. A container can contain itself, so callers that follow
    /// indices must limit the depth.
    ///
    /// # Panics
    ///
    /// If `id` belongs to a larger pickle.
    pub fn get(&self, id: ValueId) -> &Value<'a> {
        &self.values[id.0 as usize]
    }
}

impl Value<'_> {
    /// The kind of the value, for messages.
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
            Self::Persistent(_) => "a persistent id",
        }
    }
}
