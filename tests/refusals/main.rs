//! Broken input gives an error that names the file, the place and the reason.
//!
//! Each case is a small valid file with one thing wrong. It must be refused with its own variant and a
//! message that names the fault. Nothing may panic, execute a file's contents, or allocate memory that
//! the file does not fill.

mod files;
mod labels;
mod memory;
mod models;
mod pt;
mod runtime;
mod saes;
mod steering;
mod texts;
mod vectors;

use std::error::Error;
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The error and all its causes, as the command line prints them.
pub(crate) fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Runs `attempt`, which must fail with an error that `is` accepts and whose text has all of `says`.
#[track_caller]
pub(crate) fn expect_refusal<T: Debug, E: Error + 'static>(
    case: &str,
    attempt: impl FnOnce() -> Result<T, E>,
    is: impl FnOnce(&E) -> bool,
    says: &[&str],
) {
    let outcome = catch_unwind(AssertUnwindSafe(attempt));
    let outcome = outcome.unwrap_or_else(|_| panic!("{case}: panicked"));
    let error = match outcome {
        Ok(value) => panic!("{case}: taken as {}", shortened(&format!("{value:?}"))),
        Err(error) => error,
    };
    let text = chain(&error);
    println!("{case}: {}", shortened(&text));
    assert!(is(&error), "{case}: another variant: {error:?}");
    for part in says {
        assert!(text.contains(part), "{case}: no `{part}` in: {text}");
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(600).collect()
}

/// [`expect_refusal`] with a pattern for the variant.
macro_rules! refused {
    ($case:expr, $attempt:expr, $variant:pat, $says:expr) => {
        crate::expect_refusal(&$case, || $attempt, |error| matches!(error, $variant), &$says)
    };
}
pub(crate) use refused;
