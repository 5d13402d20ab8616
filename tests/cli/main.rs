//! The binary as a user runs it, on the built-in demo.

mod chat;
mod eval;
mod features;
mod interrupted;
mod serve;
mod terminal;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Where a test's files lie, the unpacked demo among them; one cache for all tests of a process.
fn scratch() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli")
}

fn nanoscope(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nanoscope"))
        .args(args)
        .env("XDG_CACHE_HOME", scratch())
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary was built for this test")
}

#[track_caller]
fn stdout(args: &[&str]) -> String {
    let output = nanoscope(args);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a failing run says, and its exit code.
#[track_caller]
fn failure(args: &[&str]) -> (String, i32) {
    let output = nanoscope(args);
    assert!(!output.status.success(), "{args:?} should have failed");
    (String::from_utf8(output.stderr).unwrap(), output.status.code().unwrap())
}

fn golden(path: &str) -> String {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden").join(path);
    golden.to_str().unwrap().to_owned()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "30"];
const OPENING: &str = "Once upon a time";
/// nanochat's own greedy text after [`OPENING`] and `<|bos|>`.
const CONTINUATION: [u64; 30] = [
    44, 454, 305, 258, 497, 651, 475, 734, 46, 381, 602, 275, 428, 902, 311, 310, 500, 46, 973,
    386, 44, 341, 557, 258, 464, 44, 1235, 869, 46, 0,
];

#[test]
fn without_arguments_it_shows_commands_to_copy() {
    let text = stdout(&[]);

    assert!(text.contains("nanoscope generate --prompt"), "{text}");
}

#[test]
fn the_demo_tells_nanochats_own_story_with_the_features_of_each_token() {
    let args = [&["generate", "--json", "--prompt", OPENING], &GREEDY[..]].concat();
    let lines = lines(&stdout(&args));

    let (end, tokens) = lines.split_last().unwrap();
    let ids: Vec<u64> = tokens.iter().map(|line| line["token_id"].as_u64().unwrap()).collect();
    assert_eq!(ids[..29], CONTINUATION[..29]);
    assert_eq!(end["end"], "max_tokens");
    for (at, line) in tokens.iter().enumerate() {
        // `<|bos|>` and the four tokens of the opening come first.
        assert_eq!(line["position"].as_u64().unwrap() as usize, 5 + at);
        let features = line["features"]["blocks.3.hook_resid_post"].as_array().unwrap();
        assert!((1..=32).contains(&features.len()), "{} features", features.len());
        let values: Vec<f64> = features.iter().map(|f| f[1].as_f64().unwrap()).collect();
        assert!(values.is_sorted_by(|a, b| a >= b), "{values:?}");
    }
    let text: String = tokens.iter().map(|line| line["token"].as_str().unwrap()).collect();
    assert!(text.starts_with(", there was a little girl named"), "{text}");
}

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
    // Eight tokens of text in the prompt, thirty generated; not `<|bos|>`.
    assert_eq!(applied["positions"], 38);
    let moved = applied["moved"].as_f64().unwrap();
    assert!((0.1..10.0).contains(&moved), "moved by {moved}");
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

    // --splice is for those that do not say.
    let flags = run(&["--steer", &first, "--steer", &second, "--splice", "reconstruct"]);
    assert_eq!(run(&["--steer-file", &both]), flags);
    assert_eq!(flags["applied"][0]["intervention"], first);
    assert_eq!(flags["applied"][1]["positions"], 3);

    let cases = [
        (r#"{"hook": "hook_embed"}"#, "expected a sequence"),
        (r#"["hook_embed:1:boost"]"#, "`boost` is no operation"),
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

#[test]
fn the_same_seed_tells_the_same_story() {
    let story = |seed: &str| stdout(&["generate", "--seed", seed, "--max-tokens", "12"]);

    assert_eq!(story("7"), story("7"));
    assert_ne!(story("7"), story("8"));
}

#[test]
fn a_run_writes_what_it_computed_for_other_tools() {
    std::fs::create_dir_all(scratch()).unwrap();
    let (tokens, out) = (scratch().join("tokens.json"), scratch().join("run.safetensors"));
    std::fs::write(&tokens, "[[5, 7, 11, 13], [17, 19, 23, 29]]").unwrap();
    let _ = std::fs::remove_file(&out);
    let sae = golden("head/saes/topk/blocks_1_hook_resid_post/best_model.pt");
    stdout(&[
        "run",
        "--model",
        &golden("head"),
        "--sae",
        &sae,
        "--tokens-file",
        tokens.to_str().unwrap(),
        "--capture",
        "blocks.2.hook_attn",
        "--track",
        "blocks.1.hook_resid_post",
        "--out",
        out.to_str().unwrap(),
    ]);

    let bytes = std::fs::read(&out).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| file.tensor(name).unwrap().shape().to_vec();
    assert_eq!(shape("logits"), [2, 4, 300]);
    assert_eq!(shape("tokens"), [2, 4]);
    assert_eq!(shape("blocks.2.hook_attn_out"), [2, 4, 64]);
    assert_eq!(shape("blocks.1.hook_resid_post/features"), [2, 4, 128]);
    assert_eq!(shape("blocks.1.hook_resid_post/reconstruction"), [2, 4, 64]);
    assert_eq!(file.len(), 5);
    let features = file.tensor("blocks.1.hook_resid_post/features").unwrap();
    let (numbers, _) = features.data().as_chunks::<4>();
    let active = numbers.iter().filter(|&&bytes| f32::from_le_bytes(bytes) != 0.0).count();
    assert_eq!(active, 8 * 8);
}

#[test]
fn a_run_prints_one_json_object() {
    let value: Value =
        serde_json::from_str(&stdout(&["run", "--json", "--prompt", "The dog", "--top", "2"]))
            .unwrap();

    let tokens = value["tokens"][0].as_array().unwrap();
    assert_eq!(tokens[0]["token"], "<|bos|>");
    assert!(tokens[0]["token_id"].is_u64(), "{value}");
    for (position, token) in tokens.iter().enumerate() {
        assert_eq!(token["position"], position);
        let features = token["features"]["blocks.3.hook_resid_post"].as_array().unwrap();
        assert_eq!(features.len(), 2, "{token}");
    }
    let next = value["next_tokens"][0].as_array().unwrap();
    assert_eq!(next.len(), 5);
    let logprobs: Vec<f64> = next.iter().map(|next| next["logprob"].as_f64().unwrap()).collect();
    assert!(logprobs.is_sorted_by(|a, b| a >= b) && logprobs[0] < 0.0, "{logprobs:?}");
    assert!(next.iter().all(|next| next["token"].is_string() && next["token_id"].is_u64()));
}

#[test]
fn hook_points_are_listed_with_shapes_and_saes() {
    let text = stdout(&["hooks"]);

    let line = text.lines().find(|line| line.starts_with("blocks.2.hook_resid_post")).unwrap();
    assert!(line.contains("[batch, seq, 256]") && line.contains("2048 features"), "{line}");
    assert_eq!(text.lines().count(), 2 + 4 * 13);
}

#[test]
fn inspect_tells_a_model_an_sae_and_a_tensor_file() {
    let model = stdout(&["inspect", &golden("mid_aba30cb")]);
    assert!(model.contains("era: E3") && model.contains("also fits era: E4, E4b"), "{model}");
    let sae = stdout(&["inspect", &golden("old/saes/gated/blocks_2_hook_mlp")]);
    assert!(sae.contains("hook point: blocks.2.hook_mlp_out"), "{sae}");
    let tensors = stdout(&["inspect", &golden("old/expected.safetensors")]);
    assert!(tensors.contains("logits"), "{tensors}");
}

#[test]
fn a_converted_model_computes_the_same_bits() {
    let dir = scratch().join("converted");
    let _ = std::fs::remove_dir_all(&dir);
    stdout(&["convert", &golden("head"), dir.to_str().unwrap(), "--to", "nanoscope"]);

    let run = |model: &str| stdout(&["run", "--json", "--model", model, "--tokens", "5,7,11"]);
    assert_eq!(run(dir.to_str().unwrap()), run(&golden("head")));
}

#[test]
fn mistakes_are_named_with_what_to_do_and_an_exit_code() {
    let cases: [(&[&str], &str, i32); 22] = [
        (&["generate", "--frobnicate"], "unexpected argument '--frobnicate'", 2),
        (&["generate", "--prompt", ""], "the prompt is empty", 2),
        (&["generate", "--steer", "417"], "`417` is not of the form HOOK:TARGET:OP", 2),
        (
            &["run", "--prompt", "a", "--track", "blocks.2.hook_resid_pst"],
            "did you mean `blocks.2.hook_resid_post`?",
            2,
        ),
        (&["run"], "--prompt", 2),
        (&["generate", "--model", "no/such/folder"], "no/such/folder", 1),
        (&["generate", "--device", "abacus"], "unknown device `abacus`", 2),
        (&["generate", "--temperature", "-1"], "temperature is -1, it must be 0 or more", 2),
        (
            &["generate", "--track", "blocks.9.hook_resid_post"],
            "the model has no blocks.9.hook_resid_post, it has 4 blocks (0 to 3)",
            1,
        ),
        (
            &["generate", "--steer", "blocks.3.hook_resid_post:2048:ablate"],
            "feature 2048 is out of range, the SAE has 2048 (0 to 2047)",
            1,
        ),
        (
            &["run", "--prompt", "a", "--steer", "blocks.3.hook_resid_post:1:ablate@generated"],
            "nothing is generated",
            1,
        ),
        (
            &["run", "--prompt", "a", "--stop-when", "blocks.3.hook_resid_post:1>0"],
            "a run cannot stop when `blocks.3.hook_resid_post:1>0`",
            1,
        ),
        (&["generate", "--stop-when", "hook_embed:1"], "which has the form HOOK:FEATURE>T", 2),
        (
            &["generate", "--steer", "blocks.3.hook_resid_post:calm:add:1"],
            "needs the vector `calm`; there are none",
            1,
        ),
        (&["generate", "--steer-file", "no/such.json"], "could not read no/such.json", 1),
        (
            &["run", "--tokens", "1,5000"],
            "token id 5000 at row 0, position 1 is outside the vocabulary of 4096",
            1,
        ),
        (&["features", "--text", ""], "the text is empty", 2),
        (&["features", "--text-file", "no/such/file"], "could not read no/such/file", 1),
        (&["features", "--top", "0"], "0 is not in 1..", 2),
        (
            &["features", "--near", "2048"],
            "feature 2048 is out of range, the SAE has 2048 (0 to 2047)",
            1,
        ),
        (
            &["features", "--hook", "blocks.3.hook_mlp_out"],
            "no SAE for blocks.3.hook_mlp_out; there are SAEs for blocks.0.hook_resid_post",
            1,
        ),
        (&["features", "--grep", "dog", "--near", "3"], "cannot be used with", 2),
    ];
    for (args, message, code) in cases {
        let (error, found) = failure(args);
        assert!(error.contains(message), "{args:?}: {error}");
        assert!(error.starts_with("error: "), "{args:?}: {error}");
        assert_eq!(found, code, "{args:?}: {error}");
    }
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut child = Command::new(env!("CARGO_BIN_EXE_nanoscope"))
        .args(["generate", "--json", "--max-tokens", "40"])
        .env("XDG_CACHE_HOME", scratch())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();

    let output = child.wait_with_output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_tokenizer_is_found_from_a_relative_path() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/base_checkpoints");
    for (inside, path) in [("", "d4"), ("d4", "."), ("d4", "model_001359.pt")] {
        let output = Command::new(env!("CARGO_BIN_EXE_nanoscope"))
            .args(["run", "--prompt", "The dog", "--model", path])
            .current_dir(folder.join(inside))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{path} in d4/{inside}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_written_can_be_read_by_those_who_may_read_other_files() {
    use std::os::unix::fs::PermissionsExt;

    let dir = scratch().join("modes");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    let (out, plain) = (dir.join("run.safetensors"), dir.join("plain"));
    std::fs::write(&plain, "").unwrap();
    stdout(&["run", "--prompt", "The dog", "--out", out.to_str().unwrap()]);

    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&out), mode(&plain));
}

#[test]
fn flags_that_would_be_ignored_are_refused() {
    let head = golden("head");
    let sae = golden("head/saes/relu/blocks_2_hook_mlp/best_model.pt");
    let cases: [(&[&str], &str); 9] = [
        (&["convert", &head, "x", "--to", "nanoscope", "--dtype", "f16"], "--dtype is for SAEs"),
        (&["convert", &sae, "x", "--to", "nanochat-sae", "--era", "E3"], "--era is for models"),
        (
            &["run", "--model", &head, "--tokens", "1", "--track", "all"],
            "no SAE is loaded to track",
        ),
        (&["generate", "--splice", "reconstruct"], "--steer"),
        (&["features", "--against", "a cake"], "--text"),
        (&["features", "--text", "a", "--against", "b", "--by", "mean"], "--by"),
        (&["features", "--near", "3", "--by", "mean"], "--by"),
        (&["features", "--model", &head, "--near", "3"], "no SAE is loaded"),
        (
            &["features", "--model", &head, "--sae", &sae, "--grep", "dog"],
            "the features of this SAE have no labels",
        ),
    ];
    for (args, message) in cases {
        let (error, _) = failure(args);
        assert!(error.contains(message), "{args:?}: {error}");
    }
}

#[test]
fn a_model_that_transformers_wrote_is_a_model_like_any_other() {
    let single = golden("../hf/single");
    let sharded = golden("../hf/sharded");
    let converted = scratch().join("from_transformers");
    let _ = std::fs::remove_dir_all(&converted);
    let generate = |model: &str| {
        let args = ["generate", "--model", model, "--prompt", "I am fine", "--json"];
        stdout(&[&args[..], &GREEDY].concat())
    };

    stdout(&["convert", &single, converted.to_str().unwrap(), "--to", "nanoscope"]);

    assert_eq!(generate(converted.to_str().unwrap()), generate(&single));
    let inspection = stdout(&["inspect", &sharded]);
    assert!(inspection.contains("nanochat model in transformers' layout, era E0"), "{inspection}");
    assert!(inspection.contains("MLP width 80, norm epsilon 0.000001, rotary tables f32"));
    let tokens = ["--tokens", "1,2,3"];
    let run = |model: &str| stdout(&[&["run", "--model", model, "--json"], &tokens[..]].concat());
    assert_eq!(run(&sharded), run(&single));
    assert!(stdout(&["hooks", "--model", &single]).contains("blocks.2.hook_resid_post"));
}

/// A control vector as llama.cpp and repeng write it, of one layer.
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
    // What the next block reads is the stream times a number near 1.
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
