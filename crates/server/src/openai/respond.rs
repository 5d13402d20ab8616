//! The part that completions and chat completions share: from prompts to the response.

use axum::response::Response;

use crate::error::ApiError;
use crate::generation::Ask;
use crate::http::log::Tally;
use crate::openai::answer::{Answer, Form};
use crate::openai::choice::Choice;
use crate::openai::request::Wanted;
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
    form: Form,
    wanted: &Wanted,
    prompts: Vec<Prompt>,
    logprobs: bool,
    tally: Tally,
) -> Result<Response, ApiError> {
    let Wanted { n, sampling, lens, delivery, .. } = wanted;
    let running = state.scheduler.start(asks(wanted, &prompts)).await?;
    let mut answer = Answer::new(state, form, lens.clone(), sampling.seed, tally);
    answer.logprobs = logprobs;
    answer.usage.prompt = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let choices = running.into_iter().enumerate().map(|(index, running)| {
        let Prompt { ids, opening } = &prompts[index / n % prompts.len()];
        let mut choice = Choice::new(index, ids.clone(), opening.clone(), running);
        choice.steered = lens.compare.then_some(index < *n);
        choice.first_of_prompt = wanted.is_first_of_prompt(index, prompts.len());
        choice
    });
    Ok(answer.give(choices.collect(), *delivery).await)
}

/// What is asked of the scheduler: each prompt `n` times; to compare, all of it once more without
/// steering.
fn asks(wanted: &Wanted, prompts: &[Prompt]) -> Vec<Ask> {
    let steering: &[bool] = if wanted.lens.compare { &[true, false] } else { &[true] };
    let mut asks = Vec::new();
    for &steered in steering {
        for prompt in prompts {
            for nth in 0..wanted.n {
                let mut sampling = wanted.sampling.clone();
                sampling.seed += nth as u64;
                asks.push(Ask {
                    prompt: prompt.ids.clone(),
                    plan: wanted.lens.plan(steered).clone(),
                    sampling,
                    stop: wanted.stop.clone(),
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
    ApiError::bad(message).code("context_length_exceeded")
}
