//! A model with its SAEs over HTTP.
//!
//! One process serves one [`Scope`]: any OpenAI client chats with the model and gets the features of
//! every token in the same stream, steers per request; Neuronpedia's clients ask for activations;
//! a browser gets a page. `docs/serving.md` has the interfaces.
//!
//! ```no_run
//! use nanoscope_server::{Config, Scope, serve};
//! # fn model() -> nanoscope_runtime::InterpretableModel { unimplemented!() }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8765").await?;
//! let scope = Scope { model: model(), name: "mine".to_owned(), sources: [].into() };
//! let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! serve(listener, scope, Config::default(), ctrl_c).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Loading models, choosing a device and reading flags is the caller's.

mod app;
mod auth;
mod body;
mod config;
mod error;
mod extension;
mod headers;
mod labels;
mod log;
mod metrics;
mod neuronpedia;
mod openai;
mod origin;
mod own;
mod page;
mod passes;
mod patient;
#[cfg(test)]
mod samples;
mod scheduler;
mod scope;
mod serve;
mod state;
mod stop_strings;

pub use config::{Config, Limits};
pub use error::{ApiError, ServeError};
pub use scope::{Scope, Source};
pub use serve::serve;
