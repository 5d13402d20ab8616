//! `nanoscope eval` on the demo.

use std::fs;

use super::{failure, lines, scratch, stdout};

const TEXT: &str = "tests/fixtures/evaluate/stories.jsonl";
const FEW: [&str; 8] =
    ["eval", "--text", TEXT, "--context", "32", "--tokens", "128", "--batch-contexts"];
const LAYER_1: &str = "models/demo/saes/layer_1";
const LAYER_2: &str = "models/demo/saes/layer_2";

fn few<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&FEW[..], &["2"], more].concat()
}

#[test]
fn results_have_the_layout_of_saebench_core() {
    let results = lines(&stdout(&few(&["--sae", LAYER_2, "--json"])));

    assert_eq!(results.len(), 1);
    let result = &results[0];
    for (key, expected) in [("eval_type_id", "core"), ("sae_lens_release_id", "layer_2")] {
        assert_eq!(result[key], expected);
    }
    assert!(result["sae_bench_commit_hash"].is_null());
    assert_eq!(result["sae_cfg_dict"]["k"], 32);
    assert_eq!(result["eval_config"]["n_eval_reconstruction_batches"], 2);
    assert_eq!(result["eval_result_metrics"]["sparsity"]["l0"], 32);
    let metrics = result["eval_result_metrics"].as_object().unwrap();
    let groups: Vec<&String> = metrics.keys().collect();
    assert_eq!(
        groups,
        [
            "model_behavior_preservation",
            "model_performance_preservation",
            "reconstruction_quality",
            "shrinkage",
            "sparsity",
            "token_stats",
            "misc_metrics"
        ]
    );
    let details = result["eval_result_details"].as_array().unwrap();
    assert_eq!(details.len(), 2048);
    assert_eq!(details[7]["index"], 7);
    let dead = details.iter().filter(|detail| detail["feature_density"] == 0).count();
    assert_eq!(result["nanoscope"]["others"]["dead"], dead);
    // For a feature that never fires it is 0/0.
    let undefined = details.iter().filter(|d| d["consistent_activation_heuristic"] == -1);
    assert_eq!(undefined.count(), dead);
}

#[test]
fn several_saes_are_a_table_a_plot_a_list_and_lines() {
    let dir = scratch().join("eval");
    fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (out, svg, features) = (path("core.json"), path("plot.svg"), path("features.jsonl"));
    // A copy of an SAE counts as another SAE at the same hook point.
    let copy = dir.join("again");
    fs::create_dir_all(&copy).unwrap();
    for name in ["sae_weights.safetensors", "cfg.json"] {
        fs::copy(format!("{LAYER_1}/{name}"), copy.join(name)).unwrap();
    }
    let copy = copy.to_str().unwrap();

    let saes = ["--sae", LAYER_1, "--sae", copy, "--explain"];
    let files = ["--out", &out, "--plot", &svg, "--features", &features];
    let text = stdout(&few(&[&saes[..], &files[..]].concat()));

    let rows: Vec<Vec<&str>> = text.lines().take(3).map(|l| l.split("  ").collect()).collect();
    assert!(rows[1][0] == "layer_1" && rows[2][0].starts_with("again"), "{text}");
    assert_eq!(rows[1][1..].concat().trim(), rows[2][1..].concat().trim(), "{text}");
    assert!(text.contains("(CE_ablation − CE_sae) / (CE_ablation − CE)"), "{text}");
    let results: serde_json::Value = serde_json::from_slice(&fs::read(out).unwrap()).unwrap();
    let [first, second] = [0, 1].map(|at| &results[at]["eval_result_metrics"]);
    assert_eq!(first, second);
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.contains("layer_1") && svg.contains("again"), "{svg}");
    let features = lines(&fs::read_to_string(features).unwrap());
    assert_eq!(features.len(), 2 * 2048);
    assert_eq!(features[2048]["sae"], "again");
}

#[test]
fn the_number_type_in_a_result_is_that_of_the_matrices() {
    let dtype = |more: &[&str]| {
        let args = few(&[&["--sae", LAYER_1, "--json"], more].concat());
        lines(&stdout(&args)).remove(0)["sae_cfg_dict"]["dtype"].clone()
    };

    // As in the file.
    assert_eq!(dtype(&[]), "float16");
    assert_eq!(dtype(&["--sae-dtype", "bf16"]), "bfloat16");
    assert_eq!(dtype(&["--sae-dtype", "f16"]), "float16");
    assert_eq!(dtype(&["--sae-dtype", "int8"]), "int8");
}

#[test]
fn the_price_of_fewer_bits_is_reported_for_the_model_and_each_sae() {
    let args = few(&["--sae", LAYER_1, "--sae", LAYER_2, "--dtype-report"]);
    let report = lines(&stdout(&[&args[..], &["--json"]].concat())).remove(0);

    assert_eq!(report["against"], "f32");
    let reports = report["reports"].as_array().unwrap();
    let number = |at: usize, key: &str| reports[at][key].as_f64().unwrap();
    let names: Vec<_> = reports.iter().map(|report| report["dtype"].as_str().unwrap()).collect();
    assert_eq!(names, ["bf16", "f16", "int8"]);
    // The demo's model is bfloat16 in its file, and its SAEs float16.
    assert!(number(0, "kl").abs() < 1e-9 && number(2, "kl") > 1e-6, "{report}");
    for (at, report) in reports.iter().enumerate() {
        assert!(number(at, "tokens") > 100.0, "{report}");
        assert!(number(at, "kl") < 0.01 && number(at, "top_1_agreement") > 0.9, "{report}");
        for (sae, name) in report["saes"].as_array().unwrap().iter().zip(["layer_1", "layer_2"]) {
            assert_eq!(sae["sae"], name);
            let share = sae["equal_active_features"].as_f64().unwrap();
            assert!(share > 0.9 && (share < 1.0 || at == 1), "{report}");
        }
    }
    let text = stdout(&args);
    assert!(text.contains("against float32, on 1"), "{text}");
    assert!(text.contains("layer_2 at blocks.2.hook_resid_post"), "{text}");

    let (error, _) = failure(&[&args[..], &["--sae-dtype", "bf16"]].concat());
    assert!(error.contains("cannot be used with"), "{error}");
}

#[test]
fn special_tokens_count_only_if_they_are_kept() {
    let counted = |more: &[&str]| {
        let args = few(&[&["--sae", LAYER_1, "--json"], more].concat());
        let result = lines(&stdout(&args)).remove(0);
        let in_all = &result["eval_result_metrics"]["token_stats"];
        assert_eq!(in_all["total_tokens_eval_reconstruction"], 128);
        result["nanoscope"]["others"]["tokens_counted"].as_u64().unwrap()
    };

    assert_eq!(counted(&["--keep-special"]), 128);
    // The first 128 tokens belong to one story, with one `<|bos|>`.
    assert_eq!(counted(&[]), 127);
}

#[test]
fn one_sae_is_shown_with_every_metric_and_its_formula() {
    let text = stdout(&few(&["--sae", LAYER_1, "--explain"]));

    for metric in nanoscope_evaluate::METRICS {
        assert!(text.contains(metric.name) && text.contains(metric.formula), "{}", metric.name);
    }
}

#[test]
fn what_cannot_be_evaluated_is_an_error_that_says_why() {
    let (error, code) = failure(&["eval", "--sae", LAYER_1]);
    assert!(code == 2 && error.contains("--text"), "{error}");
    let (error, _) = failure(&["eval", "--text", "no/such/file"]);
    assert!(error.contains("no/such/file"), "{error}");
    let (error, _) = failure(&["eval", "--text", TEXT, "--tokens", "20"]);
    assert!(error.contains("--tokens 20 is less than one context of 256 tokens"), "{error}");
    assert!(error.contains("raise it to --tokens 256, or use --context 20"), "{error}");
    let (_, code) = failure(&["eval", "--text", TEXT, "--context", "1"]);
    assert_eq!(code, 2);
    let elsewhere = format!("blocks.1.mlp.hook_post={LAYER_1}");
    let (error, _) = failure(&few(&["--sae", &elsewhere]));
    assert!(error.contains("layer_1 does not fit the model"), "{error}");
    let (_, code) = failure(&["eval", "--text", TEXT, "--tokens", "0"]);
    assert_eq!(code, 2);
    let huge = ["--tokens", "100000000000000", "--batch-contexts", "4000000000"];
    if std::path::Path::new("/proc/meminfo").exists() {
        let (error, _) =
            failure(&[&["eval", "--text", TEXT, "--sae", LAYER_1][..], &huge].concat());
        assert!(error.contains("the evaluation needs about ") && error.contains("GiB"), "{error}");
        assert!(error.contains("lower it with --batch-contexts"), "{error}");
    }
    // Refused before anything is loaded, because an evaluation can take hours.
    for flag in ["--out", "--plot", "--features"] {
        let unwritable = "no/such/folder/file";
        let (error, _) = failure(&few(&["--sae", "no/such/sae", flag, unwritable]));
        assert!(
            error.contains("no/such/folder/file: no such file or directory"),
            "{flag}: {error}"
        );
        let (error, _) = failure(&few(&["--sae", "no/such/sae", flag, "models"]));
        assert!(error.contains("could not read or write models"), "{flag}: {error}");
    }
}
