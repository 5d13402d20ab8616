use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_sae::SaeError;
use nanoscope_tokenizer::TokenizerError;
use nanoscope_transformer::GptError;

use crate::pass::NonFinite;
use crate::steering::SyntaxError;

/// Errors from assembling a model, checking a plan or running it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The model does not have this hook point.
    #[error("the model has no {hook}; it has {n_layer} blocks (0 to {})", .n_layer - 1)]
    NoSuchHook {
        /// The hook point.
        hook: HookPoint,
        /// The model's number of blocks.
        n_layer: usize,
    },
    /// A model of this family does not have the hook point.
    #[error("the model has no {hook}: {reason}")]
    AbsentHook {
        /// The hook point.
        hook: HookPoint,
        /// The reason.
        reason: &'static str,
    },
    /// An SAE reads activations of a different width.
    #[error("the SAE for {hook} has d_in {found}, but the activation there {}", width(*.expected))]
    WidthMismatch {
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; `None` if it is not fixed.
        expected: Option<usize>,
        /// The SAE's `d_in`.
        found: usize,
    },
    /// An SAE or transcoder writes activations of a different width.
    #[error("the SAE that writes {hook} has d_out {found}, but the activation there {}", width(*.expected))]
    OutputWidthMismatch {
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; `None` if it is not fixed.
        expected: Option<usize>,
        /// The SAE's `d_out`.
        found: usize,
    },
    /// A transcoder would write before it reads.
    #[error("a transcoder that reads {read} cannot write {write}, which is not after it")]
    TranscoderOrder {
        /// The hook point that it reads.
        read: HookPoint,
        /// The hook point that it writes.
        write: HookPoint,
    },
    /// A transcoder is added at one hook point, as if it reconstructed what it reads.
    #[error("the SAE for {hook} is a transcoder, and the hook point that it writes is not given")]
    Transcoder {
        /// The hook point that it reads.
        hook: HookPoint,
    },
    /// There is already an SAE at this hook point.
    #[error("there is already an SAE at {hook}")]
    DuplicateSae {
        /// The hook point.
        hook: HookPoint,
    },
    /// A plan needs an SAE that the model lacks.
    #[error("no SAE for {hook}; {}", have_saes(.have))]
    NoSae {
        /// The hook point.
        hook: HookPoint,
        /// The hook points that have an SAE.
        have: Vec<HookPoint>,
    },
    /// The tokenizer's vocabulary is larger than the model's, or that of another nanochat model.
    #[error("the tokenizer has {found} tokens, but the model has {expected}")]
    VocabMismatch {
        /// The size of the model's vocabulary.
        expected: usize,
        /// The size of the tokenizer's vocabulary.
        found: usize,
    },
    /// An intervention names a feature that the SAE lacks.
    #[error("the intervention `{intervention}` cannot be applied")]
    Feature {
        /// The intervention.
        intervention: String,
        /// The reason.
        source: SaeError,
    },
    /// The SAE lacks a feature.
    #[error("the SAE at {hook} has no such feature")]
    NoSuchFeature {
        /// The SAE's hook point.
        hook: HookPoint,
        /// The feature, and the number of features.
        source: SaeError,
    },
    /// An intervention cannot act on its target.
    #[error("the intervention `{intervention}` cannot be applied")]
    Target {
        /// The intervention.
        intervention: String,
        /// The reason.
        source: SyntaxError,
    },
    /// A direction has length 0, so it can be neither normalised nor projected out.
    #[error(
        "the intervention `{intervention}` has no direction: the decoder row is 0 or not finite"
    )]
    NoDirection {
        /// The intervention.
        intervention: String,
    },
    /// An intervention names a vector that the plan lacks.
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
    /// A vector differs in width from the activation that it should change.
    #[error("the vector `{name}` has {found} numbers, but the activation at {hook} {}", width(*.expected))]
    VectorWidth {
        /// The vector's name.
        name: String,
        /// The hook point.
        hook: HookPoint,
        /// The activation's width; `None` if it is not fixed.
        expected: Option<usize>,
        /// The vector's width.
        found: usize,
    },
    /// A vector is zero.
    #[error("the vector `{name}` is 0 and has no direction")]
    ZeroVector {
        /// The vector's name.
        name: String,
    },
    /// A vector contains NaN or infinity.
    #[error("the vector `{name}` has a number that is not finite, at index {index}")]
    VectorNotFinite {
        /// The vector's name.
        name: String,
        /// The index of the first number that is not finite.
        index: usize,
    },
    /// Two vectors of a plan have the same name.
    #[error("there are two vectors `{name}`")]
    DuplicateVector {
        /// The name.
        name: String,
    },
    /// A condition names a feature that the SAE lacks.
    #[error("the condition `{condition}` cannot be checked")]
    ConditionFeature {
        /// The condition.
        condition: String,
        /// The reason.
        source: SaeError,
    },
    /// A condition's threshold is NaN or infinite.
    #[error("the condition `{condition}` has a threshold that is not finite")]
    ConditionNotFinite {
        /// The condition.
        condition: String,
    },
    /// A condition is evaluated after the point at which its intervention applies.
    #[error(
        "the intervention `{intervention}` changes {hook}, before its condition at {condition} is known; the condition must be at the same hook point or an earlier one"
    )]
    ConditionTooLate {
        /// The intervention.
        intervention: String,
        /// The hook point of the condition.
        condition: HookPoint,
        /// The hook point that the intervention changes.
        hook: HookPoint,
    },
    /// A full pass cannot be stopped by a condition.
    #[error(
        "a run cannot stop when `{condition}`: its tokens are given and all of them are run; a generation can"
    )]
    StopInRun {
        /// The condition.
        condition: String,
    },
    /// An intervention names a row that the batch lacks.
    #[error(
        "the intervention `{intervention}` names row {row}; the batch has {}",
        if *.batch == 1 { "1 row (0)".to_owned() } else { format!("{batch} rows (0 to {})", .batch - 1) }
    )]
    NoSuchRow {
        /// The intervention.
        intervention: String,
        /// The last row that the intervention names.
        row: usize,
        /// The number of rows in the batch.
        batch: usize,
    },
    /// An intervention's value is NaN or infinite.
    #[error("the intervention `{intervention}` has a value that is not finite")]
    NotFinite {
        /// The intervention.
        intervention: String,
    },
    /// An intervention covers no position of the pass or generation.
    #[error("the intervention `{intervention}` would be applied nowhere: {reason}")]
    Nowhere {
        /// The intervention.
        intervention: String,
        /// The reason.
        reason: String,
    },
    /// Interventions at one hook point have different splices.
    #[error(
        "the interventions at {hook} mix keep-error and reconstruct; use one of them per hook point"
    )]
    MixedSplice {
        /// The hook point.
        hook: HookPoint,
    },
    /// Interventions at one hook point would reconstruct it from different SAEs.
    #[error(
        "the interventions at {hook} would reconstruct it from {first} and from {second}; use one of them"
    )]
    TwoReconstructions {
        /// The hook point.
        hook: HookPoint,
        /// The hook point that the first SAE reads.
        first: HookPoint,
        /// The hook point that the second SAE reads.
        second: HookPoint,
    },
    /// An intervention on a vector asks for a reconstruction where no SAE gives one.
    #[error(
        "the intervention `{intervention}` has nothing to reconstruct {hook} with: no SAE reads and writes it"
    )]
    NothingToReconstruct {
        /// The intervention.
        intervention: String,
        /// The hook point.
        hook: HookPoint,
    },
    /// The features of a hook point were not tracked.
    #[error("{hook} was not tracked; the plan tracked {}", list(.tracked))]
    NotTracked {
        /// The hook point.
        hook: HookPoint,
        /// The hook points that were tracked.
        tracked: Vec<HookPoint>,
    },
    /// A sampling parameter is out of its range.
    #[error("{parameter} is {found}; it must be {expected}")]
    Sampling {
        /// The parameter.
        parameter: &'static str,
        /// The value.
        found: String,
        /// The accepted values.
        expected: &'static str,
    },
    /// The model rejects the tokens.
    #[error("the tokens cannot be run")]
    Tokens {
        /// The reason.
        #[from]
        source: GptError,
    },
    /// The prompt does not fit into the model's context.
    #[error("the prompt has {found} tokens, but the model's context holds {capacity}")]
    PromptTooLong {
        /// The number of prompt tokens.
        found: usize,
        /// The number of tokens that the context holds.
        capacity: usize,
    },
    /// The prompt is longer than the sequence.
    #[error("a prompt of {prompt_len} tokens is longer than the sequence of {len}")]
    PromptLen {
        /// The number of prompt tokens.
        prompt_len: usize,
        /// The number of tokens in the sequence.
        len: usize,
    },
    /// A generation returns features, not activations.
    #[error("a generation cannot capture {hook}; run the generated tokens once to capture it")]
    CaptureInGeneration {
        /// The hook point.
        hook: HookPoint,
    },
    /// An activation could not be captured.
    #[error("the capture failed")]
    Capture {
        /// The reason.
        #[from]
        source: HookError,
    },
    /// A number of the run is NaN, infinite or too large to compute with.
    #[error("{found}")]
    NonFinite {
        /// The first place.
        found: NonFinite,
    },
    /// A generation is stepped by a batch that did not begin it.
    #[error("generation {index} was not begun by this batch")]
    ForeignGeneration {
        /// Its index among the generations to step.
        index: usize,
    },
    /// Text could not be encoded or tokens decoded.
    #[error("the tokenizer failed")]
    Tokenizer {
        /// The reason.
        #[from]
        source: TokenizerError,
    },
}

fn width(expected: Option<usize>) -> String {
    expected.map_or("has no fixed width".to_owned(), |width| format!("has {width}"))
}

fn have_saes(hooks: &[HookPoint]) -> String {
    if hooks.is_empty() {
        "the model has no SAEs".to_owned()
    } else {
        format!("there are SAEs for {}", list(hooks))
    }
}

fn list(hooks: &[HookPoint]) -> String {
    names(&hooks.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
