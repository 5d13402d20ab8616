//! The weights of an SAE, and how files store them.

use nanoscope_sae::SaeConfig;

use crate::container::Order;

/// A weight of an SAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    WEnc,
    BEnc,
    WDec,
    BDec,
    Threshold,
    RMag,
    BMag,
    WGate,
    BGate,
    WSkip,
}

/// The storage of a weight in a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum StoredWeight {
    /// As a tensor, which is multiplied by `times`.
    Tensor { name: String, order: Order, times: f32 },
    /// As a tensor of logarithms.
    Log { name: String },
    /// As a tensor of one number, which is multiplied by `times` and used for all entries.
    Scalar { name: String, times: f32 },
    /// Not at all: all entries are this number.
    Constant(f32),
}

impl StoredWeight {
    pub(crate) fn tensor(name: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), order: Order::AsStored, times: 1.0 }
    }

    pub(crate) fn transposed(name: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), order: Order::Transposed, times: 1.0 }
    }

    /// The name of the tensor, if there is one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Tensor { name, .. } | Self::Log { name } | Self::Scalar { name, .. } => {
                Some(name)
            }
            Self::Constant(_) => None,
        }
    }
}

impl Weight {
    /// The shape of the weight in an SAE of this configuration.
    pub(crate) fn shape(self, config: &SaeConfig) -> Vec<usize> {
        let (d_in, d_sae, d_out) = (config.d_in(), config.d_sae(), config.d_out());
        match self {
            Self::WEnc | Self::WGate => vec![d_in, d_sae],
            Self::WDec => vec![d_sae, d_out],
            Self::WSkip => vec![d_in, d_out],
            Self::BDec => vec![d_out],
            Self::BEnc | Self::Threshold | Self::RMag | Self::BMag | Self::BGate => vec![d_sae],
        }
    }
}

/// The weights that every SAE has, under their usual names and used as `x · W`.
pub(crate) fn usual_weights() -> Vec<(Weight, StoredWeight)> {
    vec![
        (Weight::WEnc, StoredWeight::tensor("W_enc")),
        (Weight::BEnc, StoredWeight::tensor("b_enc")),
        (Weight::WDec, StoredWeight::tensor("W_dec")),
        (Weight::BDec, StoredWeight::tensor("b_dec")),
    ]
}

/// The weights of an SAE made of two PyTorch linear layers, `[d_out, d_in]`.
pub(crate) fn linear_weights(encoder: &str, decoder: &str) -> Vec<(Weight, StoredWeight)> {
    vec![
        (Weight::WEnc, StoredWeight::transposed(format!("{encoder}.weight"))),
        (Weight::BEnc, StoredWeight::tensor(format!("{encoder}.bias"))),
        (Weight::WDec, StoredWeight::transposed(format!("{decoder}.weight"))),
        (Weight::BDec, StoredWeight::tensor(format!("{decoder}.bias"))),
    ]
}
