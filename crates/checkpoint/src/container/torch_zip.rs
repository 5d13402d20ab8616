//! Checks on a `.pt` file before it is parsed.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use pytorch_reader::PytorchError;
use zip::{CompressionMethod, ZipArchive, ZipReadOptions};

use crate::error::CheckpointError;
use crate::pickle::{PickleError, bounds};

/// Checks that the file at `path` is a zip of uncompressed entries with a harmless pickle, as written
/// by every `torch.save` since PyTorch 1.6.
///
/// `pytorch-reader` accepts more, which is unsafe: a compressed entry can expand to a thousand times the
/// length of the file, and a sparse entry of a tar (before PyTorch 0.1.10) can exceed any memory.
pub(crate) fn check(path: &Path) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::io(path, source);
    let damaged = |reason| CheckpointError::Pt { path: path.to_owned(), reason };
    let broken = |source: zip::result::ZipError| damaged(source.into());
    let foreign =
        |found: &str| CheckpointError::NotTorch { path: path.to_owned(), found: found.to_owned() };

    let mut file = File::open(path).map_err(io)?;
    let mut start = Vec::new();
    file.by_ref().take(START_BYTES).read_to_end(&mut start).map_err(io)?;
    if let Some(found) = other_format(&start) {
        return Err(foreign(found));
    }
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|source| {
        // A zip ends with its central directory.
        let what = format!("the zip has no central directory; is the file complete? ({source})");
        damaged(PytorchError::InvalidFormat(what))
    })?;
    let mut pickles = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(broken)?;
        let name = entry.name().map_err(broken)?.into_owned();
        if entry.compression() != CompressionMethod::Stored
            || entry.size() != entry.compressed_size()
        {
            return Err(CheckpointError::Compressed { path: path.to_owned(), entry: name });
        }
        if name == PICKLE || name.ends_with("/data.pkl") {
            pickles.push((index, entry.crc32()));
        }
    }
    let (index, checksum) = match pickles[..] {
        [pickle] => pickle,
        [] => return Err(foreign("a zip without a data.pkl")),
        _ => return Err(foreign("a zip with more than one data.pkl")),
    };
    // torch writes 0 if it is configured to compute no checksum; the reader expects that.
    let options = ZipReadOptions::new().ignore_crc32(checksum == 0);
    let entry = archive.by_index_with_options(index, options).map_err(broken)?;
    let size = entry.size();
    if size > MAX_PICKLE_BYTES {
        return Err(foreign(&format!("a zip with a data.pkl of {size} bytes")));
    }
    let mut pickle = Vec::new();
    // Most likely the checksum is wrong, rather than an error of the operating system.
    let read = entry.take(MAX_PICKLE_BYTES).read_to_end(&mut pickle);
    read.map_err(|source| damaged(source.into()))?;
    check_pickle(&pickle).map_err(|source| match source {
        PickleError::ForbiddenGlobal { name, .. } => {
            CheckpointError::PythonObject { path: path.to_owned(), name }
        }
        source => CheckpointError::Pickle { path: path.to_owned(), source },
    })
}

/// Checks that a pickle is within the limits, and refers to nothing but tensors.
pub(crate) fn check_pickle(pickle: &[u8]) -> Result<(), PickleError> {
    if pickle.len() as u64 > MAX_PICKLE_BYTES {
        return Err(PickleError::TooLarge { found: pickle.len(), max: MAX_PICKLE_BYTES as usize });
    }
    bounds::check(pickle, is_harmless)
}

const PICKLE: &str = "data.pkl";
/// Maximum length in bytes of the pickle in the archive, which has no weights. A large model's has 100
/// KB.
const MAX_PICKLE_BYTES: u64 = 16 << 20;
/// Bytes at the start of a file that identify a tar.
const START_BYTES: u64 = 262;

/// Returns the kind of a file that starts with these bytes, unless it is a zip.
fn other_format(start: &[u8]) -> Option<&'static str> {
    match start {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => None,
        [] => Some("an empty file"),
        _ if start.get(257..262) == Some(b"ustar") => {
            Some("a tar archive, as PyTorch wrote before 0.1.10")
        }
        [0x80, 0..=5, ..] => Some("a pickle, as PyTorch wrote before 1.6"),
        _ => Some("of an unknown format"),
    }
}

/// Returns whether a pickle of tensors may refer to this class or function: the functions that rebuild
/// a tensor, which the reader implements, and the names of types, which are never instantiated.
pub(crate) fn is_harmless(name: &str) -> bool {
    match name {
        "collections.OrderedDict"
        | "torch._utils._rebuild_tensor"
        | "torch._utils._rebuild_tensor_v2"
        | "torch._utils._rebuild_tensor_v3"
        | "torch._utils._rebuild_parameter"
        | "torch.Tensor"
        | "torch.Size"
        | "torch.device" => true,
        name => name.strip_prefix("torch.").is_some_and(|rest| {
            let is_word = rest.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let is_type = rest.starts_with("float") || rest == "bfloat16" || rest == "half";
            is_word && (is_type || rest.ends_with("Storage"))
        }),
    }
}
