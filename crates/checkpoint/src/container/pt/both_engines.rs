//! Compares this reader with `pytorch-reader` on every `.pt` file of the fixtures.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use pytorch_reader::{PickleValue, PytorchReader};

use crate::container::pt::{PlainValue, PtFile};

fn same(plain: &PlainValue, other: &PickleValue) -> bool {
    match (plain, other) {
        (PlainValue::None, PickleValue::None) => true,
        (PlainValue::Bool(a), PickleValue::Bool(b)) => a == b,
        (PlainValue::Int(a), PickleValue::Int(b)) => a == b,
        (PlainValue::Float(a), PickleValue::Float(b)) => a.to_bits() == b.to_bits(),
        (PlainValue::Text(a), PickleValue::String(b)) => a == b,
        (PlainValue::Bytes(a), PickleValue::Bytes(b)) => *a == b.len(),
        (PlainValue::Other(a), PickleValue::Unsupported(b)) => a == b,
        (PlainValue::List(a), PickleValue::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (PlainValue::Dict(a), PickleValue::Dict(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

fn dtype(dtype: pytorch_reader::DType) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// Compares the readings of one file, and returns the number of its tensors if both read it.
fn compare(path: &Path) -> Option<usize> {
    let (ours, theirs) = (PtFile::open(path), PytorchReader::new(path));
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(_), _) => return None,
        (Ok(_), Err(error)) => panic!("only we read {}: {error}", path.display()),
    };
    let root = PytorchReader::read_pickle_data(path, None).unwrap();
    let entries = PlainValue::Dict(ours.entries.clone());
    assert!(same(&entries, &root), "{}: {entries:?} {root:?}", path.display());
    let tensors: HashMap<_, _> = theirs.tensors().iter().collect();
    assert_eq!(ours.infos.len(), tensors.len(), "{}", path.display());
    for (name, info) in &ours.infos {
        let tensor = tensors[name];
        assert_eq!(info.shape, tensor.shape(), "{name} of {}", path.display());
        assert_eq!(info.dtype.to_string(), dtype(tensor.dtype()), "{name} of {}", path.display());
        match (ours.bytes(name), tensor.read()) {
            (Ok(ours_bytes), Ok(bytes)) => {
                assert!(ours_bytes == bytes, "{name} of {}", path.display());
                let mut parts = Vec::new();
                ours.for_each_chunk(name, &mut |part| parts.extend_from_slice(part)).unwrap();
                assert!(parts == bytes, "{name} of {}, in parts", path.display());
            }
            (Err(_), Err(_)) => {}
            (ours, theirs) => panic!(
                "{name} of {}: {:?} {:?}",
                path.display(),
                ours.map(|bytes| bytes.len()),
                theirs.map(|bytes| bytes.len())
            ),
        }
    }
    Some(ours.infos.len())
}

fn find(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|end| end == "pt" || end == "pth") {
            found.push(path);
        }
    }
}

#[test]
fn both_engines_read_every_file_alike() {
    let mut paths = Vec::new();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures");
    find(&fixtures, &mut paths);
    if let Some(more) = std::env::var_os("NANOSCOPE_MORE_PT") {
        find(Path::new(&more), &mut paths);
    }
    let (mut files, mut tensors) = (0, 0);
    for path in &paths {
        match compare(path) {
            Some(count) => (files, tensors) = (files + 1, tensors + count),
            None => println!(
                "refused: {}: {}; they: {:?}",
                path.display(),
                PtFile::open(path).err().unwrap(),
                PytorchReader::new(path).map(|reader| reader.len()).map_err(|e| e.to_string())
            ),
        }
    }
    println!("{files} of {} files with {tensors} tensors", paths.len());
    assert!(files > 40);
}

#[test]
fn both_engines_agree_on_spoilt_files() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/torch/views.pt");
    let good = fs::read(fixture).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut both, mut neither, mut only_they, mut only_we) = (0, 0, 0, Vec::new());
    let mut without_checksum = good.clone();
    // A checksum of 0 was not computed, so that changes reach the pickle.
    for (signature, checksum) in [(b"PK\x01\x02", 16), (b"PK\x03\x04", 14)] {
        let mut from = 0;
        while let Some(next) =
            without_checksum[from..].windows(4).position(|window| window == signature)
        {
            without_checksum[from + next + checksum..][..4].fill(0);
            from += next + 4;
        }
    }
    for at in 0..good.len() {
        for bit in [at % 8, (at + 3) % 8] {
            let mut bytes = without_checksum.clone();
            bytes[at] ^= 1 << bit;
            let path = dir.path().join("views.pt");
            fs::write(&path, &bytes).unwrap();
            match (PtFile::open(&path).is_ok(), PytorchReader::new(&path).is_ok()) {
                (true, true) => {
                    compare(&path);
                    both += 1;
                }
                (false, true) => only_they += 1,
                (false, false) => neither += 1,
                (true, false) => {
                    only_we.push((at, PytorchReader::new(&path).unwrap_err().to_string()))
                }
            }
        }
    }
    println!("only we: {only_we:#?}");
    println!("{both} read by both, {only_they} only by pytorch-reader, {neither} by neither");
}
