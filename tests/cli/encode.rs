//! `nanoscope encode` and `nanoscope convert` on SAE files of every format.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nanoscope_testing::Outcome;
use safetensors::SafeTensors;
use serde_json::Value;
use tempfile::TempDir;

use crate::{nanoscope, stdout as success};

const ATOL: f32 = 5e-5;

/// The standard error of a run that fails with exit code 1.
#[track_caller]
fn failure(args: &[&str]) -> String {
    let (error, code) = crate::failure(args);
    assert_eq!(code, 1, "{args:?}");
    error
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/saes")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The name and path of each case except cross-layer transcoders.
fn cases() -> Vec<(String, PathBuf)> {
    let manifest = std::fs::read(root().join("manifest.json")).unwrap();
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let of = |case: &Value| {
        let name = case["case"].as_str().unwrap().to_owned();
        (name, root().join(case["path"].as_str().unwrap()))
    };
    manifest
        .iter()
        .filter(|case| case["architecture"] != "cross_layer_transcoder")
        .map(of)
        .collect()
}

/// The flags that state what the files of a case leave open.
fn stated(case: &str) -> &'static [&'static str] {
    match case {
        "saelens/standard_expected_average" | "saelens/flat_normalize_true" => {
            &["--activation-scale", "folded"]
        }
        "strides/dictionary_learning" => &["--format", "dictionary-learning"],
        _ if case.starts_with("strides/goodfire") => &["--format", "goodfire"],
        _ => &[],
    }
}

/// A file's tensors: shapes, and values as float64, which is exact for each type.
fn read(path: &Path) -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let numbers = |name: &str| {
        let view = file.tensor(name).unwrap();
        let data = view.data();
        let values = match view.dtype() {
            safetensors::Dtype::F32 => {
                data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect()
            }
            safetensors::Dtype::I32 => {
                data.as_chunks().0.iter().map(|&b| f64::from(i32::from_le_bytes(b))).collect()
            }
            _ => data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
        };
        (view.shape().to_vec(), values)
    };
    file.names().into_iter().map(|name| (name.to_owned(), numbers(name))).collect()
}

/// The dense form of a file of sparse features.
fn dense(path: &Path) -> Vec<f32> {
    let file = read(path);
    let at = |name: &str| file[name].1.clone();
    let (shape, indptr) = (at("shape"), at("indptr"));
    let (indices, values) = (at("indices"), at("values"));
    let (rows, d_sae) = (shape[0] as usize, shape[1] as usize);
    let mut dense = vec![0.0; rows * d_sae];
    for row in 0..rows {
        for entry in indptr[row] as usize..indptr[row + 1] as usize {
            dense[row * d_sae + indices[entry] as usize] = values[entry] as f32;
        }
    }
    dense
}

#[track_caller]
fn assert_features(name: &str, found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (at, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found == 0.0, expected == 0.0, "{name}: {found} instead of {expected} at {at}");
        assert!(
            (f64::from(found) - expected).abs() <= f64::from(ATOL),
            "{name}: {found} {expected}"
        );
    }
}

#[test]
fn features_of_every_format_are_those_of_the_tool_that_wrote_the_sae() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    for (name, path) in cases() {
        let expected = root().join(&name).join("expected.safetensors");
        let activations = format!("{}:x", text(&expected));

        let args =
            ["encode", "--sae", text(&path), "--activations", &activations, "--out", text(&out)];
        success(&[&args, stated(&name)].concat());

        assert_features(&name, &dense(&out), &read(&expected)["features"].1);
    }
}

#[test]
fn activations_by_attention_head_are_taken_as_they_are() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    let case = root().join("saelens/standard_hook_z");
    let expected = case.join("expected.safetensors");
    let activations = format!("{}:x_heads", text(&expected));

    success(&["encode", "--sae", text(&case), "--activations", &activations, "--out", text(&out)]);

    assert_features("heads", &dense(&out), &read(&expected)["features"].1);
}

#[test]
fn an_sae_rounded_to_16_bits_says_how_many_active_features_stay() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    let case = root().join("saelens/jumprelu");
    let activations = format!("{}:x", text(&case.join("expected.safetensors")));
    let encode = |dtype: &str| -> Value {
        let args = [
            "encode",
            "--sae",
            text(&case),
            "--activations",
            &activations,
            "--out",
            text(&out),
            "--dtype",
            dtype,
            "--json",
        ];
        serde_json::from_str(&success(&args)).unwrap()
    };

    assert_eq!(encode("f32")["agreement"], Value::Null);
    for dtype in ["bf16", "f16"] {
        let said = encode(dtype);
        let share = said["agreement"].as_f64().unwrap();
        // A few rows near a threshold may differ.
        assert!((0.9..=1.0).contains(&share), "{dtype}: {said}");
        assert_eq!(said["rows"], 64, "{dtype}");
    }
}

/// Converts `src`, with a hook point if its files name none of our models.
fn convert(src: &Path, dst: &Path, form: &str, stated: &[&str]) -> Outcome {
    let args = [&["convert", text(src), text(dst), "--to", form], stated].concat();
    let at = |hooks: &'static str| nanoscope(&args).args(["--hook", hooks]).run();
    let outcome = nanoscope(&args).run();
    if !outcome.stderr.contains("hook point") {
        return outcome;
    }
    let outcome = at("blocks.1.hook_resid_post");
    if outcome.stderr.contains("which point it writes") {
        return at("blocks.1.ln2.hook_normalized:blocks.1.hook_mlp_out");
    }
    outcome
}

#[test]
fn what_is_converted_computes_the_same() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    let mut converted = 0;
    for (name, path) in cases() {
        for (form, dst) in
            [("saelens", dir.path().join("sae")), ("nanochat-sae", dir.path().join("sae.pt"))]
        {
            let Outcome { code, stderr, .. } = convert(&path, &dst, form, stated(&name));
            if code != Some(0) {
                assert!(stderr.contains("cannot be written"), "{name} to {form}: {stderr}");
                continue;
            }
            converted += 1;
            let expected = root().join(&name).join("expected.safetensors");
            let activations = format!("{}:x", text(&expected));
            success(&[
                "encode",
                "--sae",
                text(&dst),
                "--activations",
                &activations,
                "--out",
                text(&out),
            ]);
            let what = format!("{name} to {form}");
            assert_features(&what, &dense(&out), &read(&expected)["features"].1);
            // The configuration beside nanochat-SAE's file is not written over.
            let _ = std::fs::remove_file(dir.path().join("config.json"));
        }
    }
    assert!(converted > 80, "only {converted} were converted");
}

#[test]
fn a_checkpoint_of_a_run_that_goes_on_computes_its_own_features_also_when_it_is_converted() {
    let dir = TempDir::new().unwrap();
    let (out, sae) = (dir.path().join("features.safetensors"), dir.path().join("sae"));
    for case in ["standard_expected_average_only_in", "topk_covariance_whitening"] {
        for stage in ["mid", "final"] {
            let path = root().join("saelens/midrun").join(case).join(stage);
            let expected = path.join("expected.safetensors");
            let activations = format!("{}:x", text(&expected));
            success(&["convert", text(&path), text(&sae), "--to", "saelens"]);
            for sae in [&path, &sae] {
                let args = ["encode", "--sae", text(sae), "--activations", &activations];
                success(&[&args[..], &["--out", text(&out)]].concat());
                let what = format!("{case}/{stage} {}", sae.display());
                assert_features(&what, &dense(&out), &read(&expected)["features"].1);
            }
        }
    }
}

#[test]
fn what_the_files_of_an_sae_leave_open_is_refused_with_the_flag_that_states_it() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out");
    let guessed = root().join("strides/goodfire_both/sae.pt");
    let scaled = root().join("saelens/standard_expected_average");
    let plain = root().join("saelens/standard");
    let activations = format!("{}:x", text(&plain.join("expected.safetensors")));
    for (path, flag, says) in [
        (&guessed, "--format", "could be an SAE of the format goodfire, but also something else"),
        (&scaled, "--activation-scale", "it is not known whether that is folded"),
    ] {
        let encode =
            ["encode", "--sae", text(path), "--activations", &activations, "--out", text(&out)];
        let convert = ["convert", text(path), text(&out), "--to", "saelens"];
        for args in [&encode[..], &convert, &["run", "--prompt", "Once", "--sae", text(path)]] {
            let error = failure(args);
            assert!(error.contains(says) && error.contains(flag), "{error}");
            assert!(!out.exists());
        }
    }
    let encode = |flags: &[&str]| {
        let args = ["encode", "--sae", text(&plain), "--activations", &activations];
        nanoscope(&[&args[..], &["--out", text(&out)], flags].concat()).failure()
    };
    let unused = encode(&["--format", "goodfire"]);
    assert!(unused.stderr.contains("cannot have the given format goodfire"), "{}", unused.stderr);
    let unused = encode(&["--activation-scale", "0.5"]);
    assert!(unused.stderr.contains("leave none open"), "{}", unused.stderr);
    for (flags, says) in [
        (
            ["--format", "vae"],
            "unknown SAE format `vae` (expected nanochat-sae, nanoscope, saelens, ",
        ),
        (["--activation-scale", "-1"], "(expected `folded` or a number above 0)"),
    ] {
        let outcome = encode(&flags);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(says), "{}", outcome.stderr);
    }
    let described = success(&["inspect", text(&scaled)]);
    assert!(described.contains("not known whether folded into the weights"), "{described}");
    let described = success(&["inspect", text(&guessed)]);
    assert!(described.contains("could be an SAE: goodfire"), "{described}");
    let described = success(&["inspect", text(&guessed), "--format", "goodfire"]);
    assert!(described.contains("Goodfire sparse autoencoder"), "{described}");
}

#[test]
fn what_another_tool_would_read_with_other_numbers_is_not_written() {
    let dir = TempDir::new().unwrap();
    let dst = dir.path().join("sae");
    let golden = "tests/fixtures/golden/head/saes/topk/blocks_1_hook_resid_post/best_model.pt";
    let signed = Path::new(env!("CARGO_MANIFEST_DIR")).join(golden);
    let refused = |src: &Path, form: &str| {
        let error = failure(&["convert", text(src), text(&dst), "--to", form]);
        assert!(!dst.exists(), "something was written");
        error
    };

    let error = refused(&signed, "saelens");
    assert!(
        error.contains("its top-k sets negative values to 0, but this SAE's keeps them"),
        "{error}"
    );
    assert!(error.contains("the form `nanochat-sae` can hold it"), "{error}");
    let error = refused(&root().join("saelens/topk"), "nanochat-sae");
    assert!(error.contains("its top-k keeps negative values, but this SAE's does not"), "{error}");
    let error = refused(&root().join("saelens/standard_layer_norm"), "nanochat-sae");
    assert!(
        error.contains("it does not normalise activations, but this SAE does (layer_norm)"),
        "{error}"
    );
}

#[test]
fn what_no_other_tool_can_hold_is_kept_in_our_own_form_with_its_provenance() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    let case = root().join("sparsify/groupmax");
    for form in ["saelens", "nanochat-sae"] {
        let dst = dir.path().join(form);
        let error = failure(&["convert", text(&case), text(&dst), "--to", form]);
        assert!(error.contains("the form `nanoscope-sae` can hold it"), "{error}");
    }
    let own = dir.path().join("own");
    success(&["convert", text(&case), text(&own), "--to", "nanoscope-sae"]);
    let activations = format!("{}:x", text(&case.join("expected.safetensors")));
    success(&["encode", "--sae", text(&own), "--activations", &activations, "--out", text(&out)]);
    let expected = read(&case.join("expected.safetensors"));
    assert_features("groupmax", &dense(&out), &expected["features"].1);

    // From dictionary_learning by way of our form to SAELens, the origin stays with it.
    let source = root().join("dictionary-learning/topk/trainer_0");
    let (own, sae) = (dir.path().join("own2"), dir.path().join("sae"));
    success(&["convert", text(&source), text(&own), "--to", "nanoscope-sae"]);
    success(&["convert", text(&own), text(&sae), "--to", "saelens"]);
    let cfg: Value = serde_json::from_slice(&std::fs::read(sae.join("cfg.json")).unwrap()).unwrap();
    let metadata = &cfg["metadata"];
    assert_eq!(metadata["model_name"], "EleutherAI/pythia-70m-deduped");
    assert_eq!(metadata["converted_from"], "dictionary_learning");
    assert_eq!(metadata["nanoscope_version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["hook_name"], "blocks.3.hook_resid_post");
}

#[test]
fn heads_are_flattened_only_if_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    let heads = root().join("saelens/standard_hook_z/expected.safetensors");
    let sae = root().join("saelens/standard");
    let by_head = format!("{}:x_heads", text(&heads));
    let encode = |activations: &str, more: &[&'static str]| {
        let (sae, out) = (text(&sae).to_owned(), text(&out).to_owned());
        nanoscope(&["encode", "--sae", &sae, "--activations", activations, "--out", &out])
            .args(more)
            .run()
    };

    let Outcome { code, stderr, .. } = encode(&by_head, &[]);

    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("only its last two dimensions together have the 16"), "{stderr}");
    assert!(stderr.contains("--flatten-heads"), "{stderr}");
    assert!(!out.exists());
    assert_eq!(encode(&by_head, &["--flatten-heads"]).code, Some(0));
    let flattened = dense(&out);
    let flat = format!("{}:x", text(&heads));
    assert_eq!(encode(&flat, &[]).code, Some(0));
    assert_eq!(dense(&out), flattened);
}

#[test]
fn mistakes_are_named_and_leave_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("features.safetensors");
    let sae = root().join("saelens/standard");
    let expected = sae.join("expected.safetensors");
    let encode = |activations: &str| {
        let error = failure(&[
            "encode",
            "--sae",
            text(&sae),
            "--activations",
            activations,
            "--out",
            text(&out),
        ]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{activations}");
        error
    };

    let error = encode(text(&expected));
    assert!(error.contains("no key selects one; it has features, reconstruction, x"), "{error}");
    assert!(error.contains("--activations FILE:KEY"), "{error}");
    let error = encode(&format!("{}:y", text(&expected)));
    assert!(error.contains("has no tensor `y`"), "{error}");
    let error = encode(&format!("{}:features", text(&expected)));
    assert!(error.contains("tensor `features` has shape [64, 48]; the SAE reads activations of 16 numbers, [..., 16]"), "{error}");
    let error = encode("/nowhere.safetensors:x");
    assert!(error.contains("/nowhere.safetensors: no such file or directory"), "{error}");
}

#[test]
fn activations_that_are_not_finite_are_refused_with_their_place() {
    let dir = TempDir::new().unwrap();
    let (acts, out) = (dir.path().join("acts.safetensors"), dir.path().join("out.safetensors"));
    let mut values = [0.5_f32; 32];
    values[21] = f32::NAN;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![2, 16], &bytes);
    safetensors::serialize_to_file([("x", view.unwrap())], None, &acts).unwrap();

    let error = failure(&[
        "encode",
        "--sae",
        text(&root().join("saelens/standard")),
        "--activations",
        text(&acts),
        "--out",
        text(&out),
    ]);

    assert!(error.contains("a number that is not finite, at index 21"), "{error}");
    assert!(!out.exists());
}
