//! Shared by the tests, benches and fuzz targets of this workspace; never published.
//!
//! - [`test_device`]: the device that `NANOSCOPE_TEST_DEVICE` names
//! - [`tiny_gpt`], [`byte_tokenizer`], [`identity_sae`], [`noisy_sae`]: models small enough for a
//!   debug build
//! - [`gguf`], [`npy`]: files of arrays, broken ones included
//! - [`pickle`](mod@pickle): pickles and `.pt` files written by hand, broken ones included
//! - [`nanoscope!`]: runs of the program
//! - [`ChatEndpoint`]: a language model that answers from a rule
//!
//! ```
//! use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};
//!
//! let device = test_device();
//! let gpt = tiny_gpt(TINY_SHAPE, &device);
//! let sae = identity_sae(TINY_SHAPE.n_embd, 4, &device);
//! assert_eq!(gpt.config().shape.n_embd, sae.config().d_in());
//! ```
//!
//! A crate's integration tests can use all of it. The unit tests of a crate that this one depends on
//! are compiled against another copy of their own crate, so there only [`test_device`],
//! [`gguf`], [`npy`], [`pickle`](mod@pickle) and [`nanoscope!`] fit.

mod arrays;
mod chat_endpoint;
mod device;
mod gpt;
pub mod pickle;
mod program;
mod sae;
mod tokenizer;

pub use arrays::{gguf, npy};
pub use chat_endpoint::{ChatEndpoint, ChatReply, ChatRequest};
pub use device::test_device;
pub use gpt::{TINY_SHAPE, tiny_gpt};
pub use program::{Nanoscope, Outcome};
pub use sae::{identity_sae, noise, noisy_sae, scaled_identity_sae};
pub use tokenizer::{SPECIAL_TOKENS, byte_tokenizer};
