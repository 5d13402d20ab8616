//! Checks of fields that several endpoints share.

use nanoscope_hooks::HookPoint;

use crate::error::ApiError;
use crate::served_model::ServedModel;

/// Maximum number of prompts per request.
const MAX_PROMPTS: usize = 64;

/// Checks that `name` refers to the served model.
///
/// # Errors
/// 400 about `field` if it does not.
pub(crate) fn check_model(served: &ServedModel, name: &str, field: &str) -> Result<(), ApiError> {
    if served.is_called(name) {
        return Ok(());
    }
    let message = format!("{field}: this server serves the model `{}`, not `{name}`", served.name);
    Err(ApiError::bad_request(message).with_param(field))
}

/// Finds the SAE with Neuronpedia's source id `id`.
///
/// # Errors
/// 400 about `field` if it does not exist.
pub(crate) fn find_source(
    served: &ServedModel,
    id: &str,
    field: &str,
) -> Result<HookPoint, ApiError> {
    served.find_sae(id).ok_or_else(|| {
        let known: Vec<String> =
            served.model.saes().keys().map(|&h| ServedModel::source_id(h)).collect();
        let message = format!("{field}: unknown source `{id}`; available: {}", list(&known));
        ApiError::bad_request(message).with_param(field)
    })
}

/// Checks that the SAE at `hook` has the feature `index`.
///
/// # Errors
/// 400 about `field` if it does not.
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
    let message =
        format!("{field}: unknown feature {index}; {source} has features 0 to {}", d_sae - 1);
    Err(ApiError::bad_request(message).with_param(field))
}

/// Checks the number of prompts.
///
/// # Errors
/// 400 if there are none or too many.
pub(crate) fn check_prompts(prompts: Option<&[String]>) -> Result<&[String], ApiError> {
    let prompts = prompts.ok_or_else(|| missing("prompts"))?;
    match prompts.len() {
        0 => Err(ApiError::bad_request("prompts: empty").with_param("prompts")),
        1..=MAX_PROMPTS => Ok(prompts),
        found => {
            let message = format!("prompts: at most {MAX_PROMPTS} are allowed, found {found}");
            Err(ApiError::bad_request(message).with_param("prompts"))
        }
    }
}

/// 400 for a missing field.
pub(crate) fn missing(field: &str) -> ApiError {
    ApiError::bad_request(format!("{field}: missing field `{field}`")).with_param(field)
}

/// The names as a list for a message.
pub(crate) fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
