//! Files that are not `.pt` files, or are damaged ones.

use std::fs;
use std::io::Cursor;

use nanoscope_checkpoint::{CheckpointError, SaeFileError, TensorFile, load_sae};
use nanoscope_testing::pickle::{Py, pickle, torch_zip, zip_archive};
use tempfile::TempDir;
use zip::{CompressionMethod, ZipArchive};

use crate::files::{self, D_IN, D_SAE, SaeFile, file, load_bytes};
use crate::refused;

fn open(bytes: &[u8]) -> Result<TensorFile, CheckpointError> {
    let (_dir, path) = file("weights.pt", bytes);
    TensorFile::open(&path)
}

/// A tar with one entry `storages`, as old versions of PyTorch wrote.
fn tar() -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..8].copy_from_slice(b"storages");
    header[257..262].copy_from_slice(b"ustar");
    header.resize(2048, 0);
    header
}

#[test]
fn the_files_that_are_spoilt_here_are_good_before() {
    SaeFile::valid().load().unwrap();
    load_bytes(&files::written_sae()).unwrap();
    files::Checkpoint::valid().load(None).unwrap();
    files::Checkpoint::golden("head").load(None).unwrap();
}

#[test]
fn what_is_no_pt_file_says_what_it_is() {
    let dir = TempDir::new().unwrap();
    let missing = dir.path().join("gone.pt");
    refused!(
        "missing file",
        TensorFile::open(&missing),
        CheckpointError::NoSuchPath { .. },
        ["gone.pt: no such file or directory"]
    );
    refused!(
        "directory",
        TensorFile::open(dir.path()),
        CheckpointError::Io { .. },
        [dir.path().to_str().unwrap(), "is a directory"]
    );

    let legacy = pickle(&Py::Dict(vec![]));
    let no_pickle = zip_archive(&[("notes.txt".to_owned(), b"hello")], CompressionMethod::Stored);
    let two = zip_archive(
        &[("a/data.pkl".to_owned(), b"}."), ("b/data.pkl".to_owned(), b"}.")],
        CompressionMethod::Stored,
    );
    let cases: [(&str, &[u8], &str); 7] = [
        ("empty file", b"", "it is an empty file"),
        ("text", b"hello, this is not a model at all", "of an unknown format"),
        ("html", b"<!DOCTYPE html><html>404</html>", "of an unknown format"),
        ("tar", &tar(), "a tar archive, as PyTorch wrote before 0.1.10"),
        ("pickle without a zip", &legacy, "a pickle, as PyTorch wrote before 1.6"),
        ("zip of something else", &no_pickle, "a zip without a data.pkl"),
        ("zip of two models", &two, "more than one data.pkl"),
    ];
    for (case, bytes, found) in cases {
        refused!(case, open(bytes), CheckpointError::NotTorch { .. }, ["weights.pt", found]);
    }

    let sae = SaeFile::valid();
    let pickle = sae.pickle();
    let compressed =
        zip_archive(&[("a/data.pkl".to_owned(), &pickle)], CompressionMethod::Deflated);
    refused!(
        "compressed zip",
        open(&compressed),
        CheckpointError::Compressed { .. },
        ["weights.pt", "a/data.pkl"]
    );
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_to_itself_is_an_error_of_the_path() {
    let dir = TempDir::new().unwrap();
    let (one, other) = (dir.path().join("one.pt"), dir.path().join("other.pt"));
    std::os::unix::fs::symlink(&one, &other).unwrap();
    std::os::unix::fs::symlink(&other, &one).unwrap();

    refused!(
        "links in a circle",
        load_sae(&one, &files::device()),
        CheckpointError::Io { .. },
        ["one.pt", "symbolic links"]
    );
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused_by_name() {
    for (name, bytes) in [("ours", files::written_sae()), ("by hand", SaeFile::valid().bytes())] {
        for tenth in 1..10 {
            let length = bytes.len() * tenth / 10;
            refused!(
                format!("{name}, cut to {length} of {} bytes", bytes.len()),
                load_bytes(&bytes[..length]),
                CheckpointError::Pt { .. },
                ["sae.pt", "is the file complete?"]
            );
        }
        for length in (1..bytes.len()).step_by(37) {
            assert!(load_bytes(&bytes[..length]).is_err(), "{name}: {length}");
        }
    }
}

/// The weights as host numbers.
fn numbers(bytes: &[u8]) -> Result<Vec<Vec<f32>>, CheckpointError> {
    let weights = load_bytes(bytes)?.sae.weights();
    let (enc, dec) = (weights.w_enc.into_data(), weights.w_dec.into_data());
    let (b_enc, b_dec) = (weights.b_enc.into_data(), weights.b_dec.into_data());
    Ok([enc, dec, b_enc, b_dec].iter().map(|data| data.iter::<f32>().collect()).collect())
}

#[test]
fn a_flipped_bit_changes_no_weight() {
    let bytes = files::written_sae();
    let good = numbers(&bytes).unwrap();
    let mut refused = 0;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match numbers(&flipped) {
            Ok(found) => assert_eq!(found, good, "byte {at}"),
            Err(error) => {
                assert!(error.to_string().contains("sae.pt"), "byte {at}: {error}");
                refused += 1;
            }
        }
    }
    assert!(refused > bytes.len() / 4, "{refused} of {}", bytes.len());
}

#[test]
fn a_flipped_bit_of_a_pickle_or_of_a_weight_fails_its_checksum() {
    let bytes = files::written_sae();
    let mut archive = ZipArchive::new(Cursor::new(&bytes)).unwrap();
    for name in ["sae/data.pkl", "sae/data/0", "sae/data/2"] {
        let entry = archive.by_name(name).unwrap();
        let (start, size) = (entry.data_start().unwrap() as usize, entry.size() as usize);
        for at in start..start + size {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;

            assert!(load_bytes(&flipped).is_err(), "{name}, byte {}", at - start);
        }
    }

    let enc = archive.by_name("sae/data/0").unwrap().data_start().unwrap() as usize;
    let mut flipped = bytes.clone();
    flipped[enc] ^= 1;
    refused!(
        "flipped bit in W_enc",
        load_bytes(&flipped),
        CheckpointError::UnreadableTensor { .. },
        ["sae.pt", "sae_state_dict.W_enc", "Invalid checksum"]
    );
}

#[test]
fn a_file_that_was_saved_without_checksums_is_taken() {
    let mut bytes = files::written_sae();
    for (signature, checksum) in [(b"PK\x01\x02", 16), (b"PK\x03\x04", 14)] {
        let at = |bytes: &[u8]| bytes.windows(4).position(|window| window == signature);
        let mut from = 0;
        while let Some(next) = at(&bytes[from..]) {
            bytes[from + next + checksum..][..4].fill(0);
            from += next + 4;
        }
    }

    assert_eq!(numbers(&bytes).unwrap(), numbers(&files::written_sae()).unwrap());
}

#[test]
fn a_pickle_with_any_bit_flipped_gives_an_error_or_finite_weights() {
    let sae = SaeFile::valid();
    let pickle = sae.pickle();
    for at in 0..pickle.len() {
        let mut flipped = pickle.clone();
        flipped[at] ^= 1 << (at % 7);
        if let Ok(weights) = numbers(&sae.bytes_with(&flipped)) {
            let finite = weights.iter().flatten().all(|value| value.is_finite());
            assert!(finite, "byte {at}");
            assert_eq!(weights[0].len(), D_IN * D_SAE, "byte {at}");
        }
    }
}

#[test]
fn a_file_without_a_dictionary_at_its_root_is_refused() {
    refused!(
        "list at the root",
        open(&torch_zip(&pickle(&Py::List(vec![])), &[])),
        CheckpointError::Pt { .. },
        ["weights.pt", "expected a dictionary"]
    );
    refused!(
        "storage that is not there",
        {
            let mut sae = SaeFile::valid();
            sae.storages.remove("W_dec");
            sae.load()
        },
        CheckpointError::UnreadableTensor { .. },
        ["sae.pt", "sae_state_dict.W_dec", "not found"]
    );
    refused!(
        "big-endian numbers",
        open(&zip_archive(
            &[("a/data.pkl".to_owned(), b"}."), ("a/byteorder".to_owned(), b"big")],
            CompressionMethod::Stored,
        )),
        CheckpointError::Pt { .. },
        ["weights.pt", "big-endian"]
    );
}

#[test]
fn an_empty_folder_is_no_sae_and_neither_is_a_text() {
    let (dir, path) = file("config.json", b"{}");
    refused!(
        "JSON as an SAE",
        load_sae(&path, &files::device()),
        CheckpointError::NotTorch { .. },
        ["config.json", "of an unknown format"]
    );
    fs::create_dir(dir.path().join("best_model.pt")).unwrap();
    refused!(
        "empty folder as an SAE",
        load_sae(&dir.path().join("best_model.pt"), &files::device()),
        CheckpointError::SaeFile(SaeFileError::NoSae { .. }),
        ["best_model.pt"]
    );
}
