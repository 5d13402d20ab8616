//! Labels of features.

mod feature_labels;
mod label;
mod neuronpedia;

pub use feature_labels::{LABELS_FILE, Labels};
