//! Sparse autoencoders of any tool: finding, loading and saving them.

#[cfg(feature = "gpt")] // Only `inspect` shows them.
mod facts;
mod find;
mod formats;
mod load;
mod path_names;
mod sae_file;
mod save;

#[cfg(feature = "gpt")]
pub(crate) use find::find_saes;
pub use formats::nanochat_sae::save_nanochat_sae;
pub use load::{LoadedSae, SaePath, load_sae, load_sae_as, load_saes, load_saes_as};
#[cfg(feature = "gpt")]
pub(crate) use load::{is_sae, open_sae_in};
pub use sae_file::Place;
pub use save::saelens::save_saelens;
