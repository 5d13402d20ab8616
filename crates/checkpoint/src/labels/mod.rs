//! Labels of features.

mod feature_labels;
mod label;
mod label_text;
mod neuronpedia;
mod sae_identity;
mod user_labels;

pub use feature_labels::{LABELS_FILE, Labels};
pub use label_text::{LabelTextError, is_invisible, label_text, shown as visible_label};
pub use user_labels::{UpdatedLabels, UserLabels, sae_folders};
