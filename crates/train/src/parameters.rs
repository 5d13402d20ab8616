use burn::tensor::{Device, Tensor, TensorData};

/// The weights of an SAE in training.
///
/// Vectors have shape `[1, n]`, so that one loop handles all weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// The encoder, `[d_sae, d_in]`: a feature's weights are a row, as in the decoder. A product
    /// with its transpose needs no copy, and a feature's gradient is contiguous.
    Encoder,
    /// `[1, d_sae]`; in a gated SAE, the gate's bias.
    EncoderBias,
    /// `[d_sae, d_in]`
    Decoder,
    /// `[1, d_in]`
    DecoderBias,
    /// The logarithms of JumpReLU's thresholds, `[1, d_sae]`.
    LogThreshold,
    /// The gated SAE's `r_mag`, `[1, d_sae]`.
    Magnitude,
    /// The gated SAE's `b_mag`, `[1, d_sae]`.
    MagnitudeBias,
}

impl Weight {
    /// Name in a checkpoint.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::EncoderBias => "encoder_bias",
            Self::Decoder => "decoder",
            Self::DecoderBias => "decoder_bias",
            Self::LogThreshold => "log_threshold",
            Self::Magnitude => "r_mag",
            Self::MagnitudeBias => "b_mag",
        }
    }

    /// Number of rows and columns.
    pub(crate) fn shape(self, d_in: usize, d_sae: usize) -> [usize; 2] {
        match self {
            Self::Encoder | Self::Decoder => [d_sae, d_in],
            Self::DecoderBias => [1, d_in],
            _ => [1, d_sae],
        }
    }
}

/// A tensor for each weight: the weights themselves, their gradients, or Adam's running means.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters(Vec<(Weight, Tensor<2>)>);

impl Parameters {
    pub(crate) fn new(parts: impl IntoIterator<Item = (Weight, Tensor<2>)>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// Returns a handle to the tensor of `part`.
    ///
    /// # Panics
    /// If the method has no such weight.
    pub(crate) fn get(&self, part: Weight) -> Tensor<2> {
        let found = self.0.iter().find(|(of, _)| *of == part);
        found.unwrap_or_else(|| panic!("the method has no {}", part.name())).1.clone()
    }

    pub(crate) fn set(&mut self, part: Weight, value: Tensor<2>) {
        let found = self.0.iter_mut().find(|(of, _)| *of == part);
        found.unwrap_or_else(|| panic!("the method has no {}", part.name())).1 = value;
    }

    /// Removes the tensor of `part`, whose memory is then shared with nobody here.
    ///
    /// # Panics
    /// If the method has no such weight.
    pub(crate) fn take(&mut self, part: Weight) -> Tensor<2> {
        let found = self.0.iter().position(|(of, _)| *of == part);
        self.0.remove(found.unwrap_or_else(|| panic!("the method has no {}", part.name()))).1
    }

    /// Adds the tensor of `part`, which was not there.
    pub(crate) fn insert(&mut self, part: Weight, tensor: Tensor<2>) {
        self.0.push((part, tensor));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Weight, &Tensor<2>)> {
        self.0.iter().map(|(part, tensor)| (*part, tensor))
    }

    /// Maps each tensor. `self` is consumed, so that operations can run in place.
    pub(crate) fn map(self, mut turn: impl FnMut(Weight, Tensor<2>) -> Tensor<2>) -> Self {
        Self(self.0.into_iter().map(|(part, tensor)| (part, turn(part, tensor))).collect())
    }

    /// Returns zeros of the same shapes.
    pub(crate) fn zeros_like(&self) -> Self {
        self.clone().map(|_, tensor| tensor.zeros_like())
    }
}

/// Creates a tensor of `numbers`.
///
/// # Shapes
/// - `numbers`: `[rows, columns]` row-major
pub(crate) fn upload(numbers: Vec<f32>, shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(numbers, shape), device)
}
