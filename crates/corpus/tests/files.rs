//! Texts in files of every kind, as other programs write them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::load_tokenizer;
use nanoscope_corpus::{
    Corpus, CorpusError, CorpusOptions, PassedOver, TokenizeOptions, TokenizedCorpus,
};

const TEXTS: [&str; 3] =
    ["Once upon a time, there was a fox.", "The dog barked.\n\nThen it slept.", "Größe 大きい 🦊"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/text").join(name)
}

fn options(column: &str) -> CorpusOptions {
    CorpusOptions { text_column: column.to_owned(), ..CorpusOptions::default() }
}

fn texts(path: PathBuf, column: &str) -> Result<Vec<String>, CorpusError> {
    let corpus = Corpus::open(&[path], &options(column))?;
    corpus.documents().map(|document| document.map(|document| document.text)).collect()
}

#[test]
fn every_kind_of_file_gives_the_same_texts() {
    for (name, column) in [
        ("stories.txt", "text"),
        ("lines.jsonl", "text"),
        ("lines.jsonl.gz", "text"),
        ("shard_zstd.parquet", "text"),
        ("story_snappy.parquet", "story"),
    ] {
        assert_eq!(texts(fixture(name), column).unwrap(), TEXTS, "{name}");
    }
}

#[test]
fn a_parquet_file_without_the_column_is_refused_with_those_that_it_has() {
    let error = texts(fixture("story_snappy.parquet"), "text").unwrap_err().to_string();
    assert!(
        error.ends_with("has no column `text` (found `id`, `story`, `tags.list.element`)"),
        "{error}"
    );

    let error = texts(fixture("story_snappy.parquet"), "id").unwrap_err().to_string();
    assert!(error.contains("column `id` of"), "{error}");
    assert!(error.ends_with("holds numbers of type INT64, not one text per row"), "{error}");
    let error = texts(fixture("story_snappy.parquet"), "tags.list.element").unwrap_err();
    assert!(error.to_string().ends_with("holds lists, not one text per row"), "{error}");
}

#[test]
fn a_parquet_text_that_is_not_utf8_is_refused_by_its_row_group_and_place() {
    let error = texts(fixture("not_utf8.parquet"), "text").unwrap_err().to_string();

    assert!(error.starts_with("text 1 of row group 0 of "), "{error}");
}

#[test]
fn a_long_text_has_the_same_tokens_in_pieces_as_whole() {
    let dir = tempfile::tempdir().unwrap();
    let paragraph =
        "\"Stop!\" she said...\n\n  He didn't.\n\tThe 1234 foxes ran;\r\n\nend\n \nNo!!\n";
    let whole = paragraph.repeat(20_000);
    std::fs::write(dir.path().join("long.txt"), &whole).unwrap();
    let tokenizer = load_tokenizer(&fixture("../../../models/demo/tokenizer")).unwrap();
    let corpus = Corpus::open(&[dir.path().join("long.txt")], &CorpusOptions::default()).unwrap();
    let parts = corpus.documents().count();
    let go_on = &mut |_| ControlFlow::Continue(());

    let tokens =
        TokenizedCorpus::build(&corpus, &tokenizer, &TokenizeOptions::new(100), go_on).unwrap();

    assert_eq!((parts, tokens.documents()), (whole.len() / (1 << 20) + 1, 1));
    let mut expected = vec![tokenizer.bos().unwrap()];
    expected.extend(tokenizer.encode(whole.trim()).unwrap());
    let contexts = (0..tokens.contexts()).map(|index| tokens.context(index).unwrap().tokens);
    let found: Vec<u32> = contexts.flatten().collect();
    assert_eq!(tokens.len(), expected.len() as u64);
    assert!(found == expected[..found.len()], "the tokens differ");
}

/// The texts of a file, and how many lines were passed over.
fn read(path: PathBuf, options: &CorpusOptions) -> Result<(Vec<String>, PassedOver), CorpusError> {
    let corpus = Corpus::open(&[path], options)?;
    let mut documents = corpus.documents();
    let texts = documents.by_ref().map(|document| document.map(|document| document.text));
    let texts = texts.collect::<Result<_, _>>()?;
    Ok((texts, documents.passed_over().clone()))
}

#[test]
fn lists_tables_and_packed_lines_give_the_texts_and_not_their_syntax() {
    for (name, column, count) in [
        ("array.json", "story", 18),
        ("object.json", "text", 18),
        ("table.csv", "text", 18),
        ("packed.jsonl.zst", "text", 18),
        ("byte_order_mark.jsonl", "text", 18),
        ("nan.jsonl", "text", 37),
    ] {
        let (texts, passed_over) = read(fixture(name), &options(column)).unwrap();
        assert_eq!((texts.len(), passed_over.count), (count, 0), "{name}");
        assert_eq!(texts[1], "Lily had a red ball. She played with the ball all day.", "{name}");
    }
}

/// Every container of a few texts, packed in every way, under every name that is not misleading.
#[test]
fn every_container_gives_its_texts_whatever_packs_it_and_whatever_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> =
        TEXTS.iter().map(|text| serde_json::json!({"n": [1], "text": text}).to_string()).collect();
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let rows = |delimiter: &str| {
        let row = |text: &&str| format!("1{delimiter}{}\r\n", quoted(text));
        format!("n{delimiter}text\r\n{}", TEXTS.iter().map(row).collect::<String>())
    };
    let containers = [
        (lines.join("\n"), &["jsonl", "ndjson", "json", "txt", "dat"][..]),
        (format!("[{}]", lines.join(", ")), &["json", "jsonl", "txt", "dat", "csv"]),
        (format!("[\n{}\n]\n", lines.join(",\n")), &["json", "jsonl", "txt"]),
        (serde_json::to_string_pretty(&TEXTS).unwrap(), &["json", "jsonl", "txt"]),
        (serde_json::json!({"version": 2, "text": TEXTS}).to_string(), &["json", "txt"]),
        (format!("{{\"data\": [{}]}}", lines.join(",")), &["json", "txt"]),
        (rows(","), &["csv"]),
        (rows("\t"), &["tsv", "csv"]),
        (rows(";"), &["csv"]),
        (TEXTS.join("\n<|endoftext|>\n"), &["txt", "text", "dat"]),
    ];
    for (content, extensions) in containers {
        for extension in extensions {
            for mark in ["", "\u{feff}"] {
                let content = format!("{mark}{content}");
                let mut gzip =
                    flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut gzip, content.as_bytes()).unwrap();
                for (packing, bytes) in [
                    ("", content.clone().into_bytes()),
                    (".gz", gzip.finish().unwrap()),
                    (".zst", zstd::encode_all(content.as_bytes(), 3).unwrap()),
                ] {
                    // A packed file is known by its content too.
                    for name in [format!("a.{extension}{packing}"), format!("a.{extension}")] {
                        let path = dir.path().join(&name);
                        std::fs::write(&path, &bytes).unwrap();
                        assert_eq!(
                            texts(path, "text").unwrap(),
                            TEXTS,
                            "{name}{packing}: {content}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn an_odd_line_is_passed_over_and_counted_or_with_strict_named() {
    for (name, says) in [("null.jsonl", "line 19 of "), ("surrogate.jsonl", "line 19, column ")] {
        let (texts, passed_over) = read(fixture(name), &options("text")).unwrap();
        assert_eq!((texts.len(), passed_over.count), (36, 1), "{name}");
        assert!(passed_over.first.unwrap().contains(says), "{name}");

        let strict = CorpusOptions { strict: true, ..options("text") };
        let error = read(fixture(name), &strict).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(name), "{name}: {error}");
    }
    let strict = CorpusOptions { strict: true, ..options("text") };
    assert_eq!(read(fixture("nan.jsonl"), &strict).unwrap().0.len(), 37);
}

#[test]
fn odd_lines_of_every_kind_do_not_end_a_file_wherever_they_stand() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    let good = br#"{"text": "good"}"#.as_slice();
    let odd = [
        &br#"{"text": null}"#[..],
        br#"{"text": 3}"#,
        br#"{"text": "\udc00"}"#,
        br#"{"text": "\ud83d\ud83d"}"#,
        br#"{"other": "x"}"#,
        br#"{"text": "cut"#,
        br#"{"text": "a"} {"text": "b"}"#,
        b"{\"text\": \"\xff\"}",
        b"Once upon a time",
        b"[1, 2]",
    ];
    for line in odd {
        for at in 0..3 {
            let mut lines = vec![good; 2];
            lines.insert(at, line);
            std::fs::write(&path, lines.join(&b'\n')).unwrap();
            let shown = String::from_utf8_lossy(line).into_owned();

            let (texts, passed_over) = read(path.clone(), &options("text")).unwrap();

            assert_eq!((texts.len(), passed_over.count), (2, 1), "{shown} at {at}");
            let says = format!("line {}", at + 1);
            let first = passed_over.first.unwrap();
            assert!(first.contains(&says) && first.contains("a.jsonl"), "{shown}: {first}");
            let strict = CorpusOptions { strict: true, ..options("text") };
            assert!(read(path.clone(), &strict).is_err(), "{shown} at {at}");
        }
    }
}

#[test]
fn a_file_of_nothing_but_odd_lines_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    for (lines, says) in [
        ("{\"story\": \"a\"}\n".repeat(1000), "line 1 of "),
        ("Once upon a time\n".to_owned(), "line 1, column 1 of "),
    ] {
        std::fs::write(&path, lines).unwrap();
        let error = texts(path.clone(), "text").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // Rows that have the column and nothing in it are no mistake.
    std::fs::write(&path, "{\"text\": null}\n".repeat(1000)).unwrap();
    assert_eq!(read(path, &options("text")).unwrap().1.count, 1000);
}

#[test]
fn what_is_not_text_is_refused_with_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.txt");
    for (bytes, says) in [
        (&b"PK\x03\x04\x14\0\0\0"[..], "it is a zip archive"),
        (b"%PDF-1.7\n", "it is a PDF document"),
        (b"\xff\xfeO\0n\0", "it is text in UTF-16, not UTF-8"),
        (b"one\0two", "it is not text: byte 3 is zero"),
        (
            br#"{"config": {"k": 3}}"#,
            "a JSON object with no list of texts under `text` (found `config`)",
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = texts(path.clone(), "text").unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_longer_document_is_read_when_the_limit_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let long = "a".repeat(3000);
    for (name, content) in [
        ("a.txt", long.clone()),
        ("a.jsonl", format!("{{\"text\": \"{long}\"}}")),
        ("a.json", format!("[\"{long}\"]")),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let limited = |limit| CorpusOptions { max_document_bytes: limit, ..options("text") };
        let error = read(path.clone(), &limited(1000)).unwrap_err();
        assert!(matches!(error, CorpusError::LineTooLong { limit: 1000, .. }), "{name}: {error}");
        assert_eq!(read(path, &limited(4000)).unwrap().0, [long.as_str()], "{name}");
    }
}
