//! Heat maps: features in rows, tokens in columns, darker where the activation is larger.
//!
//! A column is as wide as its token, so that the tokens read as text; where the text is wider than the
//! page, the map goes on in a further band below.

mod bands;
mod figure;
mod file;
mod grid;
mod map;
mod png;
mod shown;
mod svg;
mod text;
mod tokens;

pub(crate) use file::HeatMapFile;
pub(crate) use map::HeatMap;
pub(crate) use svg::escaped;
pub use tokens::{HeatMapToken, as_svg};
