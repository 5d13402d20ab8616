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
mod reader;
mod value;

pub use error::PickleError;
pub use reader::read_pickle;
pub use value::{MAX_PICKLE_BYTES, Object, Pickle, Value, ValueId};
