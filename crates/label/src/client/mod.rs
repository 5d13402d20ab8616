//! The client of a chat endpoint.

mod chat;
mod client_with_retries;
mod endpoint;
mod retry;

pub use chat::Usage;
pub use client_with_retries::{Answer, Client, ClientOptions};
pub use endpoint::Endpoint;
