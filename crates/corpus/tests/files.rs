//! Texts in files of every kind, as other programs write them.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::load_tokenizer;
use nanoscope_corpus::{Corpus, CorpusError, CorpusOptions, TokenizeOptions, TokenizedCorpus};

const TEXTS: [&str; 3] =
    ["Once upon a time, there was a fox.", "The dog barked.\n\nThen it slept.", "Größe 大きい 🦊"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/text").join(name)
}

fn texts(path: PathBuf, column: &str) -> Result<Vec<String>, CorpusError> {
    let corpus = Corpus::open(&[path], &CorpusOptions { text_column: column.to_owned() })?;
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
