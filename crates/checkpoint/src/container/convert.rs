//! Conversion of bytes to float32.

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};
use half::{bf16, f16};

use crate::container::dtype::Dtype;

/// The orientation of a matrix in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As in memory.
    AsStored,
    /// Transposed.
    Transposed,
}

/// Converts the bytes of a tensor to float32 data of shape `expected`, without a copy if they are
/// float32 already.
///
/// # Errors
/// The index, in the file's order, of a number that is not finite.
pub(crate) fn owned(
    bytes: Vec<u8>,
    dtype: Dtype,
    expected: &[usize],
    order: Order,
) -> Result<TensorData, usize> {
    if (dtype, order) == (Dtype::F32, Order::AsStored)
        && let Ok(values) = bytemuck::try_cast_slice::<u8, f32>(&bytes)
    {
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => return Err(at),
            None => {
                // Not `from_bytes_vec`, which copies data that are not aligned to 64 bytes. The
                // alignment checked above is enough for float32.
                let bytes = bytes::Bytes::from(bytes);
                let bytes = Bytes::from_shared(bytes, AllocationProperty::Native);
                return Ok(TensorData::from_bytes(bytes, expected.to_vec(), DType::F32));
            }
        }
    }
    borrowed(&bytes, dtype, expected, order)
}

/// As [`owned`], from borrowed bytes.
pub(crate) fn borrowed(
    bytes: &[u8],
    dtype: Dtype,
    expected: &[usize],
    order: Order,
) -> Result<TensorData, usize> {
    let values = match (order, expected) {
        (Order::Transposed, &[columns, rows]) => {
            numbers(bytes, dtype, Some((rows, columns)), finite)
        }
        _ => numbers(bytes, dtype, None, finite),
    }?;
    Ok(TensorData::new(values, expected.to_vec()))
}

/// Converts numbers of any type to float32, finite or not.
pub(crate) fn floats(bytes: &[u8], dtype: Dtype) -> Vec<f32> {
    numbers(bytes, dtype, None, |value, _| Ok(value)).expect("the check never fails")
}

/// Converts the numbers in `bytes` to float32 and passes each, with its index, through `check`. If
/// `transpose` gives the rows and columns of a matrix, the result is in column-major order.
fn numbers(
    bytes: &[u8],
    dtype: Dtype,
    transpose: Option<(usize, usize)>,
    check: fn(f32, usize) -> Result<f32, usize>,
) -> Result<Vec<f32>, usize> {
    let converter = Converter { bytes, transpose, check };
    match dtype {
        Dtype::F64 => converter.convert(|b| f64::from_le_bytes(b) as f32),
        Dtype::F32 => converter.convert(f32::from_le_bytes),
        Dtype::F16 => converter.convert(|b| f16::from_le_bytes(b).to_f32()),
        Dtype::BF16 => converter.convert(|b| bf16::from_le_bytes(b).to_f32()),
        Dtype::I64 => converter.convert(|b| i64::from_le_bytes(b) as f32),
        Dtype::I32 => converter.convert(|b| i32::from_le_bytes(b) as f32),
        Dtype::I16 => converter.convert(|b| f32::from(i16::from_le_bytes(b))),
        Dtype::I8 => converter.convert(|b| f32::from(i8::from_le_bytes(b))),
        Dtype::U8 | Dtype::Bool => converter.convert(|[b]| f32::from(b)),
    }
}

struct Converter<'a> {
    bytes: &'a [u8],
    transpose: Option<(usize, usize)>,
    check: fn(f32, usize) -> Result<f32, usize>,
}

impl Converter<'_> {
    fn convert<const N: usize>(&self, number: impl Fn([u8; N]) -> f32) -> Result<Vec<f32>, usize> {
        let (numbers, _) = self.bytes.as_chunks::<N>();
        let checked = |at: usize| (self.check)(number(numbers[at]), at);
        match self.transpose {
            Some((rows, columns)) => transposed(rows, columns, checked),
            None => (0..numbers.len()).map(checked).collect(),
        }
    }
}

fn finite(value: f32, at: usize) -> Result<f32, usize> {
    if value.is_finite() { Ok(value) } else { Err(at) }
}

/// Rows read together, so that each cache line is written once.
const BLOCK: usize = 16;

/// Transposes a matrix of `rows` x `columns` numbers; `number` returns the one at an index.
fn transposed(
    rows: usize,
    columns: usize,
    number: impl Fn(usize) -> Result<f32, usize>,
) -> Result<Vec<f32>, usize> {
    let mut out = vec![0.0; rows * columns];
    for from in (0..rows).step_by(BLOCK) {
        let to = (from + BLOCK).min(rows);
        for column in 0..columns {
            for row in from..to {
                out[column * rows + row] = number(row * columns + column)?;
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn a_matrix_is_transposed_whatever_its_size() {
        for (rows, columns) in [(1, 1), (2, 3), (17, 5), (33, 40)] {
            let values: Vec<f32> = (0..rows * columns).map(|at| at as f32).collect();

            let out =
                owned(bytes(&values), Dtype::F32, &[columns, rows], Order::Transposed).unwrap();

            let out = out.try_to_vec::<f32>().unwrap();
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(out[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }

    #[test]
    fn each_number_type_becomes_the_same_float32() {
        let bf16 = [bf16::from_f32(-2.5), bf16::from_f32(3.0)].map(bf16::to_le_bytes).concat();
        let f16 = [f16::from_f32(-2.5), f16::from_f32(3.0)].map(f16::to_le_bytes).concat();
        let f64 = [-2.5_f64, 3.0].map(f64::to_le_bytes).concat();
        for (bytes, dtype) in [
            (bf16, Dtype::BF16),
            (f16, Dtype::F16),
            (f64, Dtype::F64),
            (bytes(&[-2.5, 3.0]), Dtype::F32),
        ] {
            let out = owned(bytes, dtype, &[2], Order::AsStored).unwrap();
            assert_eq!(out.try_to_vec::<f32>().unwrap(), [-2.5, 3.0], "{dtype}");
        }
        let ints = [-2_i64, 3].map(i64::to_le_bytes).concat();
        let out = owned(ints, Dtype::I64, &[2], Order::AsStored).unwrap();
        assert_eq!(out.try_to_vec::<f32>().unwrap(), [-2.0, 3.0]);
    }

    #[test]
    fn a_number_that_is_not_finite_is_found_in_either_orientation() {
        let bytes = bytes(&[1.0, 2.0, f32::NAN, 4.0]);

        assert_eq!(owned(bytes.clone(), Dtype::F32, &[4], Order::AsStored).unwrap_err(), 2);
        assert_eq!(owned(bytes, Dtype::F32, &[2, 2], Order::Transposed).unwrap_err(), 2);
    }
}
