//! The names of a store's files, for programs that copy a store.

use std::path::Path;

use super::collected_from;
use super::manifest::{Kind, Manifest, StorePart, kind, shard_path};
use crate::CorpusError;

/// The most parts of a store whose manifests are named.
const MAX_PARTS: u64 = 100_000;

/// Returns whether a file of this name belongs to an activation store: a manifest, a shard, a journal of a store
/// that is still being written, or the note on where it is from.
pub fn is_store_file(name: &str) -> bool {
    kind(name).is_some() || name == collected_from::NAME || is_shard(name)
}

/// Returns whether a file of this name is a shard.
pub(super) fn is_shard(name: &str) -> bool {
    let number = name.strip_prefix("shard-").and_then(|n| n.strip_suffix(".safetensors"));
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The names of all manifests of the store that has one of this name; `None` if no store has one.
///
/// ```
/// use nanoscope_corpus::manifest_names;
///
/// let names = manifest_names("manifest-1-of-2.json").unwrap();
/// assert_eq!(names, ["manifest-0-of-2.json", "manifest-1-of-2.json"]);
/// assert_eq!(manifest_names("manifest.json").unwrap(), ["manifest.json"]);
/// assert_eq!(manifest_names("shard-000000.safetensors"), None);
/// ```
pub fn manifest_names(name: &str) -> Option<Vec<String>> {
    if name == StorePart::WHOLE.manifest_name() {
        return Some(vec![name.to_owned()]);
    }
    let count = name.strip_suffix(".json")?.rsplit_once("-of-")?.1.parse().ok()?;
    if !(2..=MAX_PARTS).contains(&count) {
        return None;
    }
    let names: Vec<String> =
        (0..count).map(|index| StorePart { index, count }.manifest_name()).collect();
    names.iter().any(|other| other == name).then_some(names)
}

/// The names of the shards that the manifest at `path` lists.
///
/// # Errors
/// [`CorpusError::Io`], [`CorpusError::Manifest`].
pub fn shard_names(path: &Path) -> Result<Vec<String>, CorpusError> {
    let (manifest, _) = Manifest::read(path, Kind::Manifest)?.expect("a manifest is whole");
    let name = |shard| shard_path(Path::new(""), shard).display().to_string();
    Ok(manifest.shards.iter().map(|entry| name(entry.shard)).collect())
}

/// The name of the file on where a store's model and texts were.
pub fn collected_from_name() -> &'static str {
    collected_from::NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_store_are_known_by_name_and_others_are_not() {
        for name in [
            "manifest.json",
            "manifest-0-of-8.json",
            "manifest-0-of-8.partial.jsonl",
            "shard-000012.safetensors",
            "shard-1000000.safetensors",
            "collected_from.json",
        ] {
            assert!(is_store_file(name), "{name}");
        }
        for name in ["shard-.safetensors", "shard-1.bin", "a/manifest.json", "x.safetensors", ""] {
            assert!(!is_store_file(name), "{name}");
        }
    }

    #[test]
    fn a_name_that_no_store_writes_has_no_manifests() {
        for name in ["manifest-8-of-8.json", "manifest-0-of-1.json", "manifest-0-of-x.json"] {
            assert_eq!(manifest_names(name), None, "{name}");
        }
        assert_eq!(manifest_names("manifest-0-of-99999999999.json"), None);
    }
}
