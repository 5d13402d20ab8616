//! sparsify's folders: `cfg.json` and `sae.safetensors` in a folder named for a module.

use std::path::Path;

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::read::json;
use crate::sae::path_names::{is_beside, names, number_after};
use crate::sae::sae_file::{Place, SaeFile, Source, Weight};

pub(crate) const WEIGHTS_FILE: &str = "sae.safetensors";
const CONFIG_FILE: &str = "cfg.json";

/// What decides numbers of `SparseCoderConfig`, with its defaults, and of earlier versions.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the keys of sparsify's cfg.json")]
#[expect(clippy::struct_excessive_bools, reason = "the file has them")]
struct RawConfig {
    d_in: usize,
    #[serde(default = "default_activation")]
    activation: String,
    #[serde(default = "default_expansion_factor")]
    expansion_factor: usize,
    #[serde(default)]
    num_latents: usize,
    #[serde(default = "default_k")]
    k: usize,
    #[serde(default)]
    skip_connection: bool,
    #[serde(default)]
    transcode: bool,

    /// Once: keep the largest magnitudes with their sign. Later versions forgot it.
    #[serde(default)]
    signed: bool,
    #[serde(default)]
    jumprelu: bool,
}

/// The keys of [`RawConfig`], and the two that only training reads.
const KEYS: [&str; 11] = [
    "d_in",
    "activation",
    "expansion_factor",
    "num_latents",
    "k",
    "skip_connection",
    "transcode",
    "signed",
    "jumprelu",
    "normalize_decoder",
    "multi_topk",
];

fn default_activation() -> String {
    "topk".to_owned()
}
fn default_expansion_factor() -> usize {
    32
}
fn default_k() -> usize {
    32
}

/// Whether `file` is of this format, going by its name and what lies beside it.
pub(crate) fn claims(file: &TensorFile) -> bool {
    is_beside(file.path(), WEIGHTS_FILE, CONFIG_FILE)
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description: Value = json::read(&path)?;
    json::check_keys(&path, &description, &KEYS)?;
    let raw: RawConfig = json::from_value(&path, description.clone())?;
    for (key, is_set) in [("signed", raw.signed), ("jumprelu", raw.jumprelu)] {
        if is_set {
            let what = format!("an SAE from the time when sparsify had `{key}`");
            return Err(CheckpointError::Unsupported { path, what });
        }
    }
    let architecture = match raw.activation.as_str() {
        // ReLU comes first there; after the selection it gives the same.
        "topk" => Architecture::TopK { k: raw.k, rescale_acts_by_decoder_norm: false },
        "groupmax" => Architecture::GroupMax { k: raw.k },
        other => {
            return Err(CheckpointError::UnknownValue {
                path,
                key: "activation",
                found: other.to_owned(),
                known: "topk, groupmax",
            });
        }
    };
    let d_sae = match raw.num_latents {
        0 => raw.d_in.saturating_mul(raw.expansion_factor),
        given => given,
    };
    let config = SaeConfig::new(raw.d_in, d_sae, architecture)
        // Whatever `normalize_decoder` says, which SAELens looks at.
        .and_then(|config| config.with_apply_b_dec_to_input(!raw.transcode))
        .map_err(|source| CheckpointError::Sae { path, source })?;
    let mut sources = vec![
        (Weight::WEnc, Source::transposed("encoder.weight")),
        (Weight::BEnc, Source::tensor("encoder.bias")),
        // A row per feature already, unlike a linear layer's.
        (Weight::WDec, Source::tensor("W_dec")),
        (Weight::BDec, Source::tensor("b_dec")),
    ];
    let config = if raw.skip_connection {
        sources.push((Weight::WSkip, Source::transposed("W_skip")));
        config.with_skip()
    } else {
        config
    };
    let place = place(file.path(), raw.transcode);
    let description = Some(description);
    SaeFile { place, sources, description, ..SaeFile::of(file, "sparsify", config) }.checked()
}

/// The place of the module that the folder is named for. Of several seeds each has a folder in it.
fn place(path: &Path, transcode: bool) -> Place {
    let names = names(path);
    let mut folders = names.iter().skip(1).filter(|name| number_after(name, "seed").is_none());
    let Some(module) = folders.next() else { return Place::default() };
    let (input, output) =
        of_module(module).unwrap_or_else(|| (format!("input of {module}"), module.clone()));
    if transcode { Place::between(input, output) } else { Place::at(output) }
}

/// What a module of Hugging Face's models reads and what it writes, by our names.
fn of_module(module: &str) -> Option<(String, String)> {
    if matches!(module, "embed_tokens" | "embed_in" | "wte") {
        // It reads ids, which no SAE does.
        return Some((format!("input of {module}"), "hook_embed".to_owned()));
    }
    let rest = module.strip_prefix("layers.").or_else(|| module.strip_prefix("h."))?;
    let (layer, part) = rest.split_once('.').unwrap_or((rest, ""));
    let layer: usize = layer.parse().ok()?;
    let (input, output) = match part {
        "" => ("hook_resid_pre", "hook_resid_post"),
        "mlp" => ("ln2.hook_normalized", "hook_mlp_out"),
        "attn" | "self_attn" | "attention" => ("ln1.hook_normalized", "hook_attn_out"),
        _ => return None,
    };
    Some((format!("blocks.{layer}.{input}"), format!("blocks.{layer}.{output}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_of(folder: &str, transcode: bool) -> Place {
        place(&Path::new("/runs").join(folder).join(WEIGHTS_FILE), transcode)
    }

    #[test]
    fn a_module_is_placed_by_what_it_reads_and_writes() {
        assert_eq!(place_of("layers.2", false), Place::at("blocks.2.hook_resid_post"));
        assert_eq!(place_of("h.1.attn", false), Place::at("blocks.1.hook_attn_out"));
        assert_eq!(place_of("h.1.mlp/seed0", false), Place::at("blocks.1.hook_mlp_out"));
        assert_eq!(place_of("embed_tokens", false), Place::at("hook_embed"));
        assert_eq!(
            place_of("layers.2.mlp", true),
            Place::between("blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_out")
        );
        assert_eq!(
            place_of("layers.2", true),
            Place::between("blocks.2.hook_resid_pre", "blocks.2.hook_resid_post")
        );
        assert_eq!(place_of("h.1.mlp.act", false), Place::at("h.1.mlp.act"));
    }
}
