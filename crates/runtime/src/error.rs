use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_sae::SaeError;
use nanoscope_tokenizer::TokenizerError;
use nanoscope_transformer::GptError;

use crate::steering::SyntaxError;

/// Why a model could not be put together, or a plan was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The model has no such hook point.
    #[error("the model has no {hook}; it has {n_layer} blocks (0 to {})", .n_layer - 1)]
    NoSuchHook {
        /// The hook point.
        hook: HookPoint,
        /// Blocks of the model.
        n_layer: usize,
    },
    /// An SAE was trained on activations of another width.
    #[error("the SAE for {hook} has d_in {found}, but the activation there {}", width(*.expected))]
    WidthMismatch {
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; none if it has no fixed one.
        expected: Option<usize>,
        /// The SAE's `d_in`.
        found: usize,
    },
    /// An SAE or transcoder writes activations of another width.
    #[error("the SAE that writes {hook} has d_out {found}, but the activation there {}", width(*.expected))]
    OutputWidthMismatch {
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; none if it has no fixed one.
        expected: Option<usize>,
        /// The SAE's `d_out`.
        found: usize,
    },
    /// A transcoder would write what was there before it could read.
    #[error("a transcoder that reads {read} cannot write {write}, which is not after it")]
    TranscoderOrder {
        /// The point that it reads.
        read: HookPoint,
        /// The point that it should write.
        write: HookPoint,
    },
    /// There is an SAE at this hook point already.
    #[error("there is already an SAE at {hook}")]
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
    #[error("the tokenizer has {found} tokens, but the model has {expected}")]
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
    /// The SAE has no such feature.
    #[error("the SAE at {hook} has no such feature")]
    NoSuchFeature {
        /// Where the SAE is.
        hook: HookPoint,
        /// Which feature, and how many there are.
        source: SaeError,
    },
    /// An intervention cannot act on its target.
    #[error("the intervention `{intervention}` cannot be applied")]
    Target {
        /// The intervention.
        intervention: String,
        /// Why.
        source: SyntaxError,
    },
    /// A direction has no length, so no unit of it can be added and no part along it taken away.
    #[error(
        "the intervention `{intervention}` has no direction: the decoder row is 0 or not finite"
    )]
    NoDirection {
        /// The intervention.
        intervention: String,
    },
    /// An intervention names a vector that the plan does not have.
    #[error(
        "the intervention `{intervention}` needs the vector `{name}`; the plan has {}",
        names(.have)
    )]
    NoVector {
        /// The intervention.
        intervention: String,
        /// The vector's name.
        name: String,
        /// The vectors that the plan has.
        have: Vec<String>,
    },
    /// A vector has another width than the activation that it should change.
    #[error("the vector `{name}` has {found} numbers, but the activation at {hook} {}", width(*.expected))]
    VectorWidth {
        /// The vector's name.
        name: String,
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; none if it has no fixed one.
        expected: Option<usize>,
        /// Numbers of the vector.
        found: usize,
    },
    /// A vector is 0.
    #[error("the vector `{name}` is 0 and has no direction")]
    ZeroVector {
        /// The vector's name.
        name: String,
    },
    /// A vector has NaN or infinity in it.
    #[error("the vector `{name}` has a number that is not finite, at index {index}")]
    VectorNotFinite {
        /// The vector's name.
        name: String,
        /// The index of the first such number.
        index: usize,
    },
    /// Two vectors of a plan have one name.
    #[error("there are two vectors `{name}`")]
    DuplicateVector {
        /// The vectors' name.
        name: String,
    },
    /// A condition names a feature that the SAE does not have.
    #[error("the condition `{condition}` cannot be checked")]
    ConditionFeature {
        /// The condition.
        condition: String,
        /// What is wrong with it.
        source: SaeError,
    },
    /// A condition's threshold is NaN or infinite.
    #[error("the condition `{condition}` has a threshold that is not finite")]
    ConditionNotFinite {
        /// The condition.
        condition: String,
    },
    /// A condition is known only after its intervention would have been applied.
    #[error(
        "the intervention `{intervention}` changes {hook}, before its condition at {condition} is known; the condition must be at the same hook point or an earlier one"
    )]
    ConditionTooLate {
        /// The intervention.
        intervention: String,
        /// The hook point of its condition.
        condition: HookPoint,
        /// The hook point at which its effect lands.
        hook: HookPoint,
    },
    /// A run has no end that a condition could bring about.
    #[error(
        "a run cannot stop when `{condition}`: its tokens are given and all of them are run; a generation can"
    )]
    StopInRun {
        /// The condition.
        condition: String,
    },
    /// An intervention names a row that the batch does not have.
    #[error(
        "the intervention `{intervention}` names row {row}; the batch has {batch} rows (0 to {})", .batch - 1
    )]
    NoSuchRow {
        /// The intervention.
        intervention: String,
        /// The last row that it names.
        row: usize,
        /// Rows of the batch.
        batch: usize,
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
        "the interventions at {hook} mix keep-error and reconstruct; use one of them per hook point"
    )]
    MixedSplice {
        /// The hook point.
        hook: HookPoint,
    },
    /// Interventions at one hook point disagree on whose reconstruction takes its place.
    #[error(
        "the interventions at {hook} would reconstruct it from {first} and from {second}; use one of them"
    )]
    TwoReconstructions {
        /// The hook point.
        hook: HookPoint,
        /// What the first SAE reads.
        first: HookPoint,
        /// What the second one reads.
        second: HookPoint,
    },
    /// An intervention on a vector would reconstruct an activation that no SAE reconstructs.
    #[error(
        "the intervention `{intervention}` has nothing to reconstruct {hook} with: no SAE reads and writes it"
    )]
    NothingToReconstruct {
        /// The intervention.
        intervention: String,
        /// The hook point.
        hook: HookPoint,
    },
    /// The run has no features for a hook point, because they were not tracked.
    #[error("{hook} was not tracked; the plan tracked {}", list(.tracked))]
    NotTracked {
        /// The hook point.
        hook: HookPoint,
        /// What was.
        tracked: Vec<HookPoint>,
    },
    /// A sampling parameter is out of its range.
    #[error("{parameter} is {found}; it must be {expected}")]
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
    #[error("the prompt has {found} tokens, but the model's context holds {capacity}")]
    PromptTooLong {
        /// Tokens of the prompt.
        found: usize,
        /// Tokens that the context holds.
        capacity: usize,
    },
    /// More tokens are said to be the prompt than there are.
    #[error("a prompt of {prompt_len} tokens is longer than the sequence of {len}")]
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
    names(&hooks.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
