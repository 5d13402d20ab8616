//! `nanoscope attribute`: the features that made a token likely.

mod args;
mod command;
mod graph;
mod html;
mod lines;

pub(crate) use args::AttributeArgs;
pub(crate) use command::{attribute, causes_text};
