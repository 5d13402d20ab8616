//! Collects statistics and examples of features in two passes over the text.

mod example;
mod pairs;
mod passes;
mod quantile;

pub use example::Example;
pub(crate) use pairs::PairCount;
pub use passes::Activity;
pub(crate) use passes::{Gathered, gather, report_progress};
pub use quantile::{QUANTILES, Quantile};
