//! The flags of `nanoscope eval`.

use std::path::PathBuf;

use clap::Args;

use crate::args::ModelArgs;
use crate::texts::TextArgs;

/// Evaluate SAEs on text: reconstruction, sparsity, and the loss of the model with them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope eval --text stories.txt
      the SAEs of the built-in model, side by side
  nanoscope eval --model ~/.cache/nanochat --sae sae --text held_out.jsonl --explain
      every metric of one SAE, with its formula
  nanoscope eval --sae k16 --sae k32 --sae k64 --text held_out.jsonl --plot sparsity.svg
      SAEs of different sparsity at one hook point
  nanoscope eval --sae sae --text fineweb/ --tokens 1000000 --out core.json
      the layout of SAEBench's core evaluation
  nanoscope eval --sae runs/a/blocks.2.hook_resid_post/final --text stories.txt --held-out runs/a
      what a training held out of its own text
  nanoscope eval --text stories.txt --tokens 10000 --dtype-report
      the price of holding the model and the SAEs in fewer bits

The metrics are those of SAELens's evals.py, SAEBench's core evaluation and nanochat-SAE's
evaluator.
Each batch of contexts takes three forward passes: unchanged, with the activation replaced by its \
reconstruction, and with the activation zeroed. Special tokens such as <|bos|> are run but not \
counted, and keep their activation, unless --keep-special is given. A transcoder is compared with the \
activation it predicts.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// Evaluate only on what the training run in this folder held out of the text
    #[arg(long, value_name = "RUN")]
    pub(crate) held_out: Option<PathBuf>,
    /// The number of tokens per context [default: the model's context length, at most 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: Option<u32>,
    /// The maximum number of tokens to evaluate on
    #[arg(long, default_value_t = 100_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: u64,
    /// The number of contexts per batch; explained_variance_legacy and
    /// relative_reconstruction_bias depend on it
    #[arg(long, default_value_t = 8, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_contexts: u32,
    /// Count special tokens such as <|bos|> too
    #[arg(long)]
    pub(crate) keep_special: bool,
    /// Print the formula and the meaning of each metric
    #[arg(long, conflicts_with = "json")]
    pub(crate) explain: bool,
    /// Print one JSON object per SAE, in the layout of SAEBench's core evaluation
    #[arg(long, short)]
    pub(crate) json: bool,
    /// The file to write the same JSON to: an object, or a list for several SAEs
    #[arg(long, short, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,
    /// The file to plot the CE score against L0 to, with a point for each SAE
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Compare the model and the SAEs, held in bf16, f16 and int8, with themselves in float32: the
    /// divergence of the predictions, and the share of active features that are the same
    #[arg(long, conflicts_with_all = [
        "explain", "out", "plot", "features", "dtype", "sae_dtype",
    ])]
    pub(crate) dtype_report: bool,
    /// The file to write the density and weight norms of each feature to, one JSON object per line
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) features: Option<PathBuf>,
}
