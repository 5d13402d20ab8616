//! The flags of `nanoscope dashboard`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use nanoscope_hooks::HookPoint;

use crate::args::ModelArgs;

/// Make pages about an SAE's features: a folder that opens in a browser, without a server
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope dashboard --text stories.txt --out pages
      all features of the deepest SAE of the built-in model
  nanoscope dashboard --model ~/.cache/nanochat --sae sae_outputs --hook blocks.12.hook_resid_post \\
      --text ~/.cache/nanochat/base_data --tokens 2000000 --out pages
      your own model and SAE on two million tokens of its own text
  nanoscope dashboard --text stories.txt --out pages --features 0..256 --compact
      some features, with fewer and shorter examples
  nanoscope dashboard --text stories.txt --out pages --neuronpedia exports
      also the files that Neuronpedia imports

Texts are plain (.txt, <|endoftext|> between documents), .jsonl or .parquet, files or folders of \
them. They are read twice: for the range of each feature's values, and for what lies in it.

Labels come from the SAE's folder and from a labels.json in --out, which stays there when the pages \
are made anew; --labels goes before both. Labels that are written in the browser are downloaded from \
there as labels.json.")]
pub(crate) struct DashboardArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The hook point whose SAE's features are meant [default: the deepest SAE's]
    #[arg(long, value_name = "HOOK")]
    pub(crate) hook: Option<HookPoint>,
    /// Texts: files, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    pub(crate) text: Vec<PathBuf>,
    /// The field of .jsonl and the column of .parquet that has the text
    #[arg(long, value_name = "NAME", default_value = "text")]
    pub(crate) text_column: String,
    /// Tokens to read at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tokens: Option<u64>,
    /// Tokens that the model sees at once [default: as many as it was trained on]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,
    /// The folder to write; a dashboard that is there is replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The features that get a page, the last one not included [default: all]
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub(crate) features: Option<Range<u32>>,
    /// Examples at which a feature is strongest [default: 20, with --compact 8]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) examples: Option<u16>,
    /// Examples from each fifth of a feature's values [default: 5, with --compact 1]
    #[arg(long, value_name = "N")]
    pub(crate) per_quantile: Option<u16>,
    /// Tokens shown on either side of one [default: 16, with --compact 10]
    #[arg(long, value_name = "N")]
    pub(crate) window: Option<u16>,
    /// A small folder: fewer and shorter examples
    #[arg(long)]
    pub(crate) compact: bool,
    /// Also write what Neuronpedia imports to this folder
    #[arg(long, value_name = "DIR")]
    pub(crate) neuronpedia: Option<PathBuf>,
    /// What the model is called, on the pages and on Neuronpedia [default: its folder's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Same seed, same dashboard
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Labels of features, as labels.json in an SAE's folder has them
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Count special tokens too
    #[arg(long)]
    pub(crate) keep_special: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

fn range(text: &str) -> Result<Range<u32>, String> {
    let (from, to) = text.split_once("..").ok_or("it is not of the form A..B")?;
    let number = |text: &str| text.parse::<u32>().map_err(|error| format!("`{text}`: {error}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok(from..to) } else { Err(format!("there is nothing in {from}..{to}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_something_in_it() {
        assert_eq!(range("0..256"), Ok(0..256));
        assert_eq!(range("3..3"), Err("there is nothing in 3..3".to_owned()));
        for text in ["", "3", "..", "3..", "..3", "-1..3", "0..99999999999", "0...3", "0..=3"] {
            assert!(range(text).is_err(), "{text}");
        }
    }
}
