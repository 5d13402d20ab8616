use burn::tensor::{DType, Tensor};

/// Reads the numbers of `x` to the host as float32, row-major. Waits for the device.
///
/// Numbers that are in the host's memory already, and used by nobody else, are not copied.
pub fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data_dtype(DType::F32).try_into_vec().expect("the numbers were converted to float32")
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::test_device;

    use super::*;

    #[test]
    fn numbers_are_read_in_the_order_of_their_shape() {
        let x = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &test_device());

        assert_eq!(to_host(x.clone()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(to_host(x.clone().transpose()), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(to_host(x.slice_dim(1, 1..2)), [2.0, 5.0]);
    }
}
