//! A model with its SAEs over HTTP.
//!
//! One process serves one [`ServedModel`]: any OpenAI client chats with the model and gets the features of
//! every token in the same stream, steers per request; Neuronpedia's clients ask for activations;
//! a browser gets a page. `docs/serving.md` has the interfaces.
//!
//! ```no_run
//! use nanoscope::Microscope;
//! use nanoscope_server::{Config, ServedModel, serve};
//! # fn model() -> nanoscope_runtime::InterpretableModel { unimplemented!() }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8765").await?;
//! let served = ServedModel::new(Microscope::new(model()), "mine".to_owned());
//! let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! serve(listener, served, Config::default(), ctrl_c).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Loading models, choosing a device and reading flags is the caller's.

mod analysis;
mod api;
mod app;
mod clients;
mod config;
mod error;
mod generation;
mod http;
mod in_process;
mod labels;
mod metrics;
mod neuronpedia;
mod openai;
mod page;
mod platform;
#[cfg(not(target_arch = "wasm32"))]
mod serve;
mod served_model;
#[cfg(test)]
mod server_fixture;
mod state;

pub use config::{Config, Limits};
pub use error::{ApiError, ServeError};
pub use in_process::{InProcess, InProcessAnswer, TextWorker};
pub use page::page_files;
#[cfg(not(target_arch = "wasm32"))]
pub use serve::serve;
pub use served_model::{SaeInfo, ServedModel, Topic};
