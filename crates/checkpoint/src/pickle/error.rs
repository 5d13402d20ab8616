//! The error of reading a pickle.

use thiserror::Error;

/// The reason why a pickle was refused.
///
/// In every variant `opcode` is the name of the instruction, and `offset` the byte at which it starts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "these fields are the same in every variant")]
pub enum PickleError {
    /// The pickle is too long.
    #[error("the pickle has {found} bytes, more than {max}")]
    TooLarge {
        found: usize,
        /// Maximum length in bytes.
        max: usize,
    },
    /// The pickle ends inside an instruction, or without a final one.
    #[error("the pickle ends inside or before {expected} at byte {offset}")]
    Truncated {
        /// The instruction or value.
        expected: &'static str,
        offset: usize,
    },
    /// The pickle has a protocol version that does not exist yet.
    #[error("unknown pickle protocol {found} (expected 0 to 5)")]
    UnknownProtocol { found: u8 },
    /// No protocol has this opcode.
    #[error("byte {offset} of the pickle is {byte:#04x}, which is not an opcode")]
    UnknownOpcode { byte: u8, offset: usize },
    /// The opcode exists, but files of the supported kinds do not use it.
    #[error("the pickle uses {opcode} at byte {offset}, which is not supported")]
    UnsupportedOpcode { opcode: &'static str, offset: usize },
    /// A class or function is not among the allowed ones.
    #[error("the pickle refers to {name} at byte {offset}, which is not allowed")]
    ForbiddenGlobal {
        /// Module and name. Unprintable characters are escaped, and long names are truncated.
        name: String,
        offset: usize,
    },
    /// An instruction takes more values from the stack than there are.
    #[error("the pickle has too few values for {opcode} at byte {offset}")]
    StackUnderflow { opcode: &'static str, offset: usize },
    /// An instruction pops the values above a mark, but the stack has no mark.
    #[error("the pickle has no mark for {opcode} at byte {offset}")]
    MissingMark { opcode: &'static str, offset: usize },
    /// An instruction has an operand of the wrong kind.
    #[error("{opcode} at byte {offset} of the pickle has {found} as operand, expected {expected}")]
    UnexpectedValue {
        opcode: &'static str,
        /// The expected kind.
        expected: &'static str,
        /// The kind found.
        found: &'static str,
        offset: usize,
    },
    /// A key lacks a value.
    #[error("{opcode} at byte {offset} of the pickle has a key without a value")]
    MissingDictValue { opcode: &'static str, offset: usize },
    /// An instruction fetches a value that was never stored.
    #[error("{opcode} at byte {offset} of the pickle fetches value {index}, which was not stored")]
    UnknownMemo {
        opcode: &'static str,
        /// The index of the value.
        index: u32,
        offset: usize,
    },
    /// A `str` is not valid UTF-8.
    #[error("the string of {opcode} at byte {offset} of the pickle is not valid UTF-8")]
    InvalidText { opcode: &'static str, offset: usize },
    /// An integer does not fit 64 bits.
    #[error("the integer of {opcode} at byte {offset} of the pickle does not fit 64 bits")]
    IntegerTooLarge { opcode: &'static str, offset: usize },
    /// A pickle repeats values until they are much larger than the pickle itself.
    #[error("the pickle copies more than {max} bytes of itself")]
    Expands {
        /// Maximum size of the values in bytes.
        max: u64,
    },
    /// Values are nested too deeply.
    #[error("the pickle nests values deeper than {max}")]
    TooDeep {
        /// Maximum depth.
        max: u32,
    },
    /// The pickle has more instructions than that of any model.
    #[error("the pickle has more than {max} instructions")]
    TooManyInstructions {
        /// Maximum number of instructions.
        max: usize,
    },
    /// More than one value, or an unused mark, remains at the end.
    #[error("the pickle leaves {count} values or marks in addition to its result")]
    LeftOver { count: usize },
    /// The file continues after the pickle.
    #[error("{count} bytes follow the end of the pickle")]
    TrailingBytes { count: usize },
}

/// Formats `module.name` for a message: escaped and truncated, because it comes from the file.
pub(super) fn printable(module: &str, name: &str) -> String {
    let shown = |part: &str| -> String {
        let start: String = part.chars().take(SHOWN_CHARACTERS).collect();
        let ellipsis = if start.len() < part.len() { "..." } else { "" };
        format!("{}{ellipsis}", start.escape_debug())
    };
    format!("{}.{}", shown(module), shown(name))
}

/// Maximum length of the name of a module or function in a message, in characters.
const SHOWN_CHARACTERS: usize = 80;
