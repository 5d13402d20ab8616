//! Neuronpedia's inference interface: its paths, its JSON, its conventions.
//!
//! Facts are those of `apps/inference` of hijohnnylin/neuronpedia: fields are camelCase, snake_case is
//! accepted, and what is optional and not there is left out.

mod activation;
mod all;
mod check;
mod meta;
mod prompt;
mod routes;
mod steer;
mod steer_chat;
mod steer_plan;
#[cfg(test)]
mod tests;

pub(crate) use routes::routes;
