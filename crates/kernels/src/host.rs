use std::cell::Cell;

use burn::tensor::{DType, Tensor, TensorData, Transaction};

thread_local! {
    static READS: Cell<u64> = const { Cell::new(0) };
}

/// Reads the numbers of `x` to the host as float32, row-major. Waits for the device.
///
/// Numbers that are in the host's memory already, and used by nobody else, are not copied.
pub fn to_host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    count_read();
    #[cfg(not(all(target_arch = "wasm32", feature = "webgpu")))]
    let data = x.into_data();
    #[cfg(all(target_arch = "wasm32", feature = "webgpu"))]
    let data = crate::suspend::read(x.into_data_async());
    data.convert_dtype(DType::F32).try_into_vec().expect("the numbers were converted to float32")
}

/// Reads several tensors to the host as [`to_host`] does, waiting for the device once.
pub fn read_together(tensors: Vec<Tensor<1>>) -> Vec<Vec<f32>> {
    // Converted on the device, where it is needed: a transaction reads numbers as they are.
    let float32 = |x: Tensor<1>| if x.dtype() == DType::F32 { x } else { x.cast(DType::F32) };
    match <[_; 1]>::try_from(tensors) {
        Ok([only]) => vec![to_host(only)],
        Err(tensors) if tensors.is_empty() => Vec::new(),
        Err(tensors) => {
            count_read();
            let register = |all: Transaction, x| all.register(float32(x));
            let all = tensors.into_iter().fold(Transaction::default(), register);
            #[cfg(not(all(target_arch = "wasm32", feature = "webgpu")))]
            let all = all.execute();
            #[cfg(all(target_arch = "wasm32", feature = "webgpu"))]
            let all = crate::suspend::read(all.execute_async());
            let read = |data: TensorData| data.try_into_vec();
            all.into_iter().map(|data| read(data).expect("the numbers are float32")).collect()
        }
    }
}

/// The number of times that this thread has read tensors to the host by this crate's functions, each of which
/// waits for a GPU.
pub fn reads() -> u64 {
    READS.get()
}

fn count_read() {
    READS.set(READS.get() + 1);
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

    #[test]
    fn tensors_are_read_together_as_each_alone_in_one_read() {
        let device = test_device();
        let tensors: Vec<_> = [&[1.0, 2.0][..], &[3.0], &[4.0, 5.0, 6.0]]
            .map(|numbers| Tensor::<1>::from_floats(numbers, &device))
            .to_vec();
        let before = reads();

        let found = read_together(tensors);

        assert_eq!(found, [vec![1.0, 2.0], vec![3.0], vec![4.0, 5.0, 6.0]]);
        assert_eq!(reads() - before, 1);
        assert!(read_together(Vec::new()).is_empty());
        assert_eq!(reads() - before, 1);
    }
}
