//! Text files that commands read.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use nanoscope::Microscope;
use nanoscope_corpus::{
    Corpus, CorpusOptions, MAX_TEXT_BYTES, PassedOver, TokenizeOptions, TokenizedCorpus,
};

use crate::load::text_tokenizer;
use crate::remote::{check_texts, local_texts};
use crate::terminal::display::counted;
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::DelayedBar;
use crate::terminal::signals::InterruptFlag;

/// Flags that select texts.
#[derive(Debug, Args)]
pub(crate) struct TextArgs {
    /// Files, folders or URLs (s3://, https://) with text: plain text, JSONL, JSON, CSV, TSV or parquet
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) text: Vec<PathBuf>,
    /// The field of JSON objects and the column of CSV and parquet files with the text
    #[arg(long, default_value = "text", value_name = "NAME")]
    pub(crate) text_column: String,
    /// Stop at a line or row without a text, which is otherwise passed over and counted
    #[arg(long)]
    pub(crate) strict: bool,
    /// The maximum size of a document in memory; a longer line or row is an error
    #[arg(long, value_name = "N", default_value_t = MAX_TEXT_BYTES, value_parser = document_bytes)]
    pub(crate) max_document_bytes: usize,
}

impl TextArgs {
    /// Checks the URLs among the texts, before anything else takes time.
    pub(crate) fn check(&self) -> Result<()> {
        check_texts(&self.text)
    }

    /// Opens the texts, after a download of those at URLs.
    pub(crate) fn open(&self, interrupted: &InterruptFlag) -> Result<Corpus> {
        let options = CorpusOptions {
            text_column: self.text_column.clone(),
            strict: self.strict,
            max_document_bytes: self.max_document_bytes,
        };
        open_corpus(&self.text, &options, interrupted)
    }
}

/// The longest contexts that texts are cut into by default. Attention takes memory for every pair of
/// tokens, and some models could read 131,072.
const MAX_DEFAULT_CONTEXT: usize = 2048;

/// The number of tokens per context for a model that can read `longest`.
pub(crate) fn default_context(longest: usize) -> usize {
    longest.min(MAX_DEFAULT_CONTEXT)
}

/// Checks that the tokens of --tokens fill at least one context.
pub(crate) fn check_tokens(tokens: Option<u64>, context_len: usize) -> Result<()> {
    match tokens {
        Some(tokens) if tokens < context_len as u64 => {
            let text =
                format!("--tokens {tokens} is less than one context of {context_len} tokens");
            let hint =
                format!("raise it to --tokens {context_len}, or use --context {}", tokens.max(2));
            Err(Hint::new(text, hint).into())
        }
        _ => Ok(()),
    }
}

/// Opens texts, after a download of those at URLs, and prints a note about files that are left out.
pub(crate) fn open_corpus(
    paths: &[PathBuf],
    options: &CorpusOptions,
    interrupted: &InterruptFlag,
) -> Result<Corpus> {
    let corpus = Corpus::open(&local_texts(paths, interrupted)?, options)?;
    if let [first, more @ ..] = corpus.left_out() {
        let more =
            if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        note(&format!(
            "left out {}{more}: one JSON object, not a list of texts; name the file to read it",
            first.display()
        ));
    }
    Ok(corpus)
}

/// Reads at most `limit` tokens of `corpus` into contexts of `context` tokens, by default the model's.
///
/// # Errors
/// A [`Hint`] if the limit is less than a context, and the errors of [`TokenizedCorpus::build`].
pub(crate) fn tokenize(
    scope: &Microscope,
    corpus: &Corpus,
    (context, limit): (Option<u32>, Option<u64>),
    interrupted: &InterruptFlag,
) -> Result<TokenizedCorpus> {
    let context =
        context.map_or_else(|| default_context(scope.model().context_len()), |len| len as usize);
    check_tokens(limit, context)?;
    let options = TokenizeOptions { limit, ..TokenizeOptions::new(context) };
    let bar = DelayedBar::new("reading texts", corpus.bytes(), "bytes");
    let tokens =
        TokenizedCorpus::build(corpus, text_tokenizer(scope)?, &options, &mut |spooled| {
            bar.set(spooled.bytes);
            interrupted.control_flow()
        })?;
    note_passed_over(tokens.passed_over());
    Ok(tokens)
}

/// Prints a note about lines without a text.
pub(crate) fn note_passed_over(passed_over: &PassedOver) {
    if let PassedOver { count, first: Some(first) } = passed_over {
        let lines = counted(*count, "line or row", "lines or rows");
        note(&format!(
            "passed over {lines} without a text; the first: {first} (--strict stops there)"
        ));
    }
}

fn document_bytes(text: &str) -> Result<usize, String> {
    let bytes: usize = text.parse().map_err(|_| "expected a number of bytes".to_owned())?;
    if bytes > 0 { Ok(bytes) } else { Err("it must be 1 or more".to_owned()) }
}
