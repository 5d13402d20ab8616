//! A model with its SAEs in a browser, with the interface of `nanoscope serve`.
//!
//! The page's worker gives the bytes of the files to `Files`, opens a `Server` on them and sends the page's
//! requests to `Server::answer`: the same paths, bodies and events as over HTTP, because the same code answers
//! them (`nanoscope_server::InProcess`). This program exists only on WebAssembly. On other targets the crate has
//! the [`site_files`] that surround it, from which `nanoscope site` writes the site.

#[cfg(target_arch = "wasm32")]
mod error;
#[cfg(target_arch = "wasm32")]
mod files;
#[cfg(target_arch = "wasm32")]
mod open;
#[cfg(target_arch = "wasm32")]
mod panic;
#[cfg(target_arch = "wasm32")]
mod server;
#[cfg(not(target_arch = "wasm32"))]
mod site_files;

#[cfg(target_arch = "wasm32")]
pub use error::OpenError;
#[cfg(target_arch = "wasm32")]
pub use files::Files;
#[cfg(target_arch = "wasm32")]
pub use server::{Answer, Server};
#[cfg(not(target_arch = "wasm32"))]
pub use site_files::site_files;
