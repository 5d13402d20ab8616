//! `nanoscope features`.

mod command;
mod json;
mod lines;
mod page;
mod text;

pub(crate) use self::command::{features, labelled, page, sae_at};
