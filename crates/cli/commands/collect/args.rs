//! The flags of `nanoscope collect`.

use std::path::PathBuf;

use clap::Args;
use nanoscope_corpus::StorePart;
use nanoscope_hooks::HookPoint;

use crate::args::{DtypeArg, GptArgs};

/// Run a model over text and keep its activations in a folder, for training on them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope collect --text stories/ --hook blocks.2.hook_resid_post --out activations
      the demo model's, on all texts of a folder
  nanoscope collect --model ~/.cache/nanochat --text ~/.cache/nanochat/base_data --tokens 50000000 \\
      --hook blocks.10.hook_resid_post --hook blocks.10.hook_mlp_out --dtype bf16 --out activations
      your own model's at two points, on the first 50 million tokens of its own parquet files
  nanoscope collect --text stories/ --hook blocks.2.hook_resid_post --out activations --shard 3/8
      one of eight machines' share; without coordination, into one folder or into several

Texts are files or folders: plain text with <|endoftext|> between documents, JSONL, parquet, the
first two also with .gz. Documents follow each other with <|bos|> before each, cut into contexts of
equal length. Special tokens are run, but have no rows unless --keep-special is given.

--out has shards in safetensors and a manifest with everything they depend on. Whatever ends a run,
the same command goes on behind the last complete shard, and refuses to if the model, the text or
a flag is another. docs/scaling.md has job files for Slurm and Kubernetes.")]
pub(crate) struct CollectArgs {
    #[command(flatten)]
    pub(crate) gpt: GptArgs,

    /// Files and folders with text
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    pub(crate) text: Vec<PathBuf>,
    /// The field of JSONL lines and the column of parquet files that has the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(crate) text_column: String,
    /// A hook point to keep the activations of
    #[arg(long, value_name = "HOOK", required = true)]
    pub(crate) hook: Vec<HookPoint>,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The numbers to write [default: f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<DtypeArg>,
    /// Tokens that the model sees at once [default: the model's context]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: Option<u32>,
    /// Take no more than the first N tokens of the text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: Option<u64>,
    /// Make only the shards of part I of N, counted from 0
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<StorePart>,
    /// Give special tokens such as <|bos|> rows too
    #[arg(long)]
    pub(crate) keep_special: bool,
    /// Tokens of a shard, rounded to whole contexts [default: as many as take 128 MiB in f32]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) shard_tokens: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
