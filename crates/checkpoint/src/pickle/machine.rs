//! The stack machine, without calls.

use std::collections::HashMap;

use crate::pickle::error::{PickleError, printable};
use crate::pickle::opcode::Opcode;
use crate::pickle::rules::Rules;
use crate::pickle::value::{Object, Value, ValueId};

/// Runs all of `bytes`. Returns every value, and the index of the result.
pub(super) fn run<'a>(
    bytes: &'a [u8],
    rules: &Rules<'_>,
) -> Result<(Vec<Value<'a>>, ValueId), PickleError> {
    let mut machine = Machine {
        bytes,
        position: 0,
        rules,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        at: Instruction { opcode: Opcode::STOP, offset: 0 },
    };
    for _ in 0..rules.max_instructions {
        if let Some(root) = machine.step()? {
            return Ok((machine.values, root));
        }
    }
    Err(PickleError::TooManyInstructions { max: rules.max_instructions })
}

struct Machine<'a, 'g> {
    bytes: &'a [u8],
    /// The first byte that is not read yet.
    position: usize,
    rules: &'g Rules<'g>,
    values: Vec<Value<'a>>,
    stack: Vec<ValueId>,
    /// The stack heights of the marks.
    marks: Vec<usize>,
    memo: HashMap<u32, ValueId>,
    at: Instruction,
}

/// The current instruction, for messages.
#[derive(Clone, Copy)]
struct Instruction {
    opcode: Opcode,
    offset: usize,
}

impl<'a> Machine<'a, '_> {
    /// Runs one instruction. Returns the result at the last one.
    fn step(&mut self) -> Result<Option<ValueId>, PickleError> {
        self.at = Instruction { opcode: Opcode::STOP, offset: self.position };
        let [byte] = self.take_array()?;
        let offset = self.at.offset;
        self.at.opcode =
            Opcode::from_byte(byte).ok_or(PickleError::UnknownOpcode { byte, offset })?;
        match self.at.opcode {
            Opcode::PROTO => {
                let [found] = self.take_array()?;
                if found > LAST_PROTOCOL {
                    return Err(PickleError::UnknownProtocol { found });
                }
            }
            Opcode::FRAME => {
                let length = u64::from_le_bytes(self.take_array()?);
                if length > self.remaining() as u64 {
                    return Err(self.truncated());
                }
            }
            Opcode::STOP => return self.stop().map(Some),

            Opcode::MARK => self.marks.push(self.stack.len()),
            Opcode::POP => {
                self.pop()?;
            }
            Opcode::POP_MARK => {
                self.pop_to_mark()?;
            }
            Opcode::DUP => {
                let top = self.top()?;
                self.stack.push(top);
            }

            Opcode::APPEND | Opcode::APPENDS => self.append()?,
            Opcode::ADDITEMS => self.add_items()?,
            Opcode::SETITEM | Opcode::SETITEMS => self.set_items()?,

            Opcode::GLOBAL | Opcode::STACK_GLOBAL => {
                let class = self.global()?;
                self.stack.push(class);
            }
            Opcode::INST | Opcode::OBJ | Opcode::REDUCE | Opcode::NEWOBJ => self.push_object()?,
            Opcode::BUILD => self.build()?,
            Opcode::BINPERSID if self.rules.persistent_ids => {
                let id = self.pop()?;
                self.push(Value::Persistent(id));
            }

            Opcode::BINPUT | Opcode::LONG_BINPUT | Opcode::MEMOIZE => {
                let index = self.memo_index()?;
                let top = self.top()?;
                self.memo.insert(index, top);
            }
            Opcode::BINGET | Opcode::LONG_BINGET => {
                let index = self.memo_index()?;
                let (opcode, offset) = self.place();
                let value = *self.memo.get(&index).ok_or(PickleError::UnknownMemo {
                    opcode,
                    index,
                    offset,
                })?;
                self.stack.push(value);
            }

            _ => self.push_new()?,
        }
        Ok(None)
    }

    /// Pushes a value made from the bytes after the opcode, or from the top of the stack.
    fn push_new(&mut self) -> Result<(), PickleError> {
        match self.at.opcode {
            Opcode::NONE => self.push(Value::None),
            Opcode::NEWTRUE => self.push(Value::Bool(true)),
            Opcode::NEWFALSE => self.push(Value::Bool(false)),
            Opcode::BINFLOAT => {
                let value = f64::from_be_bytes(self.take_array()?);
                self.push(Value::Float(value));
            }
            Opcode::BININT => {
                let value = i32::from_le_bytes(self.take_array()?);
                self.push(Value::Int(value.into()));
            }
            Opcode::BININT1 | Opcode::BININT2 | Opcode::LONG1 | Opcode::LONG4 => {
                self.push_integer()?;
            }
            Opcode::SHORT_BINBYTES | Opcode::BINBYTES | Opcode::BINBYTES8 | Opcode::BYTEARRAY8 => {
                let bytes = self.take_counted()?;
                self.push(Value::Bytes(bytes));
            }
            Opcode::SHORT_BINUNICODE | Opcode::BINUNICODE | Opcode::BINUNICODE8 => {
                let bytes = self.take_counted()?;
                let text = self.text(bytes)?;
                self.push(Value::Text(text));
            }

            Opcode::EMPTY_TUPLE => self.push(Value::Tuple(Vec::new())),
            Opcode::EMPTY_LIST => self.push(Value::List(Vec::new())),
            Opcode::EMPTY_DICT => self.push(Value::Dict(Vec::new())),
            Opcode::EMPTY_SET => self.push(Value::Set(Vec::new())),
            Opcode::TUPLE1 => self.push_tuple(1)?,
            Opcode::TUPLE2 => self.push_tuple(2)?,
            Opcode::TUPLE3 => self.push_tuple(3)?,
            Opcode::TUPLE => {
                let items = self.pop_to_mark()?;
                self.push(Value::Tuple(items));
            }
            Opcode::LIST => {
                let items = self.pop_to_mark()?;
                self.push(Value::List(items));
            }
            Opcode::FROZENSET => {
                let items = self.pop_to_mark()?;
                self.push(Value::Set(items));
            }
            Opcode::DICT => {
                let items = self.pop_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Value::Dict(pairs));
            }

            other => {
                let (opcode, offset) = (other.name(), self.at.offset);
                return Err(PickleError::UnsupportedOpcode { opcode, offset });
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<ValueId, PickleError> {
        let root = self.pop()?;
        let count = self.stack.len() + self.marks.len();
        if count > 0 {
            return Err(PickleError::LeftOver { count });
        }
        match self.remaining() {
            0 => Ok(root),
            count => Err(PickleError::TrailingBytes { count }),
        }
    }

    fn push_integer(&mut self) -> Result<(), PickleError> {
        let value = match self.at.opcode {
            Opcode::BININT1 => u8::from_le_bytes(self.take_array()?).into(),
            Opcode::BININT2 => u16::from_le_bytes(self.take_array()?).into(),
            _ => {
                let digits = self.take_counted()?;
                let negative = digits.last().is_some_and(|&digit| digit >= 0x80);
                let mut extended = [if negative { 0xff } else { 0 }; 8];
                let Some(low) = extended.get_mut(..digits.len()) else {
                    let (opcode, offset) = self.place();
                    return Err(PickleError::IntegerTooLarge { opcode, offset });
                };
                low.copy_from_slice(digits);
                i64::from_le_bytes(extended)
            }
        };
        self.push(Value::Int(value));
        Ok(())
    }

    fn push_tuple(&mut self, length: usize) -> Result<(), PickleError> {
        let start = self
            .stack
            .len()
            .checked_sub(length)
            .filter(|&start| start >= self.floor())
            .ok_or_else(|| self.underflow())?;
        let items = self.stack.split_off(start);
        self.push(Value::Tuple(items));
        Ok(())
    }

    /// Pops one item, or all above the mark.
    fn items(&mut self) -> Result<Vec<ValueId>, PickleError> {
        match self.at.opcode {
            Opcode::APPEND => Ok(vec![self.pop()?]),
            Opcode::SETITEM => {
                let value = self.pop()?;
                Ok(vec![self.pop()?, value])
            }
            _ => self.pop_to_mark(),
        }
    }

    fn append(&mut self) -> Result<(), PickleError> {
        let items = self.items()?;
        let top = self.top()?;
        match self.value_mut(top) {
            Value::List(list) => list.extend(items),
            other => {
                let found = other.kind();
                return Err(self.unexpected("a list", found));
            }
        }
        Ok(())
    }

    fn add_items(&mut self) -> Result<(), PickleError> {
        let items = self.pop_to_mark()?;
        let top = self.top()?;
        match self.value_mut(top) {
            Value::Set(set) => set.extend(items),
            other => {
                let found = other.kind();
                return Err(self.unexpected("a set", found));
            }
        }
        Ok(())
    }

    fn set_items(&mut self) -> Result<(), PickleError> {
        let items = self.items()?;
        let pairs = self.pairs(&items)?;
        let top = self.top()?;
        let class = match self.value(top) {
            Value::Object(object) => Some(self.value(object.class)),
            _ => None,
        };
        let is_dict = matches!(class, Some(Value::Global(name)) if name == ORDERED_DICT);
        match self.value_mut(top) {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Object(object) if is_dict => object.items.extend(pairs),
            other => {
                let found = other.kind();
                return Err(self.unexpected("a dict", found));
            }
        }
        Ok(())
    }

    fn pairs(&self, items: &[ValueId]) -> Result<Vec<(ValueId, ValueId)>, PickleError> {
        let (pairs, []) = items.as_chunks() else {
            let (opcode, offset) = self.place();
            return Err(PickleError::MissingDictValue { opcode, offset });
        };
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    /// Checks the name of a class or function, and returns it as a value.
    fn global(&mut self) -> Result<ValueId, PickleError> {
        let (module, name) = if self.at.opcode == Opcode::STACK_GLOBAL {
            let name = self.pop()?;
            let module = self.pop()?;
            (self.as_text(module)?, self.as_text(name)?)
        } else {
            (self.take_line()?, self.take_line()?)
        };
        if (self.rules.is_allowed)(module, name) {
            return Ok(self.make(Value::Global(format!("{module}.{name}"))));
        }
        let (name, offset) = (printable(module, name), self.at.offset);
        Err(PickleError::ForbiddenGlobal { name, offset })
    }

    fn push_object(&mut self) -> Result<(), PickleError> {
        let (class, args) = match self.at.opcode {
            Opcode::INST => {
                let class = self.global()?;
                let items = self.pop_to_mark()?;
                (class, self.make(Value::Tuple(items)))
            }
            Opcode::OBJ => {
                let mut items = self.pop_to_mark()?;
                if items.is_empty() {
                    return Err(self.underflow());
                }
                let class = items.remove(0);
                (class, self.make(Value::Tuple(items)))
            }
            _ => {
                let args = self.pop()?;
                (self.pop()?, args)
            }
        };
        if !matches!(self.value(class), Value::Global(_)) {
            let found = self.value(class).kind();
            return Err(self.unexpected("a class or function", found));
        }
        if !matches!(self.value(args), Value::Tuple(_)) {
            let found = self.value(args).kind();
            return Err(self.unexpected("a tuple", found));
        }
        self.push(Value::Object(Object { class, args, items: Vec::new(), state: None }));
        Ok(())
    }

    /// Sets the state of an object. In Python the class decides what to do with it, and with a second
    /// one.
    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        let top = self.top()?;
        match self.value_mut(top) {
            Value::Object(object) if object.state.is_none() => object.state = Some(state),
            other => {
                let found = other.kind();
                return Err(self.unexpected("an object without a state", found));
            }
        }
        Ok(())
    }

    fn memo_index(&mut self) -> Result<u32, PickleError> {
        Ok(match self.at.opcode {
            Opcode::MEMOIZE => self.memo.len() as u32,
            Opcode::BINPUT | Opcode::BINGET => u8::from_le_bytes(self.take_array()?).into(),
            _ => u32::from_le_bytes(self.take_array()?),
        })
    }

    fn push(&mut self, value: Value<'a>) {
        let id = self.make(value);
        self.stack.push(id);
    }

    fn make(&mut self, value: Value<'a>) -> ValueId {
        // Only INST and OBJ create two values. INST is longer than two bytes, and OBJ needs its own mark,
        // which creates none. So there are at most as many values as bytes, and their count fits.
        let id = ValueId(self.values.len() as u32);
        self.values.push(value);
        id
    }

    fn value(&self, id: ValueId) -> &Value<'a> {
        &self.values[id.0 as usize]
    }

    fn value_mut(&mut self, id: ValueId) -> &mut Value<'a> {
        &mut self.values[id.0 as usize]
    }

    fn as_text(&self, id: ValueId) -> Result<&'a str, PickleError> {
        match self.value(id) {
            Value::Text(text) => Ok(text),
            other => Err(self.unexpected("a str", other.kind())),
        }
    }

    fn text(&self, bytes: &'a [u8]) -> Result<&'a str, PickleError> {
        let (opcode, offset) = self.place();
        str::from_utf8(bytes).map_err(|_| PickleError::InvalidText { opcode, offset })
    }

    /// The height of the last mark, below which an instruction must not pop.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<ValueId, PickleError> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.floor() => Ok(top),
            _ => Err(self.underflow()),
        }
    }

    fn pop(&mut self) -> Result<ValueId, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<ValueId>, PickleError> {
        let (opcode, offset) = self.place();
        let mark = self.marks.pop().ok_or(PickleError::MissingMark { opcode, offset })?;
        Ok(self.stack.split_off(mark))
    }

    fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PickleError> {
        let taken = self.bytes[self.position..].get(..length).ok_or_else(|| self.truncated())?;
        self.position += length;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let (taken, _) =
            self.bytes[self.position..].split_first_chunk().ok_or_else(|| self.truncated())?;
        self.position += N;
        Ok(*taken)
    }

    /// Reads a length and that many bytes.
    fn take_counted(&mut self) -> Result<&'a [u8], PickleError> {
        let length = match self.at.opcode {
            Opcode::SHORT_BINBYTES | Opcode::SHORT_BINUNICODE | Opcode::LONG1 => {
                u8::from_le_bytes(self.take_array()?).into()
            }
            Opcode::BINBYTES | Opcode::BINUNICODE | Opcode::LONG4 => {
                u32::from_le_bytes(self.take_array()?).into()
            }
            _ => u64::from_le_bytes(self.take_array()?),
        };
        // A length that does not fit an address is longer than the file, too.
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    /// Reads the text up to the next line break, and consumes the line break.
    fn take_line(&mut self) -> Result<&'a str, PickleError> {
        let rest = &self.bytes[self.position..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or_else(|| self.truncated())?;
        self.position += length + 1;
        self.text(&rest[..length])
    }

    /// The name and the offset of the instruction, for messages.
    fn place(&self) -> (&'static str, usize) {
        (self.at.opcode.name(), self.at.offset)
    }

    fn truncated(&self) -> PickleError {
        PickleError::Truncated { expected: self.at.opcode.name(), offset: self.at.offset }
    }

    fn underflow(&self) -> PickleError {
        let (opcode, offset) = self.place();
        PickleError::StackUnderflow { opcode, offset }
    }

    fn unexpected(&self, expected: &'static str, found: &'static str) -> PickleError {
        let (opcode, offset) = self.place();
        PickleError::UnexpectedValue { opcode, expected, found, offset }
    }
}

/// The newest pickle protocol.
const LAST_PROTOCOL: u8 = 5;

/// The class of a dictionary that is an object in a pickle.
const ORDERED_DICT: &str = "collections.OrderedDict";
