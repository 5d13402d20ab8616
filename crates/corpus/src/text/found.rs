//! The texts that a reader finds in a file, and the treatment of odd lines.

use crate::CorpusError;

/// A text in a file, or the reason one is not a text.
#[derive(Debug)]
pub(crate) enum Found {
    /// A text, which continues the previous one or begins a document.
    Text { text: String, continued: bool },
    /// A line or a row without a text.
    Odd(CorpusError),
}

/// Lines and rows without a text that were passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Their number.
    pub count: u64,
    /// The reason for the first of them, with its file and line.
    pub first: Option<String>,
}

/// Decides on odd lines: one is passed over and counted, but a file that has nothing else is an error.
#[derive(Debug, Default)]
pub(crate) struct OddLines {
    strict: bool,
    passed_over: PassedOver,
    /// True if the open file has had a text, or null in the place of one.
    has_texts: bool,
    /// Odd lines of the open file before its first text, and the first of them.
    before_texts: usize,
    first: Option<CorpusError>,
}

/// Maximum odd lines at the start of a file. With more, the file is something else than it is taken for.
const MAX_BEFORE_TEXTS: usize = 100;

impl OddLines {
    pub(crate) fn new(strict: bool) -> Self {
        Self { strict, ..Self::default() }
    }

    pub(crate) fn passed_over(&self) -> &PassedOver {
        &self.passed_over
    }

    /// A file begins.
    pub(crate) fn begin(&mut self) {
        (self.has_texts, self.before_texts, self.first) = (false, 0, None);
    }

    /// A text was found.
    pub(crate) fn text(&mut self) {
        self.has_texts = true;
    }

    /// Passes over an odd line.
    ///
    /// # Errors
    /// `error` if odd lines are errors, or the first of many that begin a file.
    pub(crate) fn odd(&mut self, error: CorpusError) -> Result<(), CorpusError> {
        if self.strict {
            return Err(error);
        }
        self.passed_over.count += 1;
        if self.passed_over.first.is_none() {
            self.passed_over.first = Some(error.to_string());
        }
        if matches!(error, CorpusError::NullText { .. }) {
            self.has_texts = true;
        } else if !self.has_texts {
            self.before_texts += 1;
            self.first.get_or_insert(error);
            if self.before_texts == MAX_BEFORE_TEXTS {
                return self.end();
            }
        }
        Ok(())
    }

    /// The file ends.
    ///
    /// # Errors
    /// The first error of a file without a text.
    pub(crate) fn end(&mut self) -> Result<(), CorpusError> {
        match self.first.take() {
            Some(error) if !self.has_texts => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Reads all texts, each as itself or as the message of its oddity; an error of the reader ends them.
    pub(crate) fn texts(
        mut next: impl FnMut() -> Result<Option<Found>, CorpusError>,
    ) -> Result<Vec<Result<String, String>>, String> {
        std::iter::from_fn(|| next().transpose())
            .map(|found| match found {
                Ok(Found::Text { text, .. }) => Ok(Ok(text)),
                Ok(Found::Odd(error)) => Ok(Err(error.to_string())),
                Err(error) => Err(error.to_string()),
            })
            .collect()
    }
}
