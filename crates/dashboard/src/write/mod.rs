//! Writes dashboards: the folder of pages and the export for Neuronpedia.

mod data;
mod folder;
mod layout;
mod neuronpedia;
mod page_options;
mod siblings;

pub(crate) use data::{FORMAT, VERSION};
pub use folder::{check_output_dir, labels_file};
pub(crate) use layout::{ABOUT, DATA, MAX_ABOUT_BYTES};
pub use neuronpedia::Export;
pub use page_options::{PageOptions, SteerCommand, Written};
