//! Rotary embeddings in `config.json`, in the keys of transformers 4 and 5.

use nanoscope_transformer::{RopeConfig, RopeScaling, RopeTables};

use crate::error::CheckpointError;
use crate::model::families::keys::Keys;
use crate::python_json;

/// The kinds of rotary embedding that are computed.
const KINDS: &str = "default, linear or llama3";

/// Defaults for a family's rotary embedding.
#[derive(Clone, Copy)]
pub(super) struct RopeDefaults {
    /// The base, if no key gives it.
    pub(super) base: f64,
    /// Number of channels per head.
    pub(super) head_dim: usize,
    /// The key of transformers 4 for the base.
    pub(super) base_key: &'static str,
    /// The part of the channels that is rotated, if the family can rotate a part of them.
    pub(super) partial: Option<f64>,
}

/// Reads the rotary embedding of a model whose layers share one.
pub(super) fn one(keys: &Keys<'_>, defaults: &RopeDefaults) -> Result<RopeConfig, CheckpointError> {
    let base = base(keys, defaults.base_key)?.unwrap_or(defaults.base);
    // As in transformers, the older key takes precedence.
    let scaling = scaling(keys)?;
    let parameters = keys.object("rope_parameters")?;
    let Some(parameters) = scaling.or(parameters) else {
        return Ok(plain(base, defaults));
    };
    from_parameters(&parameters, base, defaults)
}

/// Reads the rotary embeddings of Gemma 3: of layers with full attention, and of those with a window.
pub(super) fn per_kind(
    keys: &Keys<'_>,
    defaults: &RopeDefaults,
    local_base: f64,
) -> Result<[RopeConfig; 2], CheckpointError> {
    let full = base(keys, defaults.base_key)?.unwrap_or(defaults.base);
    let local = base(keys, "rope_local_base_freq")?.unwrap_or(local_base);
    let scaling = scaling(keys)?;
    let Some(parameters) = keys.object("rope_parameters")? else {
        // In these keys a scaling is that of full layers.
        let full = match scaling {
            Some(scaling) => from_parameters(&scaling, full, defaults)?,
            None => plain(full, defaults),
        };
        return Ok([full, plain(local, defaults)]);
    };
    if scaling.is_some()
        && let Some(found) = keys.get("rope_scaling")
    {
        return Err(keys.unknown("rope_scaling", found, "nothing beside rope_parameters"));
    }
    let kind = |key, base| match parameters.object(key)? {
        Some(parameters) => from_parameters(&parameters, base, defaults),
        None => Ok(plain(base, defaults)),
    };
    let ropes = [kind("full_attention", full)?, kind("sliding_attention", local)?];
    parameters.finish()?;
    Ok(ropes)
}

/// The scaling in the keys of transformers 4, for which an empty object is none.
fn scaling<'a>(keys: &Keys<'a>) -> Result<Option<Keys<'a>>, CheckpointError> {
    Ok(keys.object("rope_scaling")?.filter(|scaling| !scaling.is_empty()))
}

/// Reads the part of the channels that is rotated.
pub(super) fn part(
    keys: &Keys<'_>,
    key: &'static str,
    head_dim: usize,
) -> Result<Option<f64>, CheckpointError> {
    let Some(part) = keys.number(key)? else {
        return Ok(None);
    };
    let channels = rotated(head_dim, part);
    if part <= 1.0 && channels > 0 && channels.is_multiple_of(2) {
        return Ok(Some(part));
    }
    let known = "a part of head_dim, at most 1, that is an even number of channels";
    Err(keys.unknown(key, &python_json::number(part), known))
}

/// The number of channels in this part of a head.
fn rotated(head_dim: usize, part: f64) -> usize {
    (head_dim as f64 * part) as usize
}

/// Reads the base of the frequencies.
fn base(keys: &Keys<'_>, key: &'static str) -> Result<Option<f64>, CheckpointError> {
    match keys.number(key)? {
        Some(base) if !(base.is_finite() && base >= 1.0) => {
            Err(keys.unknown(key, &python_json::number(base), "a finite number from 1 on"))
        }
        base => Ok(base),
    }
}

fn plain(base: f64, defaults: &RopeDefaults) -> RopeConfig {
    RopeConfig {
        base,
        channels: rotated(defaults.head_dim, defaults.partial.unwrap_or(1.0)),
        scaling: RopeScaling::None,
        // transformers rounds its tables to the type of its computation, which is float32 here.
        tables: RopeTables::F32,
        negative: false,
    }
}

fn from_parameters(
    keys: &Keys<'_>,
    default_base: f64,
    defaults: &RopeDefaults,
) -> Result<RopeConfig, CheckpointError> {
    let base = base(keys, "rope_theta")?.unwrap_or(default_base);
    let number = |key| keys.number(key)?.ok_or_else(|| keys.missing(key));
    let old_kind = keys.text("type")?;
    let kind = keys.text("rope_type")?.or(old_kind).unwrap_or("default");
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor: number("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original_context: number("original_max_position_embeddings")?,
        },
        other => return Err(keys.unknown("rope_type", &other.into(), KINDS)),
    };
    let mut defaults = *defaults;
    let key = "partial_rotary_factor";
    if defaults.partial.is_some() {
        defaults.partial = part(keys, key, defaults.head_dim)?.or(defaults.partial);
    } else if let Some(part) = keys.number(key)?.filter(|part| *part != 1.0) {
        return Err(keys.unknown(key, &python_json::number(part), "1"));
    }
    keys.finish()?;
    Ok(RopeConfig { scaling, ..plain(base, &defaults) })
}
