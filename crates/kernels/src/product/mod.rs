//! Products of rows with a matrix of any stored type: [`MatrixView::multiply`](crate::MatrixView::multiply).

mod by_input;
mod by_output;
mod few_rows;
mod many_rows;
mod panel;

#[cfg(feature = "flex")]
pub(crate) use by_output::Dots;
