//! The number types of weights, in memory and in written files.

use std::fmt;

use burn::tensor::DType;
use half::{bf16, f16};

use crate::container::finite::first_not_below;

/// The number type of matrices, in memory or in a written file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightDtype {
    /// 32 bits, the type of all computation.
    #[default]
    F32,
    /// 16 bits with a mantissa of 10; numbers above 65,504 do not fit.
    F16,
    /// 16 bits with a mantissa of 7.
    BF16,
}

impl WeightDtype {
    pub(crate) fn burn(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// The size of a number in bytes.
    pub fn bytes(self) -> usize {
        self.burn().size()
    }

    /// Converts `values` to this type, little-endian.
    ///
    /// # Errors
    /// The index of a value that is not finite in this type.
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>, usize> {
        let mut out = Vec::with_capacity(values.len() * self.bytes());
        self.append(values, &mut out)?;
        Ok(out)
    }

    /// Appends `values` as numbers of this type, little-endian.
    ///
    /// # Errors
    /// The index of a value that is not finite in this type.
    pub(crate) fn append(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
        if let Some(at) = self.first_not_finite(values) {
            return Err(at);
        }
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Self::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
            Self::BF16 => out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes())),
        }
        Ok(())
    }

    /// Returns the index of the first value that is not finite in this type.
    pub fn first_not_finite(self, values: &[f32]) -> Option<usize> {
        first_not_below(values, self.limit())
    }

    /// The largest number.
    pub fn max(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
        }
    }

    /// The least magnitude that rounds to infinity, half a step above the largest number.
    fn limit(self) -> f32 {
        match self {
            Self::F32 => f32::INFINITY,
            Self::F16 => 65_520.0,
            Self::BF16 => f32::from_bits(0x7f7f_8000),
        }
    }
}

impl fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

/// The number type of a matrix in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatrixDtype {
    /// A type of numbers in files.
    Float(WeightDtype),
    /// 8 bits, with a factor for each row in memory: an output of a linear layer, an entry of a table, or a
    /// feature of an SAE. In the host's memory only.
    Int8,
}

impl MatrixDtype {
    /// The type of numbers in files, if it is one.
    pub fn float(self) -> Option<WeightDtype> {
        match self {
            Self::Float(dtype) => Some(dtype),
            Self::Int8 => None,
        }
    }

    /// The size of a number in bytes.
    pub fn bytes(self) -> usize {
        self.float().map_or(1, WeightDtype::bytes)
    }
}

impl Default for MatrixDtype {
    fn default() -> Self {
        Self::Float(WeightDtype::F32)
    }
}

impl From<WeightDtype> for MatrixDtype {
    fn from(dtype: WeightDtype) -> Self {
        Self::Float(dtype)
    }
}

impl fmt::Display for MatrixDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(dtype) => dtype.fmt(f),
            Self::Int8 => f.write_str("int8"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_fits_exactly_if_it_does_not_round_to_infinity() {
        for dtype in [WeightDtype::F16, WeightDtype::BF16] {
            let rounded = |value: f32| match dtype {
                WeightDtype::F16 => f16::from_f32(value).to_f32(),
                _ => bf16::from_f32(value).to_f32(),
            };
            let limit = dtype.limit();
            for value in [0.0, 1.0, limit.next_down(), limit, limit.next_up(), f32::MAX] {
                for value in [value, -value] {
                    let fits = dtype.first_not_finite(&[value]).is_none();
                    assert_eq!(fits, rounded(value).is_finite(), "{value} as {dtype}");
                }
            }
            assert_eq!(dtype.first_not_finite(&[1.0, f32::NAN]), Some(1));
        }
    }
}
