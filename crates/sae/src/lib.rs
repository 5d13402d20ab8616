//! Sparse autoencoders: activations to features, and back.
//!
//! ```
//! use burn::tensor::Tensor;
//! use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
//!
//! # fn main() -> Result<(), nanoscope_sae::SaeError> {
//! let device = nanoscope_testing::test_device();
//! let config = SaeConfig::new(2, 3, Architecture::Relu)?;
//! let sae = Sae::new(config, SaeWeights::new(
//!     Tensor::from_floats([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]], &device), // W_enc
//!     Tensor::from_floats([0.0, -1.0, 0.0], &device), // b_enc
//!     Tensor::from_floats([[1.0, 0.0], [0.0, 1.0], [-0.5, -0.5]], &device), // W_dec
//!     Tensor::from_floats([0.0, 0.0], &device), // b_dec
//! ))?;
//!
//! let x = Tensor::<2>::from_floats([[2.0, 3.0]], &device);
//! let features = sae.encode_sparse(x.clone())?;
//! assert_eq!(features.row(0).collect::<Vec<_>>(), [(0, 2.0), (1, 2.0)]);
//!
//! let decoded = sae.decode_sparse(&features, x).into_data().try_to_vec::<f32>().unwrap();
//! assert_eq!(decoded, [2.0, 2.0]);
//! # Ok(())
//! # }
//! ```
//!
//! This crate does no IO and knows no transformer. The hook point that an SAE belongs to and the file
//! it came from are tracked by its owner.

mod config;
mod config_serde;
mod decoder;
mod encoder;
mod encoding;
mod error;
mod finite;
mod fold;
mod geometry;
mod host_vectors;
mod matching_pursuit;
mod normalize;
mod sae;
mod select;
mod sparse;
mod sparse_serde;
mod top_k;
mod weights;

pub use config::{Architecture, Normalization, SaeConfig};
pub use encoding::Encoding;
pub use error::SaeError;
pub use geometry::Geometry;
pub use sae::Sae;
pub use sparse::SparseFeatures;
pub use top_k::{Selection, top_k};
pub use weights::{GateWeights, MagnitudeWeights, SaeWeights};
