use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RuntimeError};

/// Returns a number that identifies the SAE of `model` at `hook`.
///
/// It is a hash of the hook point, the number of features and the rounded norms of a few weights, so it is
/// the same on every backend.
///
/// # Errors
/// [`RuntimeError`] if the hook point has no SAE.
pub fn fingerprint(model: &InterpretableModel, hook: HookPoint) -> Result<u64, RuntimeError> {
    let sae = model.sae(hook)?;
    let few: Vec<usize> = (0..sae.config().d_sae().min(16)).collect();
    let mut hash = mix(sae.config().d_sae() as u64);
    hook.to_string().bytes().for_each(|byte| hash = mix(hash ^ u64::from(byte)));
    let refused = |source| RuntimeError::NoSuchFeature { hook, source };
    for geometry in sae.geometry(&few).map_err(refused)? {
        for norm in [geometry.decoder_norm, geometry.encoder_norm] {
            // Backends sum in different orders, so the last digits are left out.
            hash = mix(hash ^ u64::from((norm * 1000.0).round() as i64 as u32));
        }
    }
    Ok(hash)
}

/// One step of SplitMix64 (Steele et al. 2014): increment and finalizer.
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
