//! Limits on the cost of a pickle for a reader that copies values.

use std::collections::HashMap;

use crate::pickle::error::PickleError;
use crate::pickle::machine::printable;
use crate::pickle::opcode::Opcode;

/// Checks that `bytes` are safe for a reader that copies each value it fetches.
///
/// `pytorch-reader` copies every value that is stored in the memo or fetched from it, with everything
/// in it. It has a budget for that, but does not count names, keys and shapes, so that two bytes of a
/// pickle can make it copy a megabyte. It also visits values recursively. This check follows the
/// instructions without creating any value, and refuses a pickle that copies too much, is nested too
/// deeply, has too many instructions, uses one that `torch.save` does not, or refers to a class or
/// function that `is_allowed` refuses.
pub(crate) fn check(bytes: &[u8], is_allowed: impl Fn(&str) -> bool) -> Result<(), PickleError> {
    let mut scanner = Scanner {
        bytes,
        position: 0,
        opcode: Opcode::STOP,
        offset: 0,
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        copied: 0,
    };
    for _ in 0..MAX_INSTRUCTIONS {
        if !scanner.step(&is_allowed)? {
            return Ok(());
        }
    }
    Err(PickleError::TooManyInstructions { max: MAX_INSTRUCTIONS })
}

/// Maximum number of instructions; each can become a value of a hundred bytes. A model with thousands
/// of tensors needs a tenth of them.
const MAX_INSTRUCTIONS: usize = 1 << 18;
/// Maximum number of bytes that may be copied. torch's own pickles copy less than five times their
/// length.
const MAX_COPIED: u64 = 16 << 20;
/// Maximum nesting depth. torch's own pickles are eight deep.
const MAX_DEPTH: u32 = 100;

/// A value on the stack, represented by its cost only.
#[derive(Clone, Copy)]
struct Slot<'a> {
    /// Length in bytes of the part of the pickle that the value and everything in it came from.
    size: u64,
    depth: u32,
    text: Option<&'a str>,
}

struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
    opcode: Opcode,
    offset: usize,
    stack: Vec<Slot<'a>>,
    /// The stack heights of the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Slot<'a>>,
    copied: u64,
}

impl<'a> Scanner<'a> {
    /// Follows one instruction. Returns false at the last one.
    fn step(&mut self, is_allowed: &impl Fn(&str) -> bool) -> Result<bool, PickleError> {
        self.opcode = Opcode::STOP;
        self.offset = self.position;
        let byte = self.number(1)? as u8;
        let offset = self.offset;
        self.opcode = Opcode::from_byte(byte).ok_or(PickleError::UnknownOpcode { byte, offset })?;
        match self.opcode {
            Opcode::PROTO => {
                self.take(1)?;
            }
            Opcode::FRAME => {
                self.take(8)?;
            }
            Opcode::STOP => {
                self.pop()?;
                return Ok(false);
            }

            Opcode::NONE
            | Opcode::NEWTRUE
            | Opcode::NEWFALSE
            | Opcode::EMPTY_TUPLE
            | Opcode::EMPTY_LIST
            | Opcode::EMPTY_DICT
            | Opcode::EMPTY_SET => {
                self.push_scalar(0)?;
            }
            Opcode::BININT1 => self.push_scalar(1)?,
            Opcode::BININT2 => self.push_scalar(2)?,
            Opcode::BININT => self.push_scalar(4)?,
            Opcode::BINFLOAT => self.push_scalar(8)?,
            Opcode::LONG1 | Opcode::SHORT_BINBYTES | Opcode::SHORT_BINUNICODE => {
                self.push_counted(1)?;
            }
            Opcode::LONG4 | Opcode::BINBYTES | Opcode::BINUNICODE => self.push_counted(4)?,
            Opcode::BINBYTES8 | Opcode::BYTEARRAY8 | Opcode::BINUNICODE8 => {
                self.push_counted(8)?;
            }

            Opcode::TUPLE1 => self.push_tuple(1)?,
            // An object holds no more than its class and its arguments.
            Opcode::TUPLE2 | Opcode::REDUCE | Opcode::NEWOBJ => self.push_tuple(2)?,
            Opcode::TUPLE3 => self.push_tuple(3)?,
            Opcode::TUPLE | Opcode::LIST | Opcode::DICT | Opcode::FROZENSET => {
                let items = self.pop_to_mark()?;
                self.push(items)?;
            }
            Opcode::APPEND => {
                let item = self.pop_number(1)?;
                self.add_to_top(item)?;
            }
            Opcode::SETITEM => {
                let items = self.pop_number(2)?;
                self.add_to_top(items)?;
            }
            Opcode::APPENDS | Opcode::ADDITEMS | Opcode::SETITEMS => {
                let items = self.pop_to_mark()?;
                self.add_to_top(items)?;
            }

            Opcode::GLOBAL | Opcode::STACK_GLOBAL => self.push_global(is_allowed)?,
            Opcode::BUILD => {
                self.push_tuple(2)?;
                let built = self.top()?;
                self.count_copy(built)?;
            }
            // The value is replaced by the storage it names.
            Opcode::BINPERSID => {
                self.top()?;
            }

            Opcode::MARK => self.marks.push(self.stack.len()),
            Opcode::POP => {
                self.pop()?;
            }
            Opcode::POP_MARK => {
                self.pop_to_mark()?;
            }
            Opcode::DUP => {
                let top = self.top()?;
                self.count_copy(top)?;
                self.push(top)?;
            }
            Opcode::BINPUT | Opcode::LONG_BINPUT | Opcode::MEMOIZE => {
                let index = self.memo_index()?;
                let top = self.top()?;
                self.count_copy(top)?;
                self.memo.insert(index, top);
            }
            Opcode::BINGET | Opcode::LONG_BINGET => {
                let index = self.memo_index()?;
                let opcode = self.opcode.name();
                let unknown = PickleError::UnknownMemo { opcode, index, offset };
                let value = *self.memo.get(&index).ok_or(unknown)?;
                self.count_copy(value)?;
                self.push(value)?;
            }

            other => return Err(PickleError::UnsupportedOpcode { opcode: other.name(), offset }),
        }
        Ok(true)
    }

    fn push_scalar(&mut self, length: usize) -> Result<(), PickleError> {
        self.take(length)?;
        self.push(Slot { size: 1 + length as u64, depth: 0, text: None })
    }

    /// Pushes a value that is preceded by its length, a number of `width` bytes.
    fn push_counted(&mut self, width: usize) -> Result<(), PickleError> {
        let length = self.number(width)?;
        // The reader would turn it into a useless object.
        if matches!(self.opcode, Opcode::LONG1 | Opcode::LONG4) && length > 8 {
            let (opcode, offset) = (self.opcode.name(), self.offset);
            return Err(PickleError::IntegerTooLarge { opcode, offset });
        }
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.push(Slot { size: 1 + length, depth: 0, text: str::from_utf8(bytes).ok() })
    }

    fn push_global(&mut self, is_allowed: &impl Fn(&str) -> bool) -> Result<(), PickleError> {
        let (module, name) = if self.opcode == Opcode::STACK_GLOBAL {
            let (name, module) = (self.pop()?.text, self.pop()?.text);
            module.zip(name).ok_or_else(|| PickleError::UnexpectedValue {
                opcode: self.opcode.name(),
                expected: "a str",
                found: "another value",
                offset: self.offset,
            })?
        } else {
            (self.line()?, self.line()?)
        };
        if !is_allowed(&format!("{module}.{name}")) {
            let name = printable(module, name);
            return Err(PickleError::ForbiddenGlobal { name, offset: self.offset });
        }
        self.push(Slot { size: 1 + (module.len() + name.len()) as u64, depth: 0, text: None })
    }

    fn push_tuple(&mut self, length: usize) -> Result<(), PickleError> {
        let items = self.pop_number(length)?;
        self.push(items)
    }

    fn push(&mut self, slot: Slot<'a>) -> Result<(), PickleError> {
        if slot.depth > MAX_DEPTH {
            return Err(PickleError::TooDeep { max: MAX_DEPTH, offset: self.offset });
        }
        self.stack.push(slot);
        Ok(())
    }

    /// Adds `items` to the container on top of the stack.
    fn add_to_top(&mut self, items: Slot<'a>) -> Result<(), PickleError> {
        let top = self.pop()?;
        let size = top.size + items.size;
        self.push(Slot { size, depth: top.depth.max(items.depth), text: None })
    }

    fn count_copy(&mut self, slot: Slot<'a>) -> Result<(), PickleError> {
        self.copied += slot.size;
        if self.copied > MAX_COPIED {
            return Err(PickleError::Expands { max: MAX_COPIED, offset: self.offset });
        }
        Ok(())
    }

    fn top(&self) -> Result<Slot<'a>, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.last() {
            Some(&top) if self.stack.len() > floor => Ok(top),
            _ => {
                Err(PickleError::StackUnderflow { opcode: self.opcode.name(), offset: self.offset })
            }
        }
    }

    fn pop(&mut self) -> Result<Slot<'a>, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// Pops values and returns a container of them.
    fn pop_number(&mut self, count: usize) -> Result<Slot<'a>, PickleError> {
        let mut items = EMPTY_CONTAINER;
        for _ in 0..count {
            items = items.with(self.pop()?);
        }
        Ok(items)
    }

    /// Pops the values above the last mark and returns a container of them.
    fn pop_to_mark(&mut self) -> Result<Slot<'a>, PickleError> {
        let (opcode, offset) = (self.opcode.name(), self.offset);
        let mark = self.marks.pop().ok_or(PickleError::MissingMark { opcode, offset })?;
        Ok(self.stack.drain(mark..).fold(EMPTY_CONTAINER, Slot::with))
    }

    fn memo_index(&mut self) -> Result<u32, PickleError> {
        Ok(match self.opcode {
            Opcode::MEMOIZE => self.memo.len() as u32,
            Opcode::BINPUT | Opcode::BINGET => self.number(1)? as u32,
            _ => self.number(4)? as u32,
        })
    }

    /// Reads a number of `width` bytes, at most 8.
    fn number(&mut self, width: usize) -> Result<u64, PickleError> {
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.take(width)?);
        Ok(u64::from_le_bytes(number))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let taken = self.bytes[self.position..].get(..length).ok_or_else(|| self.truncated())?;
        self.position += length;
        Ok(taken)
    }

    /// Reads the text up to the next line break, and consumes the line break.
    fn line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.truncated())?;
        self.position += length + 1;
        str::from_utf8(&rest[..length]).map_err(|_| PickleError::InvalidText {
            opcode: self.opcode.name(),
            offset: self.offset,
        })
    }

    fn truncated(&self) -> PickleError {
        PickleError::Truncated { expected: self.opcode.name(), offset: self.offset }
    }
}

/// An empty container.
const EMPTY_CONTAINER: Slot<'static> = Slot { size: 1, depth: 1, text: None };

impl<'a> Slot<'a> {
    /// Adds `item` to this container.
    fn with(self, item: Slot<'a>) -> Slot<'a> {
        let depth = self.depth.max(item.depth + 1);
        Slot { size: self.size + item.size, depth, text: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        check(bytes, |name| name == "collections.OrderedDict").unwrap_err().to_string()
    }

    #[test]
    fn a_name_that_is_fetched_many_times_is_refused() {
        // Two bytes copy these 64 KiB.
        let long = "d".repeat(1 << 16);
        let mut pickle = format!("X\x00\x00\x01\x00{long}q\x01").into_bytes();
        pickle.extend(b"h\x01".repeat(300));
        pickle.push(b'.');

        assert_eq!(
            refusal(&pickle),
            "the pickle copies more than 16777216 bytes of itself, at byte 66051"
        );
    }

    #[test]
    fn values_that_double_are_refused_long_before_they_are_large() {
        let mut pickle = b"K\x01".to_vec();
        pickle.extend(b"2\x86".repeat(60));
        pickle.push(b'.');

        assert!(refusal(&pickle).contains("copies more than"));
    }

    #[test]
    fn a_pickle_too_deep_or_too_long_is_refused() {
        let mut deep = b"N".to_vec();
        deep.extend(b"\x85".repeat(101));
        deep.push(b'.');
        assert_eq!(refusal(&deep), "the pickle nests values deeper than 100, at byte 101");

        let long = b"N".repeat(1 << 18);
        assert_eq!(refusal(&long), "the pickle has more than 262144 instructions");
    }

    #[test]
    fn a_function_is_refused_even_if_its_result_is_discarded() {
        assert_eq!(
            refusal(b"cposix\nsystem\n(X\x02\x00\x00\x00idtR0N."),
            "the pickle refers to posix.system at byte 0, which is not allowed"
        );
        assert_eq!(
            refusal(b"\x8c\x08builtins\x8c\x04eval\x93."),
            "the pickle refers to builtins.eval at byte 16, which is not allowed"
        );
        assert_eq!(check(b"ccollections\nOrderedDict\n)R.", |_| true), Ok(()));
    }
}
