//! The flags of `nanoscope attribute`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use nanoscope_hooks::HookPoint;

use crate::args::{ModelArgs, output_path};
use crate::commands::metric::MetricArgs;
use crate::commands::run::InputArgs;
use crate::prompt::SpecialTokensArg;

/// Find the features that made a token likely, and check them by ablation
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("with_graph").args(["graph", "html"]).multiple(true))]
#[command(after_help = "\
Examples:
  nanoscope attribute 'Max was a small dog. The dog loved to chase the'
      the likeliest next token against the runner-up
  nanoscope attribute 'Once upon a time, there was a little' --target ' girl' --contrast ' boy'
  nanoscope attribute 'The frog could jump very' --feature blocks.3.hook_resid_post:1909@5
      the features before it that made a feature
  nanoscope attribute 'Once upon a time, there was a little' --graph graph.json
  nanoscope attribute 'Max was a small dog. The dog loved to chase the' --lens --html why.html
      a page with the numbers and the graph, which opens from disk and loads nothing

For each active feature at each position: its gradient times its activation, from one backward pass, and for \
the strongest the exact change of the metric when the feature is taken away. Positive speaks for the target. A \
`!` marks features whose two numbers have opposite signs, or of which one is more than twice the other. What the SAEs do not reconstruct is listed as the share \
of the error terms.

The metric is logit(target) - logit(contrast) or, with a target alone, the target's log probability in nats.

--graph writes the graph in the form of circuit-tracer and Neuronpedia. docs/attribution.md explains the numbers.")]
pub(crate) struct AttributeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) special: SpecialTokensArg,

    #[command(flatten)]
    pub(crate) metric: MetricArgs,
    /// A feature to explain in place of a token, at a position counted from 0
    #[arg(long, value_name = "HOOK:FEATURE@POSITION", conflicts_with_all = ["target", "contrast", "position", "ig_steps", "direct", "lens", "graph", "graph_features"])]
    pub(crate) feature: Option<FeatureAt>,
    /// Explain the prediction after the token at this position, counted from 0 [default: the last]
    #[arg(long, value_name = "N")]
    pub(crate) position: Option<usize>,
    /// An SAE to attribute to [default: all that come before the target]
    #[arg(long, value_name = "HOOK")]
    pub(crate) track: Vec<HookPoint>,
    /// The number of features to ablate, the strongest by gradient: a number or `all`
    #[arg(long, value_name = "N", default_value = "20", value_parser = exact)]
    pub(crate) exact: usize,
    /// The number of features to list [default: 12; with --json all]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Also compute integrated gradients with N steps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) ig_steps: Option<u16>,
    /// Also compute direct effects on the logits, of features at the position and of every attention and MLP
    #[arg(long)]
    pub(crate) direct: bool,
    /// Also report how much of the metric the strongest 1, 2, 5, … features carry alone, with the others at zero or
    /// at their means over the text
    #[arg(long, value_name = "REST", num_args = 0..=1, require_equals = true, default_missing_value = "zero")]
    pub(crate) faithfulness: Option<RestArg>,
    /// Also read the logit lens at the position
    #[arg(long)]
    pub(crate) lens: bool,
    /// The file to write the graph of the strongest features to
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    pub(crate) graph: Option<PathBuf>,
    /// The HTML file to write the report and its graph to, as one page that opens from disk
    #[arg(long, value_name = "FILE", value_parser = output_path())]
    pub(crate) html: Option<PathBuf>,
    /// The number of features in the graph, before it is pruned
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), requires = "with_graph")]
    pub(crate) graph_features: u32,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
}

/// The values of features that are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestArg {
    Zero,
    Mean,
}

/// A feature at a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeatureAt {
    pub(crate) hook: HookPoint,
    pub(crate) feature: usize,
    pub(crate) position: usize,
}

impl std::str::FromStr for FeatureAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not of the form HOOK:FEATURE@POSITION");
        let (hook, rest) = text.rsplit_once(':').ok_or_else(wrong)?;
        let (feature, position) = rest.split_once('@').ok_or_else(wrong)?;
        let number = |text: &str| text.parse().map_err(|_| wrong());
        let hook = hook.parse().map_err(|error: nanoscope_hooks::HookError| error.to_string())?;
        Ok(Self { hook, feature: number(feature)?, position: number(position)? })
    }
}

fn exact(text: &str) -> Result<usize, String> {
    if text == "all" {
        return Ok(usize::MAX);
    }
    text.parse().map_err(|_| "expected a number or `all`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_is_given_with_hook_point_and_position() {
        let parsed: FeatureAt = "blocks.3.hook_resid_post:1909@26".parse().unwrap();
        let hook = HookPoint::ResidPost(3);
        assert_eq!(parsed, FeatureAt { hook, feature: 1909, position: 26 });
        for wrong in
            ["1909@26", "blocks.3.hook_resid_post:1909", "blocks.3.hook_resid_post:x@1", ""]
        {
            assert!(wrong.parse::<FeatureAt>().is_err(), "{wrong}");
        }
        assert_eq!((exact("all"), exact("3")), (Ok(usize::MAX), Ok(3)));
        assert!(exact("-1").is_err());
    }
}
