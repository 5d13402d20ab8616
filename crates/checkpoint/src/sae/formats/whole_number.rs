//! Numbers that Python may write as floats, and that have to be whole where they are used.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use crate::error::CheckpointError;

/// A number of a configuration that is 0 or more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Whole(usize),
    /// One with a fraction, which matters only if it is used.
    Fraction(f64),
}

impl Number {
    /// Returns the number, the value of `key` in the file at `path`, as an integer.
    ///
    /// # Errors
    /// [`CheckpointError::UnknownValue`] if it has a fraction.
    pub(crate) fn whole(self, path: &Path, key: &'static str) -> Result<usize, CheckpointError> {
        match self {
            Self::Whole(number) => Ok(number),
            Self::Fraction(number) => Err(CheckpointError::UnknownValue {
                path: path.to_owned(),
                key,
                found: number.to_string(),
                known: "a whole number",
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number that is 0 or more")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        let invalid = || E::invalid_value(Unexpected::Unsigned(number), &self);
        usize::try_from(number).map(Number::Whole).map_err(|_| invalid())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        let invalid = || E::invalid_value(Unexpected::Signed(number), &self);
        usize::try_from(number).map(Number::Whole).map_err(|_| invalid())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
        // Above, floats have gaps.
        const MAX: f64 = (1_u64 << 53) as f64;
        if !(0.0..=MAX).contains(&number) {
            return Err(E::invalid_value(Unexpected::Float(number), &self));
        }
        let is_whole = number.fract() == 0.0;
        Ok(if is_whole { Number::Whole(number as usize) } else { Number::Fraction(number) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python_json;

    fn read(json: &str) -> Result<Number, serde_json::Error> {
        python_json::from_slice(json.as_bytes())
    }

    #[test]
    fn a_float_is_whole_only_without_a_fraction() {
        for whole in ["20", "20.0", "2e1"] {
            assert_eq!(read(whole).unwrap(), Number::Whole(20), "{whole}");
        }
        assert_eq!(read("7.5").unwrap(), Number::Fraction(7.5));
        let error = Number::Fraction(7.5).whole(Path::new("cfg.json"), "k").unwrap_err();
        assert_eq!(error.to_string(), "cfg.json: k is `7.5` (expected a whole number)");
        assert_eq!(Number::Whole(20).whole(Path::new("cfg.json"), "k").unwrap(), 20);
        for bad in ["-1", "-0.5", "1e300", "NaN", "Infinity", "-Infinity", "\"7\"", "null", "[7]"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
