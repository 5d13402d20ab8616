//! The forms in which SAEs are saved, and the SAEs that each can hold.

use std::fmt;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, Normalization, Sae};

/// A form in which SAEs are saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaveForm {
    /// SAELens's folder: [`save_saelens`](crate::save_saelens).
    SaeLens,
    /// nanochat-SAE's `.pt` file: [`save_nanochat_sae`](crate::save_nanochat_sae).
    NanochatSae,
    /// Our own folder, which can hold every SAE: [`save_sae`](crate::save_sae).
    Nanoscope,
}

impl fmt::Display for SaveForm {
    /// Writes the name that `nanoscope convert --to` has for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SaeLens => "saelens",
            Self::NanochatSae => "nanochat-sae",
            Self::Nanoscope => "nanoscope-sae",
        })
    }
}

/// The most widely read form, apart from `refused`, that can hold `sae`.
pub(crate) fn instead_of(
    refused: SaveForm,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
) -> SaveForm {
    if refused != SaveForm::SaeLens && in_saelens(sae, hook_out).is_ok() {
        SaveForm::SaeLens
    } else if refused != SaveForm::NanochatSae
        && nanochat_sae_hook(hook).is_some()
        && in_nanochat_sae(sae, hook_out).is_ok()
    {
        SaveForm::NanochatSae
    } else {
        SaveForm::Nanoscope
    }
}

/// Returns SAELens's name for the architecture of `sae`, which writes `hook_out` if that is another
/// point than it reads, or the reason why SAELens computes something else.
pub(crate) fn in_saelens(sae: &Sae, hook_out: Option<HookPoint>) -> Result<&'static str, String> {
    let config = sae.config();
    let is_transcoder = hook_out.is_some() || config.skip();
    let architecture = match (config.architecture(), is_transcoder, config.skip()) {
        (Architecture::Relu, false, _) => "standard",
        (Architecture::Relu, true, false) => "transcoder",
        (Architecture::Relu, true, true) => "skip_transcoder",
        (Architecture::JumpRelu, false, _) => "jumprelu",
        (Architecture::JumpRelu, true, false) => "jumprelu_transcoder",
        (Architecture::JumpRelu, true, true) => "jumprelu_skip_transcoder",
        (Architecture::TopK { .. }, false, _) => "topk",
        (Architecture::AbsTopK { .. }, false, _) => "abstopk",
        (Architecture::Gated, false, _) => "gated",
        (Architecture::MatchingPursuit { .. }, false, _) => {
            check_tied(sae)?;
            "matching_pursuit"
        }
        (Architecture::SignedTopK { .. }, _, _) => {
            let reason = "its top-k sets negative values to 0, but this SAE's keeps them";
            return Err(reason.to_owned());
        }
        (Architecture::SignedGated, _, _) => {
            let reason = "its gated SAEs have a ReLU and no separate gate weights";
            return Err(reason.to_owned());
        }
        (other, true, _) => return Err(format!("it has no {} transcoders", other.name())),
        (other @ Architecture::GroupMax { .. }, false, _) => {
            return Err(format!("it has no {} SAEs", other.name()));
        }
    };
    match config.normalization() {
        // It is folded into the weights.
        Normalization::None | Normalization::ExpectedAverageOnlyIn { .. } => {}
        other if is_transcoder => {
            return Err(format!(
                "it leaves the output of a transcoder with {} normalised",
                other.name()
            ));
        }
        _ => {}
    }
    Ok(architecture)
}

/// Checks that the encoder of matching pursuit is the transposed decoder, as SAELens expects.
fn check_tied(sae: &Sae) -> Result<(), String> {
    let (config, weights) = (sae.config(), sae.weights());
    let other = weights.w_enc.not_equal(weights.w_dec.transpose()).any().into_scalar::<bool>();
    // Its scale would be folded into encoder and decoder in opposite directions.
    if other || config.normalization() != Normalization::None {
        return Err("its matching pursuit has the transposed decoder for an encoder".to_owned());
    }
    let adds = weights.b_dec.not_equal_elem(0.0).any().into_scalar::<bool>();
    if adds && !config.apply_b_dec_to_input() {
        let reason = "its matching pursuit adds b_dec only where it subtracts it from the input";
        return Err(reason.to_owned());
    }
    Ok(())
}

/// Returns nanochat-SAE's name for the activation of `sae`, or the reason why nanochat-SAE computes
/// something else.
pub(crate) fn in_nanochat_sae(
    sae: &Sae,
    hook_out: Option<HookPoint>,
) -> Result<&'static str, String> {
    let config = sae.config();
    if !matches!(
        config.normalization(),
        Normalization::None | Normalization::ExpectedAverageOnlyIn { .. }
    ) {
        let name = config.normalization().name();
        return Err(format!("it does not normalise activations, but this SAE does ({name})"));
    }
    if hook_out.is_some() || config.skip() || config.is_transcoder() {
        return Err("it has no transcoders".to_owned());
    }
    match config.architecture() {
        Architecture::SignedTopK { .. } => Ok("topk"),
        Architecture::Relu => Ok("relu"),
        // The thresholds of the last two become those of a gate.
        Architecture::SignedGated | Architecture::JumpRelu | Architecture::Gated => Ok("gated"),
        Architecture::TopK { .. } => {
            Err("its top-k keeps negative values, but this SAE's does not".to_owned())
        }
        other => Err(format!("it has no {} SAEs", other.name())),
    }
}

/// Returns the name by which nanochat-SAE finds the module that outputs this activation. It
/// supports the outputs of blocks, attentions and MLPs, and mistakes every other name for one of
/// these.
pub(crate) fn nanochat_sae_hook(hook: HookPoint) -> Option<String> {
    match hook {
        HookPoint::ResidPost(_) => Some(hook.to_string()),
        HookPoint::AttnOut(layer) => Some(format!("blocks.{layer}.hook_attn")),
        HookPoint::MlpOut(layer) => Some(format!("blocks.{layer}.hook_mlp")),
        _ => None,
    }
}
