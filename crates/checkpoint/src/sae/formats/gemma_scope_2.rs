//! Gemma Scope 2: `resid_post/layer_12_width_16k_l0_small/params.safetensors`, with names in lower
//! case and mostly a `config.json`.

use nanoscope_sae::{Architecture, SaeConfig};
use serde::Deserialize;
use serde_json::Value;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::read::json;
use crate::sae::path_names::{names, number_after};
use crate::sae::sae_file::{Place, SaeFile, Source, Weight};

pub(crate) const WEIGHTS_FILE: &str = "params.safetensors";
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

/// The keys of [`RawConfig`], and those that say nothing that the weights do not: `width` is a
/// name, and `l0` what training came to.
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

/// Whether `file` is of this format, going by its names.
pub(crate) fn claims(file: &TensorFile) -> bool {
    file.format() == "safetensors"
        && ["w_enc", "w_dec", "b_enc", "b_dec"].iter().all(|name| file.info(name).is_ok())
}

pub(crate) fn open(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    let path = file.path().with_file_name(CONFIG_FILE);
    let description: Option<Value> = path.is_file().then(|| json::read(&path)).transpose()?;
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
    let names = names(file.path());
    let site = names.iter().find_map(|name| site(name));
    // Written to every later layer: a matrix of each layer's decoder.
    if site == Some("clt") || file.info("w_dec")?.shape.len() == 3 {
        return Err(several_layers(&file, "clt"));
    }

    let [d_in, d_sae] = file.matrix_shape("w_enc")?;
    let [_, d_out] = file.matrix_shape("w_dec")?;
    let config = SaeConfig::new(d_in, d_sae, Architecture::JumpRelu)
        .and_then(|config| config.with_d_out(d_out))
        .map_err(|source| CheckpointError::Sae { path: file.path().to_owned(), source })?;
    let in_name = || names.get(1).is_some_and(|name| name.ends_with("_affine"));
    let skips = raw.affine_connection.unwrap_or_else(in_name);
    let config = if skips { config.with_skip() } else { config };
    let mut sources = vec![
        (Weight::WEnc, Source::tensor("w_enc")),
        (Weight::BEnc, Source::tensor("b_enc")),
        (Weight::WDec, Source::tensor("w_dec")),
        (Weight::BDec, Source::tensor("b_dec")),
        (Weight::Threshold, Source::tensor("threshold")),
    ];
    if skips {
        sources.push((Weight::WSkip, Source::tensor(SKIP)));
    }
    let layer = names.iter().find_map(|name| number_after(name, "layer_"));
    let place = match (&raw.hf_hook_point_in, layer, site) {
        (Some(hook), ..) => of_modules(hook, raw.hf_hook_point_out.as_deref()),
        (None, Some(layer), Some(site)) => of_site(site, layer),
        _ => Place::default(),
    };
    SaeFile { place, sources, description, ..SaeFile::of(file, "Gemma Scope 2", config) }.checked()
}

fn several_layers(file: &TensorFile, kind: &str) -> CheckpointError {
    let what = format!("a {kind}, which writes to several layers,");
    CheckpointError::Unsupported { path: file.path().to_owned(), what }
}

/// The site that a folder is named for; `_all` are those of every layer.
fn site(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("_all").unwrap_or(name);
    ["resid_post", "attn_out", "mlp_out", "transcoder", "clt"]
        .into_iter()
        .find(|site| *site == name)
}

fn of_site(site: &str, layer: usize) -> Place {
    let at = |name: &str| format!("blocks.{layer}.{name}");
    match site {
        // What the last matrix of attention reads, and not what it makes.
        "attn_out" => Place::at(at("attn.hook_z")),
        "mlp_out" => Place::at(at("hook_mlp_out")),
        "transcoder" => Place::between(at("ln2.hook_normalized"), at("hook_mlp_out")),
        _ => Place::at(at("hook_resid_post")),
    }
}

/// The place between two modules of Hugging Face's Gemma.
fn of_modules(hook: &str, hook_out: Option<&str>) -> Place {
    let hook_out = hook_out.filter(|out| *out != hook).map(of_module);
    Place { hook: Some(of_module(hook)), hook_out }
}

/// Our name for the output or input of a module; its own if it is none that we know.
fn of_module(module: &str) -> String {
    let parts = || {
        let (_, rest) = module.split_once("layers.")?;
        let (layer, part) = rest.split_once('.')?;
        let part = match part {
            "output" => "hook_resid_post",
            "self_attn.o_proj.input" => "attn.hook_z",
            "post_feedforward_layernorm.output" => "hook_mlp_out",
            "pre_feedforward_layernorm.output" => "ln2.hook_normalized",
            _ => return None,
        };
        Some(format!("blocks.{}.{part}", layer.parse::<usize>().ok()?))
    };
    parts().unwrap_or_else(|| module.to_owned())
}
