//! `nanoscope run`.

use std::path::Path;

use serde_json::Value;

use crate::{golden, nanoscope, scratch, stdout};

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
fn one_file_at_two_hook_points_has_features_at_both() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/saes/layer_1");
    let copy = tempfile::tempdir().unwrap();
    for name in ["cfg.json", "sae_weights.safetensors"] {
        std::fs::copy(demo.join(name), copy.path().join(name)).unwrap();
    }
    let features = |at_1: &Path, at_3: &Path| {
        let at = |layer, path: &Path| format!("blocks.{layer}.hook_resid_post={}", path.display());
        let (at_1, at_3) = (at(1, at_1), at(3, at_3));
        let saes = ["--sae", &at_1, "--sae", &at_3, "--track", "all"];
        let run = ["run", "--json", "--prompt", "Once", "--top", "3"];
        let value: Value = serde_json::from_str(&stdout(&[&run[..], &saes].concat())).unwrap();
        value["tokens"][0].as_array().unwrap().iter().map(|t| t["features"].clone()).collect()
    };

    let same: Vec<Value> = features(&demo, &demo);

    for token in &same {
        let hooks: Vec<_> = token.as_object().unwrap().keys().collect();
        assert_eq!(hooks, ["blocks.1.hook_resid_post", "blocks.3.hook_resid_post"]);
    }
    assert_eq!(same, features(&demo, copy.path()));
}

#[test]
fn an_sae_at_another_place_than_its_files_name_is_noted() {
    let at = |hook: &str| format!("{hook}models/demo/saes/layer_1");
    for (sae, note) in [
        (at(""), None),
        (at("blocks.1.hook_resid_post="), None),
        (
            at("blocks.3.hook_resid_post="),
            Some(
                "its files name blocks.1.hook_resid_post, and it is used at blocks.3.hook_resid_post as stated",
            ),
        ),
    ] {
        let run = nanoscope(&["run", "--prompt", "Once", "--sae", &sae]).run();
        assert_eq!(run.code, Some(0), "{sae}: {}", run.stderr);
        assert_eq!(
            run.stderr.matches("its files name").count(),
            usize::from(note.is_some()),
            "{sae}: {}",
            run.stderr
        );
        assert!(run.stderr.contains(note.unwrap_or_default()), "{sae}: {}", run.stderr);
    }
}

#[test]
fn the_tokenizer_is_found_from_a_relative_path() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/base_checkpoints");
    for (inside, path) in [("", "d4"), ("d4", "."), ("d4", "model_001359.pt")] {
        let run = nanoscope(&["run", "--prompt", "The dog", "--model", path]);
        let run = run.current_dir(folder.join(inside)).run();
        assert_eq!(run.code, Some(0), "{path} in d4/{inside}: {}", run.stderr);
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
