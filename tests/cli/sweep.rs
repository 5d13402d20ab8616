//! `nanoscope sweep`.

use std::fs::{self, File};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use roxmltree::Document;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{failure, lines, nanoscope, stdout};

const PROMPT: &str = "Once upon a time, there was a";
/// A feature of the demo's deepest SAE.
const HOOK: &str = "blocks.3.hook_resid_post";
const FEATURE: &str = "1909";
/// Few and short texts.
const SHORT: [&str; 4] = ["--texts", "2", "--max-tokens", "8"];

fn object(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

fn swept(args: &[&str]) -> Value {
    object(&[&["sweep", PROMPT, "--json"], &SHORT[..], args].concat())
}

#[track_caller]
fn assert_near(found: &Value, expected: f64, tolerance: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "{found} instead of {expected}");
}

/// The two likeliest next tokens of `nanoscope run`, and the log probability of each.
fn likeliest(flags: &[&str]) -> [(u64, f64); 2] {
    let run = object(&[&["run", "--json", PROMPT], flags].concat());
    [0, 1].map(|at| {
        let next = &run["next_tokens"][0][at];
        (next["token_id"].as_u64().unwrap(), next["logprob"].as_f64().unwrap())
    })
}

#[test]
fn the_metric_is_that_of_a_run_with_and_without_the_intervention() {
    let [(first, first_logprob), (second, second_logprob)] = likeliest(&[]);

    let sweep = swept(&["--feature", FEATURE, "--strength", "30%"]);

    let metric = &sweep["metric"];
    assert_eq!(metric["name"], "logit_diff");
    assert_eq!(
        (&metric["target"]["id"], &metric["contrast"]["id"]),
        (&first.into(), &second.into())
    );
    let points = sweep["features"][0]["points"].as_array().unwrap();
    let strengths: Vec<&str> =
        points.iter().filter_map(|point| point["strength"].as_str()).collect();
    assert_eq!(strengths, ["0%", "30%"]);
    for unsteered in [&sweep["unsteered"], &points[0]] {
        assert_near(&unsteered["metric"], first_logprob - second_logprob, 1e-5);
    }

    let intervention = format!("{HOOK}:{FEATURE}:add:30%");
    assert_eq!(points[1]["intervention"], intervention);
    let [(target, target_logprob), (contrast, contrast_logprob)] =
        likeliest(&["--steer", &intervention]);
    let (target, contrast) = (format!("id:{target}"), format!("id:{contrast}"));
    let tokens = ["--target", target.as_str(), "--contrast", &contrast];
    let steered = swept(&[&["--feature", FEATURE, "--strength", "30%"], &tokens[..]].concat());
    let point = &steered["features"][0]["points"][1];
    assert_near(&point["metric"], target_logprob - contrast_logprob, 1e-5);
    let change =
        point["metric"].as_f64().unwrap() - steered["unsteered"]["metric"].as_f64().unwrap();
    assert!(change.abs() > 0.1, "{change}");
    assert_near(&point["change"], change, 1e-5);
}

#[test]
fn a_target_alone_is_measured_by_its_log_probability_with_any_operation() {
    let intervention = "blocks.1.hook_resid_post:7:set:40";
    let [(target, logprob), _] = likeliest(&["--steer", intervention]);
    let target = format!("id:{target}");
    let flags = ["--op", "set", "--strength", "40", "--target", target.as_str()];

    let sweep = swept(&[&["--feature", "blocks.1.hook_resid_post:7"], &flags[..]].concat());

    assert_eq!(
        (&sweep["metric"]["name"], &sweep["metric"]["contrast"]),
        (&"logprob".into(), &Value::Null)
    );
    let points = sweep["features"][0]["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["intervention"]), (1, &intervention.into()));
    // The softmax of `run` is in float32.
    assert_near(&points[0]["metric"], logprob, 1e-4);
}

#[test]
fn fluency_and_texts_are_those_that_generate_reports_for_each_seed() {
    let flags = ["--feature", FEATURE, "--strength", "30%", "--seed", "7"];
    let sweep = swept(&flags);
    let intervention = format!("{HOOK}:{FEATURE}:add:30%");
    let generated = |seed: &str| {
        let flags = ["--steer", &intervention, "--compare", "--seed", seed, "--max-tokens", "8"];
        let lines = lines(&stdout(&[&["generate", "--json", PROMPT], &flags[..]].concat()));
        let (last, tokens) = lines.split_last().unwrap();
        let text: String = tokens.iter().filter_map(|token| token["token"].as_str()).collect();
        (text, last.clone())
    };

    let [first, second] = ["7", "8"].map(generated);

    let point = &sweep["features"][0]["points"][1];
    for (at, (text, last)) in [&first, &second].into_iter().enumerate() {
        assert_eq!(point["texts"][at], *text);
        assert_eq!(sweep["unsteered"]["texts"][at], last["unsteered"]);
    }
    let mean = |key: &str| {
        let of = |(_, last): &(String, Value)| last["fluency"][key].as_f64().unwrap();
        f64::midpoint(of(&first), of(&second))
    };
    assert_near(&point["fluency"]["nll"], mean("nll"), 1e-4);
    assert_near(&sweep["unsteered"]["nll"], mean("unsteered_nll"), 1e-4);
    assert_near(&point["fluency"]["ratio"], mean("nll") / mean("unsteered_nll"), 1e-3);
}

#[test]
fn the_unsteered_texts_have_the_ratio_1_and_a_large_strength_breaks_them() {
    let sweep = swept(&["--feature", FEATURE, "--strength", "-100%,100%"]);

    let points = sweep["features"][0]["points"].as_array().unwrap();
    let strengths: Vec<f64> = points.iter().filter_map(|point| point["value"].as_f64()).collect();
    assert_eq!(strengths, [-1.0, 0.0, 1.0]);
    let ratio = |at: usize| points[at]["fluency"]["ratio"].as_f64().unwrap();
    assert_eq!(ratio(1), 1.0);
    assert!(ratio(2) > 2.0 && ratio(0) > 1.2, "{} {}", ratio(0), ratio(2));
    assert_eq!(points[1]["texts"], sweep["unsteered"]["texts"]);
}

#[test]
fn the_lines_have_a_table_for_each_feature_and_mark_broken_texts() {
    let features =
        ["--feature", FEATURE, "--feature", "7", "--feature", "blocks.3.hook_resid_post:7"];
    let strengths = ["--strength", "10%,100%", "--max-tokens", "16", "--texts", "2"];

    let shown = stdout(&[&["sweep", PROMPT], &features[..], &strengths].concat());

    let places: Vec<&str> = shown.lines().filter(|line| line.starts_with(HOOK)).collect();
    assert_eq!(places.len(), 2, "{shown}");
    assert!(places[0].starts_with(&format!("{HOOK}:{FEATURE}")), "{shown}");
    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|row: &Vec<&str>| row.first().is_some_and(|cell| cell.ends_with('%')))
        .collect();
    let strengths: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(strengths, ["0%", "10%", "100%", "0%", "10%", "100%"]);
    assert_eq!((rows[0][2], rows[0][4]), ("+0.000", "1.00"));
    assert_eq!((rows[0].len(), rows[2].last()), (5, Some(&"broken")), "{shown}");
    let copied =
        format!("  nanoscope generate '{PROMPT}' --steer {HOOK}:{FEATURE}:add:10% --compare");
    assert!(shown.lines().any(|line| line == copied), "{shown}");
}

#[test]
fn an_operation_that_always_changes_something_is_compared_with_the_unsteered_row() {
    let flags = ["--feature", FEATURE, "--op", "orthogonal", "--strength", "0%"];

    let shown = stdout(&[&["sweep", PROMPT], &flags[..], &SHORT].concat());

    let rows: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .skip_while(|row| row.first() != Some(&"strength"))
        .take(3)
        .collect();
    assert_eq!((rows[1][0], rows[1][2], rows[1][4]), ("unsteered", "+0.000", "1.00"), "{shown}");
    assert_eq!(rows[2][0], "0%", "{shown}");
    assert_ne!(rows[2][2], "+0.000", "{shown}");
}

/// A number of the table that JSON has too.
fn expected(sweep: &Value, row: usize, column: &str) -> f64 {
    let point = &sweep["features"][row / 2]["points"][row % 2];
    let value = match column {
        "strength" => &point["value"],
        "metric" => &point["metric"],
        "nll" | "unsteered_nll" | "ratio" => &point["fluency"][column],
        "unsteered_metric" => &sweep["unsteered"]["metric"],
        "feature" => &sweep["features"][row / 2]["feature"],
        other => panic!("{other}"),
    };
    value.as_f64().unwrap()
}

const NUMBERS: [&str; 7] =
    ["feature", "strength", "metric", "unsteered_metric", "nll", "unsteered_nll", "ratio"];

#[test]
fn a_table_has_the_numbers_of_the_json_in_each_format() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let flags = ["--feature", FEATURE, "--feature", "7", "--strength", "30%"];
    let sweep = |name: &str| swept(&[&flags[..], &["--table", &path(name)]].concat());
    let tolerance = 1e-6;

    let json = sweep("sweep.csv");
    let mut reader = csv::Reader::from_path(path("sweep.csv")).unwrap();
    let headers = reader.headers().unwrap().clone();
    let records: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(records.len(), 4);
    for (row, record) in records.iter().enumerate() {
        let field = |name: &str| &record[headers.iter().position(|header| header == name).unwrap()];
        assert_eq!((field("hook"), field("op"), field("scale")), (HOOK, "add", "norm"));
        assert_eq!(field("label"), json["features"][row / 2]["label"]);
        for name in NUMBERS {
            let found: f64 = field(name).parse().unwrap();
            assert_near(&found.into(), expected(&json, row, name), tolerance);
        }
    }

    let json = sweep("sweep.jsonl");
    let rows = lines(&fs::read_to_string(path("sweep.jsonl")).unwrap());
    assert_eq!(rows.len(), 4);
    for (row, found) in rows.iter().enumerate() {
        for name in NUMBERS {
            assert_near(&found[name], expected(&json, row, name), tolerance);
        }
    }

    let json = sweep("sweep.parquet");
    let reader = SerializedFileReader::new(File::open(path("sweep.parquet")).unwrap()).unwrap();
    let value = |field: &Field| match field {
        Field::Str(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        other => panic!("{other:?}"),
    };
    let object = |row: Row| -> Value {
        row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
    };
    let rows: Vec<Value> =
        reader.get_row_iter(None).unwrap().map(|row| object(row.unwrap())).collect();
    assert_eq!(rows.len(), 4);
    for (row, found) in rows.iter().enumerate() {
        assert_eq!((&found["hook"], &found["scale"]), (&HOOK.into(), &"norm".into()));
        for name in NUMBERS {
            assert_near(&found[name], expected(&json, row, name), tolerance);
        }
    }
}

#[test]
fn a_table_on_stdout_is_alone_there() {
    let flags = ["--feature", FEATURE, "--strength", "30%", "--table", "-"];

    let outcome = nanoscope(&[&["sweep", PROMPT], &flags[..], &SHORT].concat()).success();

    assert_eq!(outcome.stdout.lines().count(), 3, "{}", outcome.stdout);
    assert!(outcome.stdout.starts_with("hook,feature,label,op,strength,"), "{}", outcome.stdout);
    assert!(outcome.stderr.contains("unsteered") || outcome.stderr.contains("logit("));
}

#[test]
fn the_picture_has_a_curve_for_each_feature_in_both_panels() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("sweep.svg");
    let flags = ["--feature", FEATURE, "--feature", "7", "--strength", "15%,30%"];

    let sweep = swept(&[&flags[..], &["--svg", path.to_str().unwrap()]].concat());

    let svg = fs::read_to_string(&path).unwrap();
    let svg = Document::parse(&svg).unwrap();
    let curves = svg.descendants().filter(|node| node.has_tag_name("polyline"));
    assert_eq!(curves.count(), 4);
    let texts: Vec<&str> = svg
        .descendants()
        .filter(|node| node.has_tag_name("text"))
        .filter_map(|node| node.text())
        .collect();
    for begins in [format!("{HOOK}:{FEATURE}"), format!("{HOOK}:7"), "texts break".to_owned()] {
        assert!(texts.iter().any(|text| text.starts_with(&begins)), "{begins}: {texts:?}");
    }
    assert!(texts.contains(&"30 %"), "{texts:?}");
    // The title of each point has its numbers, the metric's first.
    let titles: Vec<&str> = svg
        .descendants()
        .filter(|node| node.has_tag_name("title"))
        .filter_map(|node| node.text())
        .collect();
    let metric = sweep["features"][0]["points"][2]["metric"].as_f64().unwrap();
    let ratio = sweep["features"][1]["points"][1]["fluency"]["ratio"].as_f64().unwrap();
    assert_eq!(titles.len(), 12);
    assert_eq!(titles[2], format!("30%: {metric:.3}"));
    assert_eq!(titles[10], format!("15%: {ratio:.3}"));
}

#[test]
fn wrong_flags_are_refused_before_anything_is_written() {
    let dir = TempDir::new().unwrap();
    let table = dir.path().join("sweep.csv");
    let table = table.to_str().unwrap();
    let cases: [(&[&str], &str); 14] = [
        (&[], "--feature"),
        (&["--feature", "2048"], "2048"),
        (&["--feature", "blocks.3.hook_resid_pst:1"], "did you mean"),
        (&["--feature", "blocks.0.hook_attn_out:1"], "blocks.0.hook_attn_out"),
        (&["--feature", "dog"], "`dog` is not the index of a feature"),
        (&["--feature", "7", "--strength", "nan"], "finite"),
        (&["--feature", "7", "--strength", "10%,inf%"], "finite"),
        (&["--feature", "7", "--strength", "30%@last"], "finite"),
        (&["--feature", "7", "--strength", "3,30%"], "different scales"),
        (&["--feature", "7", "--op", "multiply"], "no default strengths"),
        (&["--feature", "7", "--op", "ablate"], "takes no value"),
        (&["--feature", "7", "--target", " dog cat"], "--target does not name a token"),
        (&["--feature", "7", "--target", " dog", "--contrast", " dog"], "the same token"),
        (&["--feature", "7", "--texts", "0"], "0 is not in"),
    ];
    for (flags, says) in cases {
        let (error, _) = failure(&[&["sweep", PROMPT, "--table", table], flags].concat());
        assert!(error.contains(says), "{flags:?}: {error}");
        assert!(!Path::new(table).exists(), "{flags:?}");
    }
    let (error, _) = failure(&["sweep", PROMPT, "--feature", "7", "--table", "sweep.xlsx"]);
    assert!(error.contains(".csv, .parquet or .jsonl"), "{error}");
    let (error, _) = failure(&["sweep", PROMPT, "--feature", "7", "--json", "--svg", "-"]);
    assert!(error.contains("both write to stdout"), "{error}");
    let (error, _) =
        failure(&["sweep", PROMPT, "--feature", "7", "--svg", "/no/such/folder/a.svg"]);
    assert!(error.contains("/no/such/folder"), "{error}");
    let (error, code) = failure(&["sweep", PROMPT, "--feature", "7", "--temperature", "-1"]);
    assert_eq!(code, 2, "{error}");
    let (error, _) = failure(&["sweep", PROMPT, "--feature", "7", "--strength", "1e30"]);
    assert!(error.contains(&format!("could not steer with {HOOK}:7:add:1")), "{error}");
}
