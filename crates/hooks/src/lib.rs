//! Where a forward pass can be read or changed, and by whom.
//!
//! A model calls [`HookRouter::route`] once at each named activation; the router may look at the
//! tensor, replace it, or do nothing. `()` is the router that does nothing and costs nothing.
//!
//! ```
//! use burn::tensor::Tensor;
//! use nanoscope_hooks::{HookPoint, HookRouter, ActivationRecorder};
//!
//! # fn main() -> Result<(), nanoscope_hooks::HookError> {
//! let device = nanoscope_device::for_tests();
//! let point: HookPoint = "blocks.2.hook_resid_post".parse()?;
//! let mut recorder = ActivationRecorder::new([point]);
//!
//! // What a model does at that place of its forward pass:
//! let x = Tensor::<3>::from_floats([[[1.0, 2.0]]], &device);
//! let x = recorder.route(point, x);
//!
//! let recording = recorder.finish()?;
//! let seen: Tensor<3> = recording.get(point).unwrap().tensor();
//! assert_eq!(seen.into_data(), x.into_data());
//! # Ok(())
//! # }
//! ```
//!
//! This crate knows no model and no file: which points a model has, and what their tensors mean,
//! is the model's to say (`docs/hook-points.md`).

mod error;
mod patch;
mod point;
mod point_serde;
mod record;
mod router;

pub use error::HookError;
pub use patch::Patch;
pub use point::HookPoint;
pub use record::{Activation, ActivationCache, ActivationRecorder};
pub use router::HookRouter;
