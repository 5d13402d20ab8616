//! Operations of transformers and sparse autoencoders in one pass over their numbers.
//!
//! On burn's flex backend an operation is a kernel with the widest vector instructions of the machine, on all
//! threads where the work is large enough; products that are faster in burn are burn's. On other backends, and
//! where a gradient is recorded, burn's own operations do the same, composed here or, for [`attention_pattern`]
//! and [`multiply_sparse`], by the caller. The results agree within float32 noise, and do not depend on the
//! number of threads.

#![allow(
    clippy::inline_always,
    reason = "a kernel is compiled for the vector instructions that its caller chose"
)]
#![allow(clippy::result_large_err, reason = "a tensor that a kernel cannot take is given back")]

mod attend;
mod attention_pattern;
mod exp;
mod flex;
mod host;
mod log_sum_exp;
mod matrix;
mod matrix_view;
mod multiply;
mod product;
mod rms_norm;
mod rotate;
mod simd;
mod softcap;
mod sparse;
mod stored;
#[cfg(all(target_arch = "wasm32", feature = "webgpu"))]
mod suspend;
mod team;
mod with_gradient;

pub use attend::{Cached, attend};
pub use attention_pattern::attention_pattern;
pub use exp::{exp, tanh};
pub use flex::is_plain as has_kernels;
pub use host::{read_together, reads, to_host};
pub use log_sum_exp::{LogSumExp, log_sum_exp, sum};
pub use matrix::{HostMatrix, Matrix, is_host};
pub use matrix_view::{MatrixView, Order};
pub use multiply::multiply;
pub use rms_norm::rms_norm;
pub use rotate::rotate;
pub use softcap::softcap;
pub use sparse::{SparseRows, multiply_sparse};
pub use stored::{Stored, widen};
pub use team::each_chunk;
