use nanoscope_hooks::HookPoint;

use crate::error::ApiError;
use crate::served_model::ServedModel;

/// The feature that a path names.
pub(crate) fn find(
    served: &ServedModel,
    (source, index): (&str, &str),
) -> Result<(HookPoint, u32), ApiError> {
    let hook = served.find_sae(source);
    let hook = hook.ok_or_else(|| ApiError::not_found("there is no such source"))?;
    let d_sae = served.model.saes()[&hook].config().d_sae();
    let index = index.parse().ok().filter(|&index: &u32| (index as usize) < d_sae);
    let without = || {
        let id = ServedModel::source_id(hook);
        ApiError::not_found(format!("{id} has no such feature, it has 0 to {}", d_sae - 1))
    };
    Ok((hook, index.ok_or_else(without)?))
}
