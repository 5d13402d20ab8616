//! The number types that weights are held and written in.

use std::fmt;

use burn::tensor::DType;
use half::{bf16, f16};

/// The number type of an SAE's matrices, in memory or in a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightDtype {
    /// 32 bits, as everything is computed.
    #[default]
    F32,
    /// 16 bits with 10 of mantissa; numbers above 65,504 do not fit.
    F16,
    /// 16 bits with 7 of mantissa.
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

    /// Bytes of a number.
    pub fn bytes(self) -> usize {
        self.burn().size()
    }

    /// `values` as numbers of this type, little-endian.
    ///
    /// # Errors
    /// The place of one that is not finite as this type.
    pub fn encode(self, values: &[f32]) -> Result<Vec<u8>, usize> {
        let mut out = Vec::with_capacity(values.len() * self.bytes());
        self.append(values, &mut out)?;
        Ok(out)
    }

    /// Appends `values` as numbers of this type, little-endian. The error is the place of one that
    /// is not finite as this type.
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

    /// The place of a number that would not be finite as this type.
    pub fn first_not_finite(self, values: &[f32]) -> Option<usize> {
        let finite = |value: &f32| match self {
            Self::F32 => value.is_finite(),
            Self::F16 => f16::from_f32(*value).is_finite(),
            Self::BF16 => bf16::from_f32(*value).is_finite(),
        };
        values.iter().position(|value| !finite(value))
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
