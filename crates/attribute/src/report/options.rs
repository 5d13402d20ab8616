use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::{Logits, TokenBatch};

use crate::attribution::Attribution;
use crate::error::AttributeError;
use crate::faithfulness::Rest;
use crate::integrated::Steps;
use crate::metric::Metric;
use crate::question::Question;

/// The subject of a question, before the model has said which tokens are likely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The prediction after a position.
    ///
    /// Without a target it is the token that follows there in the text, else the likeliest one; without a contrast
    /// either, it is compared with the likeliest other token. With a target alone the metric is its log
    /// probability.
    Token {
        /// The token to explain.
        target: Option<u32>,
        /// The token to compare it with.
        contrast: Option<u32>,
    },
    /// The pre-activation of a feature.
    Feature {
        /// The hook point that the feature's SAE reads.
        hook: HookPoint,
        /// The feature.
        feature: usize,
    },
}

/// The numbers of a [`Report`](crate::Report).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportOptions {
    /// The number of features to ablate, the strongest by gradient. Default: 20.
    pub exact: usize,
    /// The number of features to list. Default: all.
    pub top: usize,
    /// The points of integrated gradients. Default: none, they are not computed.
    pub integrate: Option<Steps>,
    /// True for direct effects on the logits. Default: false.
    pub direct: bool,
    /// The number of tokens that the logit lens lists at each SAE in the residual stream. Default: 0, it is not
    /// read.
    pub lens: usize,
    /// The number of likely tokens to list. Default: 5.
    pub alternatives: usize,
    /// The values of other features when the strongest alone are kept. Default: none, none are kept alone.
    pub faithfulness: Option<Rest>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            exact: 20,
            top: usize::MAX,
            integrate: None,
            direct: false,
            lens: 0,
            alternatives: 5,
            faithfulness: None,
        }
    }
}

impl Asked {
    /// Attributes to the SAEs that read `sources`, or to all. `position` is that of the last token that counts;
    /// by default it is the last of `tokens`.
    ///
    /// # Errors
    /// [`AttributeError`] as [`Attribution::new`].
    pub fn attribute<'m>(
        self,
        model: &'m InterpretableModel,
        tokens: &[u32],
        position: Option<usize>,
        sources: Option<&[HookPoint]>,
    ) -> Result<Attribution<'m>, AttributeError> {
        let len = tokens.len();
        let last = len.checked_sub(1).ok_or(AttributeError::NoTokens)?;
        let position = position.unwrap_or(last);
        if position > last {
            return Err(AttributeError::Position { position, len });
        }
        let metric = match self.given(position) {
            Some(metric) => metric,
            None => {
                let batch = TokenBatch::new(&[tokens[..=position].to_vec()])?;
                let logits = to_host(model.gpt().forward(&batch, Logits::Last, &mut ())?);
                self.metric(position, tokens.get(position + 1).copied(), &logits)?
            }
        };
        let question = Question::new(tokens.to_vec(), metric).after(position);
        let question = match sources {
            Some(hooks) => question.sources(hooks.iter().copied()),
            None => question,
        };
        Attribution::new(model, &question)
    }

    /// Returns the metric after a text with these logits of the next token, which `follows` in it.
    ///
    /// # Errors
    /// [`AttributeError::NotFinite`] if a logit is not finite; [`AttributeError::OneToken`] if the vocabulary has a
    /// single token. A target that equals the contrast is refused by [`Attribution::new`].
    pub fn metric(
        self,
        position: usize,
        follows: Option<u32>,
        logits: &[f32],
    ) -> Result<Metric, AttributeError> {
        if let Some(metric) = self.given(position) {
            return Ok(metric);
        }
        let contrast = match self {
            Self::Token { contrast, .. } => contrast,
            Self::Feature { .. } => None,
        };
        let target = match follows.filter(|&id| Some(id) != contrast) {
            Some(target) => target,
            None => likeliest(logits, contrast)?,
        };
        let contrast = contrast.map_or_else(|| likeliest(logits, Some(target)), Ok)?;
        Ok(Metric::LogitDiff { target, contrast })
    }

    /// The metric, if it does not depend on the text.
    fn given(self, position: usize) -> Option<Metric> {
        match self {
            Self::Feature { hook, feature } => Some(Metric::Feature { hook, feature, position }),
            Self::Token { target: Some(target), contrast } => Some(match contrast {
                Some(contrast) => Metric::LogitDiff { target, contrast },
                None => Metric::LogProb { target },
            }),
            Self::Token { target: None, .. } => None,
        }
    }
}

/// The likeliest token but `other`.
fn likeliest(logits: &[f32], other: Option<u32>) -> Result<u32, AttributeError> {
    if logits.iter().any(|logit| !logit.is_finite()) {
        return Err(AttributeError::NotFinite { quantity: "a logit" });
    }
    let rest = (0..).zip(logits).filter(|&(id, _)| Some(id) != other);
    // The first of equal ones.
    let found = rest.reduce(|best, next| if next.1 > best.1 { next } else { best });
    found.map(|(id, _)| id).ok_or(AttributeError::OneToken)
}
