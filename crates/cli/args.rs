//! The flags.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nanoscope_checkpoint::{SaePath, WeightDtype};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Condition, Intervention, Sampling, VectorName};
use nanoscope_transformer::Era;

/// Generate text, with the features that fire on each token
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope generate
      tells a story with the built-in model, and shows what fires on each token
  nanoscope generate --prompt 'Once upon a time, there was a' --steer blocks.3.hook_resid_post:1909:add:27
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
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Features to show per token and hook point, the strongest first [default: as many as fit, up to 3; with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Print one JSON object per token, and one at the end
    #[arg(long)]
    pub(crate) json: bool,
}

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

/// Find a feature: list those that are active on a text, near another, or labelled with a word
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope features --text 'The dog wagged its tail.'
      the most active features, and where they are strongest
  nanoscope features --text 'The dog barked.' --against 'The cake was sweet.'
      those that are most specific to the first text
  nanoscope features --feature 1909
      one feature: its weights, the tokens that it promotes, its neighbours, where it fires
  nanoscope features --near 1909
  nanoscope features --grep dog --json | jq .features

Special tokens such as <|bos|> are run but not counted, unless --special is given. A text longer \
than the model's context is run in pieces, each with <|bos|> before it. A feature fires where its \
value is not 0; its mean is over all tokens that count, those at which it does not fire included.

--against ranks by mean A − mean B: how much more of the feature a token of the text carries than \
one of the other text, in the feature's own units, which are also those of --steer.

--feature: what a feature promotes is its decoder row times the unembedding, less the mean over the \
vocabulary. Blocks, norms and scales in between are left out, so read the order and not the size.")]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The hook point whose SAE's features are meant [default: the deepest SAE's]
    #[arg(long, value_name = "HOOK")]
    pub(crate) at: Option<HookPoint>,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// What the listed features are sorted by [default: max]
    #[arg(long, value_enum, conflicts_with_all = ["other", "one_of"])]
    pub(crate) by: Option<By>,
    #[command(flatten)]
    pub(crate) against: AgainstArgs,
    #[command(flatten)]
    pub(crate) one_of: OneOfArgs,
    /// Count special tokens too
    #[arg(long)]
    pub(crate) special: bool,
    /// Features to list; with --feature, tokens, neighbours and places to show [default: 10; with
    /// --grep all, with --feature 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// The text to look at.
#[derive(Debug, Args)]
#[group(id = "own", multiple = false)]
pub(crate) struct TextArgs {
    /// The text to look at; `<|bos|>` is put before it [default: a few words of a story]
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(crate) text: Option<String>,
    /// The same from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) text_file: Option<PathBuf>,
}

/// The text to compare with.
#[derive(Debug, Args)]
#[group(id = "other", multiple = false, conflicts_with = "one_of")]
pub(crate) struct AgainstArgs {
    /// List the features that are most specific to the text, compared with this other one
    #[arg(long, value_name = "TEXT", requires = "own", value_parser = text)]
    pub(crate) against: Option<String>,
    /// The same with the other text from a file
    #[arg(long, value_name = "FILE", requires = "own")]
    pub(crate) against_file: Option<PathBuf>,
}

/// Features that are found without a text.
#[derive(Debug, Args)]
#[group(id = "one_of", multiple = false)]
pub(crate) struct OneOfArgs {
    /// List the features whose decoder rows point most nearly in this one's direction
    #[arg(long, value_name = "FEATURE")]
    pub(crate) near: Option<usize>,
    /// Show all that is known of these features
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
    pub(crate) feature: Vec<usize>,
    /// List the features with this word in their label, in small or large letters
    #[arg(long, value_name = "WORD", value_parser = word)]
    pub(crate) grep: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// The largest value
    #[default]
    Max,
    /// The mean over all tokens
    Mean,
    /// The number of tokens at which it fires
    Count,
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
  nanoscope convert dictionary_learning/trainer_0 sae --to saelens
      cfg.json and sae_weights.safetensors, for SAE.load_from_disk
  nanoscope convert sae_outputs/layer_3/best_model.pt small.pt --to nanochat-sae --dtype f16

An SAE that the other tool would read with other numbers is refused, and the reason said.")]
pub(crate) struct ConvertArgs {
    /// A model's file or folder, or an SAE's, of any format that is read
    pub(crate) src: PathBuf,
    /// The folder (nanoscope, saelens) or file (nanochat-sae) to write
    pub(crate) dst: PathBuf,
    /// The form to write
    #[arg(long, value_enum)]
    pub(crate) to: Form,
    /// The numbers to write an SAE's matrices in [default: f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Number>,
    /// The hook point of an SAE whose files do not say it; HOOK:HOOK of a transcoder
    #[arg(long, value_name = "HOOK")]
    pub(crate) at: Option<At>,
    /// The era of a checkpoint that fits several
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A model as config.json and model.safetensors
    Nanoscope,
    /// An SAE as cfg.json and sae_weights.safetensors, which SAELens 6 reads
    #[value(name = "saelens")]
    SaeLens,
    /// An SAE as a .pt file that nanochat-SAE reads
    NanochatSae,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Number {
    F32,
    F16,
    Bf16,
}

impl From<Number> for WeightDtype {
    fn from(number: Number) -> Self {
        match number {
            Number::F32 => Self::F32,
            Number::F16 => Self::F16,
            Number::Bf16 => Self::BF16,
        }
    }
}

/// Turn another tool's activations into an SAE's features
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope encode --sae gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71 \\
      --activations acts.safetensors --out features.safetensors
  nanoscope encode --sae sae --activations acts.safetensors:resid_post.3 --out f.safetensors --dtype bf16

The activations are a tensor [..., d_in] of a safetensors, .npz or .pt file; they are read a part at
a time, so the file may be larger than memory (but for .pt). --out is a safetensors file in
compressed sparse row form: `indptr` [rows + 1], `indices` and `values` [active], `shape` [2]. In
Python: scipy.sparse.csr_matrix((values, indices, indptr), shape).")]
pub(crate) struct EncodeArgs {
    /// The SAE's file or folder, of any format that is read
    #[arg(long, value_name = "PATH")]
    pub(crate) sae: PathBuf,
    /// The activations: a file, and after a colon the tensor's name if there are several
    #[arg(long, value_name = "FILE[:KEY]")]
    pub(crate) activations: String,
    /// The safetensors file to write
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// The numbers to hold the SAE's matrices in; those of 16 bits take half the memory, and how
    /// many active features stay the same is said [default: f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<Number>,
    /// The backend: auto, flex, ndarray, wgpu, cuda
    #[arg(long, default_value = "auto", value_name = "NAME")]
    pub(crate) device: String,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
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
    pub(crate) sae_dtype: Option<Number>,
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
pub(crate) struct At(pub(crate) HookPoint, pub(crate) Option<HookPoint>);

impl std::str::FromStr for At {
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
            let At(hook, hook_out) = at.parse()?;
            Ok(SaePath { path: path.into(), at: Some((hook, hook_out)) })
        }
        _ => Ok(SaePath::from(text)),
    }
}

pub(crate) fn prompt(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the prompt is empty") } else { Ok(text.to_owned()) }
}

fn text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the text is empty") } else { Ok(text.to_owned()) }
}

fn word(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the word is empty") } else { Ok(text.to_owned()) }
}
