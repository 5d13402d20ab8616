//! One label in a file.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// A label in a file; `None` for null, and for the NaN that Python's tables have in empty cells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Label(pub(super) Option<String>);

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrNull;

        impl Visitor<'_> for TextOrNull {
            type Value = Label;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Label, E> {
                Ok(Label(Some(text.to_owned())))
            }

            fn visit_unit<E: Error>(self) -> Result<Label, E> {
                Ok(Label(None))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Label, E> {
                if number.is_nan() {
                    return Ok(Label(None));
                }
                Err(E::invalid_type(Unexpected::Float(number), &self))
            }
        }

        // As a float, because only a float can be NaN.
        from.deserialize_f64(TextOrNull)
    }
}
