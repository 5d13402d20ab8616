//! Pickles read as data: nothing in them is ever executed.
//!
//! A pickle is a program for a small stack machine, and two of its instructions call any Python
//! function that the file names. [`read_pickle`] runs the machine without Python: a class or function
//! is a name, a call is a [`Value::Object`] that records the arguments, and an unexpected name is an
//! error. Opcodes that no supported file uses are errors as well, and so is everything that Python
//! tolerates although it is invalid.
//!
//! Memory is bounded by the input: strings are borrowed from it, each instruction creates at most one
//! value, and values refer to each other by index. So sharing is free, cycles are harmless, and neither
//! reading nor dropping recurses.
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
//! assert_eq!(error.to_string(), "the pickle refers to posix.system at byte 0, which is not allowed");
//! ```

mod error;
mod machine;
mod opcode;
mod reader;
mod rules;
mod value;

pub use error::PickleError;
pub use reader::read_pickle;
pub(crate) use reader::read_pickle_with;
pub(crate) use rules::Rules;
pub use value::{MAX_PICKLE_BYTES, Object, Pickle, Value, ValueId};
