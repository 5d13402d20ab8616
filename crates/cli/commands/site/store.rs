//! The large files of a site: compressed, and named by their content, so that browsers keep them.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zlib_rs::{DeflateConfig, ReturnCode, Strategy, compress_bound, compress_slice};

use crate::write_file::write_file;

/// The folder of the files within the site.
const FOLDER: &str = "files";
/// The number of bytes at the start of a file by which the way of compressing it is chosen.
const SAMPLE: usize = 1 << 18;
/// The ways of compressing. Of weights only the frequency of bytes is of use; what repeats itself does so by
/// chance, and takes more bits as a repetition.
const STRATEGIES: [Strategy; 2] = [Strategy::Default, Strategy::HuffmanOnly];
/// A window of 32 kB, and 16 for the form of gzip.
const GZIP: i32 = 15 + 16;

/// A file of the site, as the worker downloads it (`crates/browser/page/site/store.js`).
#[derive(Debug, Serialize)]
pub(super) struct SiteFile {
    /// The path in the folder that the worker makes of the files.
    path: String,
    /// The address beside the page.
    file: String,
    /// The number of bytes that are downloaded.
    pub(super) size: usize,
    /// True if it is compressed by gzip.
    packed: bool,
    /// True if the first bytes of all pairs of bytes come before the second ones in the compressed content.
    split: bool,
}

/// Writes `bytes` to the site in `out`, where `path` is its name for the worker.
pub(super) fn store(out: &Path, path: &str, bytes: &[u8]) -> Result<SiteFile> {
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    let mut best: Option<(usize, Strategy, bool)> = None;
    for strategy in STRATEGIES {
        for is_split in [false, true] {
            let size = pack(&ordered(sample, is_split), strategy)?.len();
            if best.is_none_or(|(least, ..)| size < least) {
                best = Some((size, strategy, is_split));
            }
        }
    }
    let (_, strategy, is_split) = best.context("there is a way of compressing")?;
    let packed = pack(&ordered(bytes, is_split), strategy)?;
    // An index is compressed already.
    let is_packed = packed.len() < bytes.len();
    let content = if is_packed { &packed } else { bytes };
    let digest = Sha256::digest(content);
    let mark = u64::from_be_bytes(digest[..8].try_into().expect("a digest has 32 bytes"));
    // Servers send `.gz` and `.wasm` in ways of their own.
    let file = format!("{FOLDER}/{mark:016x}.bin");
    write_file(&out.join(&file), content)?;
    let (size, split) = (content.len(), is_packed && is_split);
    Ok(SiteFile { path: path.to_owned(), file, size, packed: is_packed, split })
}

fn pack(bytes: &[u8], strategy: Strategy) -> Result<Vec<u8>> {
    let config = DeflateConfig { window_bits: GZIP, strategy, ..DeflateConfig::best_compression() };
    // The bound is that of zlib's own form, whose header is shorter.
    let mut packed = vec![0; compress_bound(bytes.len()) + 64];
    let (used, code) = compress_slice(&mut packed, bytes, config);
    ensure!(code == ReturnCode::Ok, "a file of the site could not be compressed ({code:?})");
    let len = used.len();
    packed.truncate(len);
    Ok(packed)
}

/// The bytes as they are or, if `is_split`, the first bytes of all pairs and then the second ones. Numbers of 16 bits
/// have their exponents in one byte of the two, and those compress better without the others between them.
fn ordered(bytes: &[u8], is_split: bool) -> Cow<'_, [u8]> {
    if !is_split {
        return bytes.into();
    }
    let second = bytes.iter().skip(1).step_by(2);
    bytes.iter().step_by(2).chain(second).copied().collect()
}

/// Removes the files that are not among `current`, of an earlier version of the site.
pub(super) fn remove_others<'f>(
    out: &Path,
    current: impl Iterator<Item = &'f SiteFile>,
) -> Result<()> {
    let current: Vec<_> = current.map(|file| out.join(&file.file)).collect();
    let folder = out.join(FOLDER);
    let io = || format!("could not remove an old file from {}", folder.display());
    for entry in fs::read_dir(&folder).with_context(io)? {
        let path = entry.with_context(io)?.path();
        if !current.contains(&path) {
            fs::remove_file(path).with_context(io)?;
        }
    }
    Ok(())
}
