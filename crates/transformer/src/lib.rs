//! Decoder-only transformers, with a hook at every named activation.
//!
//! There is one forward pass; its [`GptConfig`] describes the parts that a family of models has. The
//! [`Era`] of a nanochat checkpoint determines its configuration.
//!
//! ```
//! use nanoscope_transformer::{Era, Gpt, GptShape, Logits, TokenBatch};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = nanoscope_testing::test_device();
//! let shape = GptShape {
//!     sequence_len: 32, vocab_size: 50, n_layer: 2, n_head: 2, n_kv_head: 1, n_embd: 64,
//! };
//! let config = Era::E6.config(shape, Some("SL"))?;
//! let model = Gpt::random(config, 7, &device);
//! let tokens = TokenBatch::new(&[vec![3, 1, 4, 1, 5]])?;
//!
//! let logits = model.forward(&tokens, Logits::All, &mut ())?;
//! assert_eq!(logits.dims(), [1, 5, 50]);
//!
//! // Running token by token with a key-value cache gives the same logits.
//! let mut cache = model.cache(1, 32);
//! let mut last = None;
//! for token in [3, 1, 4, 1, 5] {
//!     let step = TokenBatch::new(&[vec![token]])?;
//!     last = Some(model.forward_cached(&step, &mut cache, Logits::Last, &mut ())?);
//! }
//! let difference = (last.unwrap() - logits.slice([0..1, 4..5])).abs().max().into_scalar::<f32>();
//! assert!(difference < 1e-4);
//! # Ok(())
//! # }
//! ```
//!
//! This crate reads no files (weights are supplied by a [`WeightSource`]), and knows neither SAEs nor
//! tokenizers.

mod attention;
mod block;
mod cache;
mod centre;
mod config;
mod embed;
mod era;
mod error;
mod gpt;
mod hook_shape;
mod linear;
mod load;
mod mlp;
mod norm;
mod params;
mod random;
mod rope;
mod stream;
mod tokens;
mod weights;

pub use cache::{KvCache, KvTail, Prefix};
pub use config::{
    Activation, AttentionConfig, EmbeddingConfig, GptConfig, GptShape, LayerConfig, MlpConfig,
    NormConfig, NormKind, QkNorm, ResidualMix, RopeConfig, RopeScaling, RopeTables, ValueEmbeds,
};
pub use era::Era;
pub use error::{ConfigError, GptError};
pub use gpt::{Gpt, Logits};
pub use hook_shape::HookShape;
pub use nanoscope_kernels::Matrix;
pub use params::{Layout, ParamSpec};
pub use stream::StreamInput;
pub use tokens::TokenBatch;
pub use weights::{Weight, WeightSource};
