//! Numbers and ranges in the text forms.

use std::ops::Range;

/// Parses `A..B` with `A` below `B`.
pub(super) fn range(text: &str) -> Option<Range<usize>> {
    let (from, to) = text.split_once("..")?;
    let range = digits(from)?..digits(to)?;
    (!range.is_empty()).then_some(range)
}

pub(super) fn digits(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Parses a feature index.
pub(super) fn feature_index(text: &str) -> Option<usize> {
    digits(text)
}

/// Parses a number that is neither infinite nor NaN.
pub(super) fn finite(text: &str) -> Option<f32> {
    text.parse().ok().filter(|value: &f32| value.is_finite())
}
