//! Loss and gradients of a batch, for each method.

#[cfg(test)]
mod agreement;
mod autodiff;
mod closed_form;
mod dense;
mod dense_products;
mod encoder;
mod entries;
#[cfg(test)]
mod finite_differences;
mod losses;
mod rule;
mod rules;
mod select;
mod selected;
mod sparse_products;

pub(crate) use dense::dense;
pub(crate) use losses::{Dense, Pass};
pub(crate) use selected::{Keep, Selected};
