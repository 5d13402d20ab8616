//! Two passes over the text: what each feature does on it.

mod example;
mod pairs;
mod passes;
mod quantile;

pub use example::Example;
pub(crate) use pairs::Pair;
pub use passes::Activity;
pub(crate) use passes::{Gathered, gather, tell};
pub use quantile::{QUANTILES, Quantile};
