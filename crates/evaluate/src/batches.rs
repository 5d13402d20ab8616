use std::iter::Peekable;

use nanoscope_corpus::{Context, CorpusError};
use nanoscope_transformer::TokenBatch;

use crate::EvaluateError;
use crate::pass::Batch;

/// Groups consecutive contexts of equal length into batches of up to `max_contexts`. Empty contexts
/// are skipped.
pub(crate) fn batches(
    contexts: impl Iterator<Item = Result<Context, CorpusError>>,
    max_contexts: usize,
) -> impl Iterator<Item = Result<Batch, EvaluateError>> {
    let mut contexts = contexts.filter(|context| !is_empty(context)).peekable();
    std::iter::from_fn(move || next(&mut contexts, max_contexts).transpose())
}

fn is_empty(context: &Result<Context, CorpusError>) -> bool {
    context.as_ref().is_ok_and(|context| context.tokens.is_empty())
}

fn next<I: Iterator<Item = Result<Context, CorpusError>>>(
    contexts: &mut Peekable<I>,
    max_contexts: usize,
) -> Result<Option<Batch>, EvaluateError> {
    let Some(first) = contexts.next().transpose()? else { return Ok(None) };
    let (index, seq) = (first.index, first.tokens.len());
    let mut rows = vec![first.tokens];
    while rows.len() < max_contexts {
        let same = |next: &Result<Context, CorpusError>| {
            next.as_ref().map_or(true, |context| context.tokens.len() == seq)
        };
        match contexts.next_if(same) {
            Some(context) => rows.push(context?.tokens),
            None => break,
        }
    }
    let tokens = TokenBatch::new(&rows).map_err(|source| EvaluateError::Model { index, source })?;
    Ok(Some(Batch { index, tokens }))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn context(index: u64, len: usize) -> Context {
        Context { index, tokens: vec![1; len], documents: vec![0; len] }
    }

    fn shapes(contexts: Vec<Context>) -> Vec<(u64, usize, usize)> {
        batches(contexts.into_iter().map(Ok), 2)
            .map(|batch| batch.unwrap())
            .map(|batch| (batch.index, batch.tokens.batch(), batch.tokens.seq()))
            .collect()
    }

    #[test]
    fn contexts_of_another_length_begin_a_batch() {
        let lens = [4, 4, 4, 3, 3, 4].into_iter();
        let contexts = (0..).zip(lens).map(|(index, len)| context(index, len)).collect();

        assert_eq!(shapes(contexts), [(0, 2, 4), (2, 1, 4), (3, 2, 3), (5, 1, 4)]);
    }

    #[test]
    fn a_context_without_tokens_is_passed_over() {
        assert_eq!(shapes(vec![context(0, 0), context(1, 2)]), [(1, 1, 2)]);
        assert_eq!(shapes(vec![]), []);
    }

    #[test]
    fn a_context_that_cannot_be_read_is_an_error() {
        let broken = CorpusError::Io {
            path: PathBuf::from("a.txt"),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let contexts = vec![Ok(context(0, 2)), Err(broken)];

        let error = batches(contexts.into_iter(), 8).find_map(Result::err).unwrap();

        assert_eq!(error.to_string(), "a.txt: no such file or directory");
    }
}
