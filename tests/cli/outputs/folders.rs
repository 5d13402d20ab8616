//! Folders.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::Path;

use nanoscope_testing::Outcome;
use tempfile::TempDir;

use super::{SMALL_FILES, bound_by_permissions, launched, mkfifo, names};
use crate::{golden, nanoscope};

/// A command that writes a folder. `OUT` is its path.
struct Output {
    name: &'static str,
    args: Vec<String>,
    /// A file of the complete folder.
    last: &'static str,
}

impl Output {
    fn args(&self, out: &Path) -> Vec<String> {
        let out = out.to_str().unwrap();
        self.args.iter().map(|arg| arg.replace("OUT", out)).collect()
    }

    #[track_caller]
    fn succeeds(&self, out: &Path) {
        let outcome = nanoscope(&[]).args(self.args(out)).run();
        assert_eq!(outcome.code, Some(0), "{}: {}", self.name, outcome.stderr);
    }

    #[track_caller]
    fn fails(&self, out: &Path) -> String {
        let outcome = nanoscope(&[]).args(self.args(out)).run();
        assert_eq!(outcome.code, Some(1), "{}: {}", self.name, outcome.stderr);
        outcome.stderr
    }
}

/// The commands, on the text in `dir`.
fn outputs(dir: &Path) -> Vec<Output> {
    let story = dir.join("story.txt");
    fs::write(&story, "The dog ran to the big red house and said hello. ".repeat(40)).unwrap();
    let story = story.to_str().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo");
    let sae = golden("head/saes/relu/blocks_2_hook_mlp/best_model.pt");
    let at = ["--hook", "blocks.1.hook_resid_post", "--context", "32"];
    let output = |name, last, args: &[&[&str]]| {
        let args = args.concat().into_iter().map(str::to_owned).collect();
        Output { name, args, last }
    };
    let with = |text: &'static str| text.split_whitespace().collect::<Vec<_>>();
    let train = with("--d-sae 32 --k 3 --batch 32 --steps 4");
    let dashboard = with("--hook blocks.2.hook_resid_post --features 0..3 --context 32");
    vec![
        output(
            "collect",
            "manifest.json",
            &[
                &["collect", "--model", model, "--text", story, "--out", "OUT"],
                &at,
                &["--shard-tokens", "256"],
            ],
        ),
        output(
            "train",
            "blocks.1.hook_resid_post/final/sae_weights.safetensors",
            &[&["train", "--model", model, "--text", story, "--out", "OUT"], &at, &train],
        ),
        output(
            "dashboard",
            "index.html",
            &[&["dashboard", "--text", story, "--out", "OUT"], &dashboard],
        ),
        output(
            "convert nanoscope",
            "model.safetensors",
            &[&["convert", model, "OUT", "--to", "nanoscope"]],
        ),
        output(
            "convert saelens",
            "sae_weights.safetensors",
            &[&["convert", &sae, "OUT", "--to", "saelens"]],
        ),
        output(
            "convert nanoscope-sae",
            "nanoscope_sae.safetensors",
            &[&["convert", &sae, "OUT", "--to", "nanoscope-sae"]],
        ),
    ]
}

#[test]
fn a_link_stays_a_link_and_its_folder_gets_the_files() {
    let texts = TempDir::new().unwrap();
    for output in outputs(texts.path()) {
        for target in ["empty", "new"] {
            let dir = TempDir::new().unwrap();
            let (link, real) = (dir.path().join("link"), dir.path().join(target));
            fs::create_dir(dir.path().join("empty")).unwrap();
            symlink(target, &link).unwrap();

            output.succeeds(&link);

            assert!(link.symlink_metadata().unwrap().is_symlink(), "{} {target}", output.name);
            assert!(real.join(output.last).is_file(), "{} {target}", output.name);
        }
    }
}

#[test]
fn a_file_a_fifo_or_a_device_is_refused_and_stays() {
    let texts = TempDir::new().unwrap();
    for output in outputs(texts.path()) {
        let dir = TempDir::new().unwrap();
        let (file, fifo) = (dir.path().join("file"), dir.path().join("fifo"));
        fs::write(&file, "mine").unwrap();
        mkfifo(&fifo);

        for place in [file.clone(), fifo.clone(), file.join("inside"), "/dev/null".into()] {
            let error = output.fails(&place);
            assert!(error.to_lowercase().contains("not a directory"), "{}: {error}", output.name);
        }
        assert_eq!(fs::read(&file).unwrap(), b"mine", "{}", output.name);
        assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo(), "{}", output.name);
        assert!(fs::symlink_metadata("/dev/null").unwrap().file_type().is_char_device());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "{}", output.name);
    }
}

#[test]
fn a_read_only_place_is_refused_before_the_work() {
    let dir = TempDir::new().unwrap();
    let Some(launcher) = bound_by_permissions(dir.path()) else { return };
    for output in outputs(dir.path()) {
        let folder = dir.path().join("folder");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o555)).unwrap();

        for place in [folder.clone(), folder.join("new")] {
            // A dashboard replaces its folder, and needs only the one around it.
            if output.name == "dashboard" && place == folder {
                continue;
            }
            let Outcome { code, stderr, .. } = launched(launcher, &output.args(&place));
            assert_eq!(code, Some(1), "{}: {stderr}", output.name);
            assert!(
                stderr.to_lowercase().contains("permission denied"),
                "{}: {stderr}",
                output.name
            );
        }
        assert!(names(&folder).is_empty(), "{}", output.name);
    }
}

#[test]
fn files_that_cannot_be_written_whole_are_an_error_and_none_is_left_in_part() {
    let texts = TempDir::new().unwrap();
    for output in outputs(texts.path()) {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("out");

        let outcome = launched(&SMALL_FILES, &output.args(&out));

        assert_eq!(outcome.code, Some(1), "{}: {}", output.name, outcome.stderr);
        assert!(outcome.stderr.contains("File too large"), "{}: {}", output.name, outcome.stderr);
        assert!(!out.join(output.last).exists(), "{}", output.name);
        let left: Vec<_> = names(dir.path()).into_iter().filter(|name| name != "out").collect();
        assert!(left.is_empty(), "{} leaves {left:?}", output.name);
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
