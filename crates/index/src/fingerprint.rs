use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RuntimeError};

/// Returns a number that identifies the SAE of `model` at `hook`.
///
/// It is a hash of the hook point, the architecture, the number of features and the SAE's
/// [landmarks](nanoscope_sae::Sae::landmarks), so it is the same on every backend and for every type that the weights
/// are rounded to.
///
/// # Errors
/// [`RuntimeError`] if the hook point has no SAE.
pub fn fingerprint(model: &InterpretableModel, hook: HookPoint) -> Result<u64, RuntimeError> {
    let sae = model.sae(hook)?;
    let architecture = sae.config().architecture();
    let sizes = [sae.config().d_sae(), architecture.k().unwrap_or(0)];
    let text = format!("{hook} {}", architecture.name());
    let numbers = sizes.into_iter().map(|size| size as u64).chain(text.bytes().map(u64::from));
    let landmarks = sae.landmarks();
    let all = numbers.chain(landmarks.iter().map(|&place| u64::from(place)));
    Ok(all.fold(0, |hash, number| mix(hash ^ number)))
}

/// One step of SplitMix64 (Steele et al. 2014): increment and finalizer.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
