//! The tensors and other values in the pickle of a `.pt` file.

use std::collections::BTreeMap;

use crate::container::BARE_TENSOR;
use crate::container::pt::layout::{self, Layout, Storage};
use crate::container::pt::plain_value::PlainValue;
use crate::pickle::{Object, Pickle, PickleError, Rules, Value, ValueId, read_pickle_with};

/// Maximum length in bytes of the pickle in the archive, which has no weights. A large model's has 100
/// KB.
pub(super) const MAX_PICKLE_BYTES: usize = 16 << 20;
/// Maximum number of instructions; each can become a value of a hundred bytes. A model with thousands
/// of tensors needs a tenth of them.
const MAX_INSTRUCTIONS: usize = 1 << 18;
/// Maximum size in bytes of the values, with shared ones counted each time they occur. Those of torch's
/// own pickles are a few times as long as the pickle.
const MAX_EXPANDED: u64 = 16 << 20;
/// Size in bytes that a value counts in addition to its text.
const VALUE_BYTES: u64 = 32;
/// Maximum nesting depth. torch's own pickles are eight deep.
const MAX_DEPTH: u32 = 100;

/// The contents of the pickle of a `.pt` file.
#[derive(Debug)]
pub(super) struct PtContents {
    /// The tensors, each named by the path to it (`model.layers.0.weight`). One at the root is
    /// [`BARE_TENSOR`].
    pub(super) tensors: BTreeMap<String, Layout>,
    /// The entries of the root, if it is a dictionary. Each tensor is represented by the name of its type.
    pub(super) entries: BTreeMap<String, PlainValue>,
}

/// The reason why a pickle cannot be read as tensors and plain values.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The pickle itself is invalid.
    Pickle(PickleError),
    /// Its values are not what `torch.save` writes.
    Values(String),
}

impl From<PickleError> for Refusal {
    fn from(source: PickleError) -> Self {
        Self::Pickle(source)
    }
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Values(what)
    }
}

/// Reads the pickle of a `.pt` file.
pub(super) fn read(bytes: &[u8]) -> Result<PtContents, Refusal> {
    if bytes.len() > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLarge { found: bytes.len(), max: MAX_PICKLE_BYTES }.into());
    }
    let rules = Rules {
        is_allowed: &is_harmless,
        persistent_ids: true,
        max_instructions: MAX_INSTRUCTIONS,
    };
    let pickle = read_pickle_with(bytes, &rules)?;
    let mut walk = Walk {
        pickle: &pickle,
        path: Vec::new(),
        path_len: 0,
        expanded: 0,
        data_count: 0,
        tensors: BTreeMap::new(),
    };
    let entries = match walk.value(pickle.root_id(), 0)? {
        PlainValue::Dict(entries) => entries,
        other if walk.tensors.is_empty() => {
            let found = other.kind();
            return Err(
                format!("expected a dictionary or tensors at the root, found {found}").into()
            );
        }
        // A tensor, or tensors in a list.
        _ => BTreeMap::new(),
    };
    Ok(PtContents { tensors: walk.tensors, entries })
}

const ORDERED_DICT: &str = "collections.OrderedDict";
const PARAMETER: &str = "torch._utils._rebuild_parameter";
/// Maximum length of the name of a type in torch.
const MAX_TYPE_NAME: usize = 64;

/// Returns whether a pickle of tensors may refer to this class or function: the functions that rebuild
/// a tensor, which are understood here, and the names of types, which are never instantiated.
fn is_harmless(module: &str, name: &str) -> bool {
    match (module, name) {
        ("collections", "OrderedDict")
        | ("torch._utils", "_rebuild_parameter")
        | ("torch", "Tensor" | "Size" | "device")
        | ("torch.storage", "UntypedStorage") => true,
        ("torch._utils", name) => layout::REBUILD
            .iter()
            .any(|(rebuild, _)| rebuild.strip_prefix("torch._utils.") == Some(name)),
        ("torch", name) if name.len() <= MAX_TYPE_NAME => {
            let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            is_word && (layout::is_dtype(name) || name.ends_with("Storage"))
        }
        _ => false,
    }
}

/// A walk over the values of a pickle, which copies shared ones and finds the tensors.
struct Walk<'p, 'a> {
    pickle: &'p Pickle<'a>,
    /// The keys and indices that lead to the current value.
    path: Vec<String>,
    /// The length of the path in bytes.
    path_len: usize,
    /// The size of the values so far.
    expanded: u64,
    /// The number of tensors and storages so far.
    data_count: usize,
    tensors: BTreeMap<String, Layout>,
}

impl Walk<'_, '_> {
    /// Copies a value, whose containers are `depth` deep in others. Recurses at most [`MAX_DEPTH`]
    /// times.
    fn value(&mut self, id: ValueId, depth: u32) -> Result<PlainValue, Refusal> {
        self.count(0)?;
        let pickle = self.pickle;
        Ok(match pickle.get(id) {
            Value::None => PlainValue::None,
            Value::Bool(value) => PlainValue::Bool(*value),
            Value::Int(value) => PlainValue::Int(*value),
            Value::Float(value) => PlainValue::Float(*value),
            Value::Text(text) => {
                self.count(text.len())?;
                PlainValue::Text((*text).to_owned())
            }
            Value::Bytes(bytes) => PlainValue::Bytes(bytes.len()),
            Value::Tuple(items) | Value::List(items) | Value::Set(items) => {
                let depth = deeper(depth)?;
                let mut plain = Vec::with_capacity(items.len());
                for (index, &item) in items.iter().enumerate() {
                    plain.push(self.at(index.to_string(), item, depth)?);
                }
                PlainValue::List(plain)
            }
            Value::Dict(pairs) => {
                let mut entries = BTreeMap::new();
                self.insert(&mut entries, pairs, deeper(depth)?)?;
                PlainValue::Dict(entries)
            }
            Value::Global(name) => {
                self.count(name.len())?;
                PlainValue::Other(name.clone())
            }
            Value::Persistent(id) => {
                self.data_count += 1;
                let storage = Storage::read(pickle, *id)?;
                self.count(storage.key.len())?;
                let typed = if storage.dtype.is_some() { "Typed" } else { "Untyped" };
                PlainValue::Other(format!("torch.{typed}Storage"))
            }
            Value::Object(object) => self.object(object, deeper(depth)?)?,
        })
    }

    fn object(&mut self, object: &Object, depth: u32) -> Result<PlainValue, Refusal> {
        let pickle = self.pickle;
        let (Value::Global(name), Value::Tuple(args)) =
            (pickle.get(object.class), pickle.get(object.args))
        else {
            unreachable!("the machine makes objects from classes and tuples only");
        };
        self.count(name.len())?;
        if name == ORDERED_DICT {
            return self.ordered_dict(object, args, depth);
        }
        if let Some((_, arity)) = layout::REBUILD.iter().find(|(rebuild, _)| rebuild == name) {
            self.data_count += 1;
            if object.state.is_some() {
                return Err(format!("a tensor with a state ({name}) is not supported").into());
            }
            let layout = Layout::read(pickle, name, args, *arity).map_err(|what| {
                let path = self.path.join(".");
                format!("tensor `{}`: {what}", path.escape_debug())
            })?;
            self.count(layout.key.len() + size_of::<usize>() * 2 * layout.shape.len())?;
            self.count(self.path_len)?;
            let name = self.path.join(".");
            let name = if self.path.is_empty() { BARE_TENSOR.to_owned() } else { name };
            self.tensors.insert(name, layout);
            return Ok(PlainValue::Other("torch.Tensor".to_owned()));
        }
        if name == PARAMETER {
            let [data, others @ ..] = &args[..] else {
                return Err(format!("{name} has no arguments").into());
            };
            for &other in others.iter().chain(&object.state) {
                self.without_data(name, other, depth)?;
            }
            return self.value(*data, depth);
        }
        for other in [object.args].into_iter().chain(object.state) {
            self.without_data(name, other, depth)?;
        }
        Ok(PlainValue::Other(name.clone()))
    }

    /// `OrderedDict()` or `OrderedDict([(key, value), ...])`, and the entries added to it. Attributes,
    /// such as a state dictionary's `_metadata`, count as entries.
    fn ordered_dict(
        &mut self,
        object: &Object,
        args: &[ValueId],
        depth: u32,
    ) -> Result<PlainValue, Refusal> {
        let pickle = self.pickle;
        let mut pairs = Vec::new();
        let items = match args {
            [] => &[][..],
            [items] => match pickle.get(*items) {
                Value::List(items) | Value::Tuple(items) => items,
                other => return Err(format!("OrderedDict of {}", other.kind()).into()),
            },
            _ => return Err(format!("OrderedDict of {} arguments", args.len()).into()),
        };
        for &item in items {
            self.count(0)?;
            match pickle.get(item) {
                Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => {
                    pairs.push((pair[0], pair[1]));
                }
                other => return Err(format!("OrderedDict with {} as item", other.kind()).into()),
            }
        }
        let mut entries = BTreeMap::new();
        self.insert(&mut entries, &pairs, depth)?;
        self.insert(&mut entries, &object.items, depth)?;
        match object.state.map(|state| (state, pickle.get(state))) {
            Some((_, Value::Dict(attributes))) => self.insert(&mut entries, attributes, depth)?,
            Some((state, _)) => self.without_data(ORDERED_DICT, state, depth)?,
            None => {}
        }
        Ok(PlainValue::Dict(entries))
    }

    fn insert(
        &mut self,
        entries: &mut BTreeMap<String, PlainValue>,
        pairs: &[(ValueId, ValueId)],
        depth: u32,
    ) -> Result<(), Refusal> {
        for &(key, value) in pairs {
            let key = match self.pickle.get(key) {
                Value::Text(text) => {
                    self.count(text.len())?;
                    (*text).to_owned()
                }
                Value::Int(index) => index.to_string(),
                other => {
                    let found = other.kind();
                    return Err(format!("a key is {found}, expected a str or an int").into());
                }
            };
            let value = self.at(key.clone(), value, depth)?;
            entries.insert(key, value);
        }
        Ok(())
    }

    /// Copies the value at `key` of the current container.
    fn at(&mut self, key: String, value: ValueId, depth: u32) -> Result<PlainValue, Refusal> {
        let key_len = key.len() + 1;
        self.path.push(key);
        self.path_len += key_len;
        let plain = self.value(value, depth)?;
        self.path_len -= key_len;
        self.path.pop();
        Ok(plain)
    }

    /// Checks that no tensor is lost with a value that is dropped.
    fn without_data(&mut self, owner: &str, id: ValueId, depth: u32) -> Result<(), Refusal> {
        let before = self.data_count;
        self.value(id, depth)?;
        if self.data_count == before {
            return Ok(());
        }
        Err(format!("tensors inside a {owner} are not supported").into())
    }

    /// Counts a value, or `len` bytes of one.
    fn count(&mut self, len: usize) -> Result<(), PickleError> {
        self.expanded += if len == 0 { VALUE_BYTES } else { len as u64 };
        if self.expanded > MAX_EXPANDED {
            return Err(PickleError::Expands { max: MAX_EXPANDED });
        }
        Ok(())
    }
}

fn deeper(depth: u32) -> Result<u32, PickleError> {
    if depth == MAX_DEPTH {
        return Err(PickleError::TooDeep { max: MAX_DEPTH });
    }
    Ok(depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        match read(bytes).unwrap_err() {
            Refusal::Pickle(source) => source.to_string(),
            Refusal::Values(what) => what,
        }
    }

    #[test]
    fn a_name_that_is_fetched_many_times_is_refused() {
        // Two bytes copy these 64 KiB.
        let long = "d".repeat(1 << 16);
        let mut pickle = format!("X\x00\x00\x01\x00{long}q\x010(").into_bytes();
        pickle.extend(b"h\x01".repeat(300));
        pickle.extend(b"t.");

        assert_eq!(refusal(&pickle), "the pickle copies more than 16777216 bytes of itself");
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
        assert_eq!(refusal(&deep), "the pickle nests values deeper than 100");

        // A list that contains itself.
        assert_eq!(refusal(b"]q\x00h\x00a."), "the pickle nests values deeper than 100");

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
        assert!(read(b"ccollections\nOrderedDict\n)R.").unwrap().entries.is_empty());
    }

    #[test]
    fn entries_and_attributes_of_an_ordered_dict_are_its_entries() {
        let pickle =
            b"\x80\x02ccollections\nOrderedDict\n]K\x01K\x02\x86a\x85RX\x01\x00\x00\x00aK\x03s\
            }X\x01\x00\x00\x00bNsb.";

        let entries = read(pickle).unwrap().entries;

        let expected =
            [("1", PlainValue::Int(2)), ("a", PlainValue::Int(3)), ("b", PlainValue::None)];
        assert_eq!(entries, expected.map(|(key, value)| (key.to_owned(), value)).into());
    }
}
