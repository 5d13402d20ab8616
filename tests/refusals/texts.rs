//! Text files that are damaged, or are not text.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use nanoscope_corpus::{Corpus, CorpusError, CorpusOptions, MAX_TEXT_BYTES};
use tempfile::TempDir;

use crate::refused;

/// The number of documents in a file of these bytes, in which every odd line is an error.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<usize, CorpusError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join(name);
    fs::write(&path, bytes).unwrap();
    let options = CorpusOptions { strict: true, ..CorpusOptions::default() };
    let mut documents = 0;
    for document in Corpus::open(&[path], &options)?.documents() {
        assert!(document?.text.len() <= MAX_TEXT_BYTES);
        documents += 1;
    }
    Ok(documents)
}

pub(crate) fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn fixture(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/text");
    fs::read(dir.join(name)).unwrap()
}

#[test]
fn lines_that_are_no_text_are_refused_by_number() {
    assert_eq!(read("a.txt", b"").unwrap(), 0);
    assert_eq!(read("a.jsonl", b"\n \n").unwrap(), 0);
    assert_eq!(read("a.jsonl.gz", &packed(b"{\"text\": \"a\"}\n")).unwrap(), 1);

    refused!(
        "text that is not UTF-8",
        read("a.txt", b"one\ntwo \xff\n"),
        CorpusError::NotUtf8 { line: 2, .. },
        ["line 2 of", "a.txt is not valid UTF-8"]
    );
    refused!(
        "text in UTF-16",
        read("a.txt", b"\xff\xfea\0b\0"),
        CorpusError::Binary { .. },
        ["a.txt does not hold text", "text in UTF-16, not UTF-8"]
    );
    refused!(
        "JSON that is cut off",
        read("a.jsonl", b"{\"text\": \"a\"}\n{\"text\": \"b"),
        CorpusError::Json { line: 2, .. },
        ["line 2, column 11 of", "EOF while parsing a string"]
    );
    refused!(
        "half of a surrogate pair",
        read("a.jsonl", br#"{"text": "\ud83d"}"#),
        CorpusError::Json { line: 1, .. },
        ["line 1, column ", "a.jsonl"]
    );
    refused!(
        "JSON without the field",
        read("a.jsonl", br#"{"content": "a"}"#),
        CorpusError::NoField { line: 1, .. },
        ["no field `text` (found `content`)"]
    );
    refused!(
        "deep JSON",
        read("a.jsonl", format!("{{\"a\": {}", "[".repeat(100_000)).as_bytes()),
        CorpusError::Json { line: 1, .. },
        ["line 1"]
    );
}

#[test]
fn packed_texts_that_are_damaged_are_refused() {
    let whole = packed("a line of text\n".repeat(1000).as_bytes());
    let io = |name: &str, bytes: &[u8], says: &str| {
        refused!(name, read("a.txt.gz", bytes), CorpusError::Io { .. }, ["a.txt.gz", says]);
    };
    io("gzip that is cut off", &whole[..whole.len() / 2], "incomplete deflate stream");
    io("gzip without its end", &whole[..whole.len() - 4], "unexpected end of file");
    io("gzip with something after it", &[&whole[..], b"more"].concat(), "a.txt.gz");
    io("text that is called gzip", b"a line of text\n", "invalid gzip header");
    let mut changed = whole.clone();
    let at = whole.len() - 6;
    changed[at] ^= 1;
    io("gzip with another checksum", &changed, "a.txt.gz");

    let zstd = zstd::encode_all("a line of text\n".repeat(1000).as_bytes(), 3).unwrap();
    assert_eq!(read("a.txt.zst", &zstd).unwrap(), 1);
    for (case, bytes) in [
        ("zstd that is cut off", zstd[..zstd.len() / 2].to_vec()),
        ("zstd with something after it", [&zstd[..], b"more"].concat()),
        ("text that is called zstd", b"a line of text\n".to_vec()),
    ] {
        refused!(case, read("a.txt.zst", &bytes), CorpusError::Io { .. }, ["a.txt.zst"]);
    }

    refused!(
        "packed line without an end",
        read("a.txt.gz", &packed(&vec![b'a'; MAX_TEXT_BYTES + 1])),
        CorpusError::LineTooLong { line: 1, .. },
        ["line 1 of", "is longer than 16777216 bytes"]
    );
}

#[test]
fn lists_and_tables_that_are_damaged_are_refused_by_their_place() {
    assert_eq!(read("a.json", b"[]").unwrap(), 0);
    assert_eq!(read("a.csv", b"").unwrap(), 0);

    refused!(
        "a list that is cut off",
        read("a.json", b"[\"a\",\n \"b"),
        CorpusError::Json { line: 2, column: 4, .. },
        ["line 2, column 4 of", "the JSON ends here"]
    );
    refused!(
        "something after a list",
        read("a.json", b"[\"a\"] [\"b\"]"),
        CorpusError::Json { line: 1, .. },
        ["something follows the list"]
    );
    refused!(
        "deep lists",
        read("a.json", "[".repeat(100_000).as_bytes()),
        CorpusError::Json { line: 1, .. },
        ["nested too deeply"]
    );
    refused!(
        "an object without a list",
        read("a.json", b"{\"k\": 3}"),
        CorpusError::NoList { .. },
        ["no list of texts under `text` (found `k`)"]
    );
    refused!(
        "a table without the column",
        read("a.tsv", b"id\tstory\n1\ta\n"),
        CorpusError::NoColumn { .. },
        ["no column `text` (found `id`, `story`)"]
    );
    refused!(
        "a row of another length",
        read("a.csv", b"id,text\n1\n"),
        CorpusError::RowLength { line: 2, found: 1, expected: 2, .. },
        ["line 2 of", "has 1 fields; the header has 2"]
    );
    refused!(
        "a quote that is never closed",
        read("a.csv", &[b"text\n\"".to_vec(), b"a\n".repeat(MAX_TEXT_BYTES)].concat()),
        CorpusError::LineTooLong { .. },
        ["is longer than 16777216 bytes"]
    );
}

#[test]
fn parquet_files_that_are_cut_or_empty_are_refused() {
    let whole = fixture("shard_zstd.parquet");
    for (case, bytes) in [
        ("parquet of no bytes", &whole[..0]),
        ("parquet without its footer", &whole[..whole.len() - 8]),
        ("parquet without its beginning", &whole[whole.len() / 2..]),
        ("text that is called parquet", b"a line of text\n".as_slice()),
    ] {
        refused!(case, read("a.parquet", bytes), CorpusError::Parquet { .. }, ["a.parquet"]);
    }
    let mut footer = whole.clone();
    let at = footer.len() - 8;
    footer[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused!(
        "parquet with a footer of 4 GB",
        read("a.parquet", &footer),
        CorpusError::Parquet { .. },
        ["a.parquet"]
    );
}

/// Each byte of each file is changed in a few ways: nothing panics, and no text exceeds the limit.
#[test]
fn a_parquet_file_with_any_byte_changed_gives_texts_or_an_error() {
    let mut errors = 0;
    for name in ["shard_zstd.parquet", "story_snappy.parquet", "not_utf8.parquet"] {
        let whole = fixture(name);
        for at in 0..whole.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] ^= change;
                let read = || read("a.parquet", &changed);
                let outcome = catch_unwind(AssertUnwindSafe(read));
                let outcome = outcome.unwrap_or_else(|_| panic!("{name}: {at} ^ {change:#x}"));
                errors += usize::from(outcome.is_err());
            }
        }
    }
    assert!(errors > 1000, "{errors}");
}
