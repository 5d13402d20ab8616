//! Agreement with the reference implementations, from a forward pass to training and evaluation.
//!
//! All of it is one binary, because on a GPU each process compiles its kernels anew.
//! `NANOSCOPE_TEST_DEVICE` names the device. With `--nocapture` every measured error is printed with
//! its tolerance.

mod attribution;
mod batch;
mod cache;
mod dispatches;
mod eras;
mod evaluate;
mod families;
mod features;
mod golden;
mod hooks;
mod hugging_face;
mod more_eras;
mod reads;
mod sae_formats;
mod sae_misreadings;
mod saes;
mod saved_saes;
mod selection;
mod steering;
mod stories;
mod training;
mod worked;
