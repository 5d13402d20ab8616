//! Nanoscope's own interface: the served model, features, labels and metrics.

mod about;
mod document;
mod feature;
mod feature_path;
mod features;
mod labels;
mod metrics;
mod routes;
#[cfg(test)]
mod tests;

pub(crate) use routes::routes;
