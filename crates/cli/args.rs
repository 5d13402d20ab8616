//! The flags.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Intervention, Splice};
use nanoscope_transformer::Era;

/// A microscope for small language models: which features fire on each token, and what happens when
/// you turn them.
#[derive(Debug, Parser)]
#[command(name = "nanoscope", version, arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Generate(GenerateArgs),
    Run(RunArgs),
    Hooks(HooksArgs),
    Inspect(InspectArgs),
    Convert(ConvertArgs),
}

/// Generate text, with the features that fire on each token
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope generate
      tells a story with the built-in model, and shows what fires on each token
  nanoscope generate --prompt 'Once upon a time, there was a' --steer blocks.3.hook_resid_post:373:add:33
      the same with the direction of one feature added everywhere
  nanoscope generate --model ~/.cache/nanochat --sae sae_outputs --track blocks.12.hook_resid_post
      your own model and SAEs
  nanoscope generate --json | jq .text
      one JSON object per token")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,

    /// Text to go on from; `<|bos|>` is put before it
    #[arg(long, default_value = "Once upon a time", value_parser = prompt)]
    pub(crate) prompt: String,
    /// Take the prompt for a user's message and let the assistant answer
    #[arg(long)]
    pub(crate) chat: bool,
    /// Tokens to generate at most
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub(crate) max_tokens: usize,
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
    /// Features to show per token and hook point, the strongest first [default: as many as fit, up to 3; with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Print one JSON object per token, and one at the end
    #[arg(long)]
    pub(crate) json: bool,
}

/// Run a text or tokens through the model once
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope run --prompt 'The dog was very' --track blocks.2.hook_resid_post
  nanoscope run --tokens 4087,550,468 --capture blocks.1.hook_mlp_out --out run.safetensors
  nanoscope run --tokens-file tokens.json --steer blocks.1.hook_resid_post:7:ablate --json

--out writes safetensors: `logits` [batch, seq, vocab], `tokens`, `<hook>` for each captured
activation, `<hook>/features` [batch, seq, d_sae] and `<hook>/reconstruction` [batch, seq, d_in] for
each tracked SAE. Features and captured activations are those that arrive at the hook point.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) input: InputArgs,

    /// Also give the activation at this hook point
    #[arg(long, value_name = "HOOK")]
    pub(crate) capture: Vec<HookPoint>,
    /// Write what was computed to this safetensors file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Features to show per token and hook point, the strongest first [default: as many as fit, up to 3; with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to run.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct InputArgs {
    /// A text; `<|bos|>` is put before it
    #[arg(long, value_parser = prompt)]
    pub(crate) prompt: Option<String>,
    /// Token ids, exactly as they are
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',')]
    pub(crate) tokens: Option<Vec<u32>>,
    /// A JSON file with rows of token ids: [[1, 2], [3, 4]]
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens_file: Option<PathBuf>,
}

/// List the model's hook points, their shapes and SAEs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nanoscope hooks --model ~/.cache/nanochat --sae sae_outputs")]
pub(crate) struct HooksArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Print one JSON object per hook point
    #[arg(long)]
    pub(crate) json: bool,
}

/// Tell what a file is: format, configuration, tensors, memory needed
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nanoscope inspect sae_outputs/layer_3/best_model.pt")]
pub(crate) struct InspectArgs {
    /// A file, or a folder with a model or SAEs
    pub(crate) path: PathBuf,
    /// The era of a checkpoint that fits several
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
    /// Print one JSON object per file
    #[arg(long)]
    pub(crate) json: bool,
}

/// Write a model or an SAE in another form
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope convert ~/.cache/nanochat/base_checkpoints/d20 d20-nanoscope --to nanoscope
      a folder that loads by mapping it into memory
  nanoscope convert sae_outputs/layer_3/best_model.pt small.pt --to nanochat-sae --dtype f16")]
pub(crate) struct ConvertArgs {
    /// A model's file or folder, or an SAE's file
    pub(crate) src: PathBuf,
    /// The folder (nanoscope) or file (nanochat-sae) to write
    pub(crate) dst: PathBuf,
    /// The form to write
    #[arg(long, value_enum)]
    pub(crate) to: Form,
    /// The numbers to write an SAE in [default: f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Number>,
    /// The era of a checkpoint that fits several
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A model as config.json and model.safetensors
    Nanoscope,
    /// An SAE as a .pt file that nanochat-SAE reads
    NanochatSae,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Number {
    F32,
    F16,
    Bf16,
}

/// Which model and SAEs, and where they run.
#[derive(Debug, Args)]
pub(crate) struct ModelArgs {
    /// nanochat's base folder, a checkpoint folder or file, or our own form [default: the built-in
    /// demo]
    #[arg(long, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// An SAE's file, or a folder of them [default: the demo's, with the demo model]
    #[arg(long, value_name = "PATH")]
    pub(crate) sae: Vec<PathBuf>,
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
        help = "Change a feature: HOOK:FEATURE:OP[:VALUE][@WHERE], OP being multiply, set, \
                set_if_active, ablate or add, WHERE being text, all, prompt, generated, last or A..B"
    )]
    pub(crate) steer: Vec<Intervention>,
    /// What becomes of the part of the activation that the SAE does not explain [default:
    /// keep-error]
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

impl From<SpliceArg> for Splice {
    fn from(splice: SpliceArg) -> Self {
        match splice {
            SpliceArg::KeepError => Self::KeepError,
            SpliceArg::Reconstruct => Self::Reconstruct,
        }
    }
}

fn prompt(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the prompt is empty") } else { Ok(text.to_owned()) }
}
