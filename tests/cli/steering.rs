//! Interventions and stop conditions in flags and files.

use std::path::Path;

use serde_json::Value;

use crate::{GREEDY, failure, lines, scratch, stdout};

#[test]
fn steering_changes_the_story_and_says_where_it_was_applied() {
    let steer = "blocks.3.hook_resid_post:1909:add:27";
    let args = [
        &["generate", "--json", "--steer", steer, "--prompt", "Once upon a time, there was a"],
        &GREEDY[..],
    ]
    .concat();
    let lines = lines(&stdout(&args));

    let text: String = lines.iter().filter_map(|line| line["token"].as_str()).collect();
    assert!(text.contains(" dog"), "{text}");
    let applied = &lines.last().unwrap()["applied"][0];
    assert_eq!(applied["intervention"], steer);
    // Eight tokens of the prompt without `<|bos|>`, and thirty generated ones.
    assert_eq!(applied["positions"], 38);
    let moved = applied["moved"].as_f64().unwrap();
    assert!((0.1..10.0).contains(&moved), "moved by {moved}");
}

#[test]
fn steering_that_leaves_the_range_of_float32_is_an_error_that_names_the_place() {
    let hook = "blocks.1.hook_resid_post";
    for value in ["add:1e30", "add:3e38:unit", "set:1e38"] {
        let spec = format!("{hook}:1909:{value}");
        for command in [["run", "--prompt", "Once"], ["generate", "--prompt", "Once"]] {
            let (error, _) = failure(&[&command[..], &["--steer", &spec]].concat());
            assert!(error.contains(hook) && error.contains("at position 1"), "{spec}: {error}");
        }
        // Only a generated token is steered, so the generation begins.
        let later = format!("{spec}@generated");
        for form in [&[][..], &["--json"]] {
            let args = [&["generate", "--prompt", "Once", "--steer", &later], form].concat();
            let (error, _) = failure(&args);
            assert!(error.contains(hook) && error.contains("at position 2"), "{spec}: {error}");
        }
    }
}

#[test]
fn a_misspelt_hook_point_in_an_intervention_is_answered_with_the_nearest() {
    let args = ["run", "--prompt", "Once", "--steer", "blocks.3.hook_resid_pst:1:ablate"];

    let (error, _) = failure(&args);

    assert!(error.contains("did you mean `blocks.3.hook_resid_post`?"), "{error}");
}

#[test]
fn interventions_in_a_file_do_what_the_same_flags_do() {
    let dir = scratch().join("steer-file");
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let run = |flags: &[&str]| {
        let run = stdout(&[&["run", "--json", "--prompt", "The dog ran"], flags].concat());
        serde_json::from_str::<Value>(&run).unwrap()
    };
    let hook = "blocks.2.hook_resid_post";
    let first = format!("{hook}:7:add:3:unit@all with reconstruct");
    let second = format!("{hook}:9:orthogonal:0 when blocks.1.hook_resid_post:5>-1");
    let both = file(
        "both.json",
        &format!(
            r#"[{{"hook": "{hook}", "feature": 7, "op": "add", "value": 3, "scale": "unit",
                 "at": "all", "splice": "reconstruct"}},
                "{second} with reconstruct"]"#
        ),
    );

    // --splice applies to interventions without a splice of their own.
    let flags = run(&["--steer", &first, "--steer", &second, "--splice", "reconstruct"]);
    assert_eq!(run(&["--steer-file", &both]), flags);
    assert_eq!(flags["applied"][0]["intervention"], first);
    assert_eq!(flags["applied"][1]["positions"], 3);
    // Without a hook point it is the deepest tracked SAE's, in both.
    let short = file("short.json", r#"["7:add:30%"]"#);
    let track = ["--track", "blocks.1.hook_resid_post"];
    let tracked = run(&[&track[..], &["--steer-file", &short]].concat());
    assert_eq!(tracked, run(&[&track[..], &["--steer", "7:add:30%"]].concat()));
    let applied = tracked["applied"][0]["intervention"].as_str().unwrap();
    assert!(applied.starts_with("blocks.1.hook_resid_post:7:"), "{applied}");

    let cases = [
        (r#"{"hook": "hook_embed"}"#, "expected a sequence"),
        (r#"["hook_embed:1:boost"]"#, "unknown operation `boost`"),
        (
            r#"[{"hook": "hook_embed", "feature": 1, "op": "ablate", "strength": 2}]"#,
            "unknown field `strength`",
        ),
    ];
    for (text, says) in cases {
        let path = file("wrong.json", text);
        let (error, code) = failure(&["run", "--prompt", "a", "--steer-file", &path]);
        assert!(error.contains("wrong.json is not a JSON list of interventions"), "{error}");
        assert!(error.contains(says) && code == 1, "{error}");
    }
}

#[test]
fn a_text_ends_after_the_token_at_which_a_feature_exceeds_a_value() {
    let free = lines(&stdout(&[&["generate", "--json"], &GREEDY[..]].concat()));
    let strongest = |line: &Value| line["features"]["blocks.3.hook_resid_post"][0].clone();
    let (feature, value) = (strongest(&free[3])[0].clone(), strongest(&free[3])[1].clone());
    let threshold = value.as_f64().unwrap() - 0.01;
    let condition = format!("blocks.3.hook_resid_post:{feature}>{threshold:.3}");

    let args = [&["generate", "--json", "--stop-when", &condition], &GREEDY[..]].concat();
    let stopped = lines(&stdout(&args));

    let (end, tokens) = stopped.split_last().unwrap();
    assert!(tokens.len() <= 4 && tokens == &free[..tokens.len()], "{} tokens", tokens.len());
    assert_eq!(
        (&end["end"], &end["stop_when"]["condition"]),
        (&"stop_when".into(), &condition.into())
    );
    assert!(end["stop_when"]["value"].as_f64().unwrap() > threshold);
}

/// A control vector of one layer, as llama.cpp and repeng write it.
fn control_vector(layer: usize, values: &[f32]) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let mut file = b"GGUF".to_vec();
    file.extend(3_u32.to_le_bytes());
    // One tensor, one key of metadata.
    file.extend([1_u64, 1].iter().flat_map(|n| n.to_le_bytes()));
    file.extend(text("general.architecture"));
    file.extend(8_u32.to_le_bytes());
    file.extend(text("controlvector"));
    file.extend(text(&format!("direction.{layer}")));
    file.extend(1_u32.to_le_bytes());
    file.extend((values.len() as u64).to_le_bytes());
    // float32, at the start of the data.
    file.extend(0_u32.to_le_bytes());
    file.extend(0_u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32), 0);
    file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    file
}

#[test]
fn a_control_vector_is_a_direction_at_the_layer_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("calm.gguf");
    let mut values = vec![0.0; 256];
    values[7] = 2.0;
    std::fs::write(&path, control_vector(2, &values)).unwrap();
    let flag = format!("calm={}", path.display());
    let (before, after) = (dir.path().join("before"), dir.path().join("after"));
    let capture = ["run", "--tokens", "30,31,32", "--capture", "blocks.3.hook_resid_pre"];
    let captured = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let data = file.tensor("blocks.3.hook_resid_pre").unwrap().data().to_vec();
        data.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect::<Vec<f32>>()
    };

    stdout(&[&capture[..], &["--out", before.to_str().unwrap()]].concat());
    let steer = ["--vector", &flag, "--steer", "blocks.2.hook_resid_post:calm:add:1.5@1..2"];
    stdout(&[&capture[..], &steer, &["--out", after.to_str().unwrap()]].concat());

    let (before, after) = (captured(&before), captured(&after));
    // The input of the next block is the residual stream times a number near 1.
    for (at, (before, after)) in before.iter().zip(&after).enumerate() {
        let moved = after - before;
        let expected = if at == 256 + 7 { 3.0 } else { 0.0 };
        assert!((moved - expected).abs() <= 0.1 * expected, "{moved} at {at}");
    }
    let other = ["--vector", &flag, "--steer", "blocks.1.hook_resid_post:calm:add:1.5"];
    let (error, _) = failure(&[&capture[..], &other].concat());
    assert!(error.contains("direction.1") && error.contains("direction.2"), "{error}");
    let (error, _) = failure(&[&capture[..], &["--vector", &flag]].concat());
    assert!(error.contains("a --vector is not used by any intervention"), "{error}");
}
