//! Interrupted runs, and folders that are in use or damaged.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::*;

#[track_caller]
fn wait_for(what: &str, is_there: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_there() {
        assert!(began.elapsed() < Duration::from_mins(1), "{what} did not come");
        sleep(Duration::from_millis(10));
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_save_and_say_how_to_go_on_and_a_folder_has_one_writer() {
    let scratch = Scratch::new();
    let acts = scratch.text("acts.safetensors");
    for signal in ["INT", "TERM"] {
        let out = scratch.text(signal);
        let mut args = small(&acts, &out);
        args.extend(["--save-every", "1000000"]);
        args.retain(|arg| *arg != "5");
        let at = args.iter().position(|arg| *arg == "--save-every").unwrap();
        args.remove(at);
        let at = args.iter().position(|arg| *arg == "60").unwrap();
        args[at] = "1000000";
        let mut command = nanoscope(&args).into_command();
        let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        wait_for("a line of metrics", || {
            std::fs::metadata(scratch.path(signal).join("metrics.jsonl")).is_ok_and(|m| m.len() > 0)
        });

        let (second, _) = failure(&["train", "--resume", &out]);
        assert!(
            second.contains(&format!("another process ({}) is training in", child.id())),
            "{second}"
        );

        crate::signal(signal, child.id());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();

        let code = if signal == "INT" { 130 } else { 143 };
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains(&format!("continue with\n  nanoscope train --resume {out}")),
            "{said}"
        );
        let checkpoints = std::fs::read_dir(scratch.path(signal).join("checkpoints")).unwrap();
        assert_eq!(checkpoints.count(), 1);
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_it_leads_to_the_same_sae() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    success(&small(&acts, &out));
    let expected = left_behind(&scratch.path("run"));
    let file = scratch.path("run").join(format!("checkpoints/step-60/{HOOK}.safetensors"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&file, bytes).unwrap();

    let (_, said) = success(&["train", "--resume", &out]);

    assert!(said.contains(&format!("{} is damaged: its SHA-256", file.display())), "{said}");
    assert!(said.contains("continuing after step 55:"), "{said}");
    assert_same(&left_behind(&scratch.path("run")), &expected);
}

#[test]
fn a_finished_run_is_not_trained_again() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let args = small(&acts, &out);
    success(&args);
    let expected = left_behind(&scratch.path("run"));

    // Repeating the flags changes nothing.
    success(&[&args[..], &["--resume"]].concat());

    assert_same(&left_behind(&scratch.path("run")), &expected);
}
