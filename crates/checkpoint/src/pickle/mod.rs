//! Pickles read as data: nothing in them is ever executed.
//!
//! A pickle is a program for a small stack machine, and two of its instructions call whatever
//! Python function the file names. [`read_pickle`] runs the machine without any Python: a class or
//! function is a name, calling it is an [`Value::Object`] that remembers what was to be called, and
//! a name that the caller does not expect is an error that says so. The same goes for opcodes that
//! no file of interest uses, and for everything about which Python would be lenient.
//!
//! Memory is bounded by the input: strings are borrowed from it, each instruction makes one value
//! at most, and values refer to each other by index, so that sharing costs nothing, cycles do no
//! harm, and neither reading nor dropping recurses.
//!
//! ```
//! use nanoscope_checkpoint::pickle::{Value, read_pickle};
//!
//! let pickle = read_pickle(b"\x80\x04K\x07\x85.", &[]).unwrap();
//! let Value::Tuple(items) = pickle.root() else { panic!() };
//! assert_eq!(pickle.get(items[0]), &Value::Int(7));
//!
//! let attack = b"cposix\nsystem\n\x8c\x02id\x85R.";
//! let error = read_pickle(attack, &["tiktoken.core.Encoding"]).unwrap_err();
//! assert_eq!(error.to_string(), "the pickle asks for posix.system at byte 0, which is not allowed");
//! ```

pub(crate) mod bounds;
mod error;
mod machine;
mod opcode;

pub use error::PickleError;

/// Most bytes that a pickle may have; its values are counted in 32 bits.
pub const MAX_PICKLE_BYTES: usize = u32::MAX as usize;

/// A value of a [`Pickle`], by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ValueId(u32);

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
    values: Vec<Value<'a>>,
    root: ValueId,
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

/// Reads a pickle of protocol 1 to 5, in which no class or function but `allowed_globals`, each
/// written as `module.name`, may be mentioned.
///
/// Not supported are opcodes that stand for text in Python's own notation (protocol 0), for Python
/// 2's strings, for extensions, and for what lies outside the pickle.
///
/// # Errors
///
/// [`PickleError`] at the first instruction that is broken, unknown or not allowed, even if its
/// result is thrown away later.
pub fn read_pickle<'a>(
    bytes: &'a [u8],
    allowed_globals: &[&str],
) -> Result<Pickle<'a>, PickleError> {
    if bytes.len() > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len() });
    }
    let (values, root) = machine::run(bytes, allowed_globals)?;
    Ok(Pickle { values, root })
}
