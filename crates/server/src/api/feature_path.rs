use nanoscope_hooks::HookPoint;

use crate::error::ApiError;
use crate::served_model::ServedModel;

/// Finds the feature that a path names.
///
/// # Errors
/// 404 if the SAE or the feature does not exist.
pub(crate) fn find_feature(
    served: &ServedModel,
    (source, index): (&str, &str),
) -> Result<(HookPoint, u32), ApiError> {
    let hook = served.find_sae(source);
    let hook = hook.ok_or_else(|| ApiError::not_found(format!("unknown source `{source}`")))?;
    let d_sae = served.model.saes()[&hook].config().d_sae();
    let found = index.parse().ok().filter(|&index: &u32| (index as usize) < d_sae);
    let unknown = || {
        let id = ServedModel::source_id(hook);
        ApiError::not_found(format!(
            "unknown feature `{index}`; {id} has features 0 to {}",
            d_sae - 1
        ))
    };
    Ok((hook, found.ok_or_else(unknown)?))
}
