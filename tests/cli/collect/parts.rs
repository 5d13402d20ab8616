//! A store collected in parts.

use nanoscope_corpus::{ActivationSource, ActivationStore};
use serde_json::Value;

use super::{Bench, failure, shards};

#[test]
fn the_parts_of_a_store_are_together_what_one_run_makes() {
    let bench = Bench::new(40);
    bench.collect("whole", &[]);
    for part in ["2/3", "0/3", "1/3"] {
        bench.collect("parts", &["--shard", part]);
    }

    let (whole, parts) = (bench.files("whole"), bench.files("parts"));
    assert!(shards(&whole).len() > 3);
    assert!(shards(&whole) == shards(&parts), "the shards differ");
    let manifest = |name: &str, files: &std::collections::BTreeMap<String, Vec<u8>>| -> Value {
        serde_json::from_slice(&files[name]).unwrap()
    };
    let one = manifest("manifest.json", &whole);
    let three = [0, 1, 2].map(|i| manifest(&format!("manifest-{i}-of-3.json"), &parts));
    let mut entries: Vec<Value> =
        three.iter().flat_map(|part| part["shards"].as_array().unwrap().clone()).collect();
    entries.sort_by_key(|entry| entry["shard"].as_u64());
    assert_eq!(Value::Array(entries), one["shards"]);
    assert!(three.iter().all(|part| part["settings"] == one["settings"]));
    assert_eq!(parts.len(), whole.len() + 2, "{:?}", parts.keys());

    let mut from_whole = ActivationStore::open(&bench.path("whole")).unwrap();
    let mut from_parts = ActivationStore::open(&bench.path("parts")).unwrap();
    assert_eq!(from_parts.len(), from_whole.len());
    for shard in 0..from_whole.len() {
        assert!(from_parts.segment(shard).unwrap() == from_whole.segment(shard).unwrap());
    }
}

#[test]
fn a_store_that_lacks_a_part_is_refused_by_the_parts_name() {
    let bench = Bench::new(40);
    bench.collect("out", &["--shard", "1/4"]);
    bench.collect("out", &["--shard", "3/4"]);

    let error = ActivationStore::open(&bench.path("out")).unwrap_err().to_string();

    let says = "is incomplete: missing manifest-0-of-4.json, manifest-2-of-4.json";
    assert!(error.ends_with(says), "{error}");
}

#[test]
fn another_number_of_parts_is_no_part_of_the_same_store() {
    let bench = Bench::new(10);
    bench.collect("out", &["--shard", "1/4"]);

    for more in [&["--shard", "0/2"][..], &[]] {
        let error = failure(bench.command("out", more));
        assert!(
            error.contains(
                "manifest-1-of-4.json belongs to a different store: the number of parts is 4"
            ),
            "{error}"
        );
    }
}
