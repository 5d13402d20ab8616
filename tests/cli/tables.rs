//! `--table` of `nanoscope generate` and `nanoscope run`.

use std::fs::{self, File};
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{GREEDY, OPENING, failure, golden, lines, nanoscope, stdout};

/// The columns of every table.
const COLUMNS: [&str; 10] = [
    "row",
    "position",
    "token_id",
    "token",
    "is_prompt",
    "logprob",
    "hook",
    "feature",
    "activation",
    "label",
];

/// A number as the float32 that it was.
fn float(value: &Value) -> Value {
    value.as_f64().map_or(Value::Null, |value| json!(value as f32))
}

/// The rows of a JSON Lines table.
fn jsonl(text: &str) -> Vec<Vec<Value>> {
    let row = |line: Value| {
        let object = line.as_object().unwrap();
        assert!(object.keys().eq(COLUMNS), "{line}");
        let mut row: Vec<Value> = object.values().cloned().collect();
        for at in [5, 8] {
            row[at] = float(&row[at]);
        }
        row
    };
    lines(text).into_iter().map(row).collect()
}

/// The rows of a CSV table, with the types of the columns.
fn csv(bytes: &[u8]) -> Vec<Vec<Value>> {
    let mut reader = csv::Reader::from_reader(bytes);
    assert_eq!(reader.headers().unwrap(), &COLUMNS[..]);
    let row = |record: csv::StringRecord| {
        let field = |(at, text): (usize, &str)| match at {
            5 | 8 => text.parse::<f32>().map_or(Value::Null, |value| json!(value)),
            9 if text.is_empty() => Value::Null,
            3 | 6 | 9 => json!(text),
            _ => serde_json::from_str(text).unwrap(),
        };
        record.iter().enumerate().map(field).collect()
    };
    reader.records().map(|record| row(record.unwrap())).collect()
}

/// The rows of a parquet table.
fn parquet(path: &Path) -> Vec<Vec<Value>> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let schema = reader.metadata().file_metadata().schema_descr();
    let names: Vec<&str> = schema.columns().iter().map(|column| column.name()).collect();
    assert_eq!(names, COLUMNS);
    let value = |field: &Field| match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Str(value) => json!(value),
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().get_column_iter().map(|(_, field)| value(field)).collect())
        .collect()
}

fn at(dir: &TempDir, name: &str) -> (std::path::PathBuf, String) {
    let path = dir.path().join(name);
    let text = path.to_str().unwrap().to_owned();
    (path, text)
}

#[test]
fn a_table_has_every_feature_of_every_token_in_each_format() {
    let dir = TempDir::new().unwrap();
    let table = |name: &str, more: &[&str]| {
        let (path, text) = at(&dir, name);
        let args = ["generate", "--prompt", OPENING, "--track", "all", "--table", &text];
        let said = stdout(&[&args[..], &GREEDY, more].concat());
        assert!(said.contains("written to") && said.contains(name), "{said}");
        path
    };

    let of_parquet = parquet(&table("t.parquet", &[]));
    let of_csv = csv(&fs::read(table("t.csv", &[])).unwrap());
    let of_jsonl = jsonl(&fs::read_to_string(table("t.jsonl", &[])).unwrap());
    let named = csv(&fs::read(table("t.dat", &["--table-format", "csv"])).unwrap());

    assert_eq!(of_parquet, of_csv);
    assert_eq!(of_parquet, of_jsonl);
    assert_eq!(of_parquet, named);

    // The rows are the features that --json prints, and those of a run over the prompt.
    let args = [&["generate", "--json", "--prompt", OPENING, "--track", "all"], &GREEDY[..]];
    let mut tokens = lines(&stdout(&args.concat()));
    tokens.pop();
    let run = stdout(&["run", "--json", "--prompt", OPENING, "--track", "all"]);
    let run: Value = serde_json::from_str(&run).unwrap();
    let prompt = run["tokens"][0].as_array().unwrap();
    let mut expected = Vec::new();
    for (token, is_prompt) in
        prompt.iter().map(|token| (token, true)).chain(tokens.iter().map(|token| (token, false)))
    {
        for (hook, features) in token["features"].as_object().unwrap() {
            for feature in features.as_array().unwrap() {
                let activation = feature[1].as_f64().unwrap() as f32;
                expected.push((
                    vec![token["position"].clone(), token["token_id"].clone(), json!(is_prompt)],
                    vec![float(&token["logprob"]), json!(hook), feature[0].clone()],
                    activation,
                    feature.get(2).cloned().unwrap_or(Value::Null),
                ));
            }
        }
    }
    assert_eq!(of_csv.len(), expected.len());
    for (row, (token, feature, activation, label)) in of_csv.iter().zip(expected) {
        assert_eq!(row[0], 0);
        assert_eq!([&row[1], &row[2], &row[4]], [&token[0], &token[1], &token[2]]);
        assert_eq!([&row[5], &row[6], &row[7]], [&feature[0], &feature[1], &feature[2]]);
        let found = row[8].as_f64().unwrap() as f32;
        // The pieces of a prompt need not be as long as a pass over it.
        assert!((found - activation).abs() <= 1e-3 * activation.abs(), "{row:?}: {activation}");
        assert_eq!(row[9], label);
    }
    assert_eq!(of_csv[0][3], "<|bos|>");
    let hooks: std::collections::BTreeSet<_> =
        of_csv.iter().map(|row| row[6].to_string()).collect();
    assert_eq!(hooks.len(), 4);
    assert!(of_csv.iter().any(|row| row[9].is_string()));
}

#[test]
fn a_table_on_stdout_is_alone_there() {
    let args = ["generate", "--prompt", OPENING, "--max-tokens", "8", "--temperature", "0"];
    let run = nanoscope(&args).args(["--table", "-", "--top", "1"]).success();

    let rows = csv(run.stdout.as_bytes());
    assert_eq!(rows.len(), 5 + 8);
    assert!(run.stderr.contains("Once upon a time, there was"), "{}", run.stderr);
    assert!(!run.stderr.contains("written to"), "{}", run.stderr);

    let run = nanoscope(&["run", "--prompt", OPENING, "--top", "2"])
        .args(["--table", "-", "--table-format", "jsonl"])
        .success();
    let rows = jsonl(&run.stdout);
    assert_eq!(rows.len(), 2 * 5);
    assert!(rows.iter().all(|row| row[4] == true && row[5].is_null()), "{rows:?}");
    assert!(run.stderr.contains("next tokens:"), "{}", run.stderr);
}

#[test]
fn the_rows_of_a_batch_have_their_numbers() {
    let dir = TempDir::new().unwrap();
    let (tokens, tokens_name) = at(&dir, "tokens.json");
    fs::write(&tokens, "[[5, 7, 11, 13], [17, 19, 23, 29]]").unwrap();
    let (table, name) = at(&dir, "t.parquet");
    let sae = golden("head/saes/topk/blocks_1_hook_resid_post/best_model.pt");
    let model = ["--model", &golden("head"), "--sae", &sae].map(str::to_owned);
    let run = nanoscope(&["run", "--tokens-file", &tokens_name, "--table", &name, "--json"]);
    let run = run.args(model).success();

    let rows = parquet(&table);
    let of_json: Value = serde_json::from_str(&run.stdout).unwrap();

    let tokens: std::collections::BTreeSet<(u64, u64, u64)> =
        rows.iter().map(|row| [0, 1, 2].map(|at| row[at].as_u64().unwrap()).into()).collect();
    let ids = [[5, 7, 11, 13], [17, 19, 23, 29]];
    let place = |row: usize, at: usize| (row as u64, at as u64, ids[row][at]);
    assert!(tokens.into_iter().eq((0..8).map(|at| place(at / 4, at % 4))));
    let features = |row: usize, at: usize| {
        let features = &of_json["tokens"][row][at]["features"]["blocks.1.hook_resid_post"];
        features.as_array().unwrap().len()
    };
    for (row, at) in (0..8).map(|at| (at / 4, at % 4)) {
        let found = rows.iter().filter(|found| found[0] == row && found[1] == at);
        assert_eq!(found.count(), features(row, at), "row {row}, position {at}");
    }
}

#[test]
fn a_table_that_cannot_be_made_is_refused_before_the_work() {
    let dir = TempDir::new().unwrap();
    let (table, name) = at(&dir, "t.csv");
    fs::write(&table, "mine").unwrap();
    let generate = |args: &[&str]| failure(&[&["generate", "--max-tokens", "2"], args].concat());

    let (said, _) = generate(&["--table", "story.xlsx"]);
    assert!(said.contains(".csv, .parquet or .jsonl") && said.contains("--table-format"), "{said}");
    let (said, _) = generate(&["--table", "-", "--json"]);
    assert!(said.contains("--json and --table both write to stdout"), "{said}");
    let (said, _) = generate(&["--table", "-", "--heatmap", "-"]);
    assert!(said.contains("--table and --heatmap both write to stdout"), "{said}");
    let (said, code) = generate(&["--table-format", "csv"]);
    assert!(said.contains("--table <FILE>") && code == 2, "{said}");
    let (said, _) =
        failure(&["run", "--model", &golden("head"), "--tokens", "1", "--table", &name]);
    assert!(said.contains("without an SAE") && said.contains("--sae PATH"), "{said}");
    assert_eq!(fs::read_to_string(&table).unwrap(), "mine");

    // An error in the work leaves the previous file, too.
    let (said, _) = generate(&["--table", &name, "--steer", "blocks.3.hook_resid_post:1:add:1e38"]);
    assert!(said.contains("leaves the range of float32"), "{said}");
    assert_eq!(fs::read_to_string(&table).unwrap(), "mine");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_reader_of_a_table_that_has_had_enough_is_no_failure() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let mut child = nanoscope(&["generate", "--table", "-", "--max-tokens", "40"])
        .into_command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();

    let output = child.wait_with_output().unwrap();

    assert_eq!(line, COLUMNS.join(",") + "\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
