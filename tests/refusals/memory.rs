//! Files that claim to be larger than they are do not cost memory.
//!
//! The cases run in a process of their own, so that the memory of other tests is not counted and a
//! stack overflow, which ends the process, fails the test that started it.

use std::fs;
use std::process::Command;

use nanoscope_checkpoint::{CheckpointError, TensorFile};
use nanoscope_corpus::CorpusError;
use nanoscope_runtime::{InterpretableModel, Plan, Sampling};
use nanoscope_testing::pickle::{Py, PyTensor, pickle, torch_zip, zip_archive};
use serde_json::json;

use crate::files::{Checkpoint, SaeFile, file, load_bytes};
use crate::{refused, texts};

/// Set in the process that runs the cases.
const INSIDE: &str = "NANOSCOPE_TEST_BAD_INPUT_INSIDE";
/// The most that peak memory may grow, in bytes.
const MAX_GROWTH: u64 = 64 << 20;

/// Runs the test `name` of this module again, alone in a process.
#[track_caller]
fn alone(name: &str, cases: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return cases();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([&format!("memory::{name}"), "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
}

/// The peak memory of this process in bytes, on systems that report it.
fn most_used() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}

#[track_caller]
fn grows_little(case: &str, before: Option<u64>) {
    if let (Some(before), Some(after)) = (before, most_used()) {
        let growth = after.saturating_sub(before);
        println!("{case}: {} KiB more", growth >> 10);
        assert!(growth < MAX_GROWTH, "{case}: {growth} bytes more");
    }
}

/// A tensor of 8 GiB on a storage that claims `claims` elements.
fn eight_gigabytes(claims: i64, stride: [i64; 2]) -> SaeFile {
    let mut sae = SaeFile::valid();
    let mut tensor = PyTensor::whole("W_enc", &[4, 8]);
    tensor.claims = claims;
    tensor.shape = vec![1 << 28, 8];
    tensor.stride = stride.to_vec();
    sae.put_value("W_enc", Py::Tensor(tensor));
    sae
}

/// A pickle that stores `value` in the memo and fetches it as often as possible at two bytes each.
fn copies(value: &[u8], times: usize) -> Vec<u8> {
    let mut pickle = b"\x80\x02".to_vec();
    pickle.extend(value);
    pickle.extend(b"q\x000(");
    pickle.extend(b"h\x00".repeat(times));
    pickle.extend(b"t.");
    torch_zip(&pickle, &[])
}

#[test]
fn sizes_that_the_file_does_not_back_are_not_allocated() {
    alone("sizes_that_the_file_does_not_back_are_not_allocated", || {
        SaeFile::valid().load().unwrap();
        let before = most_used();

        refused!(
            "8 GiB claimed",
            eight_gigabytes(1 << 60, [8, 1]).load(),
            CheckpointError::Oversized { .. },
            ["sae.pt", "W_enc"]
        );
        refused!(
            "8 GiB of one number",
            eight_gigabytes(1, [0, 0]).load(),
            CheckpointError::Oversized { .. },
            ["sae.pt", "W_enc"]
        );
        let mut far = SaeFile::valid();
        let mut tensor = PyTensor::whole("W_enc", &[4, 8]);
        (tensor.claims, tensor.stride) = (1 << 50, vec![1 << 40, 1]);
        far.put_value("W_enc", Py::Tensor(tensor));
        refused!(
            "numbers 4 TiB apart",
            far.load(),
            CheckpointError::UnreadableTensor { .. },
            ["sae.pt", "W_enc", "only 32 are available"]
        );
        let mut header = (1_u64 << 31).to_le_bytes().to_vec();
        header.extend(b"{\"a\": 1}");
        let (_dir, path) = file("weights.safetensors", &header);
        refused!(
            "safetensors header of 2 GiB",
            TensorFile::open(&path),
            CheckpointError::Safetensors { .. },
            ["weights.safetensors"]
        );
        grows_little("claims of sizes", before);
    });
}

#[test]
fn a_text_takes_no_more_than_a_line_may_have() {
    alone("a_text_takes_no_more_than_a_line_may_have", || {
        let line = texts::packed(&vec![b'a'; 80 << 20]);
        let list = format!("{{\"a\": [{}0], \"text\": \"b\"}}", "0,".repeat(5 << 20));
        assert!(line.len() < 1 << 20);
        let before = most_used();

        refused!(
            "packed line of 80 MiB",
            texts::read("a.txt.gz", &line),
            CorpusError::LineTooLong { .. },
            ["line 1 of"]
        );
        assert_eq!(texts::read("a.jsonl", list.as_bytes()).unwrap(), 1);
        grows_little("lines", before);
    });
}

#[test]
fn a_list_of_texts_takes_no_more_than_one_of_them() {
    alone("a_list_of_texts_takes_no_more_than_one_of_them", || {
        let text = "a".repeat(1000);
        let list = format!("[\"{text}\"{}]", format!(",\n\"{text}\"").repeat(70_000));
        let object = format!("{{\"more\": {list}, \"text\": [\"a\"]}}");
        let table = format!("id,text\n{}", format!("1,\"{text}\"\n").repeat(70_000));
        let before = most_used();

        assert_eq!(texts::read("a.json", list.as_bytes()).unwrap(), 70_001);
        assert_eq!(texts::read("a.json", object.as_bytes()).unwrap(), 1);
        assert_eq!(texts::read("a.csv", table.as_bytes()).unwrap(), 70_000);
        grows_little("lists and tables", before);
    });
}

#[test]
fn a_small_file_cannot_grow_by_compression_or_sparseness() {
    alone("a_small_file_cannot_grow_by_compression_or_sparseness", || {
        let zeros = vec![0; 32 << 20];
        let bomb = zip_archive(
            &[("a/data.pkl".to_owned(), b"}."), ("a/data/0".to_owned(), &zeros)],
            zip::CompressionMethod::Deflated,
        );
        let nones = [b"\x80\x02(".as_slice(), &b"N".repeat(32 << 20), b"l."].concat();
        let pickle =
            zip_archive(&[("a/data.pkl".to_owned(), &nones)], zip::CompressionMethod::Deflated);
        assert!(bomb.len() < 1 << 20 && pickle.len() < 1 << 20);
        drop((zeros, nones));
        let before = most_used();

        for (case, bytes) in [("compressed storage", bomb), ("compressed pickle", pickle)] {
            refused!(case, load_bytes(&bytes), CheckpointError::Compressed { .. }, ["sae.pt"]);
        }
        refused!(
            "sparse tar of 4 GiB",
            load_bytes(&sparse_tar()),
            CheckpointError::NotTorch { .. },
            ["sae.pt", "a tar archive"]
        );
        grows_little("compression", before);
    });
}

/// A GNU tar with a sparse entry `storages` of 4 GiB, whose data is not in the file.
fn sparse_tar() -> Vec<u8> {
    let mut header = vec![0_u8; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"storages");
    put(100, b"0000644\0");
    put(124, b"00000000000\0");
    put(148, b"        ");
    put(156, b"S");
    put(257, b"ustar  \0");
    put(386, b"40000000000\0");
    put(398, b"00000000000\0");
    put(483, b"40000000000\0");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.resize(2048, 0);
    header
}

#[test]
fn a_pickle_cannot_multiply_itself() {
    alone("a_pickle_cannot_multiply_itself", || {
        const TIMES: usize = 100_000;
        let long = "n".repeat(1 << 16);
        let text = [b"X\x00\x00\x01\x00".as_slice(), long.as_bytes()].concat();
        let class = format!("ctorch\nfloat{long}\n").into_bytes();
        // A reader that counts values must count keys too.
        let dict = [b"}".as_slice(), &text, b"Ns"].concat();
        let mut tensor = PyTensor::whole("0", &[]);
        tensor.shape = vec![1; 10_000];
        tensor.stride = vec![1; 10_000];
        let shape = {
            let mut bytes = pickle(&Py::Tensor(tensor))[2..].to_vec();
            bytes.pop();
            bytes
        };
        let mut storage = PyTensor::whole(&long, &[]);
        storage.claims = 1;
        let key = {
            let mut bytes = pickle(&Py::Tensor(storage))[2..].to_vec();
            bytes.pop();
            bytes
        };
        let doubling = [b"K\x01".as_slice(), &b"2\x86".repeat(60), b"."].concat();
        let flood = [b"(".as_slice(), &b"N".repeat(10 << 20), b"l."].concat();
        let flood = torch_zip(&flood, &[]);
        let large = torch_zip(&vec![b'N'; 17 << 20], &[]);
        let before = most_used();

        for (case, value) in [
            ("text copied", &text),
            ("key copied", &dict),
            ("shape of 10,000 dimensions copied", &shape),
            ("storage key copied", &key),
        ] {
            refused!(
                case,
                load_bytes(&copies(value, TIMES)),
                CheckpointError::Pickle { .. },
                ["sae.pt", "copies more than 16777216 bytes"]
            );
        }
        // No type of torch has such a name.
        refused!(
            "class name copied",
            load_bytes(&copies(&class, TIMES)),
            CheckpointError::PythonObject { .. },
            ["sae.pt", "torch.floatnnn"]
        );
        refused!(
            "tuple doubled 60 times",
            load_bytes(&torch_zip(&doubling, &[])),
            CheckpointError::Pickle { .. },
            ["sae.pt", "copies more than"]
        );
        refused!(
            "10 million values",
            load_bytes(&flood),
            CheckpointError::Pickle { .. },
            ["sae.pt", "more than 262144 instructions"]
        );
        refused!(
            "pickle of 17 MiB",
            load_bytes(&large),
            CheckpointError::NotTorch { .. },
            ["sae.pt", "a data.pkl of 17825792 bytes"]
        );
        grows_little("copies", before);
    });
}

#[test]
fn a_pickle_or_json_as_deep_as_it_likes_overflows_no_stack() {
    alone("a_pickle_or_json_as_deep_as_it_likes_overflows_no_stack", || {
        for depth in [98, 150, 1_000, 200_000] {
            let nested = [b"]".repeat(depth).as_slice(), &b"a".repeat(depth - 1)].concat();
            let mut sae = SaeFile::valid();
            sae.others.push(("config".to_owned(), Py::Raw(nested.clone())));
            refused!(
                format!("configuration of {depth} lists in lists"),
                sae.load(),
                CheckpointError::Json { .. } | CheckpointError::Pickle { .. },
                ["sae.pt"]
            );
            let mut beside = SaeFile::valid();
            beside.others.push(("extra".to_owned(), Py::Raw(nested)));
            assert_eq!(beside.load().is_ok(), depth < 100, "{depth}");

            let mut checkpoint = Checkpoint::valid();
            checkpoint.meta = None;
            let dir = tempfile::tempdir().unwrap();
            checkpoint.write(dir.path());
            fs::write(dir.path().join("meta_000001.json"), "[".repeat(depth)).unwrap();
            refused!(
                format!("meta of {depth} lists in lists"),
                crate::files::load_model(dir.path(), None),
                CheckpointError::Json { .. },
                ["meta_000001.json"]
            );
        }
    });
}

#[test]
fn a_context_that_is_only_claimed_costs_nothing() {
    alone("a_context_that_is_only_claimed_costs_nothing", || {
        let checkpoint = Checkpoint::with_config("sequence_len", json!(1 << 24));
        let before = most_used();

        let model = InterpretableModel::new(checkpoint.load(None).unwrap().gpt);
        let generation = model.generate(&[1, 2], &Plan::new(), &Sampling::greedy(3)).unwrap();

        assert_eq!(generation.count(), 3);
        grows_little("context of 16 million positions", before);
    });
}

#[test]
fn files_of_other_tools_cost_no_more_than_they_have() {
    alone("files_of_other_tools_cost_no_more_than_they_have", || {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1073741824, 2)}";
        let array = nanoscope_testing::npy(header, &[]);
        let npz = zip_archive(&[("W_enc.npy".to_owned(), &array)], zip::CompressionMethod::Stored);
        let zeros = vec![0; 32 << 20];
        let packed =
            zip_archive(&[("W_enc.npy".to_owned(), &zeros)], zip::CompressionMethod::Deflated);
        drop(zeros);
        let zeros = vec![0; 96 << 20];
        let large =
            zip_archive(&[("W_enc.npy".to_owned(), &zeros)], zip::CompressionMethod::Deflated);
        drop(zeros);
        let gguf = [&b"GGUF\x03\0\0\0"[..], &[0xff; 6], &[0; 2], &[0xff; 6], &[0; 2]].concat();
        let before = most_used();

        let open = |name, bytes: &[u8]| {
            let (_dir, path) = file(name, bytes);
            TensorFile::open(&path)
        };
        refused!(
            "array of 8 GiB",
            open("w.npz", &npz),
            CheckpointError::Npz { .. },
            ["w.npz", "W_enc.npy", "0 bytes of data"]
        );
        refused!(
            "compressed array of 32 MiB that is none",
            open("w.npz", &packed),
            CheckpointError::Npz { .. },
            ["w.npz", "W_enc.npy", "not a numpy array"]
        );
        refused!(
            "compressed array of 96 MiB",
            open("w.npz", &large),
            CheckpointError::Npz { .. },
            ["w.npz", "its arrays unpack from", "to 100663296"]
        );
        refused!(
            "GGUF of 2^48 tensors",
            open("v.gguf", &gguf),
            CheckpointError::Gguf { .. },
            ["v.gguf", "the file has 24"]
        );
        grows_little("other tools' files", before);
    });
}
