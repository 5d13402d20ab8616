//! The flags.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nanoscope_checkpoint::{SaePath, WeightDtype};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Condition, Intervention, Sampling, VectorName};
use nanoscope_transformer::Era;

/// How the next token is chosen.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// How adventurous: 0 takes the likeliest token every time
    #[arg(long, default_value_t = 0.7, value_name = "T", allow_hyphen_values = true)]
    pub(crate) temperature: f32,
    /// Choose among the K likeliest tokens only
    #[arg(long, value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Choose among the likeliest tokens that together have this probability only
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub(crate) top_p: Option<f32>,
    /// Same seed, same text
    #[arg(long, default_value_t = 42, value_name = "S")]
    pub(crate) seed: u64,
}

impl SamplingArgs {
    pub(crate) fn sampling(&self, max_tokens: usize) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
            max_tokens,
            ..Sampling::default()
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DtypeArg {
    F32,
    F16,
    Bf16,
}

impl From<DtypeArg> for WeightDtype {
    fn from(number: DtypeArg) -> Self {
        match number {
            DtypeArg::F32 => Self::F32,
            DtypeArg::F16 => Self::F16,
            DtypeArg::Bf16 => Self::BF16,
        }
    }
}

/// Which model and SAEs, and where they run.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) gpt: GptArgs,
    /// An SAE's file, or a folder of them; with HOOK= in front where the files do not say where it
    /// belongs, HOOK:HOOK= for a transcoder [default: the demo's, with the demo model]
    #[arg(long, value_name = "[HOOK=]PATH", value_parser = sae_path)]
    pub(crate) sae: Vec<SaePath>,
    /// The numbers to hold the SAEs' matrices in; those of 16 bits take half the memory [default:
    /// f32]
    #[arg(long, value_enum)]
    pub(crate) sae_dtype: Option<DtypeArg>,
}

/// Which model, and where it runs.
#[derive(Debug, Args)]
pub(crate) struct GptArgs {
    /// nanochat's base folder, a checkpoint folder or file, or our own form [default: the built-in
    /// demo]
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// The tokenizer's folder [default: where nanochat puts it]
    #[arg(long, value_name = "DIR")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// The backend: auto, flex, ndarray, wgpu, cuda
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) device: String,
    /// The era of a checkpoint that fits several: E0 to E6
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
}

/// What to look at and what to change.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Show the features of the SAE at this hook point, or `all` [default: the deepest SAE]
    #[arg(long, value_name = "HOOK")]
    pub(crate) track: Vec<Track>,
    #[arg(
        long,
        value_name = "SPEC",
        help = "Change a feature: HOOK:FEATURE:OP[:VALUE[:SCALE]][@WHERE][ROWS][ when \
                HOOK:FEATURE>T][ with reconstruct], OP being multiply, set, set_if_active, ablate, \
                add or orthogonal, SCALE raw, unit or norm, WHERE text, all, prompt, generated, \
                last or A..B"
    )]
    pub(crate) steer: Vec<Intervention>,
    /// Also what this JSON file says: a list of interventions, each an object or as after --steer;
    /// applied after those of --steer
    #[arg(long, value_name = "FILE")]
    pub(crate) steer_file: Vec<PathBuf>,
    /// A direction to steer along by its name, HOOK:NAME:add:3; from a .safetensors, .npz or .pt
    /// file, or a control vector of llama.cpp or repeng (.gguf)
    #[arg(long, value_name = "NAME=PATH[#KEY]")]
    pub(crate) vector: Vec<VectorFlag>,
    #[arg(
        long,
        value_name = "COND",
        help = "End the text after the first generated token at which a feature exceeds a value: \
                HOOK:FEATURE>T"
    )]
    pub(crate) stop_when: Vec<Condition>,
    /// What becomes of the part of the activation that the SAE does not explain, where a --steer
    /// does not say `with reconstruct` [default: keep-error]
    #[arg(long, value_enum, requires = "steer")]
    pub(crate) splice: Option<SpliceArg>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    All,
    Hook(HookPoint),
}

impl std::str::FromStr for Track {
    type Err = nanoscope_hooks::HookError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Hook) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpliceArg {
    /// It stays
    KeepError,
    /// It is lost, as in nanochat-SAE
    Reconstruct,
}

/// A vector's name, and where its numbers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VectorFlag {
    pub(crate) name: VectorName,
    pub(crate) path: PathBuf,
    pub(crate) key: Option<String>,
}

impl std::str::FromStr for VectorFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, file) = text.split_once('=').ok_or("it is not of the form NAME=PATH[#KEY]")?;
        let name = name.parse().map_err(|error| format!("{error}"))?;
        let (path, key) = match file.rsplit_once('#') {
            Some((path, key)) if !PathBuf::from(file).exists() => (path, Some(key.to_owned())),
            _ => (file, None),
        };
        Ok(Self { name, path: path.into(), key })
    }
}

/// The hook point that an SAE reads, and the one that it writes if that is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HooksArg(pub(crate) HookPoint, pub(crate) Option<HookPoint>);

impl std::str::FromStr for HooksArg {
    type Err = nanoscope_hooks::HookError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((hook, hook_out)) => Ok(Self(hook.parse()?, Some(hook_out.parse()?))),
            None => Ok(Self(text.parse()?, None)),
        }
    }
}

/// `PATH`, or `HOOK=PATH`; a file or folder that has the whole text as its name wins.
fn sae_path(text: &str) -> Result<SaePath, nanoscope_hooks::HookError> {
    match text.split_once('=') {
        Some((at, path)) if !PathBuf::from(text).exists() => {
            let HooksArg(hook, hook_out) = at.parse()?;
            Ok(SaePath { path: path.into(), at: Some((hook, hook_out)) })
        }
        _ => Ok(SaePath::from(text)),
    }
}

pub(crate) fn prompt(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the prompt is empty") } else { Ok(text.to_owned()) }
}
