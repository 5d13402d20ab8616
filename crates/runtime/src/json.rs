//! Building blocks of the JSON forms.

use std::fmt;
use std::marker::PhantomData;

use nanoscope_hooks::HookPoint;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::steering::SyntaxError;

/// An index or a count. JSON has a single number type, so 3.0 is accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Index(pub(crate) usize);

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// 2^64, the smallest number that is too large.
        const BEYOND: f64 = 18_446_744_073_709_551_616.0;

        struct Whole;

        impl Visitor<'_> for Whole {
            type Value = Index;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number from 0")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Index, E> {
                value.try_into().map(Index).map_err(|_| E::custom(format!("{value} is too large")))
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Index, E> {
                if value.fract() == 0.0 && (0.0..BEYOND).contains(&value) {
                    self.visit_u64(value as u64)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Float(value), &self))
                }
            }
        }

        deserializer.deserialize_u64(Whole)
    }
}

/// A finite float32, written with the fewest digits that round-trip.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Number(pub(crate) f32);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let exact = f64::from(self.0);
        let short = self.0.to_string().parse().unwrap_or(exact);
        // Rounded to few digits, the largest float32 would be out of range.
        let in_range = short.abs() <= f64::from(f32::MAX);
        serializer.serialize_f64(if in_range { short } else { exact })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = f64::deserialize(deserializer)?;
        let value = read as f32;
        if value.is_finite() {
            Ok(Self(value))
        } else {
            Err(D::Error::custom(format!("{read:e} is not a finite float32 number")))
        }
    }
}

/// Reads a value that may be absent, but not null.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Reads an object and rejects a list, which serde's derive would accept as the fields in order.
/// Errors describe the object as `expected`.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
) -> Result<T, D::Error> {
    struct Object<T>(&'static str, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(expected, PhantomData))
}

/// Parses the name of a hook point.
pub(crate) fn hook(name: &str) -> Result<HookPoint, SyntaxError> {
    name.parse().map_err(|error| SyntaxError::Hook { text: name.to_owned(), error })
}

/// Converts an error for serde, which keeps only the message.
pub(crate) fn custom<E: serde::de::Error>(error: SyntaxError) -> E {
    E::custom(error)
}
