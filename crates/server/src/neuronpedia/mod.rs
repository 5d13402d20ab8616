//! Neuronpedia's inference interface: its paths, its JSON, its conventions.
//!
//! Facts are those of `apps/inference` of hijohnnylin/neuronpedia: fields are camelCase, snake_case is
//! accepted, and what is optional and not there is left out.

mod activation;
mod all;
mod meta;
mod prompt;
mod steer;
mod steer_chat;
mod steer_plan;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::routing::{get, post};
use nanoscope_hooks::HookPoint;

use crate::error::ApiError;
use crate::served_model::Scope;
use crate::state::AppState;

/// Prompts of one request at most.
const MOST_PROMPTS: usize = 64;

/// The routes.
pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/v1/activation/all", post(all::all))
        .route("/v1/activation/all-batch", post(all::all_batch))
        .route("/v1/activation/single", post(activation::single))
        .route("/v1/activation/single-batch", post(activation::single_batch))
        .route("/v1/activation/topk-by-token", post(activation::top_k))
        .route("/v1/activation/topk-by-token-batch", post(activation::top_k_batch))
        .route("/v1/activation/source", post(activation::source))
        .route("/v1/steer/completion", post(steer::completion))
        .route("/v1/steer/completion-chat", post(steer_chat::completion_chat))
        .route("/v1/tokenize", post(meta::tokenize))
        .route("/v1/capabilities", get(meta::capabilities))
}

/// Checks that `name` is this server's model.
fn check_model(scope: &Scope, name: &str, field: &str) -> Result<(), ApiError> {
    if scope.is_called(name) {
        return Ok(());
    }
    let message = format!("{field}: this server has the model `{}`, not `{name}`", scope.name);
    Err(ApiError::bad(message).of(field))
}

/// The SAE that `id` names.
fn find_source(scope: &Scope, id: &str, field: &str) -> Result<HookPoint, ApiError> {
    scope.source(id).ok_or_else(|| {
        let known: Vec<String> = scope.model.saes().keys().map(|&h| Scope::source_id(h)).collect();
        let message = format!("{field}: no source `{id}`; there are {}", list(&known));
        ApiError::bad(message).of(field)
    })
}

fn check_feature(
    scope: &Scope,
    hook: HookPoint,
    index: usize,
    field: &str,
) -> Result<u32, ApiError> {
    let d_sae = scope.model.saes()[&hook].config().d_sae();
    if index < d_sae {
        return Ok(index as u32);
    }
    let source = Scope::source_id(hook);
    let message = format!("{field}: {source} has no feature {index}, it has 0 to {}", d_sae - 1);
    Err(ApiError::bad(message).of(field))
}

fn check_prompts(prompts: Option<&[String]>) -> Result<&[String], ApiError> {
    let prompts = prompts.ok_or_else(|| missing("prompts"))?;
    match prompts.len() {
        0 => Err(ApiError::bad("prompts: there is none").of("prompts")),
        1..=MOST_PROMPTS => Ok(prompts),
        found => {
            let message = format!("prompts: there are {found}, a request takes {MOST_PROMPTS}");
            Err(ApiError::bad(message).of("prompts"))
        }
    }
}

fn missing(field: &str) -> ApiError {
    ApiError::bad(format!("{field}: missing field `{field}`")).of(field)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
