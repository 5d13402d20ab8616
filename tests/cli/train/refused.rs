//! Trainings that are refused, or fail.

use super::*;

/// The error of a training on the test's activations with these flags.
#[track_caller]
fn error(scratch: &Scratch, flags: &[&str]) -> (String, i32) {
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let base = ["train", "--activations", &acts, "--hook", HOOK, "--out", &out];
    failure(&[&base[..], flags].concat())
}

#[test]
fn a_hidden_folder_of_the_users_is_neither_overlooked_nor_removed() {
    let scratch = Scratch::new();
    let notes = scratch.path("run/.tmp_notes/notes.txt");
    std::fs::create_dir_all(notes.parent().unwrap()).unwrap();
    std::fs::write(&notes, "mine").unwrap();

    let (error, code) = error(&scratch, &[]);

    assert!(error.contains("is not empty"), "{error}");
    assert_eq!(code, 1);
    assert_eq!(std::fs::read(&notes).unwrap(), b"mine");
}

#[test]
fn flags_and_keys_that_mean_nothing_are_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    let config = |text: &str| {
        std::fs::write(scratch.path("run.toml"), text).unwrap();
        scratch.text("run.toml")
    };
    let cases: &[(&[&str], &str)] = &[
        (&["--k", "0"], "`recipe.method.k` is 0; it must be 1 to"),
        (&["--d-sae", "8", "--k", "9"], "`recipe.method.k` is 9; it must be 1 to 8"),
        (&["--lr", "-1"], "`recipe.optimizer.lr` is -1; it must be above 0"),
        (&["--batch", "0"], "`recipe.batch` is 0; it must be 1 or more"),
        (&["--steps", "0"], "`recipe.steps` is 0; it must be 1 to"),
        (&["--tokens", "0"], "`recipe.tokens` is 0; it must be 1 or more"),
        (&["--l1", "3"], "`recipe.method.l1` does not apply to top-k, only to relu, gated"),
        (&["--architecture", "jump-relu", "--target-l0", "0"], "`recipe.method.target-l0` is 0"),
        (
            &["--hold-out", "0"],
            "`run.hold-out`: invalid value: integer `0`, expected a number of segments, or a fraction between 0 and 1",
        ),
        (&["--hold-out", "1.5"], "`run.hold-out`: invalid value: floating point `1.5`"),
        (&["--save-every", "0"], "`run.save-every` is 0; it must be 1 or more"),
        (&["--context", "64"], "`source.context` and `source.activations` are mutually exclusive"),
        (
            &["--hook", "blocks.0.hook_mlp_out"],
            "an activation file holds one hook point; `hooks` lists 2",
        ),
        (&["--hook", HOOK], "`hooks` lists blocks.1.hook_resid_post twice"),
        (&["--device", "abacus"], "unknown device `abacus`"),
    ];
    for (flags, expected) in cases {
        let (error, code) = error(&scratch, flags);
        assert!(error.contains(expected), "{flags:?}: {error}");
        assert_eq!(code, 2, "{flags:?}");
    }
    let cases = [
        (
            "[recipe.method]\nkk = 3",
            "unknown key `recipe.method.kk`; did you mean `recipe.method.k`?",
        ),
        (
            "[recipe]\nd-sae = 'many'",
            "`recipe.d-sae`: invalid type: string \"many\", expected usize",
        ),
        (
            "[recipe]\nd-sae = 64\nexpansion = 4",
            "`recipe.d-sae` and `recipe.expansion` are mutually exclusive",
        ),
        ("hooks = 3\nhooks = 4", "run.toml is not valid TOML"),
        (
            "[recipe.method]\narchitecture = 'topk'",
            "jump-relu, relu, gated); did you mean `top-k`?",
        ),
    ];
    for (text, expected) in cases {
        let (error, code) = error(&scratch, &["--config", &config(text)]);
        assert!(error.contains(expected), "{text}: {error}");
        assert_eq!(code, 2, "{text}");
    }
    assert!(!scratch.path("run").exists());
}

#[test]
fn what_is_missing_is_said() {
    let scratch = Scratch::new();
    let acts = scratch.text("acts.safetensors");

    let (error, _) = failure(&["train", "--activations", &acts, "--hook", HOOK]);
    assert!(error.contains("the run has no folder") && error.contains("--out DIR"), "{error}");
    let (error, _) = failure(&["train", "--activations", &acts, "--out", &scratch.text("run")]);
    assert!(error.contains("`hooks` is missing: the hook points to train SAEs at"), "{error}");
    assert!(error.contains("name it with --hook HOOK"), "{error}");
    let (error, _) = failure(&["train", "--hook", HOOK, "--out", &scratch.text("run")]);
    assert!(error.contains("`source.text` is missing: the texts to train on"), "{error}");
    assert!(error.contains("name them with --text PATH"), "{error}");
    let (error, _) = failure(&["train", "--resume"]);
    assert!(error.contains("--resume does not name a folder"), "{error}");
    let (error, code) = failure(&["train", "--resume", &scratch.text("nothing")]);
    assert!(error.contains("is not the folder of a run: it has no config.toml"), "{error}");
    assert_eq!(code, 1);
    let (error, _) = failure(&["train", "--store", "s", "--text", "t", "--hook", HOOK]);
    assert!(error.contains("cannot be used with"), "{error}");
}

#[test]
fn a_training_that_does_not_fit_in_memory_is_refused_with_the_numbers_and_the_flags() {
    let scratch = Scratch::new();
    let large = ["--d-sae", "16777216", "--batch", "256"];
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo.lines().find_map(|line| {
        line.strip_prefix("MemAvailable:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    if available.is_none_or(|kilobytes| kilobytes > 40 << 20) {
        eprintln!("skipped: this machine has more memory than the training takes, or says nothing");
        return;
    }

    // The file is 16 wide: 16 GB with its optimizer and a checkpoint, and 34 GB for a batch.
    let (error, code) = error(&scratch, &large);

    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("the training needs about 4") && error.contains("GiB of memory"),
        "{error}"
    );
    assert!(error.contains("are available") && error.contains("--d-sae"), "{error}");
    assert!(error.contains("--ignore-memory starts anyway"), "{error}");
    assert!(!scratch.path("run").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_work() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("file"), "").unwrap();
    let out = scratch.text("file/run");

    let (error, code) =
        failure(&["train", "--text", &scratch.text("nowhere"), "--hook", HOOK, "--out", &out]);

    assert_eq!(code, 1);
    assert!(error.contains("could not write to ") && error.contains("file/run"), "{error}");
}

#[test]
fn a_folder_with_something_in_it_and_a_changed_configuration_are_refused() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let args = small(&acts, &out);
    success(&args);

    let (error, code) = failure(&args);
    assert!(
        error.contains("run is not empty") && error.contains("nanoscope train --resume DIR"),
        "{error}"
    );
    assert_eq!(code, 1);
    let (error, code) = failure(&["train", "--resume", &out, "--k", "5", "--lr", "0.1"]);
    assert!(
        error.contains(
            "`recipe.method.k` was 3 and is now 5; `recipe.optimizer.lr` was 0.003 and is now 0.1"
        ),
        "{error}"
    );
    assert_eq!(code, 1);
    let (error, _) = failure(&["train", "--resume", &out, "--architecture", "relu"]);
    assert!(
        error.contains("`recipe.method.architecture` was \"top-k\" and is now \"relu\""),
        "{error}"
    );

    // The same path, but other contents.
    activations(&scratch.path("acts.safetensors"), 3000);
    let (error, _) = failure(&["train", "--resume", &out]);
    let expected = "it had 160 segments and 4000 activations of width 16, now 167 segments and 3000 activations";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn activations_that_cannot_be_trained_on_are_refused() {
    let scratch = Scratch::new();
    let out = scratch.text("run");
    let write = |name: &str, shape: &[usize], numbers: &[f32]| {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).unwrap();
        safetensors::serialize_to_file([("x", view)], None, &scratch.path(name)).unwrap();
        scratch.text(name)
    };
    let train =
        |path: &str| failure(&["train", "--activations", path, "--hook", HOOK, "--out", &out]).0;

    let error = train(&write("flat", &[4], &[1.0; 4]));
    assert!(error.contains("flat [x] has no rows of activations: its shape is [4]"), "{error}");
    let error = train(&write("one", &[1, 4], &[1.0; 4]));
    assert!(
        error.contains("the source has 1 segment; holding out 1 leaves none to train on"),
        "{error}"
    );
    let mut numbers = [1.0; 400];
    numbers[7] = f32::NAN;
    let error = train(&write("gaps", &[100, 4], &numbers));
    let expected = "gaps: tensor `x` has a number that is not finite, at index 7";
    assert!(error.contains(expected), "{error}");
    let error = train(&scratch.text("nowhere"));
    assert!(error.contains("nowhere: no such file or directory"), "{error}");
    // None of them left the folder locked.
    success(&small(&scratch.text("acts.safetensors"), &out));
}

#[test]
fn what_cannot_be_evaluated_ends_the_training_and_leaves_its_checkpoints_readable() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let bytes = std::fs::read(&acts).unwrap();
    let mut numbers = bytes.clone();
    // Eight of 160 segments of 25 activations, which are spread evenly.
    for segment in (10..160).step_by(20) {
        numbers[bytes.len() - (4000 - segment * 25) * WIDTH * 4..][..25 * WIDTH * 4].fill(0);
    }
    std::fs::write(&acts, numbers).unwrap();

    let (error, code) = failure(&small(&acts, &out));

    let expected = "the SAE at blocks.1.hook_resid_post cannot be evaluated on the 200 held-out \
                    activations: there are none, or all are zero";
    assert!(error.contains(expected), "{error}");
    assert!(error.contains("the checkpoint of step 5 is intact"), "{error}");
    assert_eq!(code, 1);
    std::fs::write(&acts, bytes).unwrap();
    let (_, said) = success(&["train", "--resume", &out]);
    assert!(said.contains("continuing after step 5"), "{said}");
}

#[test]
fn a_checkpoint_of_a_step_that_the_run_does_not_have_is_refused() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    success(&small(&acts, &out));
    let step = |step: u64| scratch.path(&format!("run/checkpoints/step-{step}"));
    std::fs::rename(step(60), step(70)).unwrap();
    let state = std::fs::read_to_string(step(70).join("state.json")).unwrap();
    let changed = state.replacen("\"step\": 60", "\"step\": 70", 1);
    std::fs::write(step(70).join("state.json"), changed).unwrap();

    let (error, code) = failure(&["train", "--resume", &out]);

    assert!(error.contains("step-70 is damaged: the run has 60 steps"), "{error}");
    assert_eq!(code, 1);
}

#[test]
fn a_training_that_diverges_stops_and_keeps_its_checkpoint() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let args = [
        "train",
        "--activations",
        &acts,
        "--hook",
        HOOK,
        "--out",
        &out,
        "--d-sae",
        "64",
        "--k",
        "3",
        "--batch",
        "64",
        "--steps",
        "100",
        "--lr",
        "1e36",
        "--save-every",
        "1",
    ];

    let (error, code) = failure(&args);

    assert_eq!(code, 1);
    assert!(error.contains("training diverged at step") && error.contains("is intact"), "{error}");
    assert!(error.contains("try a lower --lr"), "{error}");
    assert!(std::fs::read_dir(scratch.path("run/checkpoints")).unwrap().count() > 0);
}

/// Mounts a file system of `bytes` bytes at `dir`. Returns whether this user may.
#[cfg(target_os = "linux")]
fn mount(dir: &Path, bytes: usize) -> bool {
    std::fs::create_dir_all(dir).unwrap();
    let size = format!("size={bytes}");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
        .arg(dir)
        .stderr(Stdio::null())
        .status();
    mount.is_ok_and(|status| status.success())
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error_that_keeps_the_last_checkpoint() {
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(self.0).status();
        }
    }

    let scratch = Scratch::new();
    let dir = scratch.path("small");
    // The SAEs and one checkpoint fit; a second checkpoint does not.
    if !mount(&dir, 120 << 10) {
        eprintln!("skipped: this user may not mount a tmpfs, so no disk was filled");
        return;
    }
    let mounted = Mounted(&dir);
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("small/run"));

    let (error, code) = failure(&small(&acts, &out));

    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("could not read or write") || error.contains("could not write"),
        "{error}"
    );
    assert!(error.contains("No space left on device"), "{error}");
    assert!(error.contains("is intact") && error.contains("free some disk space"), "{error}");
    let checkpoints = std::fs::read_dir(dir.join("run/checkpoints")).unwrap();
    let names: Vec<_> = checkpoints.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !names.is_empty() && names.iter().all(|name| name.to_string_lossy().starts_with("step-")),
        "{names:?}"
    );

    // With more room it resumes and ends with the same files.
    let grown =
        std::process::Command::new("mount").args(["-o", "remount,size=4m"]).arg(&dir).status();
    assert!(grown.unwrap().success());
    success(&["train", "--resume", &out]);
    let whole = scratch.text("whole");
    success(&small(&acts, &whole));
    assert_same(&left_behind(&dir.join("run")), &left_behind(&scratch.path("whole")));
    drop(mounted);
}

#[test]
fn a_training_that_cannot_start_leaves_no_folder() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("tiny.txt"), "The dog ran to the park.").unwrap();
    let (text, out) = (scratch.text("tiny.txt"), scratch.text("new/run"));
    let train = ["train", "--text", &text, "--hook", HOOK, "--out", &out];

    let (error, _) = failure(&train);
    assert!(error.contains("too few for one context of 256"), "{error}");
    assert!(!scratch.path("new").exists());
    // The folder can be locked before what is wrong is found.
    let (error, _) = failure(&[&train[..], &["--context", "2", "--hold-out", "1000"]].concat());
    assert!(error.contains("leaves none to train on"), "{error}");
    assert!(!scratch.path("new").exists());

    // A folder that was there stays.
    std::fs::create_dir_all(&out).unwrap();
    failure(&train);
    assert!(scratch.path("new/run").is_dir());
}

#[test]
fn few_activations_that_are_used_hundreds_of_times_are_warned_about() {
    let scratch = Scratch::new();
    std::fs::write(scratch.path("tiny.txt"), "The dog ran to the park.").unwrap();
    let (text, out) = (scratch.text("tiny.txt"), scratch.text("run"));
    let train = ["train", "--text", &text, "--hook", HOOK, "--out", &out, "--context", "2"];

    let more = ["--steps", "10", "--batch", "64", "--d-sae", "16", "--k", "2"];
    let (_, noted) = success(&[&train[..], &more].concat());

    let note = noted.lines().find(|line| line.contains("each activation is used about")).unwrap();
    assert!(note.contains(" times, so that the SAE learns them by heart"), "{note}");
    assert!(note.contains("use more text, or --tokens "), "{note}");
}
