use burn::tensor::Tensor;

/// What `torch.nn.functional.rms_norm` adds when it is given no epsilon: float32's machine epsilon.
const EPSILON: f32 = f32::EPSILON;

/// Root-mean-square norm over the last dimension, without weights: `x / sqrt(mean(x²) + ε)`.
///
/// As in Zhang & Sennrich 2019 (arXiv:1910.07467) and nanochat, `ε` is [`f32::EPSILON`].
///
/// # Shapes
/// - `x`: `[.., d]`; the output has the same shape
pub fn rms_norm<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let mean_square = x.clone().square().mean_dim(D - 1);
    x / (mean_square + EPSILON).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_divided_by_its_root_mean_square() {
        let device = nanoscope_device::for_tests();
        let x = Tensor::<2>::from_floats([[3.0, 4.0], [0.0, 0.0]], &device);

        let out = rms_norm(x).into_data().try_to_vec::<f32>().unwrap();

        let rms = 12.5_f32.sqrt();
        assert!((out[0] - 3.0 / rms).abs() < 1e-6 && (out[1] - 4.0 / rms).abs() < 1e-6);
        assert_eq!(&out[2..], [0.0, 0.0]);
    }

    #[test]
    fn the_epsilon_is_float32s_and_not_a_larger_one() {
        let device = nanoscope_device::for_tests();
        let x = Tensor::<2>::from_floats([[1e-3, 1e-3]], &device);

        let out = rms_norm(x).into_data().try_to_vec::<f32>().unwrap();

        // 1e-3 / sqrt(1e-6 + 1.1920929e-7)
        assert!((out[0] - 0.945_254).abs() < 1e-5, "{}", out[0]);
    }
}
