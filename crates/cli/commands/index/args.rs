//! The flags of `nanoscope index`.

use std::path::PathBuf;

use clap::Args;
use nanoscope_hooks::HookPoint;

use crate::args::ModelArgs;
use crate::texts::TextArgs;

/// Index the features of SAEs on a text: names, examples, and the strength of steering
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope index --text stories.txt
      the SAEs of the built-in model
  nanoscope index --model ~/.cache/nanochat --sae sae_outputs --text ~/.cache/nanochat/base_data
      your own model and SAEs

The index is a file of about 300 bytes per feature beside the SAE, or in the user's data folder where \
that cannot be written. All commands that load the SAE read it: every feature then has a name made of \
the tokens on which it fires and those that it promotes, features are found by the tokens on which they \
fire and the words that they write, and `add:N%` has a default and a limit that were measured. An index \
that --out writes elsewhere is not read by other commands.

Steering is measured with up to 48 features: each is added at growing shares of the activation's norm, and the \
texts are scored by the model without steering. Then a few texts are generated with each feature at the default \
share, for the words that they contain more often.

`nanoscope train` makes an index at its end.")]
pub(crate) struct IndexArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The hook point of the SAE to index [default: all SAEs]
    #[arg(long, value_name = "HOOK")]
    pub(crate) hook: Option<HookPoint>,
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// The maximum number of tokens to read
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: u64,
    /// The number of tokens per context [default: the model's context length, at most 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
    /// Leave out the measurements of steering
    #[arg(long)]
    pub(crate) no_steering: bool,
    /// The number of texts to generate with each feature, for the words that it writes; 0 for none
    /// [default: 4 where that takes minutes, else 0]
    #[arg(long, value_name = "N", conflicts_with = "no_steering")]
    pub(crate) steered_texts: Option<u8>,
    /// The file to write, for one SAE [default: beside the SAE]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Print one JSON object per SAE
    #[arg(long, short)]
    pub(crate) json: bool,
}
