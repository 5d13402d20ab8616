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
use nanoscope_runtime::{
    Batch, EndReason, Generation, InterventionReport, Sampling, Step, StepOutcome,
};
use nanoscope_sae::SparseFeatures;
use nanoscope_tokenizer::ASSISTANT_END;

use super::turn::Token;
use crate::features::page;
use crate::load::{PlanParts, Scope};
use crate::run::token_text;

/// Bytes of prompts' beginnings that are kept, so that a conversation is not run anew each time.
pub(crate) const PREFIX_BYTES: usize = 256 << 20;

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
        applied: Vec<InterventionReport>,
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
            if matches!(progress, StepOutcome::Prompt) {
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
            if let StepOutcome::Step(Step {
                position,
                token_id: token,
                text,
                logprob,
                features,
                ..
            }) = progress
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use burn::tensor::Tensor;
    use nanoscope_runtime::InterpretableModel;
    use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
    use nanoscope_tokenizer::{
        ASSISTANT_START, BOS, Content, Conversation, Message, Role, Tokenizer, TokenizerParts,
        USER_END, USER_START,
    };
    use nanoscope_transformer::{Era, Gpt, GptShape};

    use super::*;

    const HOOK: HookPoint = HookPoint::ResidPost(1);
    const CONTEXT: usize = 48;

    /// A model of bytes with an SAE whose features are the activation's coordinates.
    fn scope() -> Scope {
        let names = [BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END];
        let tokenizer = Tokenizer::new(TokenizerParts {
            pattern: r"\w+|\W+".to_owned(),
            ranks: (0..=255_u8).map(|byte| (vec![byte], byte.into())).collect(),
            special_tokens: names.iter().map(|&name| name.to_owned()).zip(256..).collect(),
        });
        let device = nanoscope_device::for_tests();
        let shape = GptShape {
            sequence_len: CONTEXT,
            vocab_size: 261,
            n_layer: 2,
            n_head: 2,
            n_kv_head: 1,
            n_embd: 64,
        };
        let gpt = Gpt::random(Era::E6.config(shape, None).unwrap(), 7, &device);
        let config = SaeConfig::new(64, 64, Architecture::SignedTopK { k: 4 }).unwrap();
        let (eye, zeros) = (Tensor::eye(64, &device), Tensor::zeros([64], &device));
        let weights = SaeWeights::new(eye.clone(), zeros.clone(), eye, zeros);
        let model = InterpretableModel::new(gpt)
            .with_tokenizer(tokenizer.unwrap())
            .unwrap()
            .with_sae(HOOK, Sae::new(config, weights).unwrap())
            .unwrap();
        Scope { model, labels: BTreeMap::new(), converses: false }
    }

    fn tracking() -> PlanParts {
        PlanParts { track: BTreeSet::from([HOOK]), ..PlanParts::default() }
    }

    fn story(plans: Vec<PlanParts>) -> Job {
        Job::Write {
            prompt: Prompt::Story("Once".to_owned()),
            plans,
            sampling: Sampling { max_tokens: 12, seed: 3, ..Sampling::default() },
        }
    }

    /// What a job tells if it is heard to its end.
    fn all_news(scope: &Scope, job: &Job) -> Vec<News> {
        let mut news = Vec::new();
        do_job(scope, &mut Batch::new(&scope.model, PREFIX_BYTES), job, &mut |told| {
            news.push(told);
            true
        });
        news
    }

    fn generated(news: &[News], of: usize) -> Vec<Token> {
        let token = |news: &News| match news {
            News::Token { take, token, .. } if *take == of => Some(token.clone()),
            _ => None,
        };
        news.iter().filter_map(token).collect()
    }

    fn ids(tokens: &[Token]) -> Vec<u32> {
        tokens.iter().map(|token| token.id).collect()
    }

    #[test]
    fn a_text_is_told_token_by_token_with_the_features_of_the_prompt_before_it() {
        let scope = scope();

        let news = all_news(&scope, &story(vec![tracking()]));

        let News::Begun { ids: prompt, before: 0, forgotten: 0 } = &news[0] else {
            panic!("{:?}", news[0]);
        };
        assert_eq!(prompt[1..], b"Once".map(u32::from));
        let News::Prompt { take: 0, tokens } = &news[1] else { panic!("{:?}", news[1]) };
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["O", "n", "c", "e"]);
        let run = scope.model.generate(prompt, &tracking().plan(), &Sampling::greedy(1)).unwrap();
        let expected = run.prompt_features()[&HOOK].slice(1, 2);
        assert_eq!(tokens[0].features[&HOOK], expected);
        assert_eq!(tokens[0].position, 1);
        let tokens = generated(&news, 0);
        assert_eq!(tokens.len(), 12);
        assert_eq!(tokens[0].position, 5);
        assert!(tokens.iter().all(|token| token.features[&HOOK].nnz() == 4));
        assert!(matches!(news.last(), Some(News::Done { stopped: false })));
    }

    #[test]
    fn the_texts_of_a_comparison_are_those_that_each_plan_gives_alone() {
        let scope = scope();
        let steered =
            PlanParts { steer: vec![format!("{HOOK}:5:add:9").parse().unwrap()], ..tracking() };

        let pair = all_news(&scope, &story(vec![tracking(), steered.clone()]));

        let alone = |plan| ids(&generated(&all_news(&scope, &story(vec![plan])), 0));
        let (default, changed) = (ids(&generated(&pair, 0)), ids(&generated(&pair, 1)));
        assert_eq!(default, alone(tracking()));
        assert_eq!(changed, alone(steered));
        assert_ne!(default, changed);
        let applied = pair.iter().find_map(|news| match news {
            News::End { take: 1, applied, .. } => Some(applied.clone()),
            _ => None,
        });
        // Four tokens of the prompt and twelve after it, `<|bos|>` left out.
        assert_eq!(applied.unwrap()[0].positions, 16);
    }

    #[test]
    fn a_text_that_is_stopped_ends_with_the_token_at_hand() {
        let scope = scope();
        let (mut heard, mut last) = (0, None);

        let mut batch = Batch::new(&scope.model, 0);
        do_job(&scope, &mut batch, &story(vec![tracking()]), &mut |news| {
            heard += usize::from(matches!(news, News::Token { .. }));
            last = Some(news);
            heard < 3
        });

        assert_eq!(heard, 3);
        assert!(matches!(last, Some(News::Done { stopped: true })), "{last:?}");
    }

    #[test]
    fn a_conversation_is_laid_out_as_nanochat_does_it() {
        let scope = scope();
        let tokenizer = scope.tokenizer().unwrap();
        let mut before = tokenizer.chat_turn("Hi").unwrap();
        before.extend(tokenizer.encode("Yes").unwrap());

        let prompt = Prompt::Chat { before: vec![before], text: "And?".to_owned() };
        let laid = lay_out(&scope, &prompt, 4).unwrap();

        let said = [
            (Role::User, "Hi"),
            (Role::Assistant, "Yes"),
            (Role::User, "And?"),
            (Role::Assistant, ""),
        ];
        let message =
            |(role, text): (Role, &str)| Message { role, content: Content::Text(text.to_owned()) };
        let conversation = Conversation { messages: said.map(message).into() };
        assert_eq!(laid.ids, tokenizer.render_for_completion(&conversation).unwrap());
        assert_eq!(laid.ids.len() - laid.before, tokenizer.chat_turn("And?").unwrap().len());
    }

    #[test]
    fn of_a_later_message_only_its_own_tokens_are_told_with_their_features() {
        let scope = scope();
        let before = scope.tokenizer().unwrap().chat_turn("Hi").unwrap();
        let job = Job::Write {
            prompt: Prompt::Chat { before: vec![before], text: "And?".to_owned() },
            plans: vec![tracking()],
            sampling: Sampling::greedy(1),
        };

        let news = all_news(&scope, &job);

        let News::Begun { ids, before, .. } = &news[0] else { panic!("{:?}", news[0]) };
        let News::Prompt { tokens, .. } = &news[1] else { panic!("{:?}", news[1]) };
        let texts: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(texts, ["A", "n", "d", "?"]);
        // `<|user_start|>` is between.
        assert_eq!(tokens[0].position, before + 1);
        let run = scope.model.generate(ids, &tracking().plan(), &Sampling::greedy(1)).unwrap();
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
            let laid = lay_out(&scope, &prompt, max_tokens).unwrap();
            (laid.forgotten, laid.ids.len())
        };

        assert_eq!(lay_out(10), (0, 38));
        assert_eq!(lay_out(11), (1, 27));
        // Half of the context is kept for what was said, however long an answer may be.
        assert_eq!(lay_out(1000), (2, 14));
    }

    #[test]
    fn what_cannot_be_done_is_told_and_the_next_job_is_done() {
        let (tell, news) = mpsc::channel();
        let worker = Worker::new(Arc::new(scope()), move |news| tell.send(news).is_ok());
        let long = Job::Write {
            prompt: Prompt::Story("x".repeat(CONTEXT)),
            plans: vec![tracking()],
            sampling: Sampling::default(),
        };

        worker.start(long).unwrap();
        let News::Failed(why) = news.recv().unwrap() else { panic!("it does not fit") };
        assert!(why.contains(&CONTEXT.to_string()), "{why}");
        worker.start(Job::Page { hook: HOOK, feature: 64, cells: 60 }).unwrap();
        assert!(matches!(news.recv().unwrap(), News::Failed(_)));
        worker.start(Job::Page { hook: HOOK, feature: 5, cells: 60 }).unwrap();
        let News::Page(page) = news.recv().unwrap() else { panic!("feature 5 is there") };
        assert!(page.starts_with(&format!("#5 of {HOOK}")) && page.contains("promotes"), "{page}");
    }
}
