//! The steps from prompts to the response, shared by completions and chat completions.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::response::Response;
use nanoscope_runtime::Plan;

use crate::analysis::Deadline;
use crate::error::ApiError;
use crate::generation::GenerationRequest;
use crate::http::log::TokenCounter;
use crate::openai::answer::{Answer, Endpoint};
use crate::openai::causes::Causes;
use crate::openai::choice::{Choice, Source};
use crate::openai::prompt_score::PromptScore;
use crate::openai::request::CommonParams;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// A prompt for which texts are generated.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) ids: Vec<u32>,
    /// The beginning of each returned text: the prompt, if it is echoed.
    pub(crate) opening: String,
}

/// The parts of a request that shape the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) logprobs: bool,
    pub(crate) echo: bool,
    /// Notes for the client, for example on special tokens that were read as characters.
    pub(crate) notes: Vec<String>,
}

/// Generates texts for `prompts` and returns the response.
///
/// # Errors
/// As [`Scheduler::start`](crate::generation::Scheduler::start), and those of running the prompts.
pub(crate) async fn respond(
    state: AppState,
    asked: Asked,
    params: &CommonParams,
    prompts: Vec<Prompt>,
    counter: TokenCounter,
) -> Result<Response, ApiError> {
    let CommonParams { n, sampling, extension, delivery, .. } = params;
    let silent = sampling.max_tokens == 0;
    let scored = silent || (asked.echo && asked.logprobs);
    check_room(&state, &asked, &prompts, silent)?;
    let scores = if scored { score_all(&state, params, &prompts).await? } else { Vec::new() };
    let mut sources: Vec<Source> = Vec::new();
    if silent {
        let repeat = |score| (0..*n).map(move |_| Source::silent(score));
        sources.extend(scores.iter().flat_map(|score| repeat(&**score)));
    } else {
        let generations = state.scheduler.start(requests(params, &prompts)).await?;
        sources.extend(generations.into_iter().map(Source::Generation));
    }
    let (of_causes, turn) = (state.clone(), Arc::default());
    let mut answer = Answer::new(state, asked.endpoint, extension.clone(), sampling.seed, counter);
    answer.logprobs = asked.logprobs;
    answer.notes = asked.notes;
    answer.usage.prompt = prompts.iter().map(|prompt| prompt.ids.len()).sum();
    let choices = sources.into_iter().enumerate().map(|(index, source)| {
        let Prompt { ids, opening } = &prompts[index / n % prompts.len()];
        let mut choice = Choice::new(index, ids.clone(), opening.clone(), source);
        choice.score = scores.get(index / n).filter(|_| asked.echo && asked.logprobs).cloned();
        choice.steered = extension.compare.then_some(index < *n);
        let causes = |why| Causes::new(of_causes.clone(), why, ids.clone(), Arc::clone(&turn));
        choice.causes = extension.why.map(causes);
        choice.first_of_prompt = params.is_first_of_prompt(index, prompts.len());
        choice
    });
    Ok(answer.respond(choices.collect(), *delivery).await)
}

/// Runs each prompt by itself for its log probabilities and features, and, to compare, all of them again
/// without steering.
async fn score_all(
    state: &AppState,
    params: &CommonParams,
    prompts: &[Prompt],
) -> Result<Vec<Arc<PromptScore>>, ApiError> {
    let top = params.sampling.top_logprobs;
    let runs: &[bool] = if params.extension.compare { &[true, false] } else { &[true] };
    let mut work = Vec::with_capacity(runs.len() * prompts.len());
    for &steered in runs {
        let plan = params.extension.prompt_plan(steered);
        work.extend(prompts.iter().map(|prompt| (prompt.ids.clone(), plan.clone())));
    }
    let score = move |served: &ServedModel, deadline: &Deadline| {
        let score = |(ids, plan): (Vec<u32>, Plan)| {
            deadline.check()?;
            PromptScore::run(served, ids, &plan, top).map(Arc::new)
        };
        work.into_iter().map(score).collect()
    };
    state.analysis.run_in_parts(&state.served, score).await
}

/// Checks that the context has room for each prompt and, unless `silent`, a generated token.
fn check_room(
    state: &AppState,
    asked: &Asked,
    prompts: &[Prompt],
    silent: bool,
) -> Result<(), ApiError> {
    let context = state.served.model.context_len();
    let room = usize::from(!silent);
    if let Some(prompt) = prompts.iter().find(|prompt| prompt.ids.len() + room > context) {
        let (field, subject, advice) = match asked.endpoint {
            Endpoint::Completion if silent => ("prompt", "it has", ""),
            // A client that asks for the prompt's scores may want no text.
            Endpoint::Completion if asked.echo => {
                ("prompt", "it has", " for a generated token; `max_tokens: 0` generates none")
            }
            Endpoint::Completion => ("prompt", "it has", " for a generated token"),
            Endpoint::Chat => ("messages", "they are", " for an answer"),
        };
        let message = format!(
            "{field}: {subject} {} tokens, which leaves no room in the context of {context}{advice}",
            prompt.ids.len(),
        );
        return Err(ApiError::bad_request(message)
            .with_param(field)
            .with_code("context_length_exceeded"));
    }
    Ok(())
}

/// A note that the special tokens `spelled` in `field` were read as characters; `None` if there are none.
pub(crate) fn special_note<'t>(
    field: &str,
    spelled: BTreeSet<impl AsRef<str> + 't>,
    advice: &str,
) -> Option<String> {
    let names: Vec<String> = spelled.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    (!names.is_empty())
        .then(|| format!("{field}: {} were read as characters; {advice}", names.join(", ")))
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
                    skips_special: params.skips_special,
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
