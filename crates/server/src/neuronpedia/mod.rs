//! Neuronpedia's inference interface.
//!
//! Paths, fields and conventions follow `apps/inference` of hijohnnylin/neuronpedia: fields are
//! camelCase, snake_case is accepted, and absent optional fields are omitted.

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
