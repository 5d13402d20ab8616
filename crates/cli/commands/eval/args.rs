//! The flags of `nanoscope eval`.

use std::path::PathBuf;

use clap::Args;

use crate::args::ModelArgs;

/// Measure how good SAEs are on a text: reconstruction, sparsity, what the model loses with them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope eval --text stories.txt
      the built-in model's SAEs, side by side
  nanoscope eval --model ~/.cache/nanochat --sae sae --text held_out.jsonl --explain
      every metric of one SAE, its formula beside it
  nanoscope eval --sae k16 --sae k32 --sae k64 --text held_out.jsonl --plot sparsity.svg
      SAEs of different sparsity for one hook point
  nanoscope eval --sae sae --text fineweb/ --tokens 1000000 --out core.json
      the layout of SAEBench's core evaluation

The metrics are those of SAELens's evals.py, SAEBench's core evaluation and nanochat-SAE's evaluator.
Three forward passes for each batch of contexts: as it is, with the reconstruction in the place of \
the activation, and with zeros there. Special tokens such as <|bos|> are run but not counted, and \
keep their activation, unless --keep-special is given. A transcoder is held against the activation \
that it writes.")]
pub(crate) struct EvalArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// A text, or a folder of them: plain text, JSONL, parquet; best what no SAE was trained on
    #[arg(long, value_name = "PATH", required = true)]
    pub(crate) text: Vec<PathBuf>,
    /// The field of JSONL lines and the column of parquet files that has the text
    #[arg(long, default_value = "text", value_name = "NAME")]
    pub(crate) text_column: String,
    /// Tokens of a context [default: the model's context, at most 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: Option<u32>,
    /// Tokens to evaluate on at most
    #[arg(long, default_value_t = 100_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: u64,
    /// Contexts that are run together; explained_variance_legacy and relative_reconstruction_bias
    /// depend on it
    #[arg(long, default_value_t = 8, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch_contexts: u32,
    /// Let special tokens count like any other
    #[arg(long)]
    pub(crate) keep_special: bool,
    /// Print each metric's formula and meaning beside it
    #[arg(long, conflicts_with = "json")]
    pub(crate) explain: bool,
    /// Print one JSON object per SAE, in the layout of SAEBench's core evaluation
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the same to this file: an object, or a list of them if there are several SAEs
    #[arg(long, value_name = "FILE.json")]
    pub(crate) out: Option<PathBuf>,
    /// Draw the CE score against L0, a point for each SAE
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Write each feature's density and weights to this file, a JSON object per line
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) features: Option<PathBuf>,
}
