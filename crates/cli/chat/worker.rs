//! The thread that runs the model.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Batch, Generation, Sampling, Step, StepOutcome};
use nanoscope_sae::SparseFeatures;

use super::job::{Job, Prompt, WorkerEvent};
use super::turn::Token;
use crate::commands::attribute::causes_text;
use crate::commands::features::{found_text, page};
use crate::load::text_tokenizer;
use crate::prompt::{SpecialTokensArg, encode_unnoted};
use nanoscope::Microscope;
use nanoscope_runtime::Plan;

/// The size of the prefix cache in bytes, which avoids running a conversation anew for each
/// message.
pub(crate) const PREFIX_BYTES: usize = 256 << 20;

/// A handle to the thread that owns the model.
#[derive(Debug)]
pub(crate) struct Worker {
    jobs: Sender<Job>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// Starts the thread. Its events go to `send`, until that returns false.
    pub(crate) fn new(
        scope: Arc<Microscope>,
        send: impl Fn(WorkerEvent) -> bool + Send + 'static,
    ) -> Self {
        let (jobs, todo): (_, Receiver<Job>) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            let mut batch = Batch::new(scope.model(), PREFIX_BYTES);
            for job in todo {
                let mut is_open = true;
                let mut emit = |event| {
                    is_open = is_open && send(event);
                    is_open && !stopped.load(Ordering::Relaxed)
                };
                // A panic in a kernel ends the text but not the session.
                let done = catch_unwind(AssertUnwindSafe(|| {
                    do_job(&scope, &mut batch, &job, &mut emit);
                }));
                if let Err(panic) = done {
                    batch = Batch::new(scope.model(), PREFIX_BYTES);
                    let why = panic.downcast_ref::<String>().map(String::as_str);
                    let why = why
                        .or(panic.downcast_ref::<&str>().copied())
                        .unwrap_or("the model panicked");
                    send(WorkerEvent::Failed(why.to_owned()));
                }
                if !is_open {
                    return;
                }
            }
        });
        Self { jobs, stop }
    }

    /// Queues a job.
    pub(crate) fn start(&self, job: Job) -> Result<()> {
        self.stop.store(false, Ordering::Relaxed);
        self.jobs.send(job).map_err(|_| anyhow!("the thread that runs the model has ended"))
    }

    /// Stops the current job after the current token.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Does `job` and sends its events, until `send` returns false.
pub(crate) fn do_job<'m>(
    scope: &'m Microscope,
    batch: &mut Batch<'m>,
    job: &Job,
    send: &mut dyn FnMut(WorkerEvent) -> bool,
) {
    let done = match job {
        Job::Write { prompt, plans, sampling, special_tokens } => {
            let ids = lay_out(scope, prompt, *special_tokens, sampling.max_tokens);
            ids.and_then(|ids| write(scope, batch, ids, plans, sampling, send))
        }
        Job::Page { hook, feature, cells } => {
            page(scope, *hook, *feature, *cells).map(|page| !send(WorkerEvent::Page(page)))
        }
        Job::Why { tokens, is_steered, cells } => {
            let causes = causes_text(scope, tokens, *is_steered, *cells);
            causes.map(|causes| !send(WorkerEvent::Page(causes)))
        }
        Job::Find { word, cells } => {
            found_text(scope, word, *cells).map(|found| !send(WorkerEvent::Page(found + "\n")))
        }
    };
    send(match done {
        Ok(stopped) => WorkerEvent::Done { stopped },
        Err(error) => WorkerEvent::Failed(format!("{error:#}")),
    });
}

/// Generates the texts of a job. Returns whether they were stopped.
fn write<'m>(
    scope: &'m Microscope,
    batch: &mut Batch<'m>,
    prompt: PromptIds,
    plans: &[Plan],
    sampling: &Sampling,
    send: &mut dyn FnMut(WorkerEvent) -> bool,
) -> Result<bool> {
    let PromptIds { ids, before, forgotten, spelled } = prompt;
    let mut generations = plans
        .iter()
        .map(|plan| batch.begin(&ids, plan, sampling))
        .collect::<Result<Vec<Generation<'m>>, _>>()?;
    let mut is_on = send(WorkerEvent::Begun { ids: ids.clone(), before, forgotten, spelled });
    let mut ran_prompt = vec![None; generations.len()];
    let mut texts = vec![ids.clone(); generations.len()];
    while is_on && generations.iter().any(|generation| generation.end().is_none()) {
        let progress = batch.step(&mut generations.iter_mut().collect::<Vec<_>>())?;
        for (variant, progress) in progress.into_iter().enumerate() {
            if matches!(progress, StepOutcome::Prompt) {
                continue;
            }
            let since = match ran_prompt[variant] {
                Some(since) => since,
                None => {
                    let tokens = prompt_tokens(scope, &ids, before, &generations[variant]);
                    is_on &= send(WorkerEvent::Prompt { variant, tokens });
                    *ran_prompt[variant].insert(Instant::now())
                }
            };
            if let StepOutcome::Step(Step {
                position,
                token_id: token,
                text,
                logprob,
                features,
                steered_features: steered,
                ..
            }) = progress
            {
                texts[variant].push(token);
                let name = scope.model().token_text(token);
                let logprob = Some(logprob);
                let token = Token { position, id: token, text, name, logprob, features, steered };
                is_on &= send(WorkerEvent::Token { variant, token, took: since.elapsed() });
            }
        }
    }
    for (variant, (generation, plan)) in generations.iter().zip(plans).enumerate() {
        // A text that was stopped is left as it is, without another pass.
        let is_steered = is_on && !plan.interventions.is_empty();
        let tokens = &texts[variant];
        let nll = if is_steered { scope.model().mean_nll(tokens, ids.len())? } else { None };
        let (end, applied) = (generation.end(), generation.applied());
        send(WorkerEvent::End { variant, end, applied, nll });
    }
    Ok(!is_on)
}

/// A tokenized prompt; see [`WorkerEvent::Begun`].
struct PromptIds {
    ids: Vec<u32>,
    before: usize,
    forgotten: usize,
    spelled: Vec<String>,
}

fn lay_out(
    scope: &Microscope,
    prompt: &Prompt,
    special_tokens: bool,
    max_tokens: usize,
) -> Result<PromptIds> {
    let tokenizer = text_tokenizer(scope)?;
    let spelled =
        |text: &str| tokenizer.special_tokens_in(text).into_iter().map(str::to_owned).collect();
    let story = |mut ids: Vec<u32>, before, text: &str| -> Result<PromptIds> {
        let spelled = if special_tokens { Vec::new() } else { spelled(text) };
        ids.extend(encode_unnoted(tokenizer, text, SpecialTokensArg { special_tokens })?);
        Ok(PromptIds { ids, before, forgotten: 0, spelled })
    };
    Ok(match prompt {
        Prompt::Story(text) => story(tokenizer.encode_with_bos("")?, 0, text)?,
        Prompt::More { before, text } => story(before.clone(), before.len(), text)?,
        Prompt::Again { ids, before } => {
            PromptIds { ids: ids.clone(), before: *before, forgotten: 0, spelled: Vec::new() }
        }
        // The first message has what a family's chat template writes once, such as instructions.
        Prompt::Chat { before, text } if before.is_empty() && tokenizer.is_hugging_face() => {
            let ids = tokenizer.chat_prompt(text)?;
            let bos = tokenizer.bos().is_some_and(|bos| ids.first() == Some(&bos));
            let before = usize::from(bos);
            PromptIds { ids, before, forgotten: 0, spelled: spelled(text) }
        }
        Prompt::Chat { before, text } => {
            let own = tokenizer.chat_turn(text)?;
            let bos: Vec<u32> = tokenizer.bos().into_iter().collect();
            let end = tokenizer.answer_end();
            // Room for the answer has priority, then the latest messages.
            let capacity = scope.model().context_len();
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
            let forgotten = before.len() - kept.len();
            PromptIds { ids, before: at, forgotten, spelled: spelled(text) }
        }
    })
}

/// The tokens from `before` on, without special ones, with their features.
fn prompt_tokens(
    scope: &Microscope,
    ids: &[u32],
    before: usize,
    generation: &Generation<'_>,
) -> Vec<Token> {
    let Some(tokenizer) = scope.model().tokenizer() else { return Vec::new() };
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
            name: scope.model().token_text(id),
            logprob: None,
            features,
            steered: BTreeMap::new(),
        });
    }
    if let Some(last) = tokens.last_mut() {
        last.text.push_str(&stream.finish());
    }
    tokens
}

#[cfg(test)]
mod tests {
    use nanoscope_runtime::InterpretableModel;
    use nanoscope_testing::{TINY_SHAPE, identity_sae, tiny_gpt};
    use nanoscope_tokenizer::{
        ASSISTANT_END, ASSISTANT_START, BOS, Content, Conversation, Message, Role, Tokenizer,
        TokenizerParts, USER_END, USER_START,
    };
    use nanoscope_transformer::GptShape;

    use super::*;

    const HOOK: HookPoint = HookPoint::ResidPost(1);
    const CONTEXT: usize = 48;

    /// A model of bytes with an SAE whose features are the coordinates of the activation.
    fn scope() -> Microscope {
        let names = [BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END];
        let tokenizer = Tokenizer::new(TokenizerParts {
            pattern: r"\w+|\W+".to_owned(),
            ranks: (0..=255_u8).map(|byte| (vec![byte], byte.into())).collect(),
            special_tokens: names.iter().map(|&name| name.to_owned()).zip(256..).collect(),
        });
        let device = nanoscope_testing::test_device();
        let shape = GptShape { sequence_len: CONTEXT, vocab_size: 261, ..TINY_SHAPE };
        let gpt = tiny_gpt(shape, &device);
        let model = InterpretableModel::new(gpt)
            .with_tokenizer(tokenizer.unwrap())
            .unwrap()
            .with_sae(HOOK, identity_sae(64, 4, &device))
            .unwrap();
        Microscope::new(model)
    }

    fn tracking() -> Plan {
        Plan::new().track(HOOK)
    }

    fn story(plans: Vec<Plan>) -> Job {
        Job::Write {
            prompt: Prompt::Story("Once".to_owned()),
            plans,
            sampling: Sampling { max_tokens: 12, seed: 3, ..Sampling::default() },
            special_tokens: false,
        }
    }

    /// All events of a job.
    fn all_events(scope: &Microscope, job: &Job) -> Vec<WorkerEvent> {
        let mut events = Vec::new();
        do_job(scope, &mut Batch::new(scope.model(), PREFIX_BYTES), job, &mut |event| {
            events.push(event);
            true
        });
        events
    }

    fn generated(events: &[WorkerEvent], of: usize) -> Vec<Token> {
        let token = |event: &WorkerEvent| match event {
            WorkerEvent::Token { variant, token, .. } if *variant == of => Some(token.clone()),
            _ => None,
        };
        events.iter().filter_map(token).collect()
    }

    fn ids(tokens: &[Token]) -> Vec<u32> {
        tokens.iter().map(|token| token.id).collect()
    }

    #[test]
    fn a_text_is_told_token_by_token_with_the_features_of_the_prompt_before_it() {
        let scope = scope();

        let events = all_events(&scope, &story(vec![tracking()]));

        let WorkerEvent::Begun { ids: prompt, before: 0, forgotten: 0, .. } = &events[0] else {
            panic!("{:?}", events[0]);
        };
        assert_eq!(prompt[1..], b"Once".map(u32::from));
        let WorkerEvent::Prompt { variant: 0, tokens } = &events[1] else {
            panic!("{:?}", events[1])
        };
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["O", "n", "c", "e"]);
        let run = scope.model().generate(prompt, &tracking(), &Sampling::greedy(1)).unwrap();
        let expected = run.prompt_features()[&HOOK].slice(1, 2);
        assert_eq!(tokens[0].features[&HOOK], expected);
        assert_eq!(tokens[0].position, 1);
        let tokens = generated(&events, 0);
        assert_eq!(tokens.len(), 12);
        assert_eq!(tokens[0].position, 5);
        assert!(tokens.iter().all(|token| token.features[&HOOK].nnz() == 4));
        assert!(matches!(events.last(), Some(WorkerEvent::Done { stopped: false })));
    }

    #[test]
    fn the_texts_of_a_comparison_are_those_that_each_plan_gives_alone() {
        let scope = scope();
        let steered = tracking().intervene(format!("{HOOK}:5:add:9").parse().unwrap());

        let pair = all_events(&scope, &story(vec![tracking(), steered.clone()]));

        let alone = |plan| ids(&generated(&all_events(&scope, &story(vec![plan])), 0));
        let (default, changed) = (ids(&generated(&pair, 0)), ids(&generated(&pair, 1)));
        assert_eq!(default, alone(tracking()));
        assert_eq!(changed, alone(steered));
        assert_ne!(default, changed);
        let applied = pair.iter().find_map(|event| match event {
            WorkerEvent::End { variant: 1, applied, .. } => Some(applied.clone()),
            _ => None,
        });
        // Four tokens of the prompt and twelve after it, `<|bos|>` left out.
        assert_eq!(applied.unwrap()[0].positions, 16);
    }

    #[test]
    fn a_text_that_is_stopped_ends_with_the_token_at_hand() {
        let scope = scope();
        let (mut received, mut last) = (0, None);

        let mut batch = Batch::new(scope.model(), 0);
        do_job(&scope, &mut batch, &story(vec![tracking()]), &mut |event| {
            received += usize::from(matches!(event, WorkerEvent::Token { .. }));
            last = Some(event);
            received < 3
        });

        assert_eq!(received, 3);
        assert!(matches!(last, Some(WorkerEvent::Done { stopped: true })), "{last:?}");
    }

    #[test]
    fn a_conversation_is_laid_out_as_nanochat_does_it() {
        let scope = scope();
        let tokenizer = scope.tokenizer().unwrap();
        let mut before = tokenizer.chat_turn("Hi").unwrap();
        before.extend(tokenizer.encode("Yes").unwrap());

        let prompt = Prompt::Chat { before: vec![before], text: "And?".to_owned() };
        let prompt_ids = lay_out(&scope, &prompt, false, 4).unwrap();

        let turns = [
            (Role::User, "Hi"),
            (Role::Assistant, "Yes"),
            (Role::User, "And?"),
            (Role::Assistant, ""),
        ];
        let message =
            |(role, text): (Role, &str)| Message { role, content: Content::Text(text.to_owned()) };
        let conversation = Conversation { messages: turns.map(message).into() };
        assert_eq!(prompt_ids.ids, tokenizer.render_for_completion(&conversation).unwrap());
        assert_eq!(
            prompt_ids.ids.len() - prompt_ids.before,
            tokenizer.chat_turn("And?").unwrap().len()
        );
    }

    #[test]
    fn of_a_later_message_only_its_own_tokens_are_told_with_their_features() {
        let scope = scope();
        let before = scope.tokenizer().unwrap().chat_turn("Hi").unwrap();
        let job = Job::Write {
            prompt: Prompt::Chat { before: vec![before], text: "And?".to_owned() },
            plans: vec![tracking()],
            sampling: Sampling::greedy(1),
            special_tokens: false,
        };

        let events = all_events(&scope, &job);

        let WorkerEvent::Begun { ids, before, .. } = &events[0] else { panic!("{:?}", events[0]) };
        let WorkerEvent::Prompt { tokens, .. } = &events[1] else { panic!("{:?}", events[1]) };
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["A", "n", "d", "?"]);
        // `<|user_start|>` is between.
        assert_eq!(tokens[0].position, before + 1);
        let run = scope.model().generate(ids, &tracking(), &Sampling::greedy(1)).unwrap();
        let expected = run.prompt_features()[&HOOK].slice(before + 1, before + 2);
        assert_eq!(tokens[0].features[&HOOK], expected);
    }

    #[test]
    fn a_conversation_that_is_too_long_loses_its_first_messages() {
        let scope = scope();
        let tokenizer = scope.tokenizer().unwrap();
        let message = |text: &str| tokenizer.chat_turn(text).unwrap();
        // 11 and 13 tokens with what ends their answers, 13 of the new message, one `<|bos|>`.
        let before = vec![message("0123456"), message("012345678")];

        let lay_out = |max_tokens| {
            let prompt = Prompt::Chat { before: before.clone(), text: "0123456789".to_owned() };
            let prompt_ids = lay_out(&scope, &prompt, false, max_tokens).unwrap();
            (prompt_ids.forgotten, prompt_ids.ids.len())
        };

        assert_eq!(lay_out(10), (0, 38));
        assert_eq!(lay_out(11), (1, 27));
        // Half of the context is reserved for the conversation, whatever max_tokens is.
        assert_eq!(lay_out(1000), (2, 14));
    }

    #[test]
    fn what_cannot_be_done_is_told_and_the_next_job_is_done() {
        let (send, events) = mpsc::channel();
        let worker = Worker::new(Arc::new(scope()), move |event| send.send(event).is_ok());
        let long = Job::Write {
            prompt: Prompt::Story("x".repeat(CONTEXT)),
            plans: vec![tracking()],
            sampling: Sampling::default(),
            special_tokens: false,
        };

        worker.start(long).unwrap();
        let WorkerEvent::Failed(why) = events.recv().unwrap() else { panic!("it does not fit") };
        assert!(why.contains(&CONTEXT.to_string()), "{why}");
        worker.start(Job::Page { hook: HOOK, feature: 64, cells: 60 }).unwrap();
        assert!(matches!(events.recv().unwrap(), WorkerEvent::Failed(_)));
        worker.start(Job::Page { hook: HOOK, feature: 5, cells: 60 }).unwrap();
        let WorkerEvent::Page(page) = events.recv().unwrap() else { panic!("feature 5 is there") };
        assert!(page.starts_with(&format!("#5 of {HOOK}")) && page.contains("promotes"), "{page}");
    }
}
