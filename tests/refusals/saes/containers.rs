//! SAEs of other tools in damaged npz and safetensors files.

use nanoscope_checkpoint::{CheckpointError, SaeFileError};
use nanoscope_testing::npy;
use nanoscope_testing::pickle::zip_archive;
use zip::CompressionMethod;

use super::saved::{Saved, header};
use crate::files::floats;
use crate::refused;

#[test]
fn a_npz_that_numpy_does_not_write_is_refused() {
    let with = |array: Vec<u8>| {
        let entries = [("W_enc.npy".to_owned(), array.as_slice())];
        let bytes = zip_archive(&entries, CompressionMethod::Stored);
        Saved::gemma_scope().with_bytes(|_| bytes)
    };
    let numbers = floats(&[0.5; 6]);
    let lies = |text: &str| with(npy(text, &numbers));
    for (case, saved, says) in [
        ("truncated", Saved::gemma_scope().with_bytes(|b| b[..b.len() / 2].to_vec()), "complete?"),
        (
            "cut in the directory",
            Saved::gemma_scope().with_bytes(|b| b[..b.len() - 9].to_vec()),
            "",
        ),
        ("a shape too large", with(npy(&header(&[2, 4]), &numbers)), "24 bytes of data"),
        ("a shape too small", with(npy(&header(&[2, 2]), &numbers)), "24 bytes of data"),
        ("a shape beyond memory", with(npy(&header(&[1 << 40, 1 << 40]), &numbers)), "24 bytes"),
        ("no header", with(b"W_enc".to_vec()), "it is not a numpy array"),
        ("header cut off", with(npy(&header(&[2, 3]), &[])[..20].to_vec()), "truncated"),
        ("version 9", with(b"\x93NUMPY\x09\x00\x10\x00".to_vec()), "version 9.0"),
        (
            "header of 4 GB",
            with(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec()),
            "4294967295 bytes",
        ),
        ("big end first", lies("{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3)}"), ">f4"),
        (
            "column by column",
            lies("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}"),
            "fortran_order",
        ),
        (
            "a negative size",
            lies("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}"),
            "cannot read the header",
        ),
        ("code for a header", lies("__import__('os').system('true')"), "cannot read the header"),
    ] {
        let case = format!("npz: {case}");
        refused!(case, saved.load(), CheckpointError::Npz { .. }, ["params.npz", says]);
    }
    let array = npy(&header(&[2, 3]), &numbers);
    let entries = [("W_enc.npy".to_owned(), array.as_slice()), ("notes".to_owned(), b"x")];
    let bytes = zip_archive(&entries, CompressionMethod::Stored);
    refused!(
        "npz: something else in it",
        Saved::gemma_scope().with_bytes(|_| bytes).load(),
        CheckpointError::Npz { .. },
        ["params.npz", "`notes`"]
    );
    // The crate `zip` refuses to write a name twice, so one is changed afterwards.
    let entries = [("W_enc.npy".to_owned(), array.as_slice()), ("W_enc.npz".to_owned(), b"x")];
    let mut bytes = zip_archive(&entries, CompressionMethod::Stored);
    for at in 0..bytes.len() - 9 {
        if &bytes[at..at + 9] == b"W_enc.npz" {
            bytes[at + 8] = b'y';
        }
    }
    refused!(
        "npz: one name twice",
        Saved::gemma_scope().with_bytes(|_| bytes).load(),
        CheckpointError::Npz { .. },
        ["params.npz", "the same name"]
    );
    let sae = Saved::gemma_scope().with(|tensors| tensors.retain(|name, _| name == "b_dec"));
    refused!(
        "npz: no SAE",
        sae.load(),
        CheckpointError::SaeFile(SaeFileError::NotAnSae { .. }),
        ["params.npz", "b_dec"]
    );
}

#[test]
fn a_safetensors_file_that_is_cut_or_lies_is_refused() {
    for (case, saved) in [
        ("truncated", Saved::sparsify().with_bytes(|b| b[..b.len() - 4].to_vec())),
        ("header cut", Saved::sparsify().with_bytes(|b| b[..40].to_vec())),
        (
            "header beyond the file",
            Saved::sparsify().with_bytes(|mut b| {
                b[..8].copy_from_slice(&0xffff_ffff_u64.to_le_bytes());
                b
            }),
        ),
    ] {
        refused!(
            format!("safetensors: {case}"),
            saved.load(),
            CheckpointError::Safetensors { .. },
            ["sae.safetensors"]
        );
    }
}
