//! The part that completions and chat completions share: from prompts to the response.

use axum::response::Response;

use crate::error::ApiError;
use crate::generation::GenerationRequest;
use crate::http::log::TokenCounter;
use crate::openai::answer::{Answer, Endpoint};
use crate::openai::choice::Choice;
use crate::openai::request::CommonParams;
use crate::state::AppState;

/// A prompt whose texts are returned.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// The beginning of each of its texts: the prompt, if it is to be echoed.
    pub(crate) opening: String,
}

/// Generates the texts for `prompts`, and answers with them as `wanted` says.
///
/// # Errors
/// As [`Scheduler::start`](crate::generation::Scheduler::start).
pub(crate) async fn respond(
    state: AppState,
    endpoint: Endpoint,
    params: &CommonParams,
    prompts: Vec<Prompt>,
    logprobs: bool,
    counter: TokenCounter,
) -> Result<Response, ApiError> {
    let CommonParams { n, sampling, extension, delivery, .. } = params;
    let running = state.scheduler.start(asks(params, &prompts)).await?;
    let mut answer = Answer::new(state, endpoint, extension.clone(), sampling.seed, counter);
    answer.logprobs = logprobs;
    answer.usage.prompt = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let choices = running.into_iter().enumerate().map(|(index, running)| {
        let Prompt { ids, opening } = &prompts[index / n % prompts.len()];
        let mut choice = Choice::new(index, ids.clone(), opening.clone(), running);
        choice.steered = extension.compare.then_some(index < *n);
        choice.first_of_prompt = params.is_first_of_prompt(index, prompts.len());
        choice
    });
    Ok(answer.give(choices.collect(), *delivery).await)
}

/// What is asked of the scheduler: each prompt `n` times; to compare, all of it once more without
/// steering.
fn asks(params: &CommonParams, prompts: &[Prompt]) -> Vec<GenerationRequest> {
    let steering: &[bool] = if params.extension.compare { &[true, false] } else { &[true] };
    let mut asks = Vec::new();
    for &steered in steering {
        for prompt in prompts {
            for nth in 0..params.n {
                let mut sampling = params.sampling.clone();
                sampling.seed += nth as u64;
                asks.push(GenerationRequest {
                    prompt: prompt.ids.clone(),
                    plan: params.extension.plan(steered).clone(),
                    sampling,
                    stop: params.stop.clone(),
                    copy: nth > 0,
                });
            }
        }
    }
    asks
}

/// The refusal of a text of `found` bytes, which the context cannot hold however it is divided.
pub(crate) fn too_long(found: usize, context: usize) -> ApiError {
    let message =
        format!("the prompt has {found} bytes, the model's context holds {context} tokens");
    ApiError::bad_request(message).with_code("context_length_exceeded")
}
