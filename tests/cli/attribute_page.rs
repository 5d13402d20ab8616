//! `nanoscope attribute --html`.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use crate::{failure, nanoscope, stdout};

const TEXT: &str = "The frog could jump very";

/// The data of a page.
#[track_caller]
fn data(page: &str) -> Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let data = page.split_once(start).unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_page_has_the_report_and_the_graph_that_other_flags_write() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let ask = ["attribute", TEXT, "--exact", "3"];
    let plain = stdout(&ask);
    let (page, graph) = (path("why.html"), path("graph.json"));

    let with_page = stdout(&[&ask[..], &["--html", &page, "--graph", &graph]].concat());

    assert_eq!(with_page, plain);
    let data = data(&fs::read_to_string(&page).unwrap());
    let graph: Value = serde_json::from_slice(&fs::read(&graph).unwrap()).unwrap();
    let count = |value: &Value| value.as_array().unwrap().len();
    assert_eq!(count(&data["graph"]["nodes"]), count(&graph["nodes"]));
    assert_eq!(count(&data["graph"]["edges"]), count(&graph["links"]));
    assert_eq!(count(&data["report"]["features"]), 50);
    let command = data["command"].as_str().unwrap();
    assert!(plain.contains(command), "{command}");
    // --json has all features, and names only some of them; the page stays the same.
    let again = stdout(&[&ask[..], &["--html", &page, "--json"]].concat());
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["texts"], data["report"]["texts"]);
    assert_eq!(self::data(&fs::read_to_string(&page).unwrap()), data);
}

#[test]
fn a_feature_has_a_page_without_a_graph() {
    let dir = TempDir::new().unwrap();
    let page = dir.path().join("why.html");
    let feature = ["--feature", "blocks.3.hook_resid_post:1909@5"];

    stdout(&[&["attribute", TEXT, "--html", page.to_str().unwrap()], &feature[..]].concat());

    let data = data(&fs::read_to_string(&page).unwrap());
    assert_eq!(
        (&data["graph"], &data["report"]["target"]["feature"]),
        (&Value::Null, &1909.into())
    );
}

#[test]
fn a_page_that_goes_to_stdout_is_alone_there() {
    let outcome = nanoscope(&["attribute", TEXT, "--exact", "0", "--html", "-"]).success();

    assert!(outcome.stdout.starts_with("<!doctype html>"), "{}", outcome.stdout);
    assert!(outcome.stdout.ends_with("</html>\n"));
    assert!(outcome.stderr.contains("active features"), "{}", outcome.stderr);
    for more in [&["--json"][..], &["--graph", "-"]] {
        let (stderr, _) = failure(&[&["attribute", TEXT, "--html", "-"], more].concat());
        assert!(stderr.contains("two results would go to stdout"), "{stderr}");
    }
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_the_model_is_loaded() {
    let dir = TempDir::new().unwrap();
    let page = dir.path().join("missing/why.html");

    let args = ["attribute", TEXT, "--model", "no/such/model", "--html", page.to_str().unwrap()];
    let (stderr, code) = failure(&args);

    assert_eq!(code, 1);
    assert!(stderr.contains("why.html") && !stderr.contains("no/such/model"), "{stderr}");
}
