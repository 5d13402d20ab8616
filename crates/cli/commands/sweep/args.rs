//! The flags of `nanoscope sweep`.

use std::path::PathBuf;

use clap::Args;

use super::strength::{OpName, Strength};
use crate::args::{FeatureArg, ModelArgs, SamplingArgs, output_path};
use crate::commands::metric::MetricArgs;
use crate::commands::run::InputArgs;
use crate::export::TableFormat;
use crate::prompt::SpecialTokensArg;

/// Measure the effect of features, and the fluency of the text, at several strengths of steering
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope sweep 'Once upon a time, there was a' --feature 1909
      one feature at 0 to 40 % of the activation's norm
  nanoscope sweep 'Once upon a time, there was a' --feature 1909 --feature 1490 --svg sweep.svg
      two features, and a picture of both curves
  nanoscope sweep 'The little' --feature 1909 --target ' dog' --strength -20%,20% --table a.csv
      the log probability of a token, down and up, with the numbers for a data frame
  nanoscope sweep 'The dog' --feature blocks.1.hook_resid_post:1856 --op multiply --strength 0,2
      a factor on a feature where it is active

For each feature and strength two things are measured: a metric of the next token after the steered prompt, and \
the fluency of texts that continue it with the same steering. The metric is logit(target) − logit(contrast) or, \
with a target alone, the target's log probability in nats. Fluency is the mean negative log-likelihood per token \
under the unsteered model, and its ratio to that of unsteered texts with the same seeds; above 2 the texts are \
broken. Text I has the seed S + I, counted from 0, and is the one that `nanoscope generate` writes with it.

--table has the columns hook, feature, label, op, strength, scale, metric, unsteered_metric, nll, unsteered_nll \
and ratio. docs/steering.md explains the numbers.")]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) special: SpecialTokensArg,

    /// A feature to steer with, alone; may be repeated. Without a hook point it is one of the deepest SAE
    #[arg(long, value_name = "[HOOK:]FEATURE", required = true)]
    pub(crate) feature: Vec<FeatureArg>,
    /// The strengths, each a value as in --steer of `generate`: 30% is a share of the activation's norm,
    /// a plain number is raw. The strength that changes nothing, if there is one, is always included
    /// [default: 0%,10%,20%,30%,40% for add and orthogonal]
    #[arg(long, value_name = "VALUE,…", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) strength: Vec<Strength>,
    /// The operation: any of --steer that takes a value
    #[arg(long, value_name = "OP", default_value = "add")]
    pub(crate) op: OpName,
    #[command(flatten)]
    pub(crate) metric: MetricArgs,
    /// The number of texts per feature and strength
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) texts: u16,
    /// The maximum number of tokens to generate per text
    #[arg(long, short = 'n', value_name = "N", default_value_t = 48, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Print one JSON object, with the texts
    #[arg(long, short)]
    pub(crate) json: bool,
    /// Write a table with a row for each feature and strength, as .csv, .parquet or .jsonl; `-` is
    /// stdout
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    pub(crate) table: Option<PathBuf>,
    /// The format of the table [default: by the extension of --table; csv for stdout]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "table")]
    pub(crate) table_format: Option<TableFormat>,
    /// Draw the metric and the fluency against the strength; `-` is stdout
    #[arg(long, value_name = "FILE.svg", value_parser = output_path())]
    pub(crate) svg: Option<PathBuf>,
}
