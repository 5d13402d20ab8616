//! The texts of a store: formats, and lines without a text.

use std::path::{Path, PathBuf};

use super::{Bench, MODEL, failure};
use crate::{lines, nanoscope};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text").join(name)
}

fn collect(bench: &Bench, name: &str, more: &[&str]) -> nanoscope_testing::Nanoscope {
    nanoscope(&["collect", "--model", MODEL, "--hook", "hook_embed", "--context", "32", "--json"])
        .args([Path::new("--text"), &fixture(name), Path::new("--out"), &bench.path(name)])
        .args(more)
}

#[test]
fn a_list_a_table_and_packed_lines_are_collected_document_by_document() {
    let bench = Bench::new(1);
    for (name, column) in [
        ("array.json", "story"),
        ("object.json", "text"),
        ("table.csv", "text"),
        ("packed.jsonl.zst", "text"),
        ("byte_order_mark.jsonl", "text"),
    ] {
        let outcome = collect(&bench, name, &["--text-column", column]).success();

        assert_eq!(lines(&outcome.stdout)[0]["documents"], 18, "{name}");
        assert!(!outcome.stderr.contains("passed over"), "{name}: {}", outcome.stderr);
    }
}

#[test]
fn an_odd_line_is_counted_and_said_or_with_strict_an_error() {
    let bench = Bench::new(1);
    for (name, place) in [("null.jsonl", "line 19 of "), ("surrogate.jsonl", "line 19, column ")] {
        let outcome = collect(&bench, name, &[]).success();
        let said = outcome.stderr;
        assert_eq!(lines(&outcome.stdout)[0]["documents"], 36, "{name}");
        assert!(said.contains("passed over 1 line or row without a text; the first: "), "{said}");
        assert!(said.contains(place) && said.contains("--strict stops there"), "{said}");

        let error = failure(collect(&bench, name, &["--strict"]));
        assert!(error.contains(place), "{error}");
    }
}

#[test]
fn metadata_in_a_folder_of_texts_is_left_out_with_a_note() {
    let bench = Bench::new(4);
    std::fs::write(bench.path("texts/info.json"), "{\"version\": [1, 2]}").unwrap();

    let said = bench.command("out", &[]).success().stderr;

    assert!(said.contains("left out ") && said.contains("info.json: one JSON object"), "{said}");
}
