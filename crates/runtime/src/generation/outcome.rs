use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;

/// The outcome of a [`Batch`] step for one generation.
///
/// [`Batch`]: crate::Batch
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// A piece of the prompt was run.
    Prompt,
    /// The next token was generated.
    Step(Step),
    /// The generation has ended; [`Generation::end`](crate::Generation::end) returns the reason.
    End,
}

/// One generated token.
///
/// The JSON form is the token object that the command line and the server write, with the number of
/// features of each SAE so that it can be read back:
///
/// ```json
/// {"position": 5, "token_id": 262, "token": " a", "logprob": -1.2,
///  "features": {"blocks.2.hook_resid_post": [[417, 3.5], [12, 0.25]]},
///  "d_sae": {"blocks.2.hook_resid_post": 2048}, "top_logprobs": [[262, -1.2]]}
/// ```
///
/// Features are `[index, activation]`, strongest first; a label after them is ignored. `d_sae` and
/// `top_logprobs` are omitted if they are empty. An unknown key, a feature index out of range and a
/// feature listed twice are errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The position in the sequence, counted from the start of the prompt.
    pub position: usize,
    /// The token's id.
    pub token_id: u32,
    /// The text that the token completes; `token` in JSON. The bytes of an incomplete character are
    /// returned with the token that completes it, or as U+FFFD with the last token. Empty without a
    /// tokenizer.
    pub text: String,
    /// The natural logarithm of the model's probability for the token, before temperature, top-k
    /// and top-p.
    pub logprob: f32,
    /// One row for each tracked hook point: the features at the token's own position.
    pub features: BTreeMap<HookPoint, SparseFeatures>,
    /// The [`Sampling::top_logprobs`](crate::Sampling::top_logprobs) most likely tokens at this position with their log
    /// probabilities, most likely first.
    pub top_logprobs: Vec<(u32, f32)>,
}
