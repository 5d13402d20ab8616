//! `nanoscope features`.

mod args;
mod command;
mod excerpts;
mod found;
mod json;
mod lines;
mod page;
mod search;
mod text;

pub(crate) use self::args::FeaturesArgs;
pub(crate) use self::command::{features, page};
pub(crate) use self::found::sae_at;
pub(crate) use self::lines::model_flags;
pub(crate) use self::search::found_text;
