//! The steps from prompts to the response, shared by completions and chat completions.

use axum::response::Response;

use crate::error::ApiError;
use crate::generation::GenerationRequest;
use crate::http::log::TokenCounter;
use crate::openai::answer::{Answer, Endpoint};
use crate::openai::choice::Choice;
use crate::openai::request::CommonParams;
use crate::state::AppState;

/// A prompt for which texts are generated.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// The beginning of each returned text: the prompt, if it is echoed.
    pub(crate) opening: String,
}

/// Generates texts for `prompts` and returns the response.
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
    let generations = state.scheduler.start(requests(params, &prompts)).await?;
    let mut answer = Answer::new(state, endpoint, extension.clone(), sampling.seed, counter);
    answer.logprobs = logprobs;
    answer.usage.prompt = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let choices = generations.into_iter().enumerate().map(|(index, generation)| {
        let Prompt { ids, opening } = &prompts[index / n % prompts.len()];
        let mut choice = Choice::new(index, ids.clone(), opening.clone(), generation);
        choice.steered = extension.compare.then_some(index < *n);
        choice.first_of_prompt = params.is_first_of_prompt(index, prompts.len());
        choice
    });
    Ok(answer.respond(choices.collect(), *delivery).await)
}

/// The generation requests: each prompt `n` times and, to compare, all of them again without
/// steering.
fn requests(params: &CommonParams, prompts: &[Prompt]) -> Vec<GenerationRequest> {
    let steering: &[bool] = if params.extension.compare { &[true, false] } else { &[true] };
    let mut requests = Vec::new();
    for &steered in steering {
        for prompt in prompts {
            for nth in 0..params.n {
                let mut sampling = params.sampling.clone();
                sampling.seed += nth as u64;
                requests.push(GenerationRequest {
                    prompt: prompt.ids.clone(),
                    plan: params.extension.plan(steered),
                    sampling,
                    stop: params.stop.clone(),
                    copy: nth > 0,
                });
            }
        }
    }
    requests
}

/// 400 for a text of `found` bytes, which exceeds the context no matter how it is tokenized.
pub(crate) fn too_long(found: usize, context: usize) -> ApiError {
    let message = format!(
        "the prompt has {found} bytes, which exceeds the model's context of {context} tokens"
    );
    ApiError::bad_request(message).with_code("context_length_exceeded")
}
