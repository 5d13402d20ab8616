//! Tensors read as numbers of fewer bits.

use burn::tensor::TensorData;

use crate::container::convert::Order;
use crate::container::{TensorFile, WeightDtype};
use crate::error::CheckpointError;

impl TensorFile {
    /// As [`read`](Self::read), with the numbers rounded to `dtype`. A mapped file that has them in this type
    /// and order is not copied. Otherwise only the result and one chunk are in memory, except for a
    /// transposed tensor.
    ///
    /// # Errors
    /// As [`read`](Self::read); also if a number does not fit `dtype`.
    pub(crate) fn read_as(
        &self,
        name: &str,
        expected: &[usize],
        order: Order,
        dtype: WeightDtype,
    ) -> Result<TensorData, CheckpointError> {
        if dtype == WeightDtype::F32 {
            return self.read(name, expected, order);
        }
        let mut bytes = Vec::new();
        if order == Order::AsStored {
            let info = self.info_of_shape(name, expected)?;
            if info.dtype.weight() == Some(dtype)
                && let Some(data) = self.mapped(name, expected)?
            {
                return Ok(data);
            }
            let len = info.len();
            bytes.reserve_exact(len * dtype.burn().size());
            let (mut done, mut bad) = (0, None);
            self.for_each_chunk(name, &mut |values| {
                if let Err(at) = dtype.append(values, &mut bytes) {
                    bad = bad.or(Some((done + at, values[at])));
                }
                done += values.len();
            })?;
            if let Some((at, value)) = bad {
                return Err(self.cannot_hold(name, at, (value, dtype)));
            }
        } else {
            let data = self.read(name, expected, order)?;
            let values = data.as_slice::<f32>().expect("tensors are read as float32");
            bytes.reserve_exact(size_of_val(values) / 2);
            let appended = dtype.append(values, &mut bytes);
            appended.map_err(|at| {
                self.cannot_hold(name, index_in_file(at, expected, order), (values[at], dtype))
            })?;
        }
        Ok(TensorData::from_bytes_vec(bytes, expected.to_vec(), dtype.burn()))
    }

    /// As [`read_as`](Self::read_as), with the numbers multiplied by `times` before they are rounded.
    ///
    /// # Errors
    /// As [`read_as`](Self::read_as); also if a product does not fit `dtype`.
    #[cfg(feature = "sae")]
    pub(crate) fn read_times(
        &self,
        name: &str,
        expected: &[usize],
        order: Order,
        dtype: WeightDtype,
        times: f32,
    ) -> Result<TensorData, CheckpointError> {
        if times == 1.0 {
            return self.read_as(name, expected, order, dtype);
        }
        let data = self.read(name, expected, order)?;
        let products: Vec<f32> = data.iter::<f32>().map(|value| value * times).collect();
        let bytes = dtype.encode(&products);
        let bytes = bytes.map_err(|at| {
            self.cannot_hold(name, index_in_file(at, expected, order), (products[at], dtype))
        })?;
        Ok(TensorData::from_bytes_vec(bytes, expected.to_vec(), dtype.burn()))
    }

    /// The error of a number at `at` of the tensor `name` that does not fit a type.
    pub(crate) fn cannot_hold(
        &self,
        name: &str,
        at: usize,
        number: (f32, WeightDtype),
    ) -> CheckpointError {
        CheckpointError::cannot_hold(self.path(), name, at, number)
    }
}

/// Returns the index in the file of the number at `at` in memory.
fn index_in_file(at: usize, expected: &[usize], order: Order) -> usize {
    match (order, expected) {
        (Order::Transposed, &[rows, columns]) => at % columns * rows + at / columns,
        _ => at,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use burn::tensor::AllocationProperty;
    use half::{bf16, f16};
    use safetensors::tensor::TensorView;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn numbers_of_the_files_type_and_order_are_mapped_and_others_are_converted() {
        let numbers = [1.0, -2.5, 0.375, 4.0, 0.0, 3.0];
        let f32s: Vec<u8> = numbers.iter().flat_map(|x: &f32| x.to_le_bytes()).collect();
        let bf16s: Vec<u8> =
            numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
        let f16s: Vec<u8> = numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        let views = [
            ("f32", TensorView::new(safetensors::Dtype::F32, vec![2, 3], &f32s).unwrap()),
            ("bf16", TensorView::new(safetensors::Dtype::BF16, vec![2, 3], &bf16s).unwrap()),
            ("f16", TensorView::new(safetensors::Dtype::F16, vec![2, 3], &f16s).unwrap()),
        ];
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("a.safetensors");
        fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let file = TensorFile::open(&path).unwrap();

        for name in ["f32", "bf16", "f16"] {
            for dtype in [WeightDtype::F32, WeightDtype::BF16, WeightDtype::F16] {
                let data = file.read_as(name, &[2, 3], Order::AsStored, dtype).unwrap();
                assert_eq!(data.dtype(), dtype.burn());
                assert!(data.iter::<f32>().eq(numbers), "{name} as {dtype}");
                let is_mapped = data.into_bytes().property() == AllocationProperty::File;
                assert_eq!(is_mapped, name == dtype.to_string(), "{name} as {dtype}");
            }
            let turned = file.read_as(name, &[3, 2], Order::Transposed, WeightDtype::BF16).unwrap();
            assert!(turned.iter::<f32>().eq([1.0, 4.0, -2.5, 0.0, 0.375, 3.0]), "{name}");
        }
    }
}
