//! Saving SAEs in the formats of other tools.

mod nanochat_sae;
mod pt;
mod saelens;
mod saved_weight;

pub use nanochat_sae::{save_nanochat_sae, save_nanochat_sae_with_metadata};
pub use saelens::{is_saved_saelens, save_saelens};
