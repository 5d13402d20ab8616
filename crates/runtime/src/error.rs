use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_sae::SaeError;
use nanoscope_tokenizer::TokenizerError;
use nanoscope_transformer::GptError;

/// Why a model could not be put together, or a plan was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The model has no such hook point.
    #[error("the model has no {hook}, it has {n_layer} blocks (0 to {})", .n_layer - 1)]
    NoSuchHook {
        /// The hook point.
        hook: HookPoint,
        /// Blocks of the model.
        n_layer: usize,
    },
    /// An SAE was trained on activations of another width.
    #[error("the SAE for {hook} has d_in {found}, the activation there {}", width(*.expected))]
    WidthMismatch {
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; none if it has no fixed one.
        expected: Option<usize>,
        /// The SAE's `d_in`.
        found: usize,
    },
    /// There is an SAE at this hook point already.
    #[error("there is an SAE at {hook} already")]
    DuplicateSae {
        /// The hook point.
        hook: HookPoint,
    },
    /// A plan needs an SAE that the model does not have.
    #[error("no SAE for {hook}; there are SAEs for {}", list(.have))]
    NoSae {
        /// The hook point.
        hook: HookPoint,
        /// The hook points that have one.
        have: Vec<HookPoint>,
    },
    /// The tokenizer has other ids than the model.
    #[error("the tokenizer has {found} tokens, the model {expected}")]
    VocabMismatch {
        /// The model's vocabulary.
        expected: usize,
        /// The tokenizer's.
        found: usize,
    },
    /// An intervention names a feature that the SAE does not have.
    #[error("the intervention `{intervention}` cannot be applied")]
    Feature {
        /// The intervention.
        intervention: String,
        /// What is wrong with it.
        source: SaeError,
    },
    /// An intervention's value is NaN or infinite.
    #[error("the intervention `{intervention}` has a value that is not finite")]
    NotFinite {
        /// The intervention.
        intervention: String,
    },
    /// An intervention covers no position of what is to be run.
    #[error("the intervention `{intervention}` would be applied nowhere: {reason}")]
    Nowhere {
        /// The intervention.
        intervention: String,
        /// Why.
        reason: String,
    },
    /// Interventions at one hook point disagree on what becomes of the activation.
    #[error(
        "the interventions at {hook} mix keep-error and reconstruct; one hook point takes one of them"
    )]
    MixedSplice {
        /// The hook point.
        hook: HookPoint,
    },
    /// The run has no features for a hook point, because they were not tracked.
    #[error("{hook} was not tracked; tracked were {}", list(.tracked))]
    NotTracked {
        /// The hook point.
        hook: HookPoint,
        /// What was.
        tracked: Vec<HookPoint>,
    },
    /// A sampling parameter is out of its range.
    #[error("{parameter} is {found}, it must be {expected}")]
    Sampling {
        /// The parameter.
        parameter: &'static str,
        /// Its value.
        found: String,
        /// What it must be.
        expected: &'static str,
    },
    /// The tokens cannot be run.
    #[error("the tokens cannot be run")]
    Tokens {
        /// Why.
        #[from]
        source: GptError,
    },
    /// The prompt leaves no room for a token.
    #[error("the prompt has {found} tokens, the model's context holds {capacity}")]
    PromptTooLong {
        /// Tokens of the prompt.
        found: usize,
        /// Tokens that the context holds.
        capacity: usize,
    },
    /// More tokens are said to be the prompt than there are.
    #[error("{prompt_len} tokens cannot be the prompt of a sequence of {len}")]
    PromptLen {
        /// Tokens said to be the prompt.
        prompt_len: usize,
        /// Tokens of the sequence.
        len: usize,
    },
    /// A generation gives features, not activations.
    #[error("a generation cannot capture {hook}; run the generated tokens once to capture it")]
    CaptureInGeneration {
        /// The hook point.
        hook: HookPoint,
    },
    /// A captured activation was not there.
    #[error("the capture failed")]
    Capture {
        /// Why.
        #[from]
        source: HookError,
    },
    /// Text could not be turned into tokens or back.
    #[error("the tokenizer failed")]
    Tokenizer {
        /// Why.
        #[from]
        source: TokenizerError,
    },
}

fn width(expected: Option<usize>) -> String {
    expected.map_or("has no fixed width".to_owned(), |width| format!("has {width}"))
}

fn list(hooks: &[HookPoint]) -> String {
    if hooks.is_empty() {
        return "none".to_owned();
    }
    hooks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
