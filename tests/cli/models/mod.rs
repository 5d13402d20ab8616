//! `nanoscope inspect`, `hooks` and `convert` on models.

mod memory;

use std::fs;

use nanoscope_checkpoint::TensorFile;
use serde_json::Value;

use crate::{GREEDY, golden, nanoscope, scratch, stdout};

#[test]
fn hook_points_are_listed_with_shapes_and_saes() {
    let text = stdout(&["hooks"]);

    let line = text.lines().find(|line| line.starts_with("blocks.2.hook_resid_post")).unwrap();
    assert!(line.contains("[batch, seq, 256]") && line.contains("2048 features"), "{line}");
    assert_eq!(text.lines().count(), 2 + 4 * 21);
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
fn inspect_tells_whether_saes_fit_a_model() {
    let fits = stdout(&["inspect", "models/demo", "models/demo/saes"]);
    for layer in 0..4 {
        let line = format!("fits the model; tracked at blocks.{layer}.hook_resid_post");
        assert!(fits.contains(&line), "{fits}");
    }
    let other = "tests/fixtures/saes/sparsify/topk/layers.2";
    let misfit = stdout(&["inspect", "models/demo", other]);
    assert!(misfit.contains("does not fit the model: its width"), "{misfit}");
    let json = stdout(&["inspect", "--json", "models/demo", "models/demo/saes/layer_2"]);
    let fit: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!(fit["hook"], "blocks.2.hook_resid_post");
    assert_eq!(fit["problems"], serde_json::json!([]));
}

#[test]
fn a_converted_model_computes_the_same_bits() {
    let dir = scratch().join("converted");
    let _ = fs::remove_dir_all(&dir);
    stdout(&["convert", &golden("head"), dir.to_str().unwrap(), "--to", "nanoscope"]);

    let run = |model: &str| stdout(&["run", "--json", "--model", model, "--tokens", "5,7,11"]);
    assert_eq!(run(dir.to_str().unwrap()), run(&golden("head")));
}

#[test]
fn a_converted_model_keeps_its_16_bits_or_has_the_type_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let run = |model: &str, dtype: &[&str]| {
        let args = ["run", "--json", "--model", model, "--tokens", "5,7,11"];
        stdout(&[&args[..], dtype].concat())
    };
    let head = golden("head");
    let [f32, bf16, f16] = ["f32", "bf16", "f16"].map(|dtype| ["--dtype", dtype]);
    for (source, asked, stored) in [
        ("models/demo", &[][..], "bf16"),
        ("models/demo", &f32[..], "f32"),
        ("models/demo", &f16[..], "f16"),
        (&head, &bf16[..], "bf16"),
        (&head, &f16[..], "f16"),
        (&head, &[][..], "f32"),
    ] {
        let out = dir.path().join(format!("{}{stored}{}", source.len(), asked.len()));
        let converted = out.to_str().unwrap();
        stdout(&[&["convert", source, converted, "--to", "nanoscope"][..], asked].concat());

        assert_eq!(run(converted, &[]), run(source, asked), "{source} {asked:?}");
        let file = TensorFile::open(&out.join("model.safetensors")).unwrap();
        let dtype = |name: &str| file.info(name).unwrap().dtype.to_string();
        assert_eq!(dtype("transformer.h.0.mlp.c_fc.weight"), stored, "{source} {asked:?}");
        assert_eq!(dtype("resid_lambdas"), "f32", "{source} {asked:?}");
    }
}

#[test]
fn a_model_that_transformers_wrote_is_a_model_like_any_other() {
    let single = golden("../hf/single");
    let sharded = golden("../hf/sharded");
    let converted = scratch().join("from_transformers");
    let _ = fs::remove_dir_all(&converted);
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

/// A family's model with a chat template.
const CHATS: &str = "tests/fixtures/families/llama31/hf";
/// A family's model without one.
const COMPLETES: &str = "models/stories260K";

#[test]
fn a_familys_converted_model_has_its_tokenizer_and_template() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("converted");
    stdout(&["convert", CHATS, out.to_str().unwrap(), "--to", "nanoscope"]);
    let chat = |model: &str| {
        let args = ["chat", "--model", model, "--temperature", "0", "--max-tokens", "8"];
        let output = nanoscope(&args).run_with_input(b"Hello there\nAnd then?\n");
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        output.stdout
    };

    assert_eq!(chat(out.to_str().unwrap()), chat(CHATS));
    assert!(!chat(CHATS).contains("Hello"), "a message is not continued");
}

#[test]
fn a_model_without_a_chat_template_continues_texts_and_says_so() {
    let output =
        nanoscope(&["chat", "--model", COMPLETES, "--temperature", "0", "--max-tokens", "4"])
            .run_with_input(b"Once upon a time\n");
    assert_eq!(output.stdout, "Once upon a time, there was a\n", "{}", output.stderr);

    let error = nanoscope(&["chat", "--chat", "--model", COMPLETES]).failure().stderr;
    assert!(error.contains("no chat template"), "{error}");
    assert!(error.contains("omit --chat"), "{error}");
}

#[test]
fn inspect_lists_the_memory_of_a_model_by_type() {
    let text = stdout(&["inspect", COMPLETES]);
    assert!(text.contains("Llama model"), "{text}");
    assert!(text.contains("memory by --dtype: 509.25 KiB as bf16"), "{text}");

    let json = crate::lines(&stdout(&["inspect", COMPLETES, "--json"])).remove(0);
    let by = &json["memory_by_dtype"];
    // Matrices of 2 bytes a number; the norms of 64 numbers are always of 4.
    assert_eq!(by["f32"], 260_032 * 4);
    assert_eq!(by["bf16"], 260_032 * 2 + 11 * 64 * 2);
    assert_eq!(json["memory_bytes"], by["f32"]);
    let half = stdout(&["inspect", "tests/fixtures/families/gemma2_shards_bf16/hf", "--json"]);
    let half = crate::lines(&half).remove(0);
    assert_eq!(half["memory_bytes"], half["memory_by_dtype"]["bf16"]);
}

#[test]
fn a_model_is_run_in_another_type() {
    let run = |dtype: &[&str]| {
        let args = [&["generate", "--model", COMPLETES, "--json"], &GREEDY[..], dtype].concat();
        let steps = crate::lines(&stdout(&args));
        steps.iter().filter_map(|step| step["logprob"].as_f64()).collect::<Vec<_>>()
    };
    let (own, same, rounded) = (run(&[]), run(&["--dtype", "f32"]), run(&["--dtype", "bf16"]));
    let int8 = run(&["--dtype", "int8"]);
    let near = |a: f64, b: f64, by: f64| (a - b).abs() < by;
    assert!(own.iter().zip(&same).all(|(&a, &b)| near(a, b, 1e-5)), "{own:?} {same:?}");
    assert!(near(own[0], rounded[0], 0.1), "{own:?} {rounded:?}");
    assert!(near(own[0], int8[0], 0.1), "{own:?} {int8:?}");
    for rounded in [&rounded, &int8] {
        assert!(own.iter().zip(rounded).any(|(a, b)| a != b), "nothing was rounded");
    }
}

#[test]
fn a_folder_that_is_converted_again_has_nothing_of_the_model_before() {
    let dir = tempfile::tempdir().unwrap();
    let (out, bare) = (dir.path().join("out"), dir.path().join("bare"));
    fs::create_dir(&bare).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(format!("{COMPLETES}/{name}"), bare.join(name)).unwrap();
    }
    let out = out.to_str().unwrap();
    stdout(&["convert", CHATS, out, "--to", "nanoscope"]);
    fs::write(format!("{out}/notes.txt"), "mine").unwrap();

    let converted =
        nanoscope(&["convert", bare.to_str().unwrap(), out, "--to", "nanoscope"]).success();

    assert!(converted.stderr.contains("no tokenizer"), "{}", converted.stderr);
    let mut names: Vec<_> = fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "notes.txt"]);
}
