use burn::tensor::Tensor;

use crate::exp::capped;
use crate::flex;
use crate::simd::{Simd, WithSimd, run};
use crate::team::each_chunk;

/// The number of values that a thread takes at once.
const CHUNK: usize = 1 << 14;

/// Computes `cap · tanh(x / cap)`.
///
/// # Shapes
/// - the output has the shape of `x`
pub fn softcap<const D: usize>(x: Tensor<D>, cap: f32) -> Tensor<D> {
    let capped = flex::change(x, |values| {
        each_chunk(values, CHUNK, usize::MAX, |_, values| run(Softcap { values, cap }));
    });
    capped.unwrap_or_else(|x| (x / cap).tanh() * cap)
}

/// The softcap of numbers, in place.
struct Softcap<'v> {
    values: &'v mut [f32],
    cap: f32,
}

impl WithSimd for Softcap<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for value in self.values {
            *value = capped::<S>(*value, self.cap);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use nanoscope_testing::test_device;

    use super::*;

    #[test]
    fn values_are_those_of_the_composed_operations() {
        let numbers: Vec<f32> = (0..40_000).map(|at| (at as f32 - 20_000.0) / 100.0).collect();
        let expected: Vec<f32> = numbers.iter().map(|x| (x / 15.0).tanh() * 15.0).collect();
        let x = Tensor::<2>::from_data(TensorData::new(numbers, [400, 100]), &test_device());

        for x in [x.clone(), x.clone().transpose().mul_scalar(1.0).transpose()] {
            let found = softcap(x, 15.0).into_data().try_into_vec::<f32>().unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-5, "{found} instead of {expected}");
            }
        }
        // `x` is shared, so its own numbers are unchanged.
        assert_eq!(x.into_data().try_into_vec::<f32>().unwrap()[0], -200.0);
    }
}
