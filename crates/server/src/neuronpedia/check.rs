//! Checks of a request's fields that several paths have.

use nanoscope_hooks::HookPoint;

use crate::error::ApiError;
use crate::served_model::ServedModel;

/// Prompts of one request at most.
const MAX_PROMPTS: usize = 64;

/// Checks that `name` is this server's model.
pub(crate) fn check_model(served: &ServedModel, name: &str, field: &str) -> Result<(), ApiError> {
    if served.is_called(name) {
        return Ok(());
    }
    let message = format!("{field}: this server has the model `{}`, not `{name}`", served.name);
    Err(ApiError::bad_request(message).with_param(field))
}

/// The SAE that `id` names.
pub(crate) fn find_source(
    served: &ServedModel,
    id: &str,
    field: &str,
) -> Result<HookPoint, ApiError> {
    served.find_sae(id).ok_or_else(|| {
        let known: Vec<String> =
            served.model.saes().keys().map(|&h| ServedModel::source_id(h)).collect();
        let message = format!("{field}: no source `{id}`; there are {}", list(&known));
        ApiError::bad_request(message).with_param(field)
    })
}

pub(crate) fn check_feature(
    served: &ServedModel,
    hook: HookPoint,
    index: usize,
    field: &str,
) -> Result<u32, ApiError> {
    let d_sae = served.model.saes()[&hook].config().d_sae();
    if index < d_sae {
        return Ok(index as u32);
    }
    let source = ServedModel::source_id(hook);
    let message = format!("{field}: {source} has no feature {index}, it has 0 to {}", d_sae - 1);
    Err(ApiError::bad_request(message).with_param(field))
}

pub(crate) fn check_prompts(prompts: Option<&[String]>) -> Result<&[String], ApiError> {
    let prompts = prompts.ok_or_else(|| missing("prompts"))?;
    match prompts.len() {
        0 => Err(ApiError::bad_request("prompts: there is none").with_param("prompts")),
        1..=MAX_PROMPTS => Ok(prompts),
        found => {
            let message = format!("prompts: there are {found}, a request takes {MAX_PROMPTS}");
            Err(ApiError::bad_request(message).with_param("prompts"))
        }
    }
}

pub(crate) fn missing(field: &str) -> ApiError {
    ApiError::bad_request(format!("{field}: missing field `{field}`")).with_param(field)
}

pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
