//! Search for features by what they write and where they fire.

mod evidence;
mod prior;
mod promotion;
mod rank;
mod word;

pub use evidence::{Evidence, Hit};
pub use rank::{Search, SearchOptions};
