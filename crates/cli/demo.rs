//! The built-in demo model, embedded in the binary and unpacked to a folder.
//!
//! The loaders work on files, so the demo is written to the user's cache once and loaded from there
//! like any other model.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Error, Result};
use nanoscope_checkpoint::TemporaryFolder;
use nanoscope_server::Topic;

use crate::cache::cache_dir;
use crate::terminal::messages::{Hint, note};
use crate::write_file::write_file;

#[cfg(feature = "demo")]
macro_rules! embed {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/", $path)))),*]
    };
}

/// The embedded files of `models/demo`, with their paths there. A constant would be in the binary once for each
/// function that uses it.
#[cfg(feature = "demo")]
static FILES: &[(&str, &[u8])] = embed![
    "base_checkpoints/d4/meta_001359.json",
    "base_checkpoints/d4/model_001359.pt",
    "tokenizer/tokenizer.pkl",
    "saes/layer_0/cfg.json",
    "saes/layer_0/index-f8a369a6dbe84d0d.jsonl.gz",
    "saes/layer_0/labels.json",
    "saes/layer_0/sae_weights.safetensors",
    "saes/layer_1/cfg.json",
    "saes/layer_1/index-a24827ce04c938f0.jsonl.gz",
    "saes/layer_1/labels.json",
    "saes/layer_1/sae_weights.safetensors",
    "saes/layer_2/cfg.json",
    "saes/layer_2/index-51fa91032a886c77.jsonl.gz",
    "saes/layer_2/labels.json",
    "saes/layer_2/sae_weights.safetensors",
    "saes/layer_3/cfg.json",
    "saes/layer_3/index-9b71df12ae277112.jsonl.gz",
    "saes/layer_3/labels.json",
    "saes/layer_3/sae_weights.safetensors",
];

/// The file with the interventions that make the demo's texts about something.
#[cfg(feature = "demo")]
const TOPICS: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/topics.json"));
#[cfg(not(feature = "demo"))]
static FILES: &[(&str, &[u8])] = &[];
#[cfg(not(feature = "demo"))]
const TOPICS: &[u8] = b"[]";

/// The folder of the SAEs within the demo.
pub(crate) const SAES: &str = "saes";

/// Unpacks the demo and returns its folder, which has the layout of nanochat's base folder.
///
/// The files are written to the user's cache the first time, and again if one is missing or has
/// changed. The folder's name contains a fingerprint of the content, so binaries of different
/// versions do not share a folder. Where the cache cannot be written, a temporary folder takes its
/// place, which the end of the process deletes.
///
/// # Errors
/// If neither folder can be written, or the program was built without the feature `demo`.
pub fn unpack() -> Result<PathBuf> {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();

    files()?;
    if let Some(dir) = UNPACKED.get() {
        return Ok(dir.clone());
    }
    let cached = cache_dir().and_then(|dir| unpack_to(&dir));
    let dir = cached.or_else(|error| unpack_to_temporary(&error))?;
    Ok(UNPACKED.get_or_init(|| dir).clone())
}

/// Unpacks the demo to the folder `cache`, as far as it is not there.
fn unpack_to(cache: &Path) -> Result<PathBuf> {
    let dir = cache.join(format!("demo-{:016x}", fingerprint()));
    for (path, bytes) in FILES {
        let path = dir.join(path);
        // The whole content is compared: a cache can be damaged or manipulated.
        let there = fs::read(&path).is_ok_and(|found| found == *bytes);
        if !there {
            write_file(&path, bytes)?;
        }
    }
    Ok(dir)
}

/// Unpacks the demo to a new temporary folder, because of the error `why`.
fn unpack_to_temporary(why: &Error) -> Result<PathBuf> {
    let parent = std::env::temp_dir();
    let unpacked = TemporaryFolder::create_private(&parent)
        .map_err(Error::new)
        .and_then(|dir| unpack_to(dir.path()).map(|unpacked| (dir, unpacked)));
    let (dir, unpacked) = unpacked.with_context(|| {
        let parent = parent.display();
        format!("could not unpack the built-in model to the cache ({why}), nor to {parent}")
    })?;
    // Stays in the list of temporary folders, which the end of the process deletes.
    std::mem::forget(dir);
    note(&format!("{why}; the built-in model is unpacked to a temporary folder"));
    Ok(unpacked)
}

/// The interventions that make the demo's texts about something, for the page.
pub(crate) fn topics() -> Result<Vec<Topic>> {
    serde_json::from_slice(TOPICS).context("the demo's topics are damaged")
}

/// The files of the demo, with their paths in its folder.
///
/// # Errors
/// If the program was built without the feature `demo`.
pub(crate) fn files() -> Result<&'static [(&'static str, &'static [u8])]> {
    if cfg!(not(feature = "demo")) {
        let hint = "--model PATH names a model of yours; builds with the feature `demo` have one";
        return Err(Hint::new("this program was built without its demo model", hint).into());
    }
    Ok(FILES)
}

/// A fingerprint of the embedded files: FNV-1a over their lengths and a sample of their content.
/// This tells two releases apart without reading 25 MB at each start.
fn fingerprint() -> u64 {
    const SAMPLE: usize = 4099;

    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for (path, bytes) in FILES {
        path.bytes().for_each(&mut add);
        bytes.len().to_le_bytes().into_iter().for_each(&mut add);
        bytes.iter().step_by(SAMPLE).copied().for_each(&mut add);
    }
    hash
}
