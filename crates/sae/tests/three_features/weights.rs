//! Weights of 16 bits, and weights of the wrong shape.

use burn::tensor::{DType, Tensor};
use nanoscope_sae::{Architecture, GateWeights, MagnitudeWeights, Sae, SaeWeights};

use crate::{EVERY, assert_close, config, device, sae, values, weights};

#[test]
fn matrices_of_16_bits_compute_as_if_they_were_made_float32_first() {
    // ndarray has no 16-bit numbers, and not every GPU does.
    let device = burn::tensor::Device::flex();
    for architecture in EVERY {
        let full = weights(architecture);
        let on = |x: Tensor<2>| x.to_device(&device);
        let of = |x: Tensor<1>| x.to_device(&device);
        // 0.1 is not exactly representable in 16 bits.
        let rounded = SaeWeights {
            threshold: full.threshold.map(of),
            magnitude: full.magnitude.map(|magnitude| MagnitudeWeights {
                r_mag: of(magnitude.r_mag),
                b_mag: of(magnitude.b_mag),
            }),
            gate: full.gate.map(|gate| GateWeights {
                w_gate: on(gate.w_gate).cast(DType::BF16),
                b_gate: of(gate.b_gate),
            }),
            ..SaeWeights::new(
                (on(full.w_enc) * 1.1).cast(DType::BF16),
                of(full.b_enc),
                (on(full.w_dec) * 1.1).cast(DType::BF16),
                of(full.b_dec),
            )
        };
        let widened = SaeWeights {
            w_enc: rounded.w_enc.clone().cast(DType::F32),
            w_dec: rounded.w_dec.clone().cast(DType::F32),
            gate: rounded
                .gate
                .clone()
                .map(|gate| GateWeights { w_gate: gate.w_gate.cast(DType::F32), ..gate }),
            ..rounded.clone()
        };
        let rows = || Tensor::<2>::from_floats([[3.0, 5.0], [-1.0, -2.0]], &device);
        let half = Sae::new(config(architecture), rounded).unwrap();
        let whole = Sae::new(config(architecture), widened).unwrap();

        assert_eq!(values(half.encode(rows()).unwrap()), values(whole.encode(rows()).unwrap()));
        let decoded = |sae: &Sae| values(sae.decode(sae.encode(rows()).unwrap(), rows()));
        assert_close(&decoded(&half), &decoded(&whole));
        let sparse =
            |sae: &Sae| values(sae.decode_sparse(&sae.encode_sparse(rows()).unwrap(), rows()));
        assert_close(&sparse(&half), &sparse(&whole));
    }
}

#[test]
fn weights_of_another_shape_are_errors_that_name_the_weight() {
    let good = sae(Architecture::Relu);
    let config = good.config().clone();
    let device = device();

    let transposed = SaeWeights { w_enc: good.weights().w_enc.transpose(), ..good.weights() };
    assert_eq!(
        Sae::new(config.clone(), transposed).unwrap_err().to_string(),
        "W_enc has shape [3, 2], expected [2, 3]"
    );
    let skipping = SaeWeights { w_skip: Some(Tensor::zeros([2, 3], &device)), ..good.weights() };
    assert_eq!(
        Sae::new(config.clone().with_skip(), skipping).unwrap_err().to_string(),
        "W_skip has shape [2, 3], expected [2, 2]"
    );
    let gated =
        GateWeights { w_gate: Tensor::zeros([2, 3], &device), b_gate: Tensor::zeros([3], &device) };
    let gated = SaeWeights { gate: Some(gated), ..good.weights() };
    assert_eq!(Sae::new(config, gated).unwrap_err().to_string(), "a relu SAE has no gate weights");
    let jump = Sae::new(self::config(Architecture::JumpRelu), good.weights());
    assert_eq!(jump.unwrap_err().to_string(), "a jumprelu SAE needs threshold");
}
