//! A deserializer around another one, for the numbers of Python's JSON.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use crate::python_json::literals::marked_number;

/// Reads marked strings as floats and whole floats as integers, at every depth.
pub(super) struct Python<D>(pub(super) D);

/// Below this, every whole number is exactly a float.
const MAX_WHOLE: f64 = (1_u64 << f64::MANTISSA_DIGITS) as f64;

/// Methods that only wrap the visitor.
macro_rules! forward {
    ($kind:ident: $($method:ident($($name:ident: $type:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $($name: $type,)* visitor: V) -> Result<V::Value, D::Error> {
            self.0.$method($($name,)* Wrapped { visitor, expected: Expected::$kind })
        }
    )*};
}

/// Methods for numbers, which ask the deserializer for whatever is there.
macro_rules! numbers {
    ($kind:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.0.deserialize_any(Wrapped { visitor, expected: Expected::$kind })
        }
    )*};
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Python<D> {
    type Error = D::Error;

    numbers! { Integer: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
    deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 }
    numbers! { Float: deserialize_f32 deserialize_f64 }
    forward! { Anything: deserialize_any() }
    forward! { Other: deserialize_i128() deserialize_u128() deserialize_bool() deserialize_char()
    deserialize_str() deserialize_string() deserialize_bytes() deserialize_byte_buf()
    deserialize_option() deserialize_unit() deserialize_seq() deserialize_map()
    deserialize_identifier() deserialize_ignored_any()
    deserialize_unit_struct(name: &'static str)
    deserialize_newtype_struct(name: &'static str)
    deserialize_tuple(len: usize)
    deserialize_tuple_struct(name: &'static str, len: usize)
    deserialize_struct(name: &'static str, fields: &'static [&'static str])
    deserialize_enum(name: &'static str, variants: &'static [&'static str]) }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The kind of value that a type asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    Integer,
    Float,
    Other,
    /// Any value. Marked strings are kept, because types that accept every value, like
    /// `serde_json::Value`, would lose a number that is not finite.
    Anything,
}

struct Wrapped<V> {
    visitor: V,
    expected: Expected,
}

impl<'de, V: Visitor<'de>> Wrapped<V> {
    /// Visits a string with `otherwise`, unless it stands for a number.
    fn text<E: Error>(
        self,
        text: &str,
        otherwise: impl FnOnce(V) -> Result<V::Value, E>,
    ) -> Result<V::Value, E> {
        match marked_number(text) {
            Some(number) if self.expected == Expected::Float => self.visitor.visit_f64(number),
            Some(number) if self.expected != Expected::Anything => {
                Err(E::invalid_type(Unexpected::Float(number), &self.visitor))
            }
            _ => otherwise(self.visitor),
        }
    }
}

macro_rules! visit {
    ($($method:ident: $type:ty)*) => {$(
        fn $method<E: Error>(self, value: $type) -> Result<V::Value, E> {
            self.visitor.$method(value)
        }
    )*};
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Wrapped<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    visit! { visit_bool: bool visit_char: char visit_i8: i8 visit_i16: i16 visit_i32: i32
    visit_i64: i64 visit_i128: i128 visit_u8: u8 visit_u16: u16 visit_u32: u32 visit_u64: u64
    visit_u128: u128 visit_f32: f32 visit_bytes: &[u8] visit_borrowed_bytes: &'de [u8]
    visit_byte_buf: Vec<u8> }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        if self.expected == Expected::Integer && value.fract() == 0.0 && value.abs() < MAX_WHOLE {
            return self.visitor.visit_i64(value as i64);
        }
        self.visitor.visit_f64(value)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<V::Value, E> {
        self.text(value, |visitor| visitor.visit_str(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<V::Value, E> {
        self.text(value, |visitor| visitor.visit_borrowed_str(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<V::Value, E> {
        match marked_number(&value) {
            Some(_) => self.visit_str(&value),
            None => self.visitor.visit_string(value),
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Python(value))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, value: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_newtype_struct(Python(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Python(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_map(Python(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, variant: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_enum(Python(variant))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Python<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Python(value))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Python<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Python(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Python<A> {
    type Error = A::Error;

    /// A key is always a string, and never stands for a number.
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Python(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Python<A> {
    type Error = A::Error;
    type Variant = Python<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        self.0.variant_seed(seed).map(|(value, variant)| (value, Python(variant)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Python<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Python(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(len, Wrapped { visitor, expected: Expected::Other })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Wrapped { visitor, expected: Expected::Other })
    }
}
