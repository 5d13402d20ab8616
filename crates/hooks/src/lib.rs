//! Hook points of a transformer, and routers that record or change activations at them.
//!
//! A model calls [`HookRouter::route`] once at each named activation; the router can read the tensor,
//! replace it, or pass it through. `()` is the router that passes everything through, at no cost.
//!
//! ```
//! use burn::tensor::Tensor;
//! use nanoscope_hooks::{HookPoint, HookRouter, ActivationRecorder};
//!
//! # fn main() -> Result<(), nanoscope_hooks::HookError> {
//! let device = nanoscope_testing::test_device();
//! let point: HookPoint = "blocks.2.hook_resid_post".parse()?;
//! let mut recorder = ActivationRecorder::new([point]);
//!
//! // At this point of its forward pass a model calls the router:
//! let x = Tensor::<3>::from_floats([[[1.0, 2.0]]], &device);
//! let x = recorder.route(point, x);
//!
//! let cache = recorder.finish()?;
//! let recorded: Tensor<3> = cache.get(point).unwrap().tensor();
//! assert_eq!(recorded.into_data(), x.into_data());
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows neither models nor files. A model defines which points it has and what their
//! tensors mean (`docs/hook-points.md`).

mod error;
mod patch;
mod point;
mod point_serde;
mod record;
mod router;
mod similar;

pub use error::HookError;
pub use patch::Patch;
pub use point::HookPoint;
pub use record::{Activation, ActivationCache, ActivationRecorder};
pub use router::HookRouter;
pub use similar::{did_you_mean, most_similar};
