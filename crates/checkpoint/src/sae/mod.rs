//! Sparse autoencoders of any tool: finding, loading and saving them.

mod activation_scale;
#[cfg(feature = "gpt")] // Only `inspect` shows them.
mod facts;
mod find;
mod formats;
mod load;
mod metadata;
mod path_names;
mod sae_file;
mod sae_hooks;
mod save;
mod site;
mod stored_weight;
mod weight_processing;
mod whitening;

pub use activation_scale::{ActivationScale, ActivationScaleError};
#[cfg(feature = "gpt")]
pub(crate) use find::find_saes;
pub use formats::{SaeFormatName, UnknownSaeFormat};
#[cfg(feature = "gpt")]
pub(crate) use formats::{guesses, is_sae, open_sae_in, unwrapped};
pub use load::{
    LoadedSae, SaeOptions, SaePath, load_sae, load_sae_as, load_sae_with, load_saes,
    load_saes_by_path, load_saes_with,
};
pub use metadata::Metadata;
pub use sae_hooks::SaeHooks;
pub use save::{
    SaveForm, is_saved_sae, is_saved_saelens, save_nanochat_sae, save_nanochat_sae_with_metadata,
    save_sae, save_saelens, save_saelens_with_metadata,
};
#[cfg(feature = "gpt")]
pub(crate) use site::Site;
pub use weight_processing::{WeightProcessing, WeightProcessingError};
