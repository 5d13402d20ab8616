//! The commands, each with its flags.

pub(crate) mod attribute;
pub(crate) mod collect;
pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod dashboard;
pub(crate) mod encode;
pub(crate) mod eval;
pub(crate) mod features;
pub(crate) mod generate;
pub(crate) mod hooks;
pub(crate) mod index;
pub(crate) mod inspect;
pub(crate) mod interruption;
pub(crate) mod label;
pub(crate) mod man;
pub(crate) mod metric;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod site;
pub(crate) mod sweep;
pub(crate) mod train;
pub(crate) mod unsteered;
