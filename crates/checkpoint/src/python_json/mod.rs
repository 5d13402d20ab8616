//! JSON as Python's `json` module writes it.
//!
//! It differs from JSON in numbers that are not finite (`NaN`, `Infinity`, `-Infinity`), which serde_json
//! refuses even in keys that nobody reads. Python programs also write whole numbers as floats (`7.0`),
//! and some editors put a byte order mark in front. Here all of these are read:
//!
//! - A number that is not finite is that float where a float is read. Where something else is read, for
//!   example a string or an integer, it is an error. A [`Value`], which has no place for it, contains a
//!   marked string, which [`from_value`] reads as the float again and [`unmarked`] makes readable.
//! - A float without a fraction, below 2⁵³, is an integer where an integer is read.
//!
//! ```
//! use nanoscope_checkpoint::python_json;
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     k: usize,
//!     threshold: f32,
//! }
//!
//! let config: Config = python_json::from_slice(br#"{"k": 7.0, "threshold": -Infinity}"#)?;
//!
//! assert_eq!(config.k, 7);
//! assert_eq!(config.threshold, f32::NEG_INFINITY);
//! assert!(python_json::from_slice::<Config>(br#"{"k": 7.5, "threshold": 1}"#).is_err());
//! # Ok::<(), serde_json::Error>(())
//! ```

mod deserializer;
mod literals;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _};
use serde_json::{Error, Value};
use serde_path_to_error::{Deserializer as NamingKeys, Track};

use crate::python_json::deserializer::Python;
#[cfg(feature = "sae")]
pub(crate) use crate::python_json::literals::finite;
pub(crate) use crate::python_json::literals::number;
pub use crate::python_json::literals::unmarked;

/// Parses `json`.
///
/// # Errors
/// [`serde_json::Error`] if it is not JSON as Python writes it, or not a `T`.
pub fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    parse(json, |json| {
        let mut parser = serde_json::Deserializer::from_slice(json);
        let value = T::deserialize(Python(&mut parser))?;
        parser.end().map(|()| value)
    })
}

/// As [`from_slice`], with a seed, which may be used twice.
///
/// # Errors
/// As [`from_slice`].
pub fn from_slice_seed<S, T>(json: &[u8], seed: S) -> Result<T, Error>
where
    S: Copy + for<'de> DeserializeSeed<'de, Value = T>,
{
    parse(json, |json| {
        let mut parser = serde_json::Deserializer::from_slice(json);
        let value = seed.deserialize(Python(&mut parser))?;
        parser.end().map(|()| value)
    })
}

/// Converts a [`Value`] that this module has read. An error names the key of the invalid value.
///
/// # Errors
/// [`serde_json::Error`] if it is not a `T`.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    let mut track = Track::new();
    let value = T::deserialize(NamingKeys::new(Python(value), &mut track));
    value.map_err(|error| with_key(track, error))
}

/// As [`from_slice`]. An error names the key of the invalid value, which serde_json omits.
pub(crate) fn from_slice_naming_keys<T: DeserializeOwned>(json: &[u8]) -> Result<T, Error> {
    let mut track = Track::new();
    let value = parse(json, |json| {
        track = Track::new();
        let mut parser = serde_json::Deserializer::from_slice(json);
        let value = T::deserialize(NamingKeys::new(Python(&mut parser), &mut track))?;
        track = Track::new();
        parser.end().map(|()| value)
    });
    value.map_err(|error| with_key(track, error))
}

/// The UTF-8 byte order mark.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Returns `bytes` without the byte order mark that they may start with.
pub fn without_byte_order_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes)
}

/// Passes `json` to `parse`, and if it is not JSON a second time with every number that is not finite
/// replaced. Looking for these afterwards costs other texts nothing.
fn parse<T>(json: &[u8], mut parse: impl FnMut(&[u8]) -> Result<T, Error>) -> Result<T, Error> {
    let json = without_byte_order_mark(json);
    match parse(json) {
        Err(error) if error.is_syntax() => match literals::marked(json) {
            Some(json) => parse(&json),
            None => Err(error),
        },
        result => result,
    }
}

/// Prefixes an error with the key of the invalid value.
fn with_key(track: Track, error: Error) -> Error {
    let path = track.path().to_string();
    // "." stands for the whole, and "?" for a key that was not fully read.
    let key = path.trim_end_matches(['.', '?']);
    if key.is_empty() { error } else { Error::custom(format!("{key}: {error}")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::IgnoredAny;
    use serde_json::json;

    use super::*;

    fn error<T: DeserializeOwned>(json: &str) -> String {
        from_slice_naming_keys::<T>(json.as_bytes()).map(|_| ()).unwrap_err().to_string()
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        k: u32,
        #[serde(default)]
        threshold: Option<f32>,
        #[serde(default)]
        name: Option<String>,
        #[serde(default)]
        sizes: Vec<(i64, usize)>,
        #[serde(default)]
        kind: Kind,
        #[serde(default, rename = "ignored")]
        _ignored: Anything,
    }

    /// A value that is not looked at.
    #[derive(Debug, Default, Deserialize)]
    struct Anything(IgnoredAny);

    impl PartialEq for Anything {
        fn eq(&self, _: &Self) -> bool {
            true
        }
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    enum Kind {
        #[default]
        Plain,
        Scaled(u8),
        Shaped {
            rows: i32,
        },
    }

    #[test]
    fn numbers_are_read_as_python_writes_them_wherever_they_stand() {
        let read = |json: &str| from_slice::<Config>(json.as_bytes()).unwrap();
        let plain = || read(r#"{"k": 7}"#);

        assert_eq!(read("\u{feff}{\"k\": 7.0}"), plain());
        assert_eq!(read(r#"{"k": 7e0, "ignored": [NaN, {"a": -Infinity}]}"#), plain());
        let infinite = Some(f32::NEG_INFINITY);
        assert_eq!(
            read(r#"{"k": 7, "threshold": -Infinity}"#),
            Config { threshold: infinite, ..plain() }
        );
        assert!(read(r#"{"k": 7, "threshold": NaN}"#).threshold.unwrap().is_nan());
        assert_eq!(read(r#"{"k": 7, "threshold": null}"#), plain());
        assert_eq!(read(r#"{"k": 7, "sizes": [[-2.0, 3], [1, 4.0]]}"#).sizes, [(-2, 3), (1, 4)]);
        assert_eq!(read(r#"{"k": 7, "kind": {"Scaled": 2.0}}"#).kind, Kind::Scaled(2));
        assert_eq!(
            read(r#"{"k": 7, "kind": {"Shaped": {"rows": -3.0}}}"#).kind,
            Kind::Shaped { rows: -3 }
        );
        assert_eq!(read(r#"{"k": 7, "name": "NaN"}"#).name.as_deref(), Some("NaN"));
    }

    #[test]
    fn a_number_of_another_kind_is_an_error_with_its_key() {
        for (json, says) in [
            (r#"{"k": 7.5}"#, "k: invalid type: floating point `7.5`, expected u32"),
            (r#"{"k": 1e300}"#, "k: invalid type: floating point `1e+300`, expected u32"),
            (r#"{"k": -1.0}"#, "k: invalid value: integer `-1`, expected u32"),
            (r#"{"k": 4294967296.0}"#, "k: invalid value: integer `4294967296`, expected u32"),
            (r#"{"k": NaN}"#, "k: invalid type: floating point `NaN`, expected u32"),
            (r#"{"k": "7"}"#, "k: invalid type: string \"7\", expected u32"),
            (r#"{"k": 7, "name": NaN}"#, "name: invalid type: floating point `NaN`"),
            (r#"{"k": 7, "name": Infinity}"#, "name: invalid type: floating point `inf`"),
            (r#"{"k": 7, "threshold": "NaN"}"#, "threshold: invalid type: string \"NaN\""),
            (r#"{"k": 7, "sizes": [[1, 2], [NaN, 1]]}"#, "sizes[1][0]: invalid type"),
            (r#"{"k": 7, "other": NaN}"#, "unknown field `other`"),
            (r#"{"k": 7, "ignored": nan}"#, "expected ident"),
            (r#"{"k": 7, "ignored": Infinit}"#, "expected value"),
            (r#"{"k": 7, "ignored": +Infinity}"#, "expected value"),
            (r#"{"k": 7, "ignored": NaN"#, "EOF"),
            (r#"{"k": 7, "ignored": NaN} 1"#, "trailing characters"),
            ("\u{feff}\u{feff}{\"k\": 7}", "expected value"),
            ("", "EOF"),
        ] {
            let found = error::<Config>(json);
            assert!(found.contains(says), "{json}: {found}");
        }
    }

    #[test]
    fn a_value_keeps_what_json_has_no_number_for() {
        #[derive(Deserialize)]
        struct Rest {
            #[serde(flatten)]
            others: BTreeMap<String, Value>,
        }
        let text = br#"{"k": 7.0, "threshold": Infinity}"#;

        let value: Value = from_slice(text).unwrap();
        let rest: Rest = from_slice(text).unwrap();

        assert_eq!(unmarked(value.clone()), json!({"k": 7.0, "threshold": "Infinity"}));
        assert_eq!(rest.others["threshold"], value["threshold"]);
        let config: Config = from_value(value).unwrap();
        assert_eq!((config.k, config.threshold), (7, Some(f32::INFINITY)));
    }
}
