//! Metrics of the next token that flags name.

use anyhow::{Context, Result};
use clap::Args;
use nanoscope_attribute::{Asked, AttributeError, Metric, parse_token};
use nanoscope_runtime::InterpretableModel;

use crate::terminal::display::visible;

/// Flags for the tokens of a metric.
#[derive(Debug, Args)]
pub(crate) struct MetricArgs {
    /// The token to measure: a text that is one token, or id:N [default: the likeliest next token]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) target: Option<String>,
    /// The token to compare it with [default: the runner-up if there is no --target, else none]
    #[arg(long, value_name = "TOKEN")]
    pub(crate) contrast: Option<String>,
}

/// Returns the metric of the flags after a text with these logits of the next token.
///
/// # Errors
/// If a flag does not name one token, both name the same, or the model has a single token.
pub(crate) fn token_metric(
    model: &InterpretableModel,
    args: &MetricArgs,
    logits: &[f32],
) -> Result<Metric> {
    match args.asked(model)?.metric(0, None, logits)? {
        Metric::LogitDiff { target: id, contrast } if id == contrast => {
            Err(AttributeError::SameToken { id }.into())
        }
        metric => Ok(metric),
    }
}

impl MetricArgs {
    /// The tokens that the flags name.
    ///
    /// # Errors
    /// If a flag does not name one token.
    pub(crate) fn asked(&self, model: &InterpretableModel) -> Result<Asked> {
        let token = |text: &Option<String>, flag: &'static str| {
            let id = text.as_deref().map(|text| parse_token(model, text)).transpose();
            id.with_context(|| format!("{flag} does not name a token"))
        };
        Ok(Asked::Token {
            target: token(&self.target, "--target")?,
            contrast: token(&self.contrast, "--contrast")?,
        })
    }
}

/// A metric of the next token in words.
pub(crate) fn described(model: &InterpretableModel, metric: Metric) -> String {
    let text = |id: u32| visible(&model.token_text(id));
    match metric {
        Metric::LogitDiff { target, contrast } => {
            format!("logit({}) − logit({})", text(target), text(contrast))
        }
        Metric::LogProb { target } => format!("log probability of {} in nats", text(target)),
        Metric::Logit { target } => format!("logit({})", text(target)),
        Metric::Feature { hook, feature, .. } => format!("pre-activation of {hook}:{feature}"),
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_testing::{TINY_SHAPE, test_device, tiny_gpt};

    use super::*;

    #[test]
    fn the_default_is_the_likeliest_token_against_the_runner_up() {
        let model = InterpretableModel::new(tiny_gpt(TINY_SHAPE, &test_device()));
        let metric = |target: Option<&str>, contrast: Option<&str>| {
            let [target, contrast] = [target, contrast].map(|text| text.map(str::to_owned));
            token_metric(&model, &MetricArgs { target, contrast }, &[0.5, 3.0, 1.0])
        };
        let diff = |target, contrast| Metric::LogitDiff { target, contrast };

        assert_eq!(metric(None, None).unwrap(), diff(1, 2));
        assert_eq!(metric(None, Some("id:0")).unwrap(), diff(1, 0));
        assert_eq!(metric(None, Some("id:1")).unwrap(), diff(2, 1));
        assert_eq!(metric(Some("id:0"), Some("id:1")).unwrap(), diff(0, 1));
        assert_eq!(metric(Some("id:0"), None).unwrap(), Metric::LogProb { target: 0 });
        assert!(metric(Some("id:7"), Some("id:7")).is_err());
        let unnamed = format!("{:#}", metric(Some(" dog"), None).unwrap_err());
        assert!(unnamed.contains("--target") && unnamed.contains("id:N"), "{unnamed}");
    }
}
