//! Saving SAEs in the formats of other tools, and in our own.

mod form;
mod nanochat_sae;
mod nanoscope;
mod pt;
mod saelens;
mod saved_weight;

pub use form::SaveForm;
pub use nanochat_sae::{save_nanochat_sae, save_nanochat_sae_with_metadata};
pub use nanoscope::{is_saved_sae, save_sae};
pub use saelens::{is_saved_saelens, save_saelens, save_saelens_with_metadata};
