//! Writing SAEs in the formats of other tools.

pub(crate) mod pt;
pub(crate) mod saelens;
mod saved_weight;

pub(crate) use saved_weight::SavedWeight;
