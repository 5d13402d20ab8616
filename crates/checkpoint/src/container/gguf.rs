//! GGUF files. Quantised tensors are listed, but not read.

use std::collections::BTreeMap;
use std::path::Path;

use crate::container::dtype::Dtype;
use crate::container::mapped_tensors::{MappedTensors, TensorInfo};
use crate::container::mmap::MappedFile;
use crate::error::CheckpointError;

const MAGIC: &[u8] = b"GGUF";
/// Maximum number of dimensions in ggml.
const MAX_DIMENSIONS: u32 = 4;
const ARCHITECTURE: &str = "general.architecture";
const ALIGNMENT: &str = "general.alignment";
const DEFAULT_ALIGNMENT: u64 = 32;

/// Returns whether a file that starts with these bytes is a GGUF file.
pub(crate) fn looks_like(start: &[u8]) -> bool {
    start.starts_with(MAGIC)
}

/// Reads the header of the file at `path`.
pub(crate) fn open(path: &Path, file: MappedFile) -> Result<MappedTensors, CheckpointError> {
    let parts = parse(file.bytes());
    let (architecture, tensors) =
        parts.map_err(|what| CheckpointError::Gguf { path: path.to_owned(), what })?;
    let (mut infos, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for (name, info, range) in tensors {
        infos.insert(name.clone(), info);
        offsets.extend(range.map(|range| (name, range)));
    }
    Ok(MappedTensors { format: "GGUF", file, infos, offsets, architecture })
}

/// A tensor's name and description, and its bytes if its type is read.
type Tensor = (String, TensorInfo, Option<(usize, usize)>);

/// Returns the architecture and the tensors of a file with these bytes.
fn parse(bytes: &[u8]) -> Result<(Option<String>, Vec<Tensor>), String> {
    let mut reader = Reader { bytes, at: MAGIC.len() };
    let version = reader.u32()?;
    if !(2..=3).contains(&version) {
        return Err(format!("unknown version {version} (expected 2 or 3)"));
    }
    let (n_tensors, n_values) = (reader.u64()?, reader.u64()?);
    let (mut architecture, mut alignment) = (None, DEFAULT_ALIGNMENT);
    for _ in 0..n_values {
        let key = reader.text()?;
        let kind = reader.u32()?;
        match (key, kind) {
            (ARCHITECTURE, STRING) => architecture = Some(reader.text()?.to_owned()),
            (ALIGNMENT, U32) => alignment = u64::from(reader.u32()?),
            _ => reader.skip_value(key, kind)?,
        }
    }
    if !alignment.is_power_of_two() {
        return Err(format!("the alignment {alignment} is not a valid power of two"));
    }
    let mut described = BTreeMap::new();
    for _ in 0..n_tensors {
        let name = reader.text()?;
        let n_dimensions = reader.u32()?;
        if n_dimensions > MAX_DIMENSIONS {
            return Err(format!("tensor `{name}` has {n_dimensions} dimensions"));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dimensions {
            let too_long = |_| format!("tensor `{name}` has a dimension larger than any file");
            shape.push(usize::try_from(reader.u64()?).map_err(too_long)?);
        }
        // ggml lists the fastest-varying dimension first.
        shape.reverse();
        let (kind, offset) = (reader.u32()?, reader.u64()?);
        if described.insert(name, (shape, kind, offset)).is_some() {
            return Err(format!("two tensors are named `{name}`"));
        }
    }
    let start = (reader.at as u64).checked_next_multiple_of(alignment);
    let start =
        start.ok_or_else(|| format!("the alignment {alignment} is not a valid power of two"))?;
    let mut tensors = Vec::new();
    for (name, (shape, kind, offset)) in described {
        let dtype = dtype(kind);
        let unread = matches!(dtype, Dtype::Unread(_));
        let range = || {
            // No quantised number has less than a bit.
            let size = if unread { 1 } else { dtype.size() };
            let len = shape.iter().try_fold(size, |len, &more| len.checked_mul(more))?;
            let len = if unread { len / 8 } else { len };
            let from = usize::try_from(start.checked_add(offset)?).ok()?;
            Some((from, from.checked_add(len)?)).filter(|&(_, to)| to <= bytes.len())
        };
        let range = range().ok_or_else(|| {
            format!("tensor `{name}` of shape {shape:?} extends past the end of the file")
        })?;
        let range = Some(range).filter(|_| !unread);
        tensors.push((name.to_owned(), TensorInfo { shape, dtype }, range));
    }
    Ok((architecture, tensors))
}

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The size in bytes of a metadata number of that kind.
fn size(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        U32 | 5 | 6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

/// The element type of that ggml kind.
fn dtype(kind: u32) -> Dtype {
    match kind {
        0 => Dtype::F32,
        1 => Dtype::F16,
        24 => Dtype::I8,
        25 => Dtype::I16,
        26 => Dtype::I32,
        27 => Dtype::I64,
        28 => Dtype::F64,
        30 => Dtype::BF16,
        _ => Dtype::Unread(quantised(kind)),
    }
}

/// The name of a quantised kind in ggml.
fn quantised(kind: u32) -> &'static str {
    match kind {
        2 => "Q4_0",
        3 => "Q4_1",
        6 => "Q5_0",
        7 => "Q5_1",
        8 => "Q8_0",
        9 => "Q8_1",
        10 => "Q2_K",
        11 => "Q3_K",
        12 => "Q4_K",
        13 => "Q5_K",
        14 => "Q6_K",
        15 => "Q8_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        _ => "of an unknown ggml type",
    }
}

/// A cursor over the file that checks every read against its length.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], String> {
        let range = usize::try_from(len).ok().and_then(|len| {
            let end = self.at.checked_add(len)?;
            self.bytes.get(self.at..end)
        });
        let taken = range.ok_or_else(|| {
            format!(
                "{len} bytes expected at byte {}, but the file has {}",
                self.at,
                self.bytes.len()
            )
        })?;
        self.at += taken.len();
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("four bytes were taken")))
    }

    fn u64(&mut self) -> Result<u64, String> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken")))
    }

    fn text(&mut self) -> Result<&'a str, String> {
        let at = self.at;
        let len = self.u64()?;
        let bytes = self.take(len)?;
        std::str::from_utf8(bytes).map_err(|_| format!("the text at byte {at} is not valid UTF-8"))
    }

    fn skip_value(&mut self, key: &str, kind: u32) -> Result<(), String> {
        let unknown = |kind| format!("metadata `{key}` has the unknown kind {kind}");
        match kind {
            STRING => self.text().map(|_| ()),
            ARRAY => {
                let (of, len) = (self.u32()?, self.u64()?);
                if of == STRING {
                    for _ in 0..len {
                        self.text()?;
                    }
                    return Ok(());
                }
                // Arrays of arrays are refused: ggml has none, and they could nest without limit.
                let size = size(of).ok_or_else(|| unknown(of))?;
                self.take(len.saturating_mul(size)).map(|_| ())
            }
            kind => self.take(size(kind).ok_or_else(|| unknown(kind))?).map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    #[test]
    fn tensors_are_found_after_any_metadata_with_their_dimensions_reversed() {
        let mut bytes = [MAGIC, &3_u32.to_le_bytes()].concat();
        bytes.extend([1_u64, 4].map(u64::to_le_bytes).concat());
        bytes.extend([text(ARCHITECTURE), STRING.to_le_bytes().to_vec(), text("llama")].concat());
        bytes.extend([text(ALIGNMENT), U32.to_le_bytes().to_vec()].concat());
        bytes.extend(64_u32.to_le_bytes());
        bytes.extend([text("words"), ARRAY.to_le_bytes().to_vec()].concat());
        bytes.extend([&STRING.to_le_bytes()[..], &2_u64.to_le_bytes()].concat());
        bytes.extend([text("a"), text("b")].concat());
        bytes.extend([text("truth"), 7_u32.to_le_bytes().to_vec(), vec![1]].concat());
        bytes.extend([text("w"), 2_u32.to_le_bytes().to_vec()].concat());
        bytes.extend([3_u64, 2].map(u64::to_le_bytes).concat());
        bytes.extend([&0_u32.to_le_bytes()[..], &64_u64.to_le_bytes()].concat());
        let header = bytes.len();
        bytes.resize(header.next_multiple_of(64) + 64 + 24, 0);

        let (architecture, tensors) = parse(&bytes).unwrap();

        assert_eq!(architecture.as_deref(), Some("llama"));
        let info = TensorInfo { shape: vec![2, 3], dtype: Dtype::F32 };
        let range = (bytes.len() - 24, bytes.len());
        assert_eq!(tensors, [("w".to_owned(), info, Some(range))]);
        for cut in 4..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
    }
}
