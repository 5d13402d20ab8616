//! Conversion of bytes to float32.

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use half::{bf16, f16};

use crate::container::dtype::Dtype;
use crate::container::finite::first_not_finite;
use crate::container::float8::{e4m3, e5m2};

/// The orientation of a matrix in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in memory.
    AsStored,
    /// Transposed.
    Transposed,
}

/// Converts the bytes of a tensor to float32 data of shape `shape`, without a copy if they are float32
/// already.
///
/// # Errors
/// The index of a number that is not finite.
pub(crate) fn owned(bytes: Vec<u8>, dtype: Dtype, shape: &[usize]) -> Result<TensorData, usize> {
    if dtype == Dtype::F32
        && let Ok(values) = bytemuck::try_cast_slice::<u8, f32>(&bytes)
    {
        return match first_not_finite(values) {
            Some(at) => Err(at),
            None => {
                // Not `from_bytes_vec`, which copies data that are not aligned to 64 bytes. The
                // alignment checked above is enough for float32.
                let bytes = bytes::Bytes::from(bytes);
                let bytes = Bytes::from_shared(bytes, AllocationProperty::Native);
                Ok(TensorData::from_bytes(bytes, shape.to_vec(), DType::F32))
            }
        };
    }
    borrowed(&bytes, dtype, shape)
}

/// As [`owned`], from borrowed bytes.
pub(crate) fn borrowed(bytes: &[u8], dtype: Dtype, shape: &[usize]) -> Result<TensorData, usize> {
    let values = floats(bytes, dtype);
    match first_not_finite(&values) {
        Some(at) => Err(at),
        None => Ok(TensorData::new(values, shape.to_vec())),
    }
}

/// Converts numbers of any type to float32, finite or not.
///
/// # Panics
/// If the type is not read.
pub(crate) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    match dtype {
        Dtype::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
        Dtype::F8E4M3 => each(bytes, |[b]| e4m3(b)),
        Dtype::F8E5M2 => each(bytes, |[b]| e5m2(b)),
        Dtype::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 | Dtype::Bool => each(bytes, |[b]| f32::from(b)),
        Dtype::Unread(name) => unreachable!("a tensor of {name} is refused before it is read"),
    }
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| number(bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_type_becomes_the_same_float32() {
        let bf16 = [bf16::from_f32(-2.5), bf16::from_f32(3.0)].map(bf16::to_le_bytes).concat();
        let f16 = [f16::from_f32(-2.5), f16::from_f32(3.0)].map(f16::to_le_bytes).concat();
        let f64 = [-2.5_f64, 3.0].map(f64::to_le_bytes).concat();
        let f32 = [-2.5_f32, 3.0].map(f32::to_le_bytes).concat();
        for (bytes, dtype) in [
            (bf16, Dtype::BF16),
            (f16, Dtype::F16),
            (f64, Dtype::F64),
            (f32, Dtype::F32),
            (vec![0xc2, 0x44], Dtype::F8E4M3),
            (vec![0xc1, 0x42], Dtype::F8E5M2),
        ] {
            let out = owned(bytes, dtype, &[2]).unwrap();
            assert_eq!(out.try_to_vec::<f32>().unwrap(), [-2.5, 3.0], "{dtype}");
        }
        let ints = [-2_i64, 3].map(i64::to_le_bytes).concat();
        let out = owned(ints, Dtype::I64, &[2]).unwrap();
        assert_eq!(out.try_to_vec::<f32>().unwrap(), [-2.0, 3.0]);
    }

    #[test]
    fn a_number_that_is_not_finite_is_found_in_every_number_type() {
        let bf16 = [1.0, f32::INFINITY].map(|v| bf16::from_f32(v).to_le_bytes()).concat();
        let f16 = [1.0, f32::NAN].map(|v| f16::from_f32(v).to_le_bytes()).concat();
        for (bytes, dtype) in [
            (bf16, Dtype::BF16),
            (f16, Dtype::F16),
            // Finite, but not as float32.
            ([1.0, 1e300_f64].map(f64::to_le_bytes).concat(), Dtype::F64),
            ([1.0, f32::NEG_INFINITY].map(f32::to_le_bytes).concat(), Dtype::F32),
            (vec![0x38, 0xff], Dtype::F8E4M3),
            (vec![0x3c, 0xfc], Dtype::F8E5M2),
        ] {
            assert_eq!(owned(bytes.clone(), dtype, &[2]).unwrap_err(), 1, "{dtype}");
            assert_eq!(borrowed(&bytes, dtype, &[2]).unwrap_err(), 1, "{dtype}");
        }
    }
}
