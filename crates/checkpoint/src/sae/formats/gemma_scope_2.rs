//! Gemma Scope 2: `resid_post/layer_12_width_16k_l0_small/params.safetensors`, with names in lower
//! case and usually a `config.json`.

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::container::{TensorFile, safetensors};
use crate::error::{CheckpointError, SaeFileError};
use crate::files;
use crate::read::json;
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat, file_name};
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::SaeFile;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::site::Site;
use crate::sae::stored_weight::{StoredWeight, Weight};

/// This format.
pub(super) const FORMAT: SaeFormat = SaeFormat {
    name: "Gemma Scope 2",
    layout: Some(Layout::new(WEIGHTS_FILE, |folder| folder.files(WEIGHTS_FILE))),
    claims,
    open,
};

const WEIGHTS_FILE: &str = "params.safetensors";
const CONFIG_FILE: &str = "config.json";
const SKIP: &str = "affine_skip_connection";

/// The keys of `config.json` that decide numbers or places.
#[derive(Debug, Default, Deserialize)]
#[serde(expecting = "the keys of Gemma Scope 2's config.json")]
struct RawConfig {
    architecture: Option<String>,
    hf_hook_point_in: Option<String>,
    hf_hook_point_out: Option<String>,
    affine_connection: Option<bool>,
    r#type: Option<String>,
}

/// The keys of [`RawConfig`], and those that add nothing to the weights: `width` is a name, and `l0`
/// a result of training.
const KEYS: [&str; 8] = [
    "architecture",
    "hf_hook_point_in",
    "hf_hook_point_out",
    "affine_connection",
    "type",
    "width",
    "l0",
    "model_name",
];

/// Claims the tensors in lower case. Under another file name than the tool's, a threshold must be among
/// them.
fn claims(file: &TensorFile) -> Claim {
    let has = |name: &&str| file.info(name).is_ok();
    let has_all = ["w_enc", "w_dec", "b_enc", "b_dec"].iter().all(has);
    let is_named = file_name(file.path()) == Some(WEIGHTS_FILE);
    Claim::evidence(
        file.format() == safetensors::FORMAT && has_all && (is_named || has(&"threshold")),
    )
}

fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description: Option<Value> =
        files::is_file(&path).then(|| json::read(&path)).transpose()?;
    let raw: RawConfig = match &description {
        Some(value) => {
            json::check_keys(&path, value, &KEYS)?;
            json::from_value(&path, value.clone())?
        }
        None => RawConfig::default(),
    };
    let unknown = |key, found: &str, known| CheckpointError::UnknownValue {
        path: path.clone(),
        key,
        found: found.to_owned(),
        known,
    };
    match raw.architecture.as_deref() {
        None | Some("jump_relu") => {}
        Some(other) => return Err(unknown("architecture", other, "jump_relu")),
    }
    match raw.r#type.as_deref() {
        None | Some("sae" | "transcoder") => {}
        Some(kind @ ("clt" | "crosscoder")) => {
            return Err(several_layers(&file, kind));
        }
        Some(other) => return Err(unknown("type", other, "sae, transcoder")),
    }
    // The file's own folder is named after the layer, and the one above after the site.
    let names = names(file.path());
    let site = names.get(2).and_then(|name| site(name));
    // A cross-layer transcoder has a decoder for every later layer.
    if site == Some("clt") || file.info("w_dec")?.shape.len() == 3 {
        return Err(several_layers(&file, "clt"));
    }

    let [d_in, d_sae] = file.matrix_shape("w_enc")?;
    let [_, d_out] = file.matrix_shape("w_dec")?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::JumpRelu)
        .and_then(|config| config.with_d_out(d_out))
        .map_err(|source| SaeFileError::Sae { path: file.path().to_owned(), source })?;
    let in_name = || names.get(1).is_some_and(|name| name.ends_with("_affine"));
    let skips = raw.affine_connection.unwrap_or_else(in_name);
    let config = if skips { config.with_skip() } else { config };
    let mut weights = vec![
        (Weight::WEnc, StoredWeight::tensor("w_enc")),
        (Weight::BEnc, StoredWeight::tensor("b_enc")),
        (Weight::WDec, StoredWeight::tensor("w_dec")),
        (Weight::BDec, StoredWeight::tensor("b_dec")),
        (Weight::Threshold, StoredWeight::tensor("threshold")),
    ];
    if skips {
        weights.push((Weight::WSkip, StoredWeight::tensor(SKIP)));
    }
    let layer = names.get(1).and_then(|name| number_after(name, "layer_"));
    let hooks = match (&raw.hf_hook_point_in, layer, site) {
        (Some(hook), ..) => of_modules(hook, raw.hf_hook_point_out.as_deref()),
        (None, Some(layer), Some(site)) => of_site(site, layer),
        _ => SaeHooks::default(),
    };
    SaeFile { hooks, weights, description, ..SaeFile::new(file, FORMAT.name, config) }.checked()
}

fn several_layers(file: &TensorFile, kind: &str) -> CheckpointError {
    let what = format!("a {kind} (writes to several layers)");
    CheckpointError::Unsupported { path: file.path().to_owned(), what }
}

/// Returns the site that a folder is named after; the suffix `_all` stands for every layer.
fn site(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("_all").unwrap_or(name);
    ["resid_post", "attn_out", "mlp_out", "transcoder", "clt"]
        .into_iter()
        .find(|site| *site == name)
}

fn of_site(site: &str, layer: usize) -> SaeHooks {
    let at = |name: &str| format!("blocks.{layer}.{name}");
    match site {
        // The input of the last attention matrix, not its output.
        "attn_out" => SaeHooks::at(at("attn.hook_z")),
        "mlp_out" => SaeHooks::at(at("hook_mlp_out")),
        "transcoder" => SaeHooks::between(at("mlp.hook_in"), at("hook_mlp_out")),
        _ => SaeHooks::at(at("hook_resid_post")),
    }
}

/// Returns the hooks of a transcoder between two modules of Hugging Face's Gemma, all of which norm the
/// outputs of their sublayers.
fn of_modules(hook: &str, hook_out: Option<&str>) -> SaeHooks {
    let named = |module: &str| {
        let point = Site::of(module).point(Some(true));
        point.map_or_else(|| module.to_owned(), |point| point.to_string())
    };
    let hook_out = hook_out.filter(|out| *out != hook).map(named);
    SaeHooks { hook: Some(named(hook)), hook_out }
}
