//! Runs that go on to more steps than they had, and configurations that were edited by hand.

use super::*;

#[test]
fn a_finished_run_goes_on_to_more_steps_and_keeps_them_when_it_is_resumed() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let run = scratch.path("run");
    success(&small(&acts, &out));
    let before = left_behind(&run);

    let (_, said) = success(&["train", "--resume", &out, "--steps", "90"]);

    assert!(said.contains("continuing after step 60:"), "{said}");
    assert!(said.contains("90 steps of 64 activations"), "{said}");
    assert!(said.contains("each activation is used about 1.5 times"), "{said}");
    let longer = left_behind(&run);
    assert_eq!(metrics(&run).last().unwrap()["step"], 90);
    let weights = format!("{HOOK}/final/sae_weights.safetensors");
    assert!(before[&weights] != longer[&weights]);

    // The folder remembers the steps, and a run that lost its last checkpoint ends the same.
    let file = run.join(format!("checkpoints/step-90/{HOOK}.safetensors"));
    std::fs::write(&file, b"lost").unwrap();
    let (_, said) = success(&["train", "--resume", &out]);
    assert!(said.contains("continuing after step 85:"), "{said}");
    assert_same(&left_behind(&run), &longer);

    let (error, code) = failure(&["train", "--resume", &out, "--steps", "60"]);
    let expected =
        "`recipe.steps` was 90 and is now 60; only `recipe.steps` may change, to a larger number";
    assert!(error.contains(expected), "{error}");
    assert_eq!(code, 1);
    assert_same(&left_behind(&run), &longer);
}

#[test]
fn a_configuration_that_was_edited_after_a_checkpoint_is_refused() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    success(&small(&acts, &out));
    let file = scratch.path("run").join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let expected = left_behind(&scratch.path("run"));
    for (was, is, said) in [
        ("lr = 0.003", "lr = 0.1", "`recipe.optimizer.lr` was 0.003 and is now 0.1"),
        ("seed = 3", "seed = 4", "`recipe.seed` was 3 and is now 4"),
        ("steps = 60", "steps = 50", "`recipe.steps` was 60 and is now 50"),
        ("save-every = 5", "save-every = 7", "`run.save-every` was 5 and is now 7"),
        ("log-every = 2", "log-every = 2\nhold-out = 3", "`run.hold-out` was not set and is now 3"),
    ] {
        assert!(text.contains(was), "{text}");
        std::fs::write(&file, text.replace(was, is)).unwrap();

        // A larger number of steps does not let another change pass.
        let longer: &[&str] = if was.starts_with("steps") { &[] } else { &["--steps", "99"] };
        for flags in [&[][..], longer] {
            let (error, code) = failure(&[&["train", "--resume", &out], flags].concat());

            assert!(error.contains(said), "{error}");
            assert_eq!(code, 1);
        }
    }
    // More steps may also be written into the file.
    std::fs::write(&file, text.replace("steps = 60", "steps = 64")).unwrap();
    assert_same(&left_behind(&scratch.path("run")), &expected);
    success(&["train", "--resume", &out]);
    assert_eq!(metrics(&scratch.path("run")).last().unwrap()["step"], 64);
}

#[test]
fn more_steps_on_a_text_hold_out_the_same_text_and_another_text_is_refused() {
    let scratch = Scratch::new();
    let (text, out) = (scratch.text("stories.txt"), scratch.text("run"));
    let story = "Lily found a red ball in the park. Tom said that it was his ball. ";
    let stories: Vec<String> = (0..60).map(|at| format!("{at} {}", story.repeat(3))).collect();
    std::fs::write(&text, stories.join("\n\n")).unwrap();
    let flags = "--context 32 --d-sae 64 --k 4 --batch 32 --steps 6 --save-every 3 --eval-every 6";
    let mut args = vec!["train", "--text", &text, "--hook", HOOK, "--out", &out];
    args.extend(flags.split_whitespace());
    success(&args);
    let held_out = || std::fs::read(scratch.path("run/held_out.json")).unwrap();
    let before = held_out();

    let (_, said) = success(&["train", "--resume", &out, "--steps", "40"]);

    assert!(said.contains("continuing after step 6:"), "{said}");
    assert!(said.contains("each activation is used about"), "{said}");
    assert!(held_out() == before, "{}", String::from_utf8_lossy(&held_out()));

    // As many tokens, but others.
    std::fs::write(&text, stories.join("\n\n").replace("red ball", "red park")).unwrap();
    let (error, code) = failure(&["train", "--resume", &out, "--steps", "60"]);
    assert!(error.contains("the source has changed since the run started: it had"), "{error}");
    assert!(error.contains("with SHA-256"), "{error}");
    assert_eq!(code, 1);
    assert!(held_out() == before);
    let config = std::fs::read_to_string(scratch.path("run/config.toml")).unwrap();
    assert!(config.contains("steps = 40"), "{config}");
}
