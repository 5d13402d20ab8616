//! Files.

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::thread;

use nanoscope_testing::Outcome;
use tempfile::TempDir;

use super::{SMALL_FILES, bound_by_permissions, launched, mkfifo, names};
use crate::{golden, nanoscope};

/// A command that writes one file. `OUT` is its path.
struct Output {
    name: &'static str,
    args: Vec<String>,
    /// The first bytes of what it writes.
    begins: fn(&[u8]) -> bool,
}

impl Output {
    fn run(&self, out: &Path) -> Outcome {
        nanoscope(&[]).args(self.args(out)).run()
    }

    fn args(&self, out: &Path) -> Vec<String> {
        let out = out.to_str().unwrap();
        self.args.iter().map(|arg| arg.replace("OUT", out)).collect()
    }

    #[track_caller]
    fn succeeds(&self, out: &Path) -> Outcome {
        let outcome = self.run(out);
        assert_eq!(outcome.code, Some(0), "{}: {}", self.name, outcome.stderr);
        outcome
    }

    #[track_caller]
    fn fails(&self, out: &Path) -> String {
        let outcome = self.run(out);
        assert_eq!(outcome.code, Some(1), "{}: {}", self.name, outcome.stderr);
        outcome.stderr
    }

    #[track_caller]
    fn wrote(&self, path: &Path) {
        let bytes = fs::read(path).unwrap();
        assert!((self.begins)(&bytes), "{}: {} bytes", self.name, bytes.len());
    }
}

fn is_safetensors(bytes: &[u8]) -> bool {
    safetensors::SafeTensors::deserialize(bytes).is_ok()
}

fn outputs() -> Vec<Output> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let sae = root.join("saes/saelens/standard");
    let acts = format!("{}:x", sae.join("expected.safetensors").display());
    let sae = sae.to_str().unwrap().to_owned();
    let own = golden("head/saes/topk/blocks_1_hook_resid_post/best_model.pt");
    let story = root.join("dashboard/stories.jsonl");
    let eval = |flag: &str| {
        let args = ["eval", "--text", story.to_str().unwrap(), "--tokens", "512"];
        let mut args = args.map(str::to_owned).to_vec();
        args.extend([flag.to_owned(), "OUT".to_owned()]);
        args
    };
    let args = |args: &[&str]| args.iter().map(|&arg| arg.to_owned()).collect();
    vec![
        Output {
            name: "run",
            args: args(&["run", "--prompt", "The dog", "--out", "OUT"]),
            begins: is_safetensors,
        },
        Output {
            name: "run --table",
            args: args(&[
                "run",
                "--prompt",
                "The dog",
                "--table",
                "OUT",
                "--table-format",
                "parquet",
            ]),
            begins: |bytes| bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"),
        },
        Output {
            name: "generate --table",
            args: args(&[
                "generate",
                "--max-tokens",
                "2",
                "--table",
                "OUT",
                "--table-format",
                "csv",
            ]),
            begins: |bytes| bytes.starts_with(b"row,position,"),
        },
        Output {
            name: "encode",
            args: args(&["encode", "--sae", &sae, "--activations", &acts, "--out", "OUT"]),
            begins: is_safetensors,
        },
        Output {
            name: "convert",
            args: args(&["convert", &own, "OUT", "--to", "nanochat-sae"]),
            begins: |bytes| bytes.starts_with(b"PK"),
        },
        Output { name: "eval --out", args: eval("--out"), begins: |b| b.starts_with(b"[") },
        Output {
            name: "eval --features",
            args: eval("--features"),
            begins: |b| b.starts_with(b"{"),
        },
        Output { name: "eval --plot", args: eval("--plot"), begins: |b| b.starts_with(b"<svg") },
    ]
}

#[test]
fn a_link_stays_a_link_and_its_target_gets_the_bytes() {
    for output in outputs() {
        let dir = TempDir::new().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        symlink("real/file", &link).unwrap();

        // The first time it is dangling, the second time it names a file.
        for _ in 0..2 {
            output.succeeds(&link);

            assert!(link.symlink_metadata().unwrap().is_symlink(), "{}", output.name);
            output.wrote(&real.join("file"));
            assert_eq!(names(&real), ["file"], "{}", output.name);
        }
    }
}

#[test]
fn what_is_replaced_keeps_its_mode_and_owner() {
    for output in outputs() {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("out");
        fs::write(&out, "before").unwrap();
        fs::set_permissions(&out, Permissions::from_mode(0o640)).unwrap();
        // Only root can give a file away.
        let _ = std::os::unix::fs::chown(&out, Some(12345), Some(23456));
        let before = fs::metadata(&out).unwrap();

        output.succeeds(&out);

        let after = fs::metadata(&out).unwrap();
        assert_eq!(after.mode(), before.mode(), "{}", output.name);
        assert_eq!((after.uid(), after.gid()), (before.uid(), before.gid()), "{}", output.name);
        output.wrote(&out);
    }
}

#[test]
fn a_fifo_gets_the_bytes_and_stays_one() {
    for output in outputs() {
        let dir = TempDir::new().unwrap();
        let fifo = dir.path().join("fifo");
        mkfifo(&fifo);
        let reader = {
            let fifo = fifo.clone();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                File::open(fifo).unwrap().read_to_end(&mut bytes).unwrap();
                bytes
            })
        };

        output.succeeds(&fifo);

        let bytes = reader.join().unwrap();
        assert!((output.begins)(&bytes), "{}: {} bytes", output.name, bytes.len());
        assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo(), "{}", output.name);
        assert_eq!(names(dir.path()), ["fifo"], "{}", output.name);
    }
}

#[test]
fn a_device_stays_a_device_and_a_full_one_is_an_error() {
    for output in outputs() {
        output.succeeds(Path::new("/dev/null"));
        let error = output.fails(Path::new("/dev/full"));

        assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
        for device in ["/dev/null", "/dev/full"] {
            let kind = fs::symlink_metadata(device).unwrap().file_type();
            assert!(kind.is_char_device(), "{} replaced {device}", output.name);
        }
        assert!(!Path::new("/dev/config.json").exists(), "{}", output.name);
    }
}

#[test]
fn a_file_that_cannot_be_written_whole_is_an_error_and_the_previous_one_stays() {
    for output in outputs() {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("out");
        fs::write(&out, "mine").unwrap();

        let outcome = launched(&SMALL_FILES, &output.args(&out));

        assert_eq!(outcome.code, Some(1), "{}: {}", output.name, outcome.stderr);
        assert!(outcome.stderr.contains("File too large"), "{}: {}", output.name, outcome.stderr);
        assert_eq!(fs::read(&out).unwrap(), b"mine", "{}", output.name);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "{}", output.name);
    }
}

#[test]
fn stdout_gets_the_bytes_and_nothing_else() {
    for output in outputs().into_iter().filter(|output| !output.name.starts_with("eval")) {
        for name in ["-", "/dev/stdout"] {
            let args = output.args.iter().map(|arg| arg.replace("OUT", name));
            let run = nanoscope(&[]).args(args).into_command().output().unwrap();

            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            assert!((output.begins)(&run.stdout), "{} to {name}", output.name);
        }
    }
}

#[test]
fn a_folder_or_a_missing_folder_is_an_error_that_names_the_path() {
    for output in outputs() {
        let dir = TempDir::new().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();

        for place in [folder.clone(), dir.path().join("new/")] {
            let error = output.fails(&place);
            assert!(error.to_lowercase().contains("is a directory"), "{}: {error}", output.name);
        }
        if output.name != "convert" {
            let error = output.fails(&dir.path().join("missing/out"));
            assert!(error.contains("no such file or directory"), "{}: {error}", output.name);
            assert!(error.contains("missing/out"), "{}: {error}", output.name);
            assert!(!error.contains("could not read or write"), "{}: {error}", output.name);
        }
        assert_eq!(names(dir.path()), ["folder"], "{}", output.name);
        assert!(names(&folder).is_empty(), "{}", output.name);
    }
}

#[test]
fn a_read_only_place_is_refused_before_the_work() {
    let dir = TempDir::new().unwrap();
    let Some(launcher) = bound_by_permissions(dir.path()) else { return };
    for output in outputs() {
        let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
        fs::write(&file, "mine").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();

        for place in [file.clone(), folder.join("out")] {
            let Outcome { code, stderr, .. } = launched(launcher, &output.args(&place));
            assert_eq!(code, Some(1), "{}: {stderr}", output.name);
            assert!(stderr.contains("Permission denied"), "{}: {stderr}", output.name);
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine", "{}", output.name);
    }
}
