//! The flags of `nanoscope dashboard`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use nanoscope_hooks::HookPoint;

use crate::args::ModelArgs;
use crate::texts::TextArgs;

/// Write a dashboard of an SAE's features: a folder that opens in a browser, without a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope dashboard --text stories.txt --out pages
      all features of the deepest SAE of the built-in model
  nanoscope dashboard --model ~/.cache/nanochat --sae sae_outputs --hook blocks.12.hook_resid_post \\
      --text ~/.cache/nanochat/base_data --tokens 2000000 --out pages
      your own model and SAE, on two million tokens of its training data
  nanoscope dashboard --text stories.txt --out pages --features 0..256 --compact
      some features only, with fewer and shorter examples
  nanoscope dashboard --text stories.txt --out pages --neuronpedia exports
      the dashboard and the files that Neuronpedia imports

Texts are files or folders of plain text (<|endoftext|> between documents), JSONL, JSON, CSV, TSV or \
parquet. They are read twice: once for the range of each feature's activations, once for the examples.

Dashboards of one model in folders beside each other are linked: write one per layer, for instance \
to layers/layer_0 and layers/layer_1.

Labels come from the SAE's folder and from a labels.json in --out, which is kept when the dashboard \
is replaced; --labels takes precedence over both. Labels edited in the browser can be downloaded \
there as labels.json.

On Ctrl-C or SIGTERM the dashboard in --out stays as it was and the exit code is 130 or \
143.")]
pub(crate) struct DashboardArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The hook point of the SAE [default: the deepest SAE]
    #[arg(long, value_name = "HOOK")]
    pub(crate) hook: Option<HookPoint>,
    #[command(flatten)]
    pub(crate) texts: TextArgs,
    /// The maximum number of tokens to read [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: Option<u64>,
    /// The number of tokens per context [default: the model's context length, at most
    /// 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
    /// The folder to write to; an existing dashboard is replaced
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The range of features to include, without B [default: all]
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub(crate) features: Option<Range<u32>>,
    /// The number of top examples per feature [default: 20, with --compact 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) examples: Option<u16>,
    /// The number of examples from each fifth of a feature's activation range [default: 5, with
    /// --compact 1]
    #[arg(long, value_name = "N")]
    pub(crate) per_quantile: Option<u16>,
    /// The number of tokens shown on either side of an example [default: 16, with --compact 10]
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u16>,
    /// Write a smaller dashboard, with fewer and shorter examples
    #[arg(long)]
    pub(crate) compact: bool,
    /// A folder to also write an export for Neuronpedia to
    #[arg(long, value_name = "DIR")]
    pub(crate) neuronpedia: Option<PathBuf>,
    /// The name of the model, in the dashboard and on Neuronpedia [default: the name of its folder]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The random seed; the same seed gives the same dashboard
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    /// A file with labels of features, in the format of the labels.json in an SAE's folder
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Count special tokens such as <|bos|> too
    #[arg(long)]
    pub(crate) keep_special: bool,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
}

pub(crate) fn range(text: &str) -> Result<Range<u32>, String> {
    let (from, to) = text.split_once("..").ok_or("expected A..B")?;
    let number = |text: &str| text.parse::<u32>().map_err(|error| format!("`{text}`: {error}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok(from..to) } else { Err(format!("{from}..{to} is empty")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_something_in_it() {
        assert_eq!(range("0..256"), Ok(0..256));
        assert_eq!(range("3..3"), Err("3..3 is empty".to_owned()));
        for text in ["", "3", "..", "3..", "..3", "-1..3", "0..99999999999", "0...3", "0..=3"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
