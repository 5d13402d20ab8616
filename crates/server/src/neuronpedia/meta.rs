//! `tokenize` and `capabilities`.

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::all::MAX_RESULTS;
use super::check::check_model;
use super::prompt::{note_special_tokens, token_text, tokenizer};
use crate::error::ApiError;
use crate::http::body;
use crate::served_model::ServedModel;
use crate::state::AppState;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TokenizeRequest {
    model: String,
    text: String,
    #[serde(alias = "prepend_bos")]
    prepend_bos: Option<bool>,
    #[serde(alias = "special_tokens")]
    special_tokens: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tokenized {
    tokens: Vec<u32>,
    token_strings: Vec<String>,
    prepend_bos: bool,
}

/// `POST /v1/tokenize`
pub(crate) async fn tokenize(
    state: AppState,
    body::Json(request): body::Json<TokenizeRequest>,
) -> Result<Json<Tokenized>, ApiError> {
    let work = move |state: &AppState| {
        let served = &*state.served;
        check_model(served, &request.model, "model")?;
        let tokenizer = tokenizer(served)?;
        let bos = request.prepend_bos != Some(false) && tokenizer.bos().is_some();
        let special = request.special_tokens.unwrap_or(false);
        let tokens = match (bos, special) {
            (true, _) => served.encode_prompt(&request.text, special),
            (false, true) => tokenizer.encode_with_special_tokens(&request.text),
            (false, false) => tokenizer.encode(&request.text),
        };
        let tokens = tokens.map_err(|error| ApiError::from_error(&error).with_param("text"))?;
        if !special {
            note_special_tokens(served, &request.text);
        }
        let token_strings = tokens.iter().map(|&id| token_text(tokenizer, id)).collect();
        Ok(Tokenized { tokens, token_strings, prepend_bos: bos })
    };
    // Beside the passes of other requests, because it needs none.
    Ok(Json(state.run_blocking(work).await?))
}

/// `GET /v1/capabilities`; its fields are in snake_case, as in Neuronpedia.
pub(crate) async fn capabilities(state: AppState) -> Json<Value> {
    let (served, limits) = (&state.served, &state.config.limits);
    let config = served.model.gpt().config();
    let shape = &config.shape;
    let has_sae = !served.model.saes().is_empty();
    let points: Vec<String> = config.hook_points().map(|hook| hook.to_string()).collect();
    let mut sets: Vec<String> =
        served.model.saes().keys().map(|&hook| ServedModel::source_set(hook)).collect();
    sets.sort();
    sets.dedup();
    Json(json!({
        "model": served.name,
        "backend": "nanoscope",
        "max_concurrent_requests": limits.rows,
        "max_tokens": limits.max_tokens,
        "token_limit": served.model.context_len(),
        "activation_token_limit": served.model.context_len(),
        "max_num_results": MAX_RESULTS,
        "capture_points": points,
        "num_layers": shape.n_layer,
        "sae_sets": sets,
        "endpoints": {
            "tokenize": true,
            "activation_single": true,
            "activation_all": has_sae,
            "activation_source": has_sae,
            "activation_topk_by_token": has_sae,
            "activation_raw": false,
            "activation_attention": false,
            "dfa": false,
            "steer_completion": true,
            "steer_completion_chat": true,
            "lens_logit": false,
            "lens_jacobian": false,
            "neurons": false,
        },
    }))
}
