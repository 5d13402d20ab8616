//! What the model does, away from the screen.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Applied, Batch, EndReason, Generation, Progress, Sampling, Step};
use nanoscope_sae::SparseFeatures;
use nanoscope_tokenizer::ASSISTANT_END;

use super::turn::Token;
use crate::features::page;
use crate::load::{PlanParts, Scope};
use crate::run::token_text;

/// Bytes of prompts' beginnings that are kept, so that a conversation is not run anew each time.
const PREFIX_BYTES: usize = 256 << 20;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Job {
    /// A text for each plan, all from the same prompt and seed.
    Write { prompt: Prompt, plans: Vec<PlanParts>, sampling: Sampling },
    /// A feature's page, in lines of so many cells.
    Page { hook: HookPoint, feature: usize, cells: usize },
}

/// What a text goes on from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Prompt {
    /// A beginning.
    Story(String),
    /// A story so far, and what is put after it.
    More { before: Vec<u32>, text: String },
    /// The messages and answers so far, and the user's next message.
    Chat { before: Vec<Vec<u32>>, text: String },
    /// The same ids once more; the first `before` of them were there already.
    Again { ids: Vec<u32>, before: usize },
}

/// What a job gives, in this order.
#[derive(Debug)]
pub(crate) enum News {
    /// The prompt's ids, how many of them were there before, and how many messages were left out
    /// because the context would not hold them.
    Begun {
        ids: Vec<u32>,
        before: usize,
        forgotten: usize,
    },
    /// The tokens of the prompt that are new, for the `take`-th text.
    Prompt {
        take: usize,
        tokens: Vec<Token>,
    },
    Token {
        take: usize,
        token: Token,
        took: Duration,
    },
    End {
        take: usize,
        end: Option<EndReason>,
        applied: Vec<Applied>,
    },
    Page(String),
    /// The job is done; nothing comes after.
    Done {
        stopped: bool,
    },
    /// The job is done, and this is why it did not succeed.
    Failed(String),
}

/// The thread that has the model.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Sender<Job>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// Starts it; what it has to say goes to `tell`, until that gives false.
    pub(crate) fn new(scope: Arc<Scope>, tell: impl Fn(News) -> bool + Send + 'static) -> Self {
        let (jobs, todo): (_, Receiver<Job>) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let mut batch = Batch::new(&scope.model, PREFIX_BYTES);
            for job in todo {
                let mut is_heard = true;
                let mut hear = |news| {
                    is_heard = is_heard && tell(news);
                    is_heard && !stopped.load(Ordering::Relaxed)
                };
                // A defect in a kernel is the end of the text, and not of the dialogue.
                let done = catch_unwind(AssertUnwindSafe(|| {
                    do_job(&scope, &mut batch, &job, &mut hear);
                }));
                if let Err(panic) = done {
                    batch = Batch::new(&scope.model, PREFIX_BYTES);
                    let why = panic.downcast_ref::<String>().map(String::as_str);
                    let why = why.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a defect");
                    tell(News::Failed(why.to_owned()));
                }
                if !is_heard {
                    return;
                }
            }
        });
        Self { jobs, stop }
    }

    pub(crate) fn start(&self, job: Job) -> Result<()> {
        self.stop.store(false, Ordering::Relaxed);
        self.jobs.send(job).map_err(|_| anyhow!("the thread with the model has ended"))
    }

    /// Ends the job at hand after the token that it is at.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Does `job` and tells what comes of it, until `tell` gives false.
pub(crate) fn do_job<'m>(
    scope: &'m Scope,
    batch: &mut Batch<'m>,
    job: &Job,
    tell: &mut dyn FnMut(News) -> bool,
) {
    let done = match job {
        Job::Write { prompt, plans, sampling } => {
            write(scope, batch, prompt, plans, sampling, tell)
        }
        Job::Page { hook, feature, cells } => {
            page(scope, *hook, *feature, *cells).map(|page| !tell(News::Page(page)))
        }
    };
    tell(match done {
        Ok(stopped) => News::Done { stopped },
        Err(error) => News::Failed(format!("{error:#}")),
    });
}

/// Whether it was stopped.
fn write<'m>(
    scope: &'m Scope,
    batch: &mut Batch<'m>,
    prompt: &Prompt,
    plans: &[PlanParts],
    sampling: &Sampling,
    tell: &mut dyn FnMut(News) -> bool,
) -> Result<bool> {
    let Laid { ids, before, forgotten } = lay_out(scope, prompt, sampling.max_tokens)?;
    let mut generations = plans
        .iter()
        .map(|parts| batch.begin(&ids, &parts.plan(), sampling))
        .collect::<Result<Vec<Generation<'m>>, _>>()?;
    let mut is_on = tell(News::Begun { ids: ids.clone(), before, forgotten });
    let mut ran_prompt = vec![None; generations.len()];
    while is_on && generations.iter().any(|generation| generation.end().is_none()) {
        let progress = batch.step(&mut generations.iter_mut().collect::<Vec<_>>());
        for (take, progress) in progress.into_iter().enumerate() {
            if matches!(progress, Progress::Prompt) {
                continue;
            }
            let since = match ran_prompt[take] {
                Some(since) => since,
                None => {
                    let tokens = prompt_tokens(scope, &ids, before, &generations[take]);
                    is_on &= tell(News::Prompt { take, tokens });
                    *ran_prompt[take].insert(Instant::now())
                }
            };
            if let Progress::Step(Step { position, token, text, logprob, features, .. }) = progress
            {
                let name = token_text(scope, token);
                let token =
                    Token { position, id: token, text, name, logprob: Some(logprob), features };
                is_on &= tell(News::Token { take, token, took: since.elapsed() });
            }
        }
    }
    for (take, generation) in generations.iter().enumerate() {
        tell(News::End { take, end: generation.end(), applied: generation.applied() });
    }
    Ok(!is_on)
}

/// A prompt as ids.
struct Laid {
    ids: Vec<u32>,
    before: usize,
    forgotten: usize,
}

fn lay_out(scope: &Scope, prompt: &Prompt, max_tokens: usize) -> Result<Laid> {
    let tokenizer = scope.tokenizer()?;
    let laid = |ids, before| Laid { ids, before, forgotten: 0 };
    Ok(match prompt {
        Prompt::Story(text) => laid(scope.encode(text)?, 0),
        Prompt::More { before, text } => {
            let mut ids = before.clone();
            ids.extend(tokenizer.encode(text)?);
            laid(ids, before.len())
        }
        Prompt::Again { ids, before } => laid(ids.clone(), *before),
        Prompt::Chat { before, text } => {
            let own = tokenizer.chat_turn(text)?;
            let bos: Vec<u32> = tokenizer.bos().into_iter().collect();
            let end = tokenizer.special(ASSISTANT_END);
            // Room for an answer comes first, then the latest messages.
            let capacity = scope.model.context_len();
            let room = capacity.saturating_sub(max_tokens.min(capacity / 2));
            let mut kept = before.as_slice();
            let len = |kept: &[Vec<u32>]| {
                let kept: usize = kept.iter().map(|ids| ids.len() + 1).sum();
                bos.len() + kept + own.len()
            };
            while len(kept) > room && !kept.is_empty() {
                kept = &kept[1..];
            }
            let mut ids = bos.clone();
            for message in kept {
                ids.extend(message);
                ids.extend(end);
            }
            let at = ids.len();
            ids.extend(own);
            Laid { ids, before: at, forgotten: before.len() - kept.len() }
        }
    })
}

/// The tokens from `before` on that are no special ones, with their features.
fn prompt_tokens(
    scope: &Scope,
    ids: &[u32],
    before: usize,
    generation: &Generation<'_>,
) -> Vec<Token> {
    let Some(tokenizer) = scope.model.tokenizer() else { return Vec::new() };
    let mut stream = tokenizer.stream();
    let mut tokens = Vec::new();
    for (position, &id) in ids.iter().enumerate().skip(before) {
        if tokenizer.is_special(id) {
            continue;
        }
        let row = |(&hook, features): (&HookPoint, &SparseFeatures)| {
            (position < features.rows()).then(|| (hook, features.slice(position, position + 1)))
        };
        let features: BTreeMap<_, _> =
            generation.prompt_features().iter().filter_map(row).collect();
        tokens.push(Token {
            position,
            id,
            text: stream.push(id).unwrap_or_default(),
            name: token_text(scope, id),
            logprob: None,
            features,
        });
    }
    if let Some(last) = tokens.last_mut() {
        last.text.push_str(&stream.finish());
    }
    tokens
}
