//! OpenAI's interface: models, completions and chat completions.

mod answer;
mod causes;
mod chat;
mod choice;
mod completions;
mod extension;
mod logprobs;
mod models;
mod neutral;
mod prompt_score;
mod request;
mod respond;
mod routes;

pub(crate) use extension::shortest_decimal;
pub(crate) use routes::routes;
