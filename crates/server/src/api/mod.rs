//! Nanoscope's own interface: the served model, features, labels and metrics.

mod about;
mod attribute;
mod document;
mod feature;
mod feature_path;
mod features;
mod labels;
mod metrics;
mod routes;
#[cfg(test)]
mod tests;

pub(crate) use attribute::{answer, check_memory, name_causes, refuse};
pub(crate) use routes::routes;
