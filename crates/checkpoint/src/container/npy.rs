//! `.npy` files: one numpy array, and the arrays of `.npz` files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::container::BARE_TENSOR;
use crate::container::dtype::Dtype;
use crate::container::mapped_tensors::{MappedTensors, TensorInfo};
use crate::container::mmap::MappedFile;
use crate::error::CheckpointError;

/// Maximum length of an array's header in bytes; numpy refuses longer ones, too.
const MAX_HEADER_BYTES: usize = 10_000;
const MAGIC: &[u8] = b"\x93NUMPY";

/// Returns whether a file that starts with these bytes is an array.
pub(super) fn looks_like(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Reads the header of the array in the file at `path`, which has no name.
pub(super) fn open(path: &Path, file: MappedFile) -> Result<MappedTensors, CheckpointError> {
    let bytes = file.bytes();
    let Array { info, range } =
        Array::parse(bytes).map_err(|what| CheckpointError::Npy { path: path.to_owned(), what })?;
    let infos = BTreeMap::from([(BARE_TENSOR.to_owned(), info)]);
    let offsets = BTreeMap::from([(BARE_TENSOR.to_owned(), range)]);
    Ok(MappedTensors { format: "numpy .npy", file, infos, offsets, architecture: None })
}

/// An array in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Array {
    pub(super) info: TensorInfo,
    /// The bytes of its numbers: the first one, and the one after the last.
    pub(super) range: (usize, usize),
}

impl Array {
    /// Reads the header of an array of these bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Header { length, dtype, shape } = Header::parse(bytes)?;
        let found = bytes.len() - length;
        let unread = matches!(dtype, Dtype::Unread(_));
        let claimed = shape.iter().try_fold(dtype.size().max(1), |sum, &n| sum.checked_mul(n));
        // A type that is not read has an unknown size.
        if !(claimed == Some(found) || unread && claimed.is_some()) {
            return Err(format!(
                "it has {found} bytes of data, which do not fit {dtype} of shape {shape:?}"
            ));
        }
        Ok(Self { info: TensorInfo { shape, dtype }, range: (length, bytes.len()) })
    }
}

/// The header in front of an array's numbers.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Bytes before the numbers.
    length: usize,
    dtype: Dtype,
    shape: Vec<usize>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let start = bytes.strip_prefix(MAGIC).ok_or("it is not a numpy array")?;
        let (text_at, text_len) = match *start {
            [1, 0, a, b, ..] => (10, u32::from(u16::from_le_bytes([a, b]))),
            [2 | 3, 0, a, b, c, d, ..] => (12, u32::from_le_bytes([a, b, c, d])),
            [major, minor, ..] => return Err(format!("unknown version {major}.{minor}")),
            _ => return Err("the header is truncated".to_owned()),
        };
        let text_len = text_len as usize;
        if text_len > MAX_HEADER_BYTES {
            return Err(format!(
                "the header has {text_len} bytes, more than the {MAX_HEADER_BYTES} that numpy allows"
            ));
        }
        let text = bytes.get(text_at..text_at + text_len).ok_or("the header is truncated")?;
        let text = std::str::from_utf8(text).map_err(|_| "the header is not valid UTF-8")?;
        let mut header = HeaderText { left: text };
        let (descr, column_major, shape) = header
            .parse()
            .ok_or_else(|| format!("cannot read the header {:?}", text.trim_end()))?;
        if descr.starts_with('>') {
            return Err(format!("big-endian numbers (type {descr}) are not supported"));
        }
        // With fewer than two dimensions, both orders are the same.
        if column_major && shape.len() > 1 {
            return Err("column-major arrays (fortran_order) are not supported; save \
                        numpy.ascontiguousarray(x)"
                .into());
        }
        Ok(Self { length: text_at + text_len, dtype: dtype(descr), shape })
    }
}

fn dtype(descr: &str) -> Dtype {
    match descr {
        "<f8" => Dtype::F64,
        "<f4" => Dtype::F32,
        "<f2" => Dtype::F16,
        "<i8" => Dtype::I64,
        "<i4" => Dtype::I32,
        "<i2" => Dtype::I16,
        "|i1" => Dtype::I8,
        "|u1" => Dtype::U8,
        "|b1" => Dtype::Bool,
        _ => Dtype::Unread(match descr.trim_start_matches(['<', '|', '=']).chars().next() {
            Some('u') => "an unsigned integer of more than 8 bits",
            Some('f') => "a float of more than 64 bits",
            Some('c') => "complex",
            Some('U' | 'S') => "text",
            Some('O') => "a Python object",
            Some('M' | 'm') => "a time",
            Some('V') => "of a type that numpy does not know",
            _ => "of an unknown type",
        }),
    }
}

/// The unparsed rest of a header: a Python dictionary of three keys, as numpy writes it.
struct HeaderText<'a> {
    left: &'a str,
}

impl<'a> HeaderText<'a> {
    fn parse(&mut self) -> Option<(&'a str, bool, Vec<usize>)> {
        let (mut descr, mut column_major, mut shape) = (None, None, None);
        self.skip("{")?;
        while self.skip("}").is_none() {
            let key = self.quoted()?;
            self.skip(":")?;
            let is_new = match key {
                // A list of fields is not supported: weights never have such a type.
                "descr" => descr.replace(self.quoted()?).is_none(),
                "fortran_order" => column_major.replace(self.boolean()?).is_none(),
                "shape" => shape.replace(self.tuple()?).is_none(),
                _ => false,
            };
            if !is_new {
                return None;
            }
            if self.skip(",").is_none() {
                self.skip("}")?;
                break;
            }
        }
        let ends = self.left.trim_start().is_empty();
        ends.then_some((descr?, column_major?, shape?))
    }

    fn skip(&mut self, token: &str) -> Option<()> {
        self.left = self.left.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn quoted(&mut self) -> Option<&'a str> {
        self.left = self.left.trim_start();
        let quote = self.left.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, left) = self.left[1..].split_once(quote)?;
        self.left = left;
        Some(text)
    }

    fn boolean(&mut self) -> Option<bool> {
        match self.skip("True") {
            Some(()) => Some(true),
            None => self.skip("False").map(|()| false),
        }
    }

    fn tuple(&mut self) -> Option<Vec<usize>> {
        let mut items = Vec::new();
        self.skip("(")?;
        while self.skip(")").is_none() {
            self.left = self.left.trim_start();
            let digits = self.left.bytes().take_while(u8::is_ascii_digit).count();
            items.push(self.left[..digits].parse().ok()?);
            self.left = &self.left[digits..];
            if self.skip(",").is_none() {
                self.skip(")")?;
                break;
            }
        }
        Some(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(version: u8, text: &str) -> Vec<u8> {
        let mut bytes = [MAGIC, &[version, 0]].concat();
        match version {
            1 => bytes.extend((text.len() as u16).to_le_bytes()),
            _ => bytes.extend((text.len() as u32).to_le_bytes()),
        }
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn every_version_of_the_header_reads_the_same() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 48), }   \n";
        for version in [1, 2, 3] {
            let bytes = header(version, text);

            let found = Header::parse(&bytes).unwrap();

            assert_eq!(found.length, bytes.len());
            assert_eq!((found.dtype, found.shape), (Dtype::F32, vec![16, 48]));
        }
    }

    #[test]
    fn shapes_are_read_as_python_writes_them() {
        for (shape, expected) in [("()", vec![]), ("(3,)", vec![3]), ("(2, 3, 4)", vec![2, 3, 4])] {
            let text = format!("{{'shape': {shape}, 'fortran_order': False, 'descr': '|u1'}}");

            assert_eq!(Header::parse(&header(1, &text)).unwrap().shape, expected, "{shape}");
        }
    }

    #[test]
    fn an_array_of_another_type_is_listed_with_its_type() {
        for (descr, named) in [
            ("<U5", "text"),
            ("|O", "a Python object"),
            ("<c8", "complex"),
            ("<f16", "a float of more than 64 bits"),
            ("<u2", "an unsigned integer of more than 8 bits"),
            // A bfloat16 of `ml_dtypes`.
            ("|V2", "of a type that numpy does not know"),
        ] {
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ()}}");

            assert_eq!(Header::parse(&header(1, &text)).unwrap().dtype, Dtype::Unread(named));
        }
    }

    #[test]
    fn a_header_that_numpy_does_not_write_is_an_error() {
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (2,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} exit()",
            "{'descr': '>f4', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2)}",
        ] {
            assert!(Header::parse(&header(1, text)).is_err(), "{text}");
        }
    }
}
