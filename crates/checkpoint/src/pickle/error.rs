//! Why a pickle was refused.

use thiserror::Error;

use crate::pickle::value::MAX_PICKLE_BYTES;

/// Why a pickle was refused. Every `offset` is the byte at which the instruction starts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PickleError {
    /// The pickle is longer than [`MAX_PICKLE_BYTES`].
    #[error("the pickle has {found} bytes, more than {MAX_PICKLE_BYTES}")]
    TooLarge {
        /// Bytes of the pickle.
        found: usize,
    },
    /// The pickle ends within an instruction, or without a last one.
    #[error("the pickle ends within or before {expected} at byte {offset}")]
    Truncated {
        /// What has to be there.
        expected: &'static str,
        /// Where.
        offset: usize,
    },
    /// The pickle is of a protocol that does not exist yet.
    #[error("pickle protocol {found} is not known, only 0 to 5 are")]
    UnknownProtocol {
        /// The protocol.
        found: u8,
    },
    /// No protocol has this opcode.
    #[error("byte {offset} of the pickle is {byte:#04x}, which is no opcode")]
    UnknownOpcode {
        /// The byte.
        byte: u8,
        /// Where.
        offset: usize,
    },
    /// The opcode exists, but not for files like those that are read here.
    #[error("the pickle uses {opcode} at byte {offset}, which is not supported")]
    UnsupportedOpcode {
        /// Name of the opcode.
        opcode: &'static str,
        /// Where.
        offset: usize,
    },
    /// A class or function is mentioned that is not among the allowed ones.
    #[error("the pickle asks for {name} at byte {offset}, which is not allowed")]
    ForbiddenGlobal {
        /// Module and name; what is not printable is escaped, what is very long is cut.
        name: String,
        /// Where.
        offset: usize,
    },
    /// An instruction takes more values from the stack than there are.
    #[error("the pickle has too few values for {opcode} at byte {offset}")]
    StackUnderflow {
        /// Name of the opcode.
        opcode: &'static str,
        /// Where.
        offset: usize,
    },
    /// An instruction takes the values down to a mark, and there is no mark.
    #[error("the pickle has no mark for {opcode} at byte {offset}")]
    MissingMark {
        /// Name of the opcode.
        opcode: &'static str,
        /// Where.
        offset: usize,
    },
    /// An instruction gets a value that it is not made for.
    #[error("{opcode} at byte {offset} of the pickle is given {found} instead of {expected}")]
    UnexpectedValue {
        /// Name of the opcode.
        opcode: &'static str,
        /// What it is made for.
        expected: &'static str,
        /// What it is given.
        found: &'static str,
        /// Where.
        offset: usize,
    },
    /// A key has no value.
    #[error("{opcode} at byte {offset} of the pickle is given a key without a value")]
    MissingDictValue {
        /// Name of the opcode.
        opcode: &'static str,
        /// Where.
        offset: usize,
    },
    /// A value is asked for that was never stored.
    #[error("{opcode} at byte {offset} of the pickle asks for value {index}, which was not stored")]
    UnknownMemo {
        /// Name of the opcode.
        opcode: &'static str,
        /// Number under which it should be.
        index: u32,
        /// Where.
        offset: usize,
    },
    /// A `str` is not UTF-8.
    #[error("the text of {opcode} at byte {offset} of the pickle is not UTF-8")]
    InvalidText {
        /// Name of the opcode.
        opcode: &'static str,
        /// Where.
        offset: usize,
    },
    /// An integer does not fit 64 bits.
    #[error("the integer of {opcode} at byte {offset} of the pickle does not fit 64 bits")]
    IntegerTooLarge {
        /// Name of the opcode.
        opcode: &'static str,
        /// Where.
        offset: usize,
    },
    /// A pickle copies values until they are far larger than itself.
    #[error("the pickle copies more than {most} bytes of itself, at byte {offset}")]
    Expands {
        /// Most bytes that may be copied.
        most: u64,
        /// Where they are exceeded.
        offset: usize,
    },
    /// Values lie in values without end.
    #[error("the pickle nests values deeper than {most}, at byte {offset}")]
    TooDeep {
        /// Deepest that is read.
        most: u32,
        /// Where.
        offset: usize,
    },
    /// The pickle is longer than that of any model.
    #[error("the pickle has more than {most} instructions")]
    TooManyInstructions {
        /// Most that are read.
        most: usize,
    },
    /// There is more than one value, or an unused mark, at the end.
    #[error("the pickle leaves {count} values or marks beside its result")]
    LeftOver {
        /// How many.
        count: usize,
    },
    /// The file goes on after the pickle.
    #[error("{count} bytes follow the end of the pickle")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
}
