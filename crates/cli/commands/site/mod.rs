//! `nanoscope site`: the server's page with a model that runs in the browser.

mod args;
mod command;
mod pages;
mod program;
mod store;

pub(crate) use args::SiteArgs;
pub(crate) use command::site;
