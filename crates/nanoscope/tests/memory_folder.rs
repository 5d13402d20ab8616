//! Models and SAEs from bytes: the same as from a disk, in every format.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope::{Microscope, Plan, Sampling};
use nanoscope_checkpoint::files::MemoryFolder;
use nanoscope_checkpoint::{TensorFile, load_tokenizer};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Reads all files below `dir` into memory.
fn in_memory(dir: &Path) -> MemoryFolder {
    fn add(files: &mut Vec<(String, Vec<u8>)>, dir: &Path, inside: &str) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = format!("{inside}{}", entry.file_name().to_str().unwrap());
            if entry.file_type().unwrap().is_dir() {
                add(files, &entry.path(), &format!("{name}/"));
            } else {
                files.push((name, fs::read(entry.path()).unwrap()));
            }
        }
    }
    let mut files = Vec::new();
    add(&mut files, dir, "");
    MemoryFolder::new(files).unwrap()
}

/// The text that a model writes, with the features of each token, and the name of the strongest one.
fn story(dir: &Path) -> Vec<(String, String)> {
    let device = nanoscope_testing::test_device();
    let scope = Microscope::open(dir, &device).unwrap().with_saes([dir.join("saes")]).unwrap();
    let plan = Plan::new().track_all();
    let steps = scope.generate("Once upon a time", &plan, &Sampling::greedy(6)).unwrap();
    let line = |step: nanoscope::Step| {
        let named = scope.strongest(&step, 1).unwrap();
        let named: Vec<String> = named.iter().map(ToString::to_string).collect();
        (step.text.clone(), format!("{:?} {named:?}", step.features))
    };
    steps.map(line).collect()
}

#[test]
fn a_model_with_its_saes_and_indexes_is_the_same_from_memory_as_from_a_disk() {
    for model in ["models/demo", "models/stories260K"] {
        let dir = root().join(model);

        let from_memory = story(in_memory(&dir).path());

        assert_eq!(from_memory.len(), 6, "{model}");
        assert_eq!(from_memory, story(&dir), "{model}");
    }
}

#[test]
fn every_container_of_tensors_is_read_from_memory() {
    let fixtures = root().join("tests/fixtures");
    let memory = in_memory(&fixtures);
    let mut formats = std::collections::BTreeSet::new();
    for inside in files_below(&fixtures) {
        let Ok(on_disk) = TensorFile::open(&fixtures.join(&inside)) else { continue };

        let from_memory = TensorFile::open(&memory.path().join(&inside)).unwrap();

        formats.insert(on_disk.format());
        assert_eq!(from_memory.format(), on_disk.format(), "{inside}");
        for (name, info) in on_disk.tensors() {
            let read = |file: &TensorFile| {
                let read = file.read(name, &info.shape, nanoscope_checkpoint::Order::AsStored);
                read.map(|data| data.bytes().to_vec()).map_err(|error| error.to_string())
            };
            let without_folder = |text: String| {
                text.replace(memory.path().to_str().unwrap(), fixtures.to_str().unwrap())
            };
            assert_eq!(
                read(&from_memory).map_err(without_folder),
                read(&on_disk),
                "{inside}: {name}"
            );
        }
    }
    let formats: Vec<_> = formats.into_iter().collect();
    assert!(formats.len() >= 3, "{formats:?}");
}

#[test]
fn the_tokenizer_of_a_family_is_read_from_memory() {
    let dir = root().join("models/stories260K");

    let tokenizer = load_tokenizer(in_memory(&dir).path()).unwrap();

    let expected = load_tokenizer(&dir).unwrap();
    assert_eq!(
        tokenizer.encode("Lily has a dog").unwrap(),
        expected.encode("Lily has a dog").unwrap()
    );
}

/// The paths of all files below `dir`, relative to it.
fn files_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path();
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found
}
