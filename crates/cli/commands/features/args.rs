//! The flags of `nanoscope features`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nanoscope_hooks::HookPoint;

use crate::args::ModelArgs;

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

Special tokens such as <|bos|> are run but not counted, unless --keep-special is given. A text longer \
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
    pub(crate) hook: Option<HookPoint>,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// What the listed features are sorted by [default: max]
    #[arg(long, value_enum, conflicts_with_all = ["other", "lookup"])]
    pub(crate) by: Option<By>,
    #[command(flatten)]
    pub(crate) against: ComparisonArgs,
    #[command(flatten)]
    pub(crate) lookup: LookupArgs,
    /// Count special tokens too
    #[arg(long)]
    pub(crate) keep_special: bool,
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
#[group(id = "other", multiple = false, conflicts_with = "lookup")]
pub(crate) struct ComparisonArgs {
    /// List the features that are most specific to the text, compared with this other one
    #[arg(long, value_name = "TEXT", requires = "own", value_parser = text)]
    pub(crate) against: Option<String>,
    /// The same with the other text from a file
    #[arg(long, value_name = "FILE", requires = "own")]
    pub(crate) against_file: Option<PathBuf>,
}

/// Features that are found without a text.
#[derive(Debug, Args)]
#[group(id = "lookup", multiple = false)]
pub(crate) struct LookupArgs {
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
    /// The density: the share of tokens at which it fires
    Density,
}

fn text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the text is empty") } else { Ok(text.to_owned()) }
}

fn word(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the word is empty") } else { Ok(text.to_owned()) }
}
