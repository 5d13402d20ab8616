//! Saving SAEs in the format of SAELens 6.

use std::borrow::Cow;
use std::path::Path;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, Normalization, Sae};
use safetensors::tensor::{Dtype, View};
use serde_json::{Value, json};

use crate::container::WeightDtype;
use crate::error::{CheckpointError, SaeFileError};
use crate::read::json;
use crate::sae::formats::saelens::{CONFIG_FILE, FORMAT, WEIGHTS_FILE};
use crate::sae::formats::saelens_provenance::PLACE_KEYS;
use crate::sae::metadata::{self, Metadata};
use crate::sae::save::form::{SaveForm, in_saelens, instead_of};
use crate::sae::save::saved_weight::SavedWeight;

/// The version of SAELens. The defaults of missing keys changed in 6.0.0.
const VERSION: &str = "6.54.12";

/// The key in SAELens's metadata with our version. SAELens keeps keys that it does not know.
const OUR_VERSION: &str = "nanoscope_version";

/// Saves `sae` to `cfg.json` and `sae_weights.safetensors` in `dir`, which is created if needed, in the
/// format of SAELens 6. `SAE.load_from_disk` reads it and encodes the same. The files appear when
/// both are complete.
///
/// `hook_out` is the hook point that a transcoder writes. A constant normalisation is folded into the
/// weights, as SAELens expects. Matrices are written as `dtype`; vectors, and SAELens's computation,
/// stay float32.
///
/// # Errors
/// [`SaeFileError::NotExpressible`] if SAELens has no SAE that computes the same, with a form that
/// can hold it, [`SaeFileError::NoOutputHook`] if a transcoder is given without a `hook_out`,
/// [`CheckpointError::TooLarge`] if a weight does not fit `dtype`, [`CheckpointError::Io`],
/// [`CheckpointError::Safetensors`].
pub fn save_saelens(
    dir: &Path,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
    dtype: WeightDtype,
) -> Result<(), CheckpointError> {
    save_saelens_with_metadata(dir, sae, hook, hook_out, dtype, &Metadata::new())
}

/// As [`save_saelens`], with its provenance: further entries of SAELens's `metadata`, such as
/// `model_name`, `dataset_path`, `context_size` and `prepend_bos`, which [`LoadedSae::metadata`] returns
/// when it is loaded. `prepend_bos` is true and `nanoscope_version` our version unless they are given.
///
/// # Errors
/// As [`save_saelens`]; [`SaeFileError::Metadata`] if a key is one that the place of the SAE decides,
/// such as `hook_name`, or an entry is nested too deeply. No file is written then.
///
/// [`LoadedSae::metadata`]: crate::LoadedSae::metadata
pub fn save_saelens_with_metadata(
    dir: &Path,
    sae: &Sae,
    hook: HookPoint,
    hook_out: Option<HookPoint>,
    dtype: WeightDtype,
    metadata: &Metadata,
) -> Result<(), CheckpointError> {
    let weights_file = dir.join(WEIGHTS_FILE);
    metadata::check(metadata, &PLACE_KEYS, &weights_file)?;
    check_output(&weights_file, sae, hook_out)?;
    let architecture = in_saelens(sae, hook_out).map_err(|reason| {
        let (path, format) = (weights_file.clone(), FORMAT.name);
        let instead = instead_of(SaveForm::SaeLens, sae, hook, hook_out);
        SaeFileError::NotExpressible { path, format, reason, instead }
    })?;
    let sae = prepare(&weights_file, sae, hook_out.is_some())?;
    let is_transcoder = hook_out.is_some() || sae.config().skip();
    let mut description = description(&sae, architecture, is_transcoder);
    let given = metadata;
    let mut metadata = json!({
        "sae_lens_version": VERSION,
        OUR_VERSION: env!("CARGO_PKG_VERSION"),
        "hook_name": hook.to_string(),
        "hook_head_index": null,
        // nanochat's models expect `<|bos|>` at the start.
        "prepend_bos": true,
    });
    for (key, value) in given {
        metadata[key] = value.clone();
    }
    if is_transcoder {
        // Without an output point, a skip connection is a transcoder from a point to itself.
        metadata["hook_name_out"] = json!(hook_out.unwrap_or(hook).to_string());
    }
    let reshape = if matches!(hook, HookPoint::Z(_)) { "hook_z" } else { "none" };
    description["reshape_activations"] = json!(reshape);
    description["metadata"] = metadata;

    let weights = weights(&sae, dtype);
    SavedWeight::check_all(&weights, &weights_file)?;
    SavedWeight::write_folder(dir, (WEIGHTS_FILE, weights), (CONFIG_FILE, &description))
}

/// Returns whether `dir` has the configuration that [`save_saelens`] writes.
pub fn is_saved_saelens(dir: &Path) -> bool {
    json::read::<Value>(&dir.join(CONFIG_FILE))
        .is_ok_and(|config| config["metadata"][OUR_VERSION].is_string())
}

/// Checks that a transcoder has a hook point for its output.
pub(crate) fn check_output(
    path: &Path,
    sae: &Sae,
    hook_out: Option<HookPoint>,
) -> Result<(), CheckpointError> {
    if sae.config().is_transcoder() && hook_out.is_none() {
        return Err(SaeFileError::NoOutputHook { path: path.to_owned() }.into());
    }
    Ok(())
}

/// Folds everything into the weights that SAELens has no key for.
fn prepare(path: &Path, sae: &Sae, is_transcoder: bool) -> Result<Sae, CheckpointError> {
    let config = sae.config();
    let folded = match config.normalization() {
        Normalization::ExpectedAverageOnlyIn { .. } => sae.fold_normalization(),
        _ => Ok(sae.clone()),
    };
    let folded = folded.map_err(|source| SaeFileError::Sae { path: path.to_owned(), source })?;
    // SAELens's transcoders do not subtract `b_dec` from their input.
    if is_transcoder || config.skip() {
        folded.fold_b_dec().map_err(|source| {
            CheckpointError::SaeFile(SaeFileError::Sae { path: path.to_owned(), source })
        })
    } else {
        Ok(folded)
    }
}

fn description(sae: &Sae, architecture: &str, is_transcoder: bool) -> Value {
    let config = sae.config();
    let mut description = json!({
        "architecture": architecture,
        "d_in": config.d_in(),
        "d_sae": config.d_sae(),
        // The type of computation, to which the weights are converted.
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": config.apply_b_dec_to_input(),
        "normalize_activations": config.normalization().name(),
    });
    if is_transcoder {
        description["d_out"] = json!(config.d_out());
    }
    if let Some(k) = config.architecture().k() {
        description["k"] = json!(k);
        let rescales = config.architecture().rescales_by_decoder_norm();
        description["rescale_acts_by_decoder_norm"] = json!(rescales);
    }
    if let Architecture::MatchingPursuit {
        residual_threshold,
        max_iterations,
        stop_on_duplicate_support,
    } = config.architecture()
    {
        description["residual_threshold"] = json!(residual_threshold);
        description["max_iterations"] = json!(max_iterations);
        description["stop_on_duplicate_support"] = json!(stop_on_duplicate_support);
    }
    description
}

fn weights(sae: &Sae, dtype: WeightDtype) -> Vec<SavedWeight> {
    let weights = sae.weights();
    if let Architecture::MatchingPursuit { .. } = sae.config().architecture() {
        // Its encoder is the transposed decoder.
        return vec![
            SavedWeight::matrix("W_dec", weights.w_dec, dtype),
            SavedWeight::vector("b_dec", weights.b_dec, WeightDtype::F32),
        ];
    }
    let matrix = |name, x| SavedWeight::matrix(name, x, dtype);
    let vector = |name, x| SavedWeight::vector(name, x, WeightDtype::F32);
    let b_enc = if weights.magnitude.is_some() { "b_gate" } else { "b_enc" };
    let mut saved = vec![
        matrix("W_enc", weights.w_enc),
        vector(b_enc, weights.b_enc),
        matrix("W_dec", weights.w_dec),
        vector("b_dec", weights.b_dec),
    ];
    saved.extend(weights.threshold.map(|threshold| vector("threshold", threshold)));
    if let Some(magnitude) = weights.magnitude {
        saved.extend([vector("r_mag", magnitude.r_mag), vector("b_mag", magnitude.b_mag)]);
    }
    // SAELens computes `x · W_skipᵀ`.
    saved.extend(weights.w_skip.map(|w_skip| matrix("W_skip", w_skip.transpose())));
    saved
}

impl View for SavedWeight {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            WeightDtype::F32 => Dtype::F32,
            WeightDtype::F16 => Dtype::F16,
            WeightDtype::BF16 => Dtype::BF16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut bytes = Vec::with_capacity(self.data_len());
        self.with_values(|values| self.dtype.append(values, &mut bytes))
            .expect("all numbers were checked to fit");
        Cow::Owned(bytes)
    }

    fn data_len(&self) -> usize {
        self.len() * self.dtype.burn().size()
    }
}
