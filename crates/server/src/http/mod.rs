//! The HTTP layer between connections and handlers: limits, checks, headers and the log.

pub(crate) mod auth;
pub(crate) mod body;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod connection;
pub(crate) mod headers;
pub(crate) mod log;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod open_files;
pub(crate) mod origin;
