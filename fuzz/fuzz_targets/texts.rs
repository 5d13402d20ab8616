//! Reads arbitrary bytes as a text file whose format the first byte chooses: an error, or documents
//! within the length limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_corpus::{Corpus, CorpusOptions, MAX_TEXT_BYTES};
use nanoscope_fuzz::put;

const NAMES: [&str; 9] = [
    "a.txt",
    "a.txt.gz",
    "a.jsonl",
    "a.jsonl.gz",
    "a.parquet",
    "a.json",
    "a.csv",
    "a.tsv",
    "a.txt.zst",
];

fuzz_target!(|bytes: &[u8]| {
    let Some((form, bytes)) = bytes.split_first() else { return };
    let path = put(NAMES[usize::from(*form) % NAMES.len()], bytes);
    let corpus = Corpus::open(&[path], &CorpusOptions::default()).expect("the file is there");
    let mut next = 0;
    for document in corpus.documents() {
        let Ok(document) = document else { return };
        assert!(!document.text.is_empty() && document.text.len() <= MAX_TEXT_BYTES);
        assert_eq!(document.number, if document.continued { next - 1 } else { next });
        next = document.number + 1;
    }
});
