//! The server as clients meet it: real connections to a small model with random weights.

mod answers;
mod client;
mod lab;
mod limits;
mod refusals;
