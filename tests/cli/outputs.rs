//! Every command that writes a file or a folder, onto every kind of place.

#![cfg(unix)]

use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use nanoscope_testing::Outcome;
use tempfile::TempDir;

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
        let out = out.to_str().unwrap();
        nanoscope(&[]).args(self.args.iter().map(|arg| arg.replace("OUT", out))).run()
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
    ]
}

/// Returns whether the permissions of files bind this process; they do not bind root.
fn is_bound_by_permissions(dir: &Path) -> bool {
    let probe = dir.join("probe");
    fs::write(&probe, "").unwrap();
    fs::set_permissions(&probe, Permissions::from_mode(0o444)).unwrap();
    let bound = File::options().write(true).open(&probe).is_err();
    fs::remove_file(&probe).unwrap();
    if !bound {
        eprintln!("this user is not bound by permissions: read-only places are not refused");
    }
    bound
}

/// The names in `dir` that are not hidden and not the configuration that `convert` adds.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "config.json");
    names.sort();
    names
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
        assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
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
    if !is_bound_by_permissions(dir.path()) {
        return;
    }
    for output in outputs() {
        let (file, folder) = (dir.path().join("file"), dir.path().join("folder"));
        fs::write(&file, "mine").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();

        for place in [file.clone(), folder.join("out")] {
            let error = output.fails(&place);
            assert!(error.contains("Permission denied"), "{}: {error}", output.name);
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine", "{}", output.name);
    }
}

#[test]
fn converted_folders_replace_only_their_own_kind() {
    let dir = TempDir::new().unwrap();
    let sae = golden("head/saes/relu/blocks_2_hook_mlp/best_model.pt");
    let convert = |from: &str, to: &Path, form: &str| {
        nanoscope(&["convert", from, to.to_str().unwrap(), "--to", form]).run()
    };
    for (from, form) in [(golden("head"), "nanoscope"), (sae, "saelens")] {
        let (foreign, own) = (dir.path().join("foreign"), dir.path().join(form));
        fs::create_dir_all(&foreign).unwrap();
        let kept = foreign.join("config.json");
        fs::write(&kept, r#"{"model_type": "llama"}"#).unwrap();

        let refused = convert(&from, &foreign, form);
        assert_eq!(refused.code, Some(1), "{form}: {}", refused.stderr);
        assert!(refused.stderr.contains("contains `config.json`"), "{form}: {}", refused.stderr);
        assert_eq!(fs::read(&kept).unwrap(), br#"{"model_type": "llama"}"#, "{form}");
        assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1, "{form}");

        for _ in 0..2 {
            let done = convert(&from, &own, form);
            assert_eq!(done.code, Some(0), "{form}: {}", done.stderr);
            fs::write(own.join("labels.json"), "{}").unwrap();
        }
        assert!(own.join("labels.json").exists(), "{form}");
        let hidden = fs::read_dir(&own)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with('.'));
        assert!(!hidden, "{form}: a temporary folder remains");
    }
}

#[test]
fn a_signal_ends_every_command_with_its_code_and_no_file() {
    let dir = TempDir::new().unwrap();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let out = fifo.to_str().unwrap();
    let sae = golden("head/saes/topk/blocks_1_hook_resid_post/best_model.pt");
    // A FIFO that nobody reads holds each of them until the signal.
    let commands: [&[&str]; 5] = [
        &["run", "--prompt", "The dog", "--out", out],
        &["convert", &sae, out, "--to", "nanochat-sae"],
        &["features", "--text-file", out],
        &["run", "--tokens-file", out],
        &["generate", "--steer-file", out],
    ];
    for args in commands {
        for (name, code) in [("INT", 130), ("TERM", 143)] {
            let scratch = TempDir::new().unwrap();
            let child = nanoscope(args)
                .env("TMPDIR", scratch.path())
                .into_command()
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // By then it handles signals; loading the demo takes a part of it.
            thread::sleep(std::time::Duration::from_secs(3));
            crate::signal(name, child.id());
            let outcome = Outcome::new(child.wait_with_output().unwrap());

            assert_eq!(outcome.code, Some(code), "{args:?} {name}: {}", outcome.stderr);
            assert_eq!(outcome.stderr, "note: interrupted\n", "{args:?} {name}");
            assert_eq!(names(dir.path()), ["fifo"], "{args:?} {name}");
            assert!(names(scratch.path()).is_empty(), "{args:?} {name} leaves a temporary file");
        }
    }
}

#[test]
fn the_demo_runs_without_a_home_folder_to_write_to() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let homes: [(&str, PathBuf); 3] = [
        ("HOME", "/nonexistent".into()),
        ("HOME", file.clone()),
        ("XDG_CACHE_HOME", file.join("cache")),
    ];
    for (name, home) in homes {
        let mut command = nanoscope(&["generate", "--max-tokens", "2", "--json"]).into_command();
        command.env_remove("XDG_CACHE_HOME").env_remove("HOME").env("TMPDIR", &scratch);
        let outcome = Outcome::new(command.env(name, &home).output().unwrap());

        assert_eq!(outcome.code, Some(0), "{name}={}: {}", home.display(), outcome.stderr);
        assert_eq!(outcome.stdout.lines().count(), 3, "{name}={}", home.display());
        assert!(outcome.stderr.contains("a temporary folder"), "{}", outcome.stderr);
        assert!(names(&scratch).is_empty(), "{name}={} leaves the demo", home.display());
    }
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn a_path_with_an_equals_sign_that_is_no_hook_point_is_not_found() {
    let error = nanoscope(&["run", "--prompt", "a", "--sae", "runs/lr=3e-4,k=64"]).failure().stderr;
    assert!(error.contains("runs/lr=3e-4,k=64: no such file or directory"), "{error}");

    let error = nanoscope(&["run", "--prompt", "a", "--sae", "blocks.3.hook_resid_pst=sae"]);
    let error = error.failure().stderr;
    assert!(error.contains("did you mean `blocks.3.hook_resid_post`?"), "{error}");
}
