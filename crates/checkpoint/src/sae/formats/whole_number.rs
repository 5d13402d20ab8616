//! Numbers that Python writes as floats and that have to be whole.

use std::path::Path;

use crate::error::CheckpointError;

/// Returns `number`, the value of `key` in the file at `path`, as an integer.
///
/// # Errors
/// [`CheckpointError::UnknownValue`] if it has a fraction, is negative or is not finite.
pub(crate) fn whole_number(
    path: &Path,
    key: &'static str,
    number: f64,
) -> Result<usize, CheckpointError> {
    // Above, floats have gaps.
    const MAX: f64 = (1_u64 << 53) as f64;
    if number.fract() == 0.0 && (0.0..=MAX).contains(&number) {
        return Ok(number as usize);
    }
    Err(CheckpointError::UnknownValue {
        path: path.to_owned(),
        key,
        found: number.to_string(),
        known: "a whole number",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_is_whole_only_without_a_fraction() {
        let read = |number| whole_number(Path::new("cfg.json"), "k", number);

        assert_eq!(read(20.0).unwrap(), 20);
        assert_eq!(read(0.0).unwrap(), 0);
        for bad in [7.5, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            let error = read(bad).unwrap_err().to_string();
            assert_eq!(error, format!("cfg.json: k is `{bad}` (expected a whole number)"));
        }
    }
}
