//! Flags shared by several commands.

use std::path::PathBuf;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use nanoscope::VectorFile;
use nanoscope_checkpoint::{
    ActivationScale, MatrixDtype, SaeFormatName, SaeOptions, SaePath, WeightDtype,
};
use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_runtime::{Condition, Intervention, Sampling, SyntaxError};
use nanoscope_transformer::Era;

/// Flags for sampling.
#[derive(Debug, Args)]
pub(crate) struct SamplingArgs {
    /// The sampling temperature; 0 always takes the most likely token
    #[arg(long, short, default_value_t = 0.7, value_name = "T", allow_hyphen_values = true)]
    pub(crate) temperature: f32,
    /// Sample from the K most likely tokens only
    #[arg(long, short = 'k', value_name = "K")]
    pub(crate) top_k: Option<usize>,
    /// Sample from the smallest set of tokens with this total probability only (nucleus sampling)
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub(crate) top_p: Option<f32>,
    /// The random seed; the same seed gives the same text
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

/// The data types of matrices in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MatrixDtypeArg {
    F32,
    F16,
    Bf16,
    /// 8 bits, with a factor for each output of a layer, token of a table, or feature
    Int8,
}

impl From<MatrixDtypeArg> for MatrixDtype {
    fn from(number: MatrixDtypeArg) -> Self {
        match number {
            MatrixDtypeArg::F32 => WeightDtype::F32.into(),
            MatrixDtypeArg::F16 => WeightDtype::F16.into(),
            MatrixDtypeArg::Bf16 => WeightDtype::BF16.into(),
            MatrixDtypeArg::Int8 => Self::Int8,
        }
    }
}

/// Flags that select the model, the SAEs and the device.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArgs {
    #[command(flatten)]
    pub(crate) gpt: GptArgs,
    /// An SAE file, or a folder of SAEs. Prefix it with HOOK= if the files do not name the hook
    /// point, with HOOK:HOOK= for a transcoder [default: the demo SAEs with the demo model]
    #[arg(long, value_name = "[HOOK=]PATH", value_parser = sae_path)]
    pub(crate) sae: Vec<SaePath>,
    /// The data type of the SAEs' matrices in memory; computation is in float32 [default: the 16 bits
    /// of their file, otherwise and on GPUs f32]
    #[arg(long, value_enum)]
    pub(crate) sae_dtype: Option<MatrixDtypeArg>,
    #[command(flatten)]
    pub(crate) stated: StatedArgs,
    #[command(flatten)]
    pub(crate) memory: MemoryArgs,
}

/// Flags for the memory that a model takes.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct MemoryArgs {
    /// The data type of the model's matrices in memory; computation is in float32 [default: the 16 bits
    /// of their file, otherwise and on GPUs f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<MatrixDtypeArg>,
    /// Start even if more memory is estimated to be needed than there is
    #[arg(long)]
    pub(crate) ignore_memory: bool,
}

impl ModelArgs {
    /// The options for loading the SAEs.
    pub(crate) fn sae_options(&self) -> SaeOptions {
        self.stated.options(self.sae_dtype.map(Into::into))
    }
}

/// Flags that state what the files of an SAE leave open.
#[derive(Debug, Clone, Args)]
pub(crate) struct StatedArgs {
    /// The format of an SAE file that nothing identifies, or that two formats claim: goodfire,
    /// dictionary-learning, … (any of docs/formats.md) [default: by evidence only]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<SaeFormatName>,
    /// The scale of the activations in training, for an SAE whose files leave it open: `folded` into
    /// the weights, or the factor by which activations were multiplied
    #[arg(long, value_name = "folded|FACTOR", allow_hyphen_values = true)]
    pub(crate) activation_scale: Option<ActivationScale>,
}

impl StatedArgs {
    /// The options for loading SAEs as `dtype`.
    pub(crate) fn options(&self, dtype: Option<MatrixDtype>) -> SaeOptions {
        SaeOptions {
            dtype,
            format: self.format,
            activation_scale: self.activation_scale,
            ..SaeOptions::default()
        }
    }
}

/// Flags that select the model and the device.
#[derive(Debug, Clone, Args)]
pub(crate) struct GptArgs {
    /// The model: nanochat's base folder, a checkpoint folder or file, a Hugging Face folder, the name
    /// of a model in Hugging Face's cache, or a folder that `convert` wrote [default: the built-in
    /// demo]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// The folder of the tokenizer, or its tokenizer.json [default: where nanochat puts it]
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// The backend to run on: auto, flex, ndarray, wgpu or cuda
    #[arg(long, short, default_value = "auto", value_name = "NAME")]
    pub(crate) device: String,
    /// The nanochat era of a checkpoint that fits several: E0 to E6
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
}

impl GptArgs {
    /// The name of the model's folder or file, or `demo`.
    pub(crate) fn name(&self) -> String {
        let folder = self.model.as_ref().map(|path| {
            // Resolved first, because `.` does not have a name.
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
        });
        folder.filter(|name| !name.is_empty()).unwrap_or_else(|| "demo".to_owned())
    }
}

/// Flags that select the SAEs to track and the interventions.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// Track the SAE at this hook point, or `all` SAEs [default: the deepest SAE]
    #[arg(long, value_name = "HOOK")]
    pub(crate) track: Vec<Track>,
    #[arg(
        long,
        short,
        value_name = "SPEC",
        help = "Steer with a feature: [HOOK:]FEATURE:OP[:VALUE[:SCALE]][@WHERE][ROWS][ when \
                HOOK:FEATURE>T][ with reconstruct]. Without HOOK it is a feature of the deepest \
                tracked SAE. OP is multiply, set, set_if_active, ablate, add, orthogonal, \
                projection_scale or projection_cap; SCALE is raw, unit or norm, and 30% is \
                0.3:norm; WHERE is text, all, prompt, generated, last or A..B"
    )]
    pub(crate) steer: Vec<SteerSpec>,
    /// A JSON file with a list of interventions, each an object or a string as for --steer; applied
    /// after those of --steer
    #[arg(long, value_name = "FILE")]
    pub(crate) steer_file: Vec<PathBuf>,
    /// A steering vector, used by its name: --steer HOOK:NAME:add:3. Read from a .safetensors, .npz,
    /// .npy or .pt file, or from a control vector of llama.cpp or repeng (.gguf)
    #[arg(long, value_name = "NAME=PATH[#KEY]", value_parser = vector_file)]
    pub(crate) vector: Vec<VectorFile>,
    #[arg(
        long,
        value_name = "COND",
        help = "Stop after the first generated token on which a feature's activation exceeds a \
                threshold: HOOK:FEATURE>T"
    )]
    pub(crate) stop_when: Vec<Condition>,
    /// Keep or drop the SAE's reconstruction error when steering; `with reconstruct` in a --steer
    /// drops it for that intervention [default: keep-error]
    #[arg(long, value_enum, requires = "steer")]
    pub(crate) splice: Option<SpliceArg>,
}

/// An intervention whose hook point can be left out.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SteerSpec {
    text: String,
}

impl SteerSpec {
    /// The intervention, at the hook point `default` if the text names none.
    pub(crate) fn at(&self, default: Option<HookPoint>) -> Result<Intervention, SyntaxError> {
        Intervention::parse_at(&self.text, default)
    }
}

impl std::str::FromStr for SteerSpec {
    type Err = SyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let spec = Self { text: text.to_owned() };
        // The hook point is not known yet, and any other mistake is.
        spec.at(Some(HookPoint::Embed))?;
        Ok(spec)
    }
}

/// A feature whose hook point can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeatureArg {
    pub(crate) hook: Option<HookPoint>,
    pub(crate) feature: u32,
}

impl std::str::FromStr for FeatureArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (hook, feature) = match text.rsplit_once(':') {
            Some((hook, feature)) => {
                let hook = hook.parse().map_err(|error: HookError| error.to_string())?;
                (Some(hook), feature)
            }
            None => (None, text),
        };
        match feature.parse() {
            Ok(feature) => Ok(Self { hook, feature }),
            Err(_) => Err(format!("`{feature}` is not the index of a feature")),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Track {
    All,
    Hook(HookPoint),
}

impl std::str::FromStr for Track {
    type Err = HookError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "all" { Ok(Self::All) } else { text.parse().map(Self::Hook) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpliceArg {
    /// Keep the part of the activation that the SAE does not reconstruct
    KeepError,
    /// Replace the activation with the reconstruction, as nanochat-SAE does
    Reconstruct,
}

fn vector_file(text: &str) -> Result<VectorFile, String> {
    let (name, file) = text.split_once('=').ok_or("expected NAME=PATH[#KEY]")?;
    let name = name.parse().map_err(|error| format!("{error}"))?;
    let (path, key) = match file.rsplit_once('#') {
        Some((path, key)) if !PathBuf::from(file).exists() => (path, Some(key.to_owned())),
        _ => (file, None),
    };
    Ok(VectorFile { name, path: path.into(), key })
}

/// The hook point an SAE reads, and the one it writes if they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HooksArg(pub(crate) HookPoint, pub(crate) Option<HookPoint>);

impl std::str::FromStr for HooksArg {
    type Err = HookError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some((hook, hook_out)) => Ok(Self(hook.parse()?, Some(hook_out.parse()?))),
            None => Ok(Self(text.parse()?, None)),
        }
    }
}

/// Parses `PATH` or `HOOK=PATH`. An existing file or folder with the whole text as its name wins, and the
/// text in front of `=` is a path if it has a slash.
pub(crate) fn sae_path(text: &str) -> Result<SaePath, HookError> {
    match text.split_once('=') {
        // The name of a hook point has no slash, the path of a folder like `runs/lr=3e-4` has.
        Some((at, path)) if !at.contains(['/', '\\']) && !PathBuf::from(text).exists() => {
            let HooksArg(hook, hook_out) = at.parse()?;
            Ok(SaePath { path: path.into(), at: Some((hook, hook_out)) })
        }
        _ => Ok(SaePath::from(text)),
    }
}

/// Parses the path of an output, where `-` is the standard output.
pub(crate) fn output_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new()
        .map(|path| if path.as_os_str() == "-" { PathBuf::from("/dev/stdout") } else { path })
}

pub(crate) fn prompt(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the prompt is empty") } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_equals_sign_in_a_path_is_not_taken_for_a_hook_point() {
        for path in ["runs/lr=3e-4,k=64", "./lr=3e-4", "..\\k=64"] {
            assert_eq!(sae_path(path).unwrap(), SaePath::from(path), "{path}");
        }

        let placed = sae_path("blocks.1.hook_resid_post=runs/k=64").unwrap();
        assert_eq!(placed.path, PathBuf::from("runs/k=64"));
        assert_eq!(placed.at, Some((HookPoint::ResidPost(1), None)));
        assert!(sae_path("lr=3e-4").is_err());
    }

    #[test]
    fn a_feature_is_an_index_with_or_without_a_hook_point() {
        let parse = |text: &str| text.parse::<FeatureArg>();

        assert_eq!(parse("1909"), Ok(FeatureArg { hook: None, feature: 1909 }));
        let hook = Some(HookPoint::ResidPost(3));
        assert_eq!(parse("blocks.3.hook_resid_post:7"), Ok(FeatureArg { hook, feature: 7 }));
        assert!(parse("blocks.3.hook_resid_post").unwrap_err().contains("index of a feature"));
        assert!(parse("blocks.3.hook_nothing:7").is_err());
        assert!(parse("-1").is_err());
    }
}
