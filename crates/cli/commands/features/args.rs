//! The flags of `nanoscope features`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nanoscope_hooks::HookPoint;

use crate::args::ModelArgs;
use crate::prompt::SpecialTokensArg;
use crate::terminal::messages::Hint;

/// Find features: by a word, active on a text, or near another feature
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope features dog
      the features that write, are about or fire on a word; the ones that steer best come first
  nanoscope features --promotes dog --json | jq .hits
  nanoscope features --text 'The dog wagged its tail.'
      the most active features, with the tokens on which they are strongest
  nanoscope features --text 'The dog barked.' --against 'The cake was sweet.'
      the features most specific to the first text
  nanoscope features --feature 1909
      one feature: its weights, the next tokens it promotes, its neighbours, where it fires
  nanoscope features --near 1909
  nanoscope features --grep dog
      only those with the word in a person's label

Special tokens such as <|bos|> are run but not counted, unless --keep-special is given. A text longer \
than the model's context is split into contexts, each with <|bos|> prepended. A feature fires on a \
token if its activation is not 0; its density is the fraction of tokens on which it fires, its mean \
activation is over all counted tokens.

--against ranks by mean A − mean B, the difference of the mean activations on the two texts, in the \
feature's own units, which are also those of --steer.

--feature shows the next tokens a feature promotes and suppresses: its decoder row times the \
unembedding, minus the mean over the vocabulary. Blocks, norms and scales in between are ignored, so \
the order is meaningful and the size is not.")]
pub(crate) struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Search all SAEs for features by a word, or by index (1909 or 3:1909)
    #[arg(value_name = "QUERY", value_parser = word, conflicts_with_all = ["own", "other", "lookup", "by", "special_tokens"])]
    pub(crate) query: Option<String>,
    /// Search for features that promote a word: its tokens become more likely when they are turned up
    #[arg(long, value_name = "WORD", value_parser = word, conflicts_with_all = ["query", "own", "other", "lookup", "by", "special_tokens"])]
    pub(crate) promotes: Option<String>,
    /// Search for features that fire most strongly on a word; needs an index (`nanoscope index`)
    #[arg(long, value_name = "WORD", value_parser = word, conflicts_with_all = ["query", "promotes", "own", "other", "lookup", "by", "special_tokens"])]
    pub(crate) fires_on: Option<String>,

    /// The hook point of the SAE [default: the deepest SAE; of a search all]
    #[arg(long, value_name = "HOOK")]
    pub(crate) hook: Option<HookPoint>,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// The order of the listed features [default: max]
    #[arg(long, value_enum, conflicts_with_all = ["other", "lookup"])]
    pub(crate) by: Option<By>,
    #[command(flatten)]
    pub(crate) against: ComparisonArgs,
    #[command(flatten)]
    pub(crate) lookup: LookupArgs,
    #[command(flatten)]
    pub(crate) special: SpecialTokensArg,
    /// Count special tokens such as <|bos|> too
    #[arg(long, conflicts_with_all = ["query", "promotes", "fires_on"])]
    pub(crate) keep_special: bool,
    /// The number of features to list; with --feature, the number of next tokens, neighbours and
    /// excerpts [default: 10; with --grep all, with --feature 6]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: Option<u32>,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
}

/// A search over all SAEs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SearchQuery {
    pub(crate) text: String,
    pub(crate) by: SearchBy,
}

/// The evidence that a search considers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SearchBy {
    Anything,
    Promotes,
    FiresOn,
}

impl FeaturesArgs {
    /// The search, if one was asked for.
    pub(crate) fn query(&self) -> Option<SearchQuery> {
        let query = |text: &Option<String>, by| {
            text.as_ref().map(|text| SearchQuery { text: text.clone(), by })
        };
        query(&self.query, SearchBy::Anything)
            .or_else(|| query(&self.promotes, SearchBy::Promotes))
            .or_else(|| query(&self.fires_on, SearchBy::FiresOn))
    }

    /// Checks that a lookup without a text has no flag that only a text gives an effect.
    pub(super) fn check(&self) -> Result<(), Hint> {
        if self.text.text.is_some() || self.text.text_file.is_some() {
            return Ok(());
        }
        let LookupArgs { near, feature, grep } = &self.lookup;
        let is_list = near.is_some() || grep.is_some();
        let flag = if self.special.special_tokens && (is_list || !feature.is_empty()) {
            "--special-tokens"
        } else if self.keep_special && is_list && !self.json {
            // A page, and JSON, have the activations on the built-in story too.
            "--keep-special"
        } else {
            return Ok(());
        };
        Err(Hint::new(format!("{flag} is for a text"), "add --text or --text-file"))
    }
}

/// Flags for the text.
#[derive(Debug, Args)]
#[group(id = "own", multiple = false)]
pub(crate) struct TextArgs {
    /// The text to run the model on, after `<|bos|>` or what the tokenizer begins with [default: a few sentences of a story]
    #[arg(long, value_name = "TEXT", value_parser = text)]
    pub(crate) text: Option<String>,
    /// A file with the text
    #[arg(long, value_name = "FILE")]
    pub(crate) text_file: Option<PathBuf>,
}

/// Flags for the text to compare with.
#[derive(Debug, Args)]
#[group(id = "other", multiple = false, conflicts_with = "lookup")]
pub(crate) struct ComparisonArgs {
    /// List the features most specific to the text, compared with this other text
    #[arg(long, value_name = "TEXT", requires = "own", value_parser = text)]
    pub(crate) against: Option<String>,
    /// A file with the other text
    #[arg(long, value_name = "FILE", requires = "own")]
    pub(crate) against_file: Option<PathBuf>,
}

/// Flags that find features without a text.
#[derive(Debug, Args)]
#[group(id = "lookup", multiple = false)]
pub(crate) struct LookupArgs {
    /// List the features whose decoder rows have the highest cosine with this feature's
    #[arg(long, value_name = "FEATURE")]
    pub(crate) near: Option<usize>,
    /// Show these features in detail
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',')]
    pub(crate) feature: Vec<usize>,
    /// List the features with this word in their label, ignoring case
    #[arg(long, value_name = "WORD", value_parser = word)]
    pub(crate) grep: Option<String>,
}

/// The order of a list of features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// By max activation
    #[default]
    Max,
    /// By mean activation over all tokens
    Mean,
    /// By density, the fraction of tokens on which the feature fires
    Density,
}

fn text(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the text is empty") } else { Ok(text.to_owned()) }
}

fn word(text: &str) -> Result<String, &'static str> {
    if text.is_empty() { Err("the word is empty") } else { Ok(text.to_owned()) }
}
