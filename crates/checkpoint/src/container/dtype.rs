//! The element types of tensors in files.

use std::fmt;

use crate::container::weight_dtype::WeightDtype;

/// The element type of a tensor in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Dtype {
    F64,
    F32,
    F16,
    BF16,
    /// 8 bits with a mantissa of 3, without infinities: `float8_e4m3fn`.
    F8E4M3,
    /// 8 bits with a mantissa of 2: `float8_e5m2`.
    F8E5M2,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
    /// A type that is not read, by the name that its container has for it. To read the tensor is an
    /// error.
    Unread(&'static str),
}

impl Dtype {
    /// Bytes per element; 0 for a type that is not read.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::F8E4M3 | Self::F8E5M2 | Self::I8 | Self::U8 | Self::Bool => 1,
            Self::Unread(_) => 0,
        }
    }

    /// True for the types of 8 bits whose numbers files often scale.
    pub(crate) fn is_float8(self) -> bool {
        matches!(self, Self::F8E4M3 | Self::F8E5M2)
    }

    /// True for the types of floating-point numbers.
    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16) || self.is_float8()
    }

    /// The type of weights in memory that has the same numbers in the same bytes, if there is one.
    pub(crate) fn weight(self) -> Option<WeightDtype> {
        match self {
            Self::F32 => Some(WeightDtype::F32),
            Self::F16 => Some(WeightDtype::F16),
            Self::BF16 => Some(WeightDtype::BF16),
            _ => None,
        }
    }

    pub(super) fn from_safetensors(dtype: safetensors::Dtype) -> Self {
        use safetensors::Dtype;
        match dtype {
            Dtype::F64 => Self::F64,
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::F8_E4M3 => Self::F8E4M3,
            Dtype::F8_E5M2 => Self::F8E5M2,
            Dtype::I64 => Self::I64,
            Dtype::I32 => Self::I32,
            Dtype::I16 => Self::I16,
            Dtype::I8 => Self::I8,
            Dtype::U8 => Self::U8,
            Dtype::BOOL => Self::Bool,
            Dtype::F8_E8M0 => Self::Unread("F8_E8M0"),
            Dtype::F8_E4M3FNUZ => Self::Unread("F8_E4M3FNUZ"),
            Dtype::F8_E5M2FNUZ => Self::Unread("F8_E5M2FNUZ"),
            Dtype::F6_E2M3 => Self::Unread("F6_E2M3"),
            Dtype::F6_E3M2 => Self::Unread("F6_E3M2"),
            Dtype::F4 => Self::Unread("F4"),
            Dtype::C64 => Self::Unread("C64"),
            Dtype::U16 => Self::Unread("U16"),
            Dtype::U32 => Self::Unread("U32"),
            Dtype::U64 => Self::Unread("U64"),
            _ => Self::Unread("of an unknown type"),
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F64 => "f64",
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F8E4M3 => "f8_e4m3",
            Self::F8E5M2 => "f8_e5m2",
            Self::I64 => "i64",
            Self::I32 => "i32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::U8 => "u8",
            Self::Bool => "bool",
            Self::Unread(name) => name,
        })
    }
}
