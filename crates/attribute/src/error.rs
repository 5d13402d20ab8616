use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_runtime::RuntimeError;
use nanoscope_sae::SaeError;
use nanoscope_transformer::GptError;

/// Errors from attributing a metric to features.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttributeError {
    /// The text has no tokens.
    #[error("there are no tokens to attribute to")]
    NoTokens,
    /// A position is outside the text.
    #[error("position {position} is outside the text, which has {len} tokens (0 to {})", .len - 1)]
    Position {
        /// The position.
        position: usize,
        /// The number of tokens.
        len: usize,
    },
    /// A target or a contrast is not a token of the model.
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    Token {
        /// The token.
        id: u32,
        /// The number of tokens in the vocabulary.
        vocab_size: usize,
    },
    /// A token is compared with itself.
    #[error("target and contrast are the same token, {id}")]
    SameToken {
        /// The token.
        id: u32,
    },
    /// A token is to be compared with another one, and the vocabulary has none.
    #[error("the model has a single token, which has no alternative")]
    OneToken,
    /// The model has no SAE, or none in front of the feature that is the target.
    #[error("there is no SAE to attribute to{}", before(*.target))]
    NoSources {
        /// The hook point of the target, if it is a feature.
        target: Option<HookPoint>,
    },
    /// A hook point is listed more than once.
    #[error("{hook} is listed twice")]
    Duplicate {
        /// The hook point.
        hook: HookPoint,
    },
    /// A source does not come before the feature that is the target.
    #[error("the target feature at {target} does not come after its source at {source_hook}")]
    Order {
        /// The hook point of the target.
        target: HookPoint,
        /// The hook point that the source writes.
        source_hook: HookPoint,
    },
    /// The SAE of the target lacks the feature.
    #[error("the SAE at {hook} has no such feature")]
    Feature {
        /// The hook point of the SAE.
        hook: HookPoint,
        /// The feature, and the number of features.
        source: SaeError,
    },
    /// An SAE could not encode the model's activations.
    #[error("the activations at {hook} cannot be encoded")]
    Encode {
        /// The hook point.
        hook: HookPoint,
        /// The reason.
        source: SaeError,
    },
    /// The sum of features in an activation is not finite, or so long that norms overflow: a norm that overflows
    /// makes a row of zeros, and finite logits that mean nothing.
    #[error("what features add to {hook} leaves the range of float32")]
    TooLong {
        /// The hook point that the SAE writes.
        hook: HookPoint,
    },
    /// There is no such row.
    #[error("row {row} is not one of the {rows} active features")]
    Row {
        /// The row.
        row: usize,
        /// The number of rows.
        rows: usize,
    },
    /// A hook point is not one of the sources.
    #[error("{hook} is not one of the hook points that the metric is attributed to")]
    NotASource {
        /// The hook point.
        hook: HookPoint,
    },
    /// An integral needs at least one point.
    #[error("integrated gradients need at least one step")]
    NoSteps,
    /// Direct effects, and graphs, are those on the logits.
    #[error("{quantity} needs a token for its target; the target here is a feature")]
    NeedsToken {
        /// The quantity that was asked for.
        quantity: &'static str,
    },
    /// A hook point is not the residual stream.
    #[error(
        "{hook} is not the residual stream; the lens reads hook_resid_pre, hook_resid_mid and hook_resid_post"
    )]
    NotTheStream {
        /// The hook point.
        hook: HookPoint,
    },
    /// A share that ends a pruning is not between 0 and 1.
    #[error("{name} is {found}; a share of the influence is between 0 and 1")]
    Threshold {
        /// The name of the threshold.
        name: &'static str,
        /// Its value.
        found: String,
    },
    /// A number is NaN or infinite.
    #[error("{quantity} is not finite")]
    NotFinite {
        /// The quantity.
        quantity: &'static str,
    },
    /// The caller ended the work.
    #[error("the attribution was interrupted")]
    Interrupted,
    /// The model could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The model could not be run on the tokens.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// The pass did not reach a hook point.
    #[error(transparent)]
    Hook(#[from] HookError),
}

fn before(target: Option<HookPoint>) -> String {
    target.map_or_else(String::new, |hook| format!(" in front of {hook}"))
}
