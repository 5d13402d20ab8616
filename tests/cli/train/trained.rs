//! The files and numbers that a training produces.

use super::*;

#[test]
fn an_sae_is_trained_evaluated_and_left_in_forms_that_load() {
    let scratch = Scratch::new();
    let (acts, out) = (scratch.text("acts.safetensors"), scratch.text("run"));
    let mut args = small(&acts, &out);
    args.extend(["--steps", "600", "--json"]);
    let at = args.iter().position(|arg| *arg == "60").unwrap();
    args.drain(at - 1..=at);

    let (stdout, stderr) = success(&args);

    assert!(stderr.contains("600 steps of 64 activations; the source has 4000 activations in 160 segments, 200 in 8 held out"), "{stderr}");
    let summary: Value = serde_json::from_str(&stdout).unwrap();
    let held_out = &summary["hooks"][0]["held_out"];
    let number = |name: &str| held_out[name].as_f64().unwrap();
    // Each row is three of 48 directions and has three features, so most of it can be explained.
    assert!(number("explained_variance") > 0.7, "{held_out}");
    assert!((2.0..=3.0).contains(&number("l0")), "{held_out}");
    assert_eq!(held_out["rows"], 200);

    // The same SAE on the same rows, read back from its files.
    let features = scratch.text("features.safetensors");
    let last = format!("{out}/{HOOK}/final");
    let encoded =
        success(&["encode", "--sae", &last, "--activations", &acts, "--out", &features, "--json"])
            .0;
    let encoded: Value = serde_json::from_str(&encoded).unwrap();
    assert!((encoded["l0"].as_f64().unwrap() - number("l0")).abs() < 0.3, "{encoded}");

    let cfg = std::fs::read(format!("{last}/cfg.json")).unwrap();
    let origin = &serde_json::from_slice::<Value>(&cfg).unwrap()["metadata"];
    assert_eq!(origin["activations_path"], acts.as_str());
    assert_eq!(origin["training_tokens"], 600 * 64);
    assert_eq!(origin["training_architecture_details"]["steps"], 600);
    assert_eq!(origin["nanoscope_version"], env!("CARGO_PKG_VERSION"));

    let lines = metrics(&scratch.path("run"));
    let steps: Vec<u64> = lines.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=300).map(|n| n * 2).collect::<Vec<_>>());
    assert_eq!(lines.last().unwrap()["validation"][HOOK], *held_out);
    assert!(lines[0]["validation"].is_null());
    let losses = |at: usize| lines[at]["train"][HOOK]["loss"].as_f64().unwrap();
    assert!(losses(299) < losses(0) / 3.0, "{} {}", losses(0), losses(299));

    let sparsity = std::fs::read(format!("{last}/sparsity.safetensors")).unwrap();
    let sparsity = safetensors::SafeTensors::deserialize(&sparsity).unwrap();
    assert_eq!(sparsity.tensor("sparsity").unwrap().shape(), [64]);
    let curves = std::fs::read_to_string(scratch.path("run/curves.svg")).unwrap();
    assert!(curves.contains(HOOK));
}

#[test]
fn every_architecture_trains_and_a_relu_sae_is_written_for_nanochat_sae_too() {
    let scratch = Scratch::new();
    let acts = scratch.text("acts.safetensors");
    for architecture in ["top-k", "batch-top-k", "matryoshka", "jump-relu", "relu", "gated"] {
        let out = scratch.text(architecture);
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
            "--batch",
            "64",
            "--steps",
            "4",
            "--architecture",
            architecture,
        ];

        let (stdout, _) = success(&args);

        assert!(stdout.contains("nanoscope encode --sae"), "{stdout}");
        let best = scratch.path(architecture).join(HOOK).join("best");
        assert!(best.join("sae_weights.safetensors").is_file(), "{architecture}");
        assert_eq!(best.join("best_model.pt").is_file(), architecture == "relu", "{architecture}");
        success(&["inspect", best.to_str().unwrap()]);
    }
}

#[test]
fn the_printed_configuration_trains_what_the_flags_do() {
    let scratch = Scratch::new();
    let (acts, a, b) = (scratch.text("acts.safetensors"), scratch.text("a"), scratch.text("b"));
    let args = small(&acts, &a);
    success(&args);
    let printed = success(&[&args[..], &["--print-config"]].concat()).0;
    assert!(
        printed.contains(
            "# Weight of their loss; 0 disables it. Gao et al. 2024: 1/32.\ncoefficient = 0.03125"
        ),
        "{printed}"
    );
    std::fs::write(scratch.path("run.toml"), printed).unwrap();

    success(&["train", "--config", &scratch.text("run.toml"), "--out", &b]);

    assert_same(&left_behind(&scratch.path("b")), &left_behind(&scratch.path("a")));
    let config =
        |run: &str| std::fs::read_to_string(scratch.path(run).join("config.toml")).unwrap();
    assert_eq!(config("a"), config("b"));
}

#[test]
fn texts_and_a_store_of_the_same_texts_give_the_same_saes_at_two_points() {
    let scratch = Scratch::new();
    let sentence = "Once upon a time there was a small dog who liked the big red ball. ";
    std::fs::write(scratch.path("stories.txt"), sentence.repeat(120)).unwrap();
    let (text, store) = (scratch.text("stories.txt"), scratch.text("store"));
    let hooks = ["--hook", "blocks.0.hook_resid_post", "--hook", "blocks.0.hook_mlp_out"];
    let size = ["--d-sae", "64", "--k", "4", "--batch", "128", "--steps", "4"];
    let live = scratch.text("live");

    let (_, noted) = success(
        &[&["train", "--text", &text, "--context", "32", "--out", &live], &hooks[..], &size]
            .concat(),
    );

    assert!(noted.contains("2 SAEs with 64 features"), "{noted}");
    for hook in ["blocks.0.hook_resid_post", "blocks.0.hook_mlp_out"] {
        let best = format!("{live}/{hook}/best");
        let shown =
            success(&["run", "--prompt", "A dog", "--sae", &best, "--track", hook, "--json"]).0;
        assert!(shown.contains(hook), "{shown}");
    }

    success(
        &[
            &[
                "collect",
                "--text",
                &text,
                "--context",
                "32",
                "--out",
                &store,
                // As many as a training of 512 activations reads, in segments of a twentieth.
                "--tokens",
                "1254",
                "--shard-tokens",
                "32",
            ],
            &hooks[..],
        ]
        .concat(),
    );
    let out = scratch.text("from-store");
    success(&[&["train", "--store", &store, "--out", &out], &hooks[..], &size].concat());
    for hook in ["blocks.0.hook_resid_post", "blocks.0.hook_mlp_out"] {
        let weights = |run: &str| {
            std::fs::read(format!("{run}/{hook}/final/sae_weights.safetensors")).unwrap()
        };
        assert!(weights(&live) == weights(&out), "{hook}");
    }
    let (error, code) = failure(
        &[&["train", "--store", &store, "--out", &scratch.text("x"), "--hook", HOOK], &size[..]]
            .concat(),
    );
    assert_eq!(code, 1);
    assert!(error.contains(HOOK), "{error}");
    assert!(!scratch.path("x").exists());
}
