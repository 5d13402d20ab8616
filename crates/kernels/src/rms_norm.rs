use burn::tensor::Tensor;

use crate::attention_pattern::lanes;
use crate::flex;
use crate::simd::{Simd, WithSimd, multiply_add, run};
use crate::team::each_chunk;

/// The number of values that a thread takes at once.
const CHUNK: usize = 1 << 15;

/// Root-mean-square norm over the last dimension, without weights: `x / sqrt(mean(x²) + epsilon)`.
///
/// As in Zhang & Sennrich 2019 (arXiv:1910.07467). In nanochat `epsilon` is [`f32::EPSILON`], the
/// default of `torch.nn.functional.rms_norm`.
///
/// # Shapes
/// - `x`: `[.., d]`; the output has the same shape
pub fn rms_norm<const D: usize>(x: Tensor<D>, epsilon: f32) -> Tensor<D> {
    let d = x.dims()[D - 1];
    let normed = flex::change(x, |values| {
        let rows = (CHUNK / d).max(1);
        each_chunk(values, rows * d, usize::MAX, |_, values| run(Rows { values, d, epsilon }));
    });
    normed.unwrap_or_else(|x| {
        let mean_square = x.clone().square().mean_dim(D - 1);
        x / (mean_square + epsilon).sqrt()
    })
}

struct Rows<'v> {
    values: &'v mut [f32],
    d: usize,
    epsilon: f32,
}

impl WithSimd for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.values.chunks_exact_mut(self.d) {
            let add_square = |sum, x| multiply_add::<S>(x, x, sum);
            let squares = lanes(row, 0.0, add_square, |a, b| a + b);
            let rms = (squares / self.d as f32 + self.epsilon).sqrt();
            for value in row {
                *value /= rms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::test_device;

    use super::*;

    #[test]
    fn a_row_is_divided_by_its_root_mean_square() {
        let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &test_device());

        let out = rms_norm(x, f32::EPSILON).into_data().try_into_vec::<f32>().unwrap();

        let rms = 12.5_f32.sqrt();
        assert!((out[0] - 3.0 / rms).abs() < 1e-6 && (out[1] - 4.0 / rms).abs() < 1e-6);
        assert_eq!(&out[2..], [0.0, 0.0]);
    }

    #[test]
    fn the_epsilon_is_added_to_the_mean_square() {
        let x = Tensor::<2>::from_floats([[1e-3, 1e-3]], &test_device());

        let norm =
            |epsilon| rms_norm(x.clone(), epsilon).into_data().try_into_vec::<f32>().unwrap()[0];

        // 1e-3 / sqrt(1e-6 + 1.1920929e-7), and 1e-3 / sqrt(4e-6)
        assert!((norm(f32::EPSILON) - 0.945_254).abs() < 1e-5, "{}", norm(f32::EPSILON));
        assert!((norm(3e-6) - 0.5).abs() < 1e-5, "{}", norm(3e-6));
    }

    #[test]
    fn many_long_rows_are_normed_as_one_by_one() {
        let device = test_device();
        let numbers = (0..100 * 700).map(|at| (at as f32 * 0.3).sin() * 5.0).collect::<Vec<_>>();
        let x = burn::tensor::TensorData::new(numbers, [100, 700]);
        let x = Tensor::<2>::from_data(x, &device);

        let all = rms_norm(x.clone(), 1e-5).into_data().try_into_vec::<f32>().unwrap();

        for (row, normed) in all.chunks(700).enumerate() {
            let lone = rms_norm(x.clone().slice_dim(0, row..row + 1), 1e-5);
            let lone = lone.into_data().try_into_vec::<f32>().unwrap();
            let square: f32 = normed.iter().map(|x| x * x).sum();
            assert!((square / 700.0 - 1.0).abs() < 1e-4);
            for (all, lone) in normed.iter().zip(&lone) {
                assert!((all - lone).abs() <= 1e-6, "{all} {lone}");
            }
        }
    }
}
