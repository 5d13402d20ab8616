//! Writes dashboards: the folder of pages and the export for Neuronpedia.

mod data;
mod folder;
mod neuronpedia;

pub(crate) use data::{FORMAT, VERSION};
pub(crate) use folder::{ABOUT, DATA};
pub use folder::{check_output_dir, labels_file};
pub use neuronpedia::Export;
