//! Reads and writes checkpoints, tokenizers and SAEs of many tools, without executing any code in them.
//!
//! ```
//! use nanoscope_checkpoint::{WeightDtype, load_sae, save_nanochat_sae};
//! use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
//! # use burn::tensor::Tensor;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let device = nanoscope_testing::test_device();
//! # let weights = SaeWeights::new(
//! #     Tensor::ones([2, 3], &device), Tensor::zeros([3], &device),
//! #     Tensor::ones([3, 2], &device), Tensor::zeros([2], &device),
//! # );
//! let sae = Sae::new(SaeConfig::new(2, 3, Architecture::Relu)?, weights)?;
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("sae.pt");
//!
//! // Both nanochat-SAE's `load_saes` and this crate read the file.
//! save_nanochat_sae(&path, &sae, "blocks.0.hook_resid_post".parse()?, None, WeightDtype::F32)?;
//! let loaded = load_sae(&path, &device)?;
//! assert_eq!(loaded.hook()?.to_string(), "blocks.0.hook_resid_post");
//! assert_eq!(loaded.sae.config(), sae.config());
//! # Ok(())
//! # }
//! ```
//!
//! This is the only crate that reads other tools' files. It treats them as hostile: a pickle is read as
//! data, a size is trusted only if the file backs it, and an error names the file and the tensor, and
//! the expected and found values. Other crates run models and SAEs.

#[cfg(feature = "sae")]
mod activation_file;
mod container;
mod error;
#[cfg(feature = "sae")]
mod feature_file;
pub mod files;
#[cfg(all(feature = "gpt", feature = "sae"))]
mod fit;
#[cfg(any(feature = "gpt", feature = "sae"))]
mod hub;
#[cfg(all(feature = "gpt", feature = "sae"))]
mod inspect;
#[cfg(feature = "sae")]
mod labels;
#[cfg(feature = "gpt")]
mod model;
pub mod pickle;
pub mod python_json;
mod read;
#[cfg(feature = "sae")]
mod sae;
mod steering_vector;
#[cfg(feature = "gpt")]
mod tokenizer;
mod write;

#[cfg(feature = "sae")]
pub use activation_file::ActivationFile;
pub use container::{Dtype, Order, TensorFile, TensorInfo};
pub use container::{MatrixDtype, WeightDtype};
#[cfg(feature = "sae")]
pub use error::SaeFileError;
pub use error::{CheckpointError, IoProblem};
#[cfg(feature = "sae")]
pub use feature_file::FeatureWriter;
#[cfg(all(feature = "gpt", feature = "sae"))]
pub use fit::{Fit, FitModel, fits};
#[cfg(all(feature = "gpt", feature = "sae"))]
pub use inspect::{InspectOptions, Inspection, TensorLine, inspect, inspect_with};
#[cfg(feature = "sae")]
pub use labels::{
    LABELS_FILE, LabelTextError, Labels, UpdatedLabels, UserLabels, is_invisible, label_text,
    sae_folders, visible_label,
};
#[cfg(feature = "gpt")]
pub use model::{
    Family, LoadOptions, LoadProgress, LoadedModel, ModelFiles, ModelKind, is_saved_model,
    save_model, save_model_with_tokenizer,
};
#[cfg(feature = "gpt")]
pub use nanoscope_tokenizer::MergeError;
pub use read::is_lfs_pointer;
#[cfg(feature = "sae")]
pub use sae::{
    ActivationScale, ActivationScaleError, LoadedSae, Metadata, SaeFormatName, SaeHooks,
    SaeOptions, SaePath, SaveForm, UnknownSaeFormat, WeightProcessing, WeightProcessingError,
    is_saved_sae, is_saved_saelens, load_sae, load_sae_as, load_sae_with, load_saes,
    load_saes_by_path, load_saes_with, save_nanochat_sae, save_nanochat_sae_with_metadata,
    save_sae, save_saelens, save_saelens_with_metadata,
};
pub use steering_vector::load_vector;
#[cfg(feature = "gpt")]
pub use tokenizer::{load_tokenizer, load_tokenizer_for, save_tokenizer};
pub use write::{
    OutputFile, TemporaryFolder, check_folder, check_output_folder, check_writable,
    folder_behind_links, is_stdout, is_temporary, save_tensors, save_tensors_through,
    without_temporaries, write_atomically, write_through,
};
