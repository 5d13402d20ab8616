//! Stores, flags and texts that are refused.

use std::fs;

use nanoscope_checkpoint::WeightDtype;
use nanoscope_corpus::{
    ActivationSource, ActivationStore, ActivationStoreWriter, StorePart, StoreSettings,
};

use super::{Bench, failure};

#[test]
fn a_store_of_another_model_text_or_flag_is_not_gone_on_with() {
    let bench = Bench::new(10);
    bench.collect("out", &[]);
    let before = bench.files("out");

    for (more, says) in [
        (&["--dtype", "bf16"][..], r#"dtype is "f32" there, "bf16" here"#),
        (
            &["--hook", "hook_embed"],
            r#"hooks is [{"name":"blocks.1.hook_resid_post","width":256}] there"#,
        ),
        (&["--keep-special"], r#"special_tokens is "skipped" there, "kept" here"#),
        (&["--tokens", "200"], "text.tokens is "),
    ] {
        let error = failure(bench.command("out", more));
        assert!(error.contains("manifest.json belongs to a different store: "), "{error}");
        assert!(error.contains(says), "{more:?}: {error}");
    }
    let text = bench.path("texts/a.txt");
    let changed = fs::read_to_string(&text).unwrap().replacen("the", "The", 1);
    fs::write(&text, changed).unwrap();
    let error = failure(bench.command("out", &[]));
    assert!(error.contains("text.tokens_sha256 is"), "{error}");

    assert!(bench.files("out") == before, "the refused runs changed something");
}

#[test]
fn a_shard_that_was_cut_or_changed_is_refused_by_its_name() {
    let bench = Bench::new(10);
    bench.collect("out", &[]);
    let path = bench.path("out/shard-000001.safetensors");
    let whole = fs::read(&path).unwrap();

    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    let error = ActivationStore::open(&bench.path("out")).unwrap_err().to_string();
    assert!(
        error.contains("shard-000001.safetensors does not match its manifest: expected"),
        "{error}"
    );
    assert!(error.ends_with(&format!("found {} bytes", whole.len() - 1)), "{error}");

    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&path, &changed).unwrap();
    let mut store = ActivationStore::open(&bench.path("out")).unwrap();
    store.segment(0).unwrap();
    let error = store.segment(1).unwrap_err().to_string();
    assert!(
        error.contains("shard-000001.safetensors does not match its manifest: expected SHA-256"),
        "{error}"
    );

    fs::remove_file(&path).unwrap();
    let error = ActivationStore::open(&bench.path("out")).unwrap_err().to_string();
    assert!(error.ends_with("is incomplete: missing shard-000001.safetensors"), "{error}");

    // The same command collects the missing shard again.
    bench.collect("out", &[]);
    assert!(fs::read(&path).unwrap() == whole);
}

#[test]
fn a_manifest_that_cannot_be_is_refused() {
    let bench = Bench::new(4);
    bench.collect("out", &[]);
    let path = bench.path("out/manifest.json");
    let good = fs::read_to_string(&path).unwrap();

    for (from, to, says) in [
        ("nanoscope-activations", "other", "its format is `other` version 1"),
        ("\"version\": 1", "\"version\": 2", "version 2, not"),
        ("\"index\": 0", "\"index\": 1", "part 1 of 1 does not exist"),
        ("\"f32\"", "\"f8\"", "unsupported dtype `f8`"),
        ("resid_post", "resid_pst", "unknown hook point `blocks.1.hook_resid_pst`"),
        ("\"width\": 256", "\"width\": 0", "width 0"),
        ("\"width\": 256", "\"width\": 18446744073709551615", "does not match its manifest"),
        ("\"rows\": 2", "\"rows\": 9", "rows in total, expected"),
        ("\"shard\": 0", "\"shard\": 7", "shard 7 does not belong to part 0/1"),
        ("\"settings\"", "\"setting\"", "unknown field `setting`"),
        ("{", "[", ""),
    ] {
        let broken = good.replacen(from, to, 1);
        assert_ne!(broken, good, "{from}");
        fs::write(&path, broken).unwrap();
        let error = ActivationStore::open(&bench.path("out")).unwrap_err().to_string();
        assert!(error.contains(says), "{from}: {error}");
    }
    let error = ActivationStore::open(&bench.path("texts")).unwrap_err().to_string();
    assert!(error.ends_with("is not an activation store: it has no manifest"), "{error}");
}

#[test]
fn a_run_that_makes_nothing_leaves_nothing_that_others_must_agree_with() {
    let bench = Bench::new(4);
    bench.collect("f32", &[]);
    let settings = |dtype| StoreSettings {
        dtype,
        ..ActivationStore::open(&bench.path("f32")).unwrap().settings().clone()
    };

    let full = ActivationStoreWriter::open(
        &bench.path("out"),
        StorePart::WHOLE,
        settings(WeightDtype::F32),
    );
    let error = full.unwrap().check_room(1 << 60).unwrap_err().to_string();

    assert!(error.contains("needs 1152921504606846976 bytes (1152921504.61 GB), and "), "{error}");
    assert!(bench.files("out").is_empty(), "{:?}", bench.files("out").keys());
    let half = ActivationStoreWriter::open(
        &bench.path("out"),
        StorePart::WHOLE,
        settings(WeightDtype::BF16),
    );
    half.unwrap().check_room(1).unwrap();
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let bench = Bench::new(4);
    for (more, says) in [
        (&["--hook", "blocks.0.attn.hook_pattern"][..], "has no activation per token"),
        (
            &["--hook", "blocks.4.hook_resid_post"],
            "the model has no blocks.4.hook_resid_post; it has 4 blocks",
        ),
        (&["--hook", "blocks.1.hook_out"], "blocks.1.hook_resid_post is given twice"),
        (&["--tokens", "3"], "--tokens 3 is less than one context of 32 tokens"),
        (&["--tokens", "3"], "raise it to --tokens 32, or use --context 3"),
        (&["--max-document-bytes", "9"], "--max-document-bytes N reads longer documents"),
        (&["--text-column", "story"], "name the field or column with --text-column NAME"),
        (&["--text-column", "story"], "line 1 of"),
        (&["--text", "/dev/null"], "/dev/null is neither a file nor a folder"),
        (&["--text", "/nowhere/at/all"], "/nowhere/at/all: no such file or directory"),
    ] {
        let error = failure(bench.command("out", more));
        assert!(error.contains(says), "{more:?}: {error}");
        assert!(!bench.path("out").exists(), "{more:?} leaves a folder");
    }
    for more in
        [&["--shard", "3/3"][..], &["--shard", "1"], &["--context", "1"], &["--tokens", "0"]]
    {
        let outcome = bench.command("out", more).run();
        assert_eq!(outcome.code, Some(2), "{more:?}: {}", outcome.stderr);
    }
}
