//! A microscope for small language models: open a model with its sparse autoencoders (SAEs), track
//! their features while it generates, and steer it by them.
//!
//! ```no_run
//! use nanoscope::{Microscope, Plan, Sampling, device};
//!
//! # fn main() -> nanoscope::Result<()> {
//! let scope = Microscope::open("models/demo", &device("auto")?)?.with_saes(["models/demo/saes"])?;
//! let plan = Plan::new().track_all().intervene("blocks.3.hook_resid_post:1909:add:30%".parse()?);
//! for step in scope.generate("Once upon a time", &plan, &Sampling::greedy(20))? {
//!     println!("{:?} {:?}", step.text, scope.strongest(&step, 3)?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! This crate joins [`nanoscope_checkpoint`], which reads and writes files, with
//! [`nanoscope_runtime`], which runs a model with its SAEs; neither knows the other. It re-exports
//! the types of a program that opens, tracks, steers and generates, and [`burn`] in the version that
//! they use. A program that needs SAEs alone depends on `nanoscope-checkpoint` (feature `sae`) and
//! `nanoscope-sae` instead.

mod error;
mod microscope;
mod open;
mod saes;
mod vector_file;

pub use burn;
pub use nanoscope_checkpoint::{
    ActivationScale, CheckpointError, Family, Fit, InspectOptions, Labels, LoadOptions,
    LoadedModel, LoadedSae, MatrixDtype, Metadata, ModelFiles, ModelKind, SaeFileError,
    SaeFormatName, SaeHooks, SaeOptions, SaePath, SaveForm, WeightDtype, WeightProcessing,
    WeightProcessingError, fits, load_sae, load_sae_with, load_saes, load_saes_with,
    load_tokenizer, load_vector, save_model, save_nanochat_sae, save_nanochat_sae_with_metadata,
    save_sae, save_saelens, save_saelens_with_metadata, save_tokenizer,
};
#[cfg(all(target_arch = "wasm32", feature = "webgpu"))]
pub use nanoscope_device::of_browser as device_of_browser;
pub use nanoscope_device::{DeviceError, available as available_devices, by_name as device};
pub use nanoscope_hooks::{
    Activation, ActivationCache, ActivationRecorder, HookError, HookPoint, HookRouter, Patch,
};
pub use nanoscope_index::{
    Evidence, FeatureIndex, FeatureNames, Hit, Search, SearchOptions, SharedText, SteeringShares,
};
pub use nanoscope_runtime::{
    ActiveFeatures, Batch, Condition, EndReason, Generation, InterpretableModel, Intervention,
    InterventionReport, Op, Plan, PositionRange, Positions, RunOutput, RuntimeError, Sampling,
    Scale, Splice, Step, SyntaxError, Target, VectorName,
};
pub use nanoscope_sae::{
    Architecture, GateWeights, MagnitudeWeights, Normalization, Sae, SaeConfig, SaeError,
    SaeWeights, SparseFeatures,
};
pub use nanoscope_tokenizer::{TokenId, Tokenizer, TokenizerError};
pub use nanoscope_transformer::{
    ConfigError, Era, Gpt, GptConfig, GptError, Logits, Matrix, ParamSpec, TokenBatch, Weight,
};

pub use error::{Error, ProcessingError, Result};
pub use microscope::{FeatureName, Microscope, MicroscopeParts, NamedFeature, Origin};
pub use open::OpenOptions;
pub use vector_file::VectorFile;
