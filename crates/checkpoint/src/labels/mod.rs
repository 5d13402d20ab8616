//! Texts that say what features mean.

mod feature_labels;
mod neuronpedia;

pub use feature_labels::{LABELS_FILE, Labels};
