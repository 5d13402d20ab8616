use std::convert::Infallible;

use burn::tensor::{Device, Tensor, TensorData};

use crate::config::GptConfig;
use crate::gpt::Gpt;
use crate::params::ParamSpec;
use crate::weights::WeightSource;

impl Gpt {
    /// Creates a model with random weights, for tests and benchmarks. A seed gives the same weights on
    /// every backend. No weight is zero, so each part of the model affects the logits.
    pub fn random(config: GptConfig, seed: u64, device: &Device) -> Self {
        let mut source = RandomWeights { state: seed, device: device.clone() };
        match Self::load(config, &mut source, device) {
            Ok(model) => model,
            Err(never) => match never {},
        }
    }
}

struct RandomWeights {
    state: u64,
    device: Device,
}

impl RandomWeights {
    /// The next number, uniform in -1..1 (`SplitMix64`, Steele et al. 2014).
    fn next(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
    }
}

impl WeightSource for RandomWeights {
    type Error = Infallible;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Infallible> {
        // Scalars around 1, embeddings of unit variance, matrices that keep the variance.
        let d_in = match spec.shape.as_slice() {
            [_] => 4,
            [rows, _] if spec.layout == crate::Layout::Transposed => *rows,
            _ => 1,
        };
        let bound = (3.0 / d_in as f32).sqrt();
        let len = spec.shape.iter().product();
        let values: Vec<f32> = (0..len).map(|_| self.next() * bound).collect();
        Ok(Tensor::from_data(TensorData::new(values, spec.shape.clone()), &self.device))
    }
}
