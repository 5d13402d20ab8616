//! Loss and gradients of a batch, for each method.

mod autodiff;
#[cfg(test)]
mod finite_differences;
mod losses;
mod select;
mod selected;

pub(crate) use autodiff::Dense;
pub(crate) use losses::Pass;
pub(crate) use selected::{Keep, Selected};
