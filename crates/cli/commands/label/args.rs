//! The flags of `nanoscope label`.

use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use nanoscope_hooks::HookPoint;

use crate::args::ModelArgs;
use crate::commands::dashboard::range;
use crate::texts::TextArgs;

/// Label features by a language model behind an OpenAI-compatible address, with a score for each label
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope label --text stories.txt --via http://localhost:8080/v1 --as qwen3 --out labels.jsonl \\
      --limit 50
      the 50 most frequent features of the built-in model's deepest SAE, by a server on this machine
      (llama.cpp, ollama, vLLM, …)
  nanoscope label --model ~/.cache/nanochat --sae runs/d20/blocks.10.hook_resid_post/final \\
      --text ~/.cache/nanochat/base_data --tokens 2000000 \\
      --via https://api.openai.com/v1 --as gpt-4o-mini --price-in 0.15 --price-out 0.6
      all features of your own SAE without a label; the estimate has the cost
  nanoscope label --text stories.txt --via http://localhost:8080/v1 --as qwen3 --out labels.jsonl \\
      --feature 1909,417 --yes
      two features, without asking first

The model gets excerpts of the text in which the tokens that activate a feature are marked, and says in \
one phrase what they have in common. Then it gets other excerpts, half of which have the feature, and says \
which those are by that phrase alone. The score is the balanced accuracy: 1 is perfect, 0.5 is chance. \
This is the recipe of delphi (Paulo et al. 2024), with detection as the score.

Nothing is sent before the number of requests, the estimated tokens and, with --price-in and --price-out, \
the cost have been printed and confirmed. Excerpts of the text go to the address of --via and nowhere else; \
redirects are not followed.

Labels are appended to explanations.jsonl in the SAE's folder, where the other commands read them; a \
label that a person gave takes precedence. The same command continues after Ctrl-C or an error. Features \
whose label was made by another model or from another text are labelled again.

On Ctrl-C or SIGTERM the labels so far stay and the exit code is 130 or 143.")]
pub(crate) struct LabelArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The address of the language model's API, such as http://localhost:8080/v1
    #[arg(long, value_name = "URL")]
    pub(crate) via: String,
    /// The name of the language model at that address
    #[arg(long = "as", value_name = "MODEL", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) by: String,
    /// The environment variable with the API key [default: OPENAI_API_KEY if it is set, but not over
    /// http:// to another machine]
    #[arg(long, value_name = "NAME")]
    pub(crate) key_env: Option<String>,
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
    /// The features to label [default: those without a label]
    #[arg(long, value_name = "FEATURE,…", value_delimiter = ',', conflicts_with = "features")]
    pub(crate) feature: Vec<u32>,
    /// The range of features to label, without B
    #[arg(long, value_name = "A..B", value_parser = range)]
    pub(crate) features: Option<Range<u32>>,
    /// The maximum number of features to label, those that fire most often first [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
    /// The number of excerpts that are explained, three quarters of them with the largest activations
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub(crate) examples: u16,
    /// The number of other excerpts that a label is tested on, half of them without the feature; 0 for
    /// no score
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(..=500))]
    pub(crate) tests: u16,
    /// The number of tokens on either side of an excerpt's middle
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(..=500))]
    pub(crate) window: u16,
    /// The random seed for the choice and the order of excerpts
    #[arg(long, value_name = "S", default_value_t = 42)]
    pub(crate) seed: u64,
    /// The number of features to ask about at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) concurrency: u16,
    /// The time that one request may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) timeout: u32,
    /// The maximum number of tokens of one answer
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) answer_tokens: u32,
    /// The price of a million tokens of questions, for the estimate
    #[arg(long, value_name = "PRICE", value_parser = price, requires = "price_out")]
    pub(crate) price_in: Option<f64>,
    /// The price of a million tokens of answers
    #[arg(long, value_name = "PRICE", value_parser = price, requires = "price_in")]
    pub(crate) price_out: Option<f64>,
    /// The file to append the labels to [default: explanations.jsonl in the SAE's folder]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Send the requests without a question before
    #[arg(long)]
    pub(crate) yes: bool,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
}

fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("expected a number that is not negative".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_a_number() {
        assert_eq!(price("0.15"), Ok(0.15));
        for text in ["", "-1", "NaN", "inf", "1 cent"] {
            assert!(price(text).is_err(), "{text}");
        }
    }
}
