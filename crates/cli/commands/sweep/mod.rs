//! `nanoscope sweep`: the effect of an intervention at several strengths.

mod args;
mod chart;
mod command;
mod json;
mod lines;
mod measure;
mod strength;
mod svg;
mod table;
mod ticks;

pub(crate) use args::SweepArgs;
pub(crate) use command::sweep;
