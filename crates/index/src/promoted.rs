use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::{InterpretableModel, LogitEffect, RuntimeError, logit_effects};

/// Returns the `n` tokens that each of `features` of the SAE at `hook` promotes and suppresses most: its
/// decoder row through the unembedding, less the mean over the vocabulary. Both lists are empty if the SAE
/// does not write to the residual stream.
///
/// # Errors
/// [`RuntimeError`] if the model lacks an SAE at `hook`, or the SAE one of the features.
pub fn promoted(
    model: &InterpretableModel,
    hook: HookPoint,
    features: &[usize],
    n: usize,
) -> Result<Vec<LogitEffect>, RuntimeError> {
    let nothing = LogitEffect { promoted: Vec::new(), suppressed: Vec::new() };
    if features.is_empty() {
        return Ok(Vec::new());
    }
    let sae = model.sae(hook)?;
    let refused = |source| RuntimeError::NoSuchFeature { hook, source };
    let directions = sae.directions(features).map_err(refused)?;
    let Ok(effects) = logit_effects(model.gpt(), model.write_point(hook), directions) else {
        return Ok(vec![nothing; features.len()]);
    };
    let [_, vocab] = effects.dims();
    Ok(to_host(effects).chunks_exact(vocab).map(|row| LogitEffect::from_effects(row, n)).collect())
}
