//! `.pt` files: what their pickles ask for, and the zip around them.

mod files;
mod pickles;
