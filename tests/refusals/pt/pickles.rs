//! Pickles that try to run code, or are malformed.

use std::path::Path;

use nanoscope_checkpoint::{CheckpointError, TensorFile};
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip};
use tempfile::TempDir;

use crate::files::{SaeFile, file, load_bytes};
use crate::refused;

/// Calls that would create `marker` if they were executed.
fn attacks(marker: &Path) -> Vec<(&'static str, Py)> {
    let command = format!("touch {}", marker.display());
    let code = format!("open({:?}, 'w')", marker.display().to_string());
    let call = |module, name, text: &str| Py::Call(module, name, vec![text.into()]);
    vec![
        ("os.system", call("os", "system", &command)),
        ("posix.system", call("posix", "system", &command)),
        ("nt.system", call("nt", "system", &command)),
        ("builtins.eval", call("builtins", "eval", &code)),
        ("builtins.exec", call("builtins", "exec", &code)),
        ("__builtin__.eval", call("__builtin__", "eval", &code)),
        ("subprocess.Popen", call("subprocess", "Popen", &command)),
        ("torch.load", call("torch", "load", &command)),
        ("torch.storage._load_from_bytes", call("torch.storage", "_load_from_bytes", &command)),
        // STACK_GLOBAL takes its name from the stack.
        (
            "builtins.eval",
            Py::Raw(
                [
                    b"\x8c\x08builtins\x8c\x04eval\x93X".as_slice(),
                    &(code.len() as u32).to_le_bytes(),
                    code.as_bytes(),
                    b"\x85R",
                ]
                .concat(),
            ),
        ),
    ]
}

#[test]
fn no_function_that_a_pickle_names_is_called() {
    let dir = TempDir::new().unwrap();
    let marker = dir.path().join("marker");
    for (name, attack) in attacks(&marker) {
        let mut instead = SaeFile::valid();
        instead.weights.clear();
        instead.put_value("W_enc", attack.clone());
        let instead_of_all = torch_zip(&pickle(&attack), &[]);
        let mut in_config = SaeFile::valid();
        in_config.others.push((
            "config".to_owned(),
            Py::Dict(vec![(
                "k".to_owned(),
                Py::List(vec![Py::Dict(vec![("deep".to_owned(), attack.clone())])]),
            )]),
        ));
        let mut beside = SaeFile::valid();
        beside.others.push(("optimizer".to_owned(), attack.clone()));
        // The result is popped at once.
        let mut dropped = SaeFile::valid();
        dropped.others.push(("step".to_owned(), {
            let mut call = pickle(&attack)[2..].to_vec();
            call.pop();
            call.extend(b"0K\x01");
            Py::Raw(call)
        }));
        for (place, bytes) in [
            ("instead of a weight", instead.bytes()),
            ("instead of everything", instead_of_all),
            ("in the configuration", in_config.bytes()),
            ("beside the weights", beside.bytes()),
            ("thrown away", dropped.bytes()),
        ] {
            refused!(
                format!("{name} {place}"),
                load_bytes(&bytes),
                CheckpointError::PythonObject { .. },
                ["sae.pt", name]
            );
        }
    }
    assert!(!marker.exists(), "a pickle was executed");
}

#[test]
fn a_name_that_would_garble_the_terminal_is_escaped() {
    let bytes = torch_zip(b"c\x1b[2Jos\nsystem\n)R.", &[]);
    let (_dir, path) = file("weights.pt", &bytes);
    refused!(
        "escape sequence in a name",
        TensorFile::open(&path),
        CheckpointError::PythonObject { .. },
        ["weights.pt", r"\u{1b}[2Jos.system"]
    );
}

/// A change that makes a tensor invalid.
type Change = fn(&mut PyTensor);

fn with_w_enc(change: impl FnOnce(&mut PyTensor)) -> SaeFile {
    let mut sae = SaeFile::valid();
    let mut tensor = PyTensor::whole("W_enc", &[4, 8]);
    change(&mut tensor);
    sae.put_value("W_enc", Py::Tensor(tensor));
    sae
}

#[test]
fn a_tensor_that_its_storage_does_not_hold_is_refused() {
    let huge = with_w_enc(|tensor| tensor.claims = 1 << 60);
    huge.load().expect("the claim is wrong, but nothing follows from it");

    let huge = with_w_enc(|tensor| {
        tensor.claims = 1 << 60;
        tensor.shape = vec![1 << 28, 8];
        tensor.stride = vec![8, 1];
    });
    refused!(
        "tensor of 8 GiB",
        huge.load(),
        CheckpointError::Oversized { claimed: 8_589_934_592, .. },
        ["sae.pt", "sae_state_dict.W_enc", "8589934592"]
    );
    let expanded = with_w_enc(|tensor| {
        tensor.claims = 1;
        tensor.shape = vec![1 << 28, 8];
        tensor.stride = vec![0, 0];
    });
    refused!(
        "one number as 8 GiB",
        expanded.load(),
        CheckpointError::Oversized { claimed: 8_589_934_592, .. },
        ["sae.pt", "sae_state_dict.W_enc", "8589934592"]
    );

    let largest = with_w_enc(|tensor| (tensor.claims, tensor.shape) = (1 << 60, vec![1 << 57, 8]));
    refused!(
        "2^60 elements",
        largest.load(),
        CheckpointError::Oversized { claimed: 4_611_686_018_427_387_904, .. },
        ["sae.pt", "sae_state_dict.W_enc", "4611686018427387904"]
    );

    let cases: [(&str, Change, &str); 8] = [
        ("2^62 elements of a storage", |t| t.claims = 1 << 62, "overflows"),
        ("shape beyond 2^64", |t| t.shape = vec![1 << 40, 1 << 40], "overflows"),
        ("negative stride", |t| t.stride = vec![-8, 1], "stride must be non-negative, got -8"),
        ("negative offset", |t| t.offset = -1, "offset must be non-negative, got -1"),
        ("negative size", |t| t.shape = vec![-4, 8], "shape must be non-negative, got -4"),
        ("offset beyond the storage", |t| t.offset = 1, "needs 33 elements"),
        ("stride beyond the storage", |t| t.stride = vec![9, 1], "needs 35 elements"),
        ("stride of another rank", |t| t.stride = vec![1], "rank"),
    ];
    for (case, change, found) in cases {
        refused!(case, with_w_enc(change).load(), CheckpointError::Pt { .. }, ["sae.pt", found]);
    }

    let longer = with_w_enc(|tensor| {
        tensor.claims = 1000;
        tensor.offset = 900;
    });
    refused!(
        "storage shorter than it claims",
        longer.load(),
        CheckpointError::UnreadableTensor { .. },
        ["sae.pt", "sae_state_dict.W_enc", "only 32 are available"]
    );
    refused!(
        "numbers of an unknown type",
        with_w_enc(|tensor| tensor.storage_type = "ComplexFloatStorage").load(),
        CheckpointError::UnreadDtype { .. },
        ["sae.pt", "tensor `sae_state_dict.W_enc` is torch.complex64, which is not read"]
    );
    refused!(
        "numbers that are fewer in the type claimed",
        with_w_enc(|tensor| tensor.storage_type = "DoubleStorage").load(),
        CheckpointError::UnreadableTensor { .. },
        ["sae.pt", "sae_state_dict.W_enc", "requires 32 elements"]
    );
}

#[test]
fn an_integer_too_wide_is_refused_as_one() {
    let mut sae = SaeFile::valid();
    sae.others.push(("seed".to_owned(), Py::Raw(b"\x8a\x09\0\0\0\0\0\0\0\0\x01".to_vec())));
    refused!(
        "integer of 65 bits",
        sae.load(),
        CheckpointError::Pickle { .. },
        ["sae.pt", "does not fit 64 bits"]
    );
}

#[test]
fn a_broken_pickle_is_refused_with_the_place() {
    let cases: [(&str, &[u8], &str); 6] = [
        ("empty pickle", b"", "ends inside or before STOP at byte 0"),
        ("pickle without an end", b"\x80\x02}", "ends inside or before STOP at byte 3"),
        ("unknown opcode", b"\x80\x02\xff.", "byte 2 of the pickle is 0xff"),
        ("text longer than the pickle", b"X\xff\xff\xff\xffhi.", "BINUNICODE at byte 0"),
        ("value that was never stored", b"h\x07.", "fetches value 7"),
        ("extension registry", b"\x82\x01.", "uses EXT1 at byte 0"),
    ];
    for (case, pickle, found) in cases {
        let bytes = torch_zip(pickle, &[]);
        refused!(case, load_bytes(&bytes), CheckpointError::Pickle { .. }, ["sae.pt", found]);
    }
}
