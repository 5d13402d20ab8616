//! `.pt` files: their pickles, and the zip around them.

mod files;
mod pickles;
