//! The flags of `nanoscope collect`.

use std::path::PathBuf;

use clap::Args;
use nanoscope_corpus::{CollectedFrom, StorePart};
use nanoscope_hooks::HookPoint;

use crate::args::{DtypeArg, GptArgs, MatrixDtypeArg};
use crate::texts::TextArgs;

/// Run a model over text and store its activations, to train SAEs on them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope collect --text stories/ --hook blocks.2.hook_resid_post --out activations
      activations of the demo model on all texts in a folder
  nanoscope collect --model ~/.cache/nanochat --text ~/.cache/nanochat/base_data --tokens 50000000 \\
      --hook blocks.10.hook_resid_post --hook blocks.10.hook_mlp_out --dtype bf16 --out activations
      activations of your own model at two hook points, on the first 50 million tokens of its
      training data
  nanoscope collect --text s3://bucket/texts/ --hook blocks.2.hook_resid_post --out activations
      on the texts in a bucket, with the credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
  nanoscope collect --text stories/ --hook blocks.2.hook_resid_post --out shared --shard 3/8
      the share of one of eight machines, which need no coordination and may use one folder

Texts are files or folders of plain text (<|endoftext|> between documents), JSONL, JSON, CSV, TSV or
parquet; all but the last may be compressed (.gz, .zst). Documents are concatenated with <|bos|>
before each and split into contexts of equal length. Special tokens are run but not stored, unless
--keep-special is given.

--out receives shards in safetensors and a manifest of everything they depend on. However a run
ends, the same command continues after the last complete shard; it refuses to if the model, the text
or a flag has changed. docs/scaling.md has job files for Slurm and Kubernetes, and the settings for
buckets.")]
pub(crate) struct CollectArgs {
    #[command(flatten)]
    pub(crate) gpt: GptArgs,

    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// A hook point to store the activations of; may be repeated
    #[arg(long, value_name = "HOOK", required = true)]
    pub(crate) hook: Vec<HookPoint>,
    /// The folder to write to
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The data type of the stored activations [default: f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<DtypeArg>,
    /// The data type of the model's matrices in memory; computation is in float32 [default: the 16 bits
    /// of their file, otherwise and on GPUs f32]
    #[arg(long, value_enum)]
    pub(crate) model_dtype: Option<MatrixDtypeArg>,
    /// Start even if the model is estimated to take more memory than there is
    #[arg(long)]
    pub(crate) ignore_memory: bool,
    /// The number of tokens per context [default: the model's context length, at most
    /// 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) context: Option<u32>,
    /// Use only the first N tokens of the text
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: Option<u64>,
    /// Compute only the shards of part I of N, counted from 0
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<StorePart>,
    /// Store special tokens such as <|bos|> too
    #[arg(long)]
    pub(crate) keep_special: bool,
    /// The number of tokens per shard, rounded to whole contexts [default: as many as take 128 MiB
    /// in f32, and at most a fortieth of the text]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) shard_tokens: Option<u64>,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
}

impl CollectArgs {
    /// Where the model and the texts are.
    pub(crate) fn origin(&self) -> CollectedFrom {
        CollectedFrom {
            model: self.gpt.model.clone(),
            tokenizer: self.gpt.tokenizer.clone(),
            era: self.gpt.era.map(|era| era.to_string()),
            text: self.texts.text.clone(),
            text_column: self.texts.text_column.clone(),
            strict: self.texts.strict,
            max_document_bytes: self.texts.max_document_bytes,
        }
    }
}
