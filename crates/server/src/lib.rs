//! A model with its SAEs over HTTP.
//!
//! One process serves one [`Scope`]: any OpenAI client chats with the model and gets the features of
//! every token in the same stream, steers per request; Neuronpedia's clients ask for activations;
//! a browser gets a page. `docs/serving.md` has the interfaces.

mod app;
mod auth;
mod body;
mod config;
mod error;
mod extension;
mod headers;
mod log;
mod metrics;
mod openai;
mod origin;
mod page;
mod patient;
mod scheduler;
mod scope;
mod serve;
mod state;
mod stop_strings;

pub use config::{Config, Limits};
pub use error::{ApiError, ServeError};
pub use scope::{Scope, Source};
pub use serve::serve;
