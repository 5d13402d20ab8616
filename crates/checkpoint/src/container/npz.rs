//! `.npz` files: a zip of numpy's arrays, one `.npy` each.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use zip::{CompressionMethod, ZipArchive};

use crate::container::mmap::Mapped;
use crate::container::tensor_file::{Dtype, MappedTensors, TensorInfo};
use crate::error::CheckpointError;

/// A word for the format, for people.
pub(crate) const FORMAT: &str = "numpy .npz";
/// The most bytes of an array's header; numpy, too, refuses longer ones.
const MOST_HEADER: usize = 10_000;
const MAGIC: &[u8] = b"\x93NUMPY";
const EXTENSION: &str = ".npy";

/// Whether a file that starts like this is a zip whose first entry is an array.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    let name = || {
        let length = start.get(26..28)?;
        start.get(30..30 + usize::from(u16::from_le_bytes([length[0], length[1]])))
    };
    start.starts_with(b"PK\x03\x04") && name().is_some_and(|name| name.ends_with(b".npy"))
}

/// Opens the file at `path`. Arrays of types that no weight has are passed over.
pub(crate) fn open(path: &Path) -> Result<MappedTensors, CheckpointError> {
    let mapped = Mapped::open(path)?;
    let broken = |what: String| CheckpointError::Npz { path: path.to_owned(), what };
    let bytes = mapped.bytes();
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|source| {
        broken(format!("no directory at the end of the zip; is the file complete? ({source})"))
    })?;
    if archive.has_duplicate_names() {
        return Err(broken("two arrays have one name".to_owned()));
    }
    let (mut infos, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(|source| broken(source.to_string()))?;
        let name = entry.name().map_err(|source| broken(source.to_string()))?.into_owned();
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return Err(CheckpointError::Compressed { path: path.to_owned(), entry: name });
        }
        let Some(array) = name.strip_suffix(EXTENSION) else {
            return Err(broken(format!("`{name}` in it is no array")));
        };
        let range = entry.data_start().and_then(|start| {
            let end = usize::try_from(start.checked_add(entry.size())?).ok()?;
            Some((usize::try_from(start).ok()?, end))
        });
        let (start, end) = range
            .filter(|&(start, end)| start <= end && end <= bytes.len())
            .ok_or_else(|| broken(format!("`{name}` goes on beyond the file's end")))?;
        let header = Header::parse(&bytes[start..end]);
        let header = header.map_err(|what| broken(format!("`{name}`: {what}")))?;
        let Some(dtype) = header.dtype else { continue };
        let claimed = header.shape.iter().try_fold(dtype.size(), |sum, &len| sum.checked_mul(len));
        if claimed != Some(end - start - header.length) {
            let (shape, found) = (&header.shape, end - start - header.length);
            return Err(broken(format!(
                "`{name}` has {found} bytes of numbers, which is no {dtype} of shape {shape:?}"
            )));
        }
        infos.insert(array.to_owned(), TensorInfo { shape: header.shape, dtype });
        offsets.insert(array.to_owned(), (start + header.length, end));
    }
    drop(archive);
    Ok(MappedTensors { format: FORMAT, mapped, infos, offsets, architecture: None })
}

/// What stands before an array's numbers.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// Bytes up to the numbers.
    length: usize,
    /// None if no weight is of that type.
    dtype: Option<Dtype>,
    shape: Vec<usize>,
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let start = bytes.strip_prefix(MAGIC).ok_or("no array of numpy's")?;
        let (text_at, text_len) = match *start {
            [1, 0, a, b, ..] => (10, u32::from(u16::from_le_bytes([a, b]))),
            [2 | 3, 0, a, b, c, d, ..] => (12, u32::from_le_bytes([a, b, c, d])),
            [major, minor, ..] => return Err(format!("version {major}.{minor} is not known")),
            _ => return Err("the header is cut off".to_owned()),
        };
        let text_len = text_len as usize;
        if text_len > MOST_HEADER {
            return Err(format!(
                "a header of {text_len} bytes, numpy's have {MOST_HEADER} at most"
            ));
        }
        let text = bytes.get(text_at..text_at + text_len).ok_or("the header is cut off")?;
        let text = std::str::from_utf8(text).map_err(|_| "the header is no text")?;
        let mut header = Text { left: text };
        let (descr, column_major, shape) = header
            .parse()
            .ok_or_else(|| format!("cannot read the header {:?}", text.trim_end()))?;
        if descr.starts_with('>') {
            return Err(format!("numbers of type {descr}, big end first, are not supported"));
        }
        // Of fewer than two dimensions both orders are the same.
        if column_major && shape.len() > 1 {
            return Err("an array stored column by column (fortran_order) is not supported".into());
        }
        Ok(Self { length: text_at + text_len, dtype: dtype(descr), shape })
    }
}

fn dtype(descr: &str) -> Option<Dtype> {
    Some(match descr {
        "<f8" => Dtype::F64,
        "<f4" => Dtype::F32,
        "<f2" => Dtype::F16,
        "<i8" => Dtype::I64,
        "<i4" => Dtype::I32,
        "<i2" => Dtype::I16,
        "|i1" => Dtype::I8,
        "|u1" => Dtype::U8,
        "|b1" => Dtype::Bool,
        _ => return None,
    })
}

/// What is left of a header's text: a Python dictionary of three keys, as numpy writes it.
struct Text<'a> {
    left: &'a str,
}

impl<'a> Text<'a> {
    fn parse(&mut self) -> Option<(&'a str, bool, Vec<usize>)> {
        let (mut descr, mut column_major, mut shape) = (None, None, None);
        self.skip("{")?;
        while self.skip("}").is_none() {
            let key = self.quoted()?;
            self.skip(":")?;
            let is_new = match key {
                // A list of fields is no type of a weight, and not understood.
                "descr" => descr.replace(self.quoted()?).is_none(),
                "fortran_order" => column_major.replace(self.truth()?).is_none(),
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

    fn truth(&mut self) -> Option<bool> {
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
    fn every_version_of_the_header_says_the_same() {
        let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (16, 48), }   \n";
        for version in [1, 2, 3] {
            let bytes = header(version, text);

            let found = Header::parse(&bytes).unwrap();

            assert_eq!(found.length, bytes.len());
            assert_eq!((found.dtype, found.shape), (Some(Dtype::F32), vec![16, 48]));
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
    fn an_array_of_another_type_is_no_weight_and_no_error() {
        let text = "{'descr': '<U5', 'fortran_order': False, 'shape': ()}";

        assert_eq!(Header::parse(&header(1, text)).unwrap().dtype, None);
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
