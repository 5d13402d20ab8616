//! The whole microscope against what the reference implementation computed.
//!
//! One binary for everything that runs a model: on a GPU each process compiles its kernels anew.
//! `NANOSCOPE_TEST_DEVICE` chooses the device. `--nocapture` prints every error that was measured
//! beside its tolerance.

mod batch;
mod cache;
mod eras;
mod evaluate;
mod features;
mod golden;
mod hooks;
mod hugging_face;
mod sae_formats;
mod saes;
mod selection;
mod steering;
mod training;
mod worked;
