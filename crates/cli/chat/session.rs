//! The state of a session: its settings and its turns.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nanoscope_checkpoint::write_atomically;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Fluency, Sampling, Target, VectorName};
use serde_json::json;

use super::job::{Job, Prompt, WorkerEvent};
use super::mode::Mode;
use super::turn::{State, Turn, Variant};
use crate::prompt::read_as_text;
use crate::terminal::feature_name::Naming;
use nanoscope_runtime::Plan;

/// Drawn seeds are below this limit, so they are short enough to type.
const SEED_LIMIT: u64 = 1_000_000;

/// The session's data about the model.
#[derive(Debug)]
pub(crate) struct ModelInfo {
    /// The number of features of the SAE at each hook point.
    pub(crate) saes: BTreeMap<HookPoint, usize>,
    /// The names of the features.
    pub(crate) names: Arc<dyn Naming>,
}

impl Default for ModelInfo {
    fn default() -> Self {
        Self { saes: BTreeMap::new(), names: Arc::new(BTreeMap::new()) }
    }
}

/// The feature tokens are shaded by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shade {
    /// The steered feature, or the strongest one of the token in the panel.
    Auto,
    Off,
    Feature(HookPoint, u32),
}

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) model_info: ModelInfo,
    pub(crate) mode: Mode,
    /// True if the model has a form for conversations.
    pub(crate) can_chat: bool,
    pub(crate) plan: Plan,
    /// The user's choice of `/compare`; by default steered texts are compared.
    pub(crate) compare: Option<bool>,
    pub(crate) sampling: Sampling,
    /// True if a seed is drawn for each text.
    pub(crate) random_seeds: bool,
    pub(crate) shade: Shade,
    pub(crate) turns: Vec<Turn>,
    /// The token that is selected on the screen.
    pub(crate) selected: Option<TokenRef>,
    pub(crate) special_tokens: SpecialTokens,
}

/// A reference to a token: the indices of its turn, its variant and itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TokenRef {
    pub(crate) turn: usize,
    pub(crate) variant: usize,
    pub(crate) token: usize,
}

/// The reading of special tokens in the text of a story.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpecialTokens {
    /// As plain text. A note says so the first time.
    Plain,
    /// As plain text, after that note.
    PlainNoted,
    /// As tokens.
    Tokens,
}

/// The reply to a line.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// A message to show.
    Message(String),
    /// A job for the worker.
    Work(Job),
    /// The texts were removed.
    Cleared,
    Quit,
}

impl Session {
    pub(crate) fn new(model_info: ModelInfo, mode: Mode, plan: Plan, sampling: Sampling) -> Self {
        Self {
            model_info,
            mode,
            can_chat: true,
            plan,
            compare: None,
            sampling,
            random_seeds: false,
            shade: Shade::Auto,
            turns: Vec::new(),
            selected: None,
            special_tokens: SpecialTokens::Plain,
        }
    }

    /// Returns whether a steered text is generated beside the unsteered one: unless the user turned it off.
    pub(crate) fn is_comparing(&self) -> bool {
        self.compare.unwrap_or(true)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.turns.last().is_some_and(|turn| turn.state == State::Running)
    }

    /// Prompts the model with a line.
    pub(crate) fn ask(&mut self, text: &str) -> Result<Reply> {
        let prompt = match self.mode {
            Mode::Story => Prompt::Story(text.to_owned()),
            Mode::Chat => {
                let so_far = self.turns.iter().filter(|turn| {
                    turn.mode == Mode::Chat && !turn.superseded && !turn.ids.is_empty()
                });
                Prompt::Chat { before: so_far.map(Turn::own_ids).collect(), text: text.to_owned() }
            }
        };
        self.begin(self.mode, text, prompt)
    }

    pub(crate) fn more(&mut self, text: String) -> Result<Reply> {
        self.check_idle()?;
        match self.turns.iter().rev().find(|turn| !turn.ids.is_empty()) {
            Some(turn) if turn.mode == Mode::Story => {
                let prompt = Prompt::More { before: turn.all_ids(), text: text.clone() };
                self.begin(Mode::Story, &text, prompt)
            }
            _ => bail!("no story to continue yet; type the beginning of one"),
        }
    }

    pub(crate) fn again(&mut self) -> Result<Reply> {
        self.check_idle()?;
        let Some(last) = self.turns.iter_mut().rev().find(|turn| !turn.ids.is_empty()) else {
            bail!("no prompt to run again yet");
        };
        last.superseded = true;
        let prompt = Prompt::Again { ids: last.ids.clone(), before: last.before };
        let (mode, typed) = (last.mode, last.typed.clone());
        self.begin(mode, &typed, prompt)
    }

    fn begin(&mut self, mode: Mode, typed: &str, prompt: Prompt) -> Result<Reply> {
        self.check_idle()?;
        if self.random_seeds {
            self.sampling.seed = getrandom::u64().context("could not draw a seed")? % SEED_LIMIT;
        }
        let steered = !self.plan.interventions.is_empty();
        let default = self.plan.without_steering();
        let (variants, plans) = if self.is_comparing() && steered {
            (vec![Variant::new(false), Variant::new(true)], vec![default, self.plan_in_use()])
        } else {
            (vec![Variant::new(steered)], vec![self.plan_in_use()])
        };
        self.turns.push(Turn {
            mode,
            typed: typed.to_owned(),
            ids: Vec::new(),
            before: 0,
            sampling: self.sampling.clone(),
            plan: self.plan.clone(),
            variants,
            state: State::Running,
            superseded: false,
        });
        Ok(Reply::Work(Job::Write {
            prompt,
            plans,
            sampling: self.sampling.clone(),
            special_tokens: self.special_tokens == SpecialTokens::Tokens,
        }))
    }

    /// The plan, with only the vectors that an intervention uses.
    fn plan_in_use(&self) -> Plan {
        let mut plan = self.plan.clone();
        let used = |name: &VectorName| {
            let mut targets = self.plan.interventions.iter().map(|steer| &steer.target);
            targets.any(|target| matches!(target, Target::Vector(used) if used == name))
        };
        plan.vectors.retain(|(name, _)| used(name));
        plan
    }

    /// Records an event of the last turn. Returns a message to show, if there is one.
    pub(crate) fn record(&mut self, event: WorkerEvent) -> Option<String> {
        let Some(turn) = self.turns.last_mut().filter(|turn| turn.state == State::Running) else {
            return match event {
                WorkerEvent::Page(page) => Some(page),
                WorkerEvent::Failed(why) => Some(why),
                _ => None,
            };
        };
        match event {
            WorkerEvent::Begun { ids, before, forgotten, spelled } => {
                (turn.ids, turn.before) = (ids, before);
                let mut notes = Vec::new();
                if forgotten > 0 {
                    let messages = if forgotten == 1 { "message is" } else { "messages are" };
                    notes.push(format!(
                        "the context is full; the first {forgotten} {messages} left out"
                    ));
                }
                if !spelled.is_empty() && self.special_tokens == SpecialTokens::Plain {
                    self.special_tokens = SpecialTokens::PlainNoted;
                    notes.push(read_as_text(&spelled.join(", ")));
                }
                return (!notes.is_empty()).then(|| notes.join("\n"));
            }
            WorkerEvent::Prompt { variant, tokens } => turn.variants[variant].tokens = tokens,
            WorkerEvent::Token { variant, token, took } => {
                let variant = &mut turn.variants[variant];
                variant.tokens.push(token);
                variant.took = took;
            }
            WorkerEvent::End { variant, end, applied, nll } => {
                let unsteered_nll = turn.variants.iter().find(|v| !v.is_steered);
                let unsteered_nll = unsteered_nll.and_then(Variant::own_nll);
                let variant = &mut turn.variants[variant];
                (variant.end, variant.applied) = (end, applied);
                variant.fluency = nll.map(|nll| Fluency { nll, unsteered_nll });
            }
            WorkerEvent::Page(page) => return Some(page),
            WorkerEvent::Done { stopped: false } => turn.state = State::Done,
            WorkerEvent::Done { stopped: true } => turn.state = State::Stopped,
            WorkerEvent::Failed(why) => turn.state = State::Failed(why),
        }
        None
    }

    pub(crate) fn check_idle(&self) -> Result<()> {
        if self.is_running() {
            bail!("a text is still being generated; Esc stops it");
        }
        Ok(())
    }

    pub(crate) fn save(&self, path: &Path, overwrite: bool) -> Result<String> {
        self.check_idle()?;
        let turns: Vec<&Turn> = self.turns.iter().filter(|turn| !turn.ids.is_empty()).collect();
        if turns.is_empty() {
            bail!("no text to save yet");
        }
        if !overwrite && path.symlink_metadata().is_ok() {
            bail!("{} already exists; /save! overwrites it", path.display());
        }
        let runs: Vec<_> = turns.iter().map(|turn| turn.json(&*self.model_info.names)).collect();
        let json = json!({ "nanoscope": env!("CARGO_PKG_VERSION"), "runs": runs });
        let text = serde_json::to_vec_pretty(&json).context("could not serialize the texts")?;
        write_atomically(path, &text)?;
        let prompts = match turns.len() {
            1 => "1 prompt with its texts".to_owned(),
            count => format!("{count} prompts with their texts"),
        };
        Ok(format!("saved {prompts} to {}", path.display()))
    }

    pub(crate) fn label(&self, (hook, feature): (HookPoint, u32)) -> Option<String> {
        let names = &self.model_info.names;
        names.prepare(hook, &[(feature, 0.0)]);
        let name = names.name(hook, feature)?;
        Some(name.shown(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_session::{LATE, events, job, message, refused, session};
    use super::*;

    fn write(session: &mut Session, line: &str) -> (Prompt, Vec<Plan>, Sampling) {
        let Job::Write { prompt, plans, sampling, .. } = job(session, line) else {
            panic!("{line} should write a text");
        };
        let variants: [&[&str]; 2] = [&[" there", " was"], &[" a", " dog"]];
        for event in events(&variants[..plans.len()]) {
            assert_eq!(session.record(event), None);
        }
        (prompt, plans, sampling)
    }

    #[test]
    fn a_line_begins_a_story_and_an_empty_one_goes_on_with_it() {
        let mut session = session();

        let (prompt, plans, _) = write(&mut session, "Once");
        assert_eq!(prompt, Prompt::Story("Once".to_owned()));
        assert_eq!(plans, [session.plan.clone()]);
        assert_eq!(session.turns[0].variants[0].text(), " there was");

        let ids = session.turns[0].all_ids();
        assert_eq!(ids.len(), 4);
        let more = |text: &str| Prompt::More { before: ids.clone(), text: text.to_owned() };
        assert_eq!(write(&mut session, "").0, more(""));
        session.turns.truncate(1);
        assert_eq!(write(&mut session, "/more and then").0, more("and then"));
        assert_eq!(write(&mut session, "//slash").0, Prompt::Story("/slash".to_owned()));
    }

    #[test]
    fn a_message_follows_the_conversation_without_what_was_written_again() {
        let mut session = session();
        message(&mut session, "/mode chat");

        write(&mut session, "Hi");
        write(&mut session, "/again");
        let (prompt, ..) = write(&mut session, "And?");

        // What the first turn added after `<|bos|>`: a token of the message, two of the answer.
        let own = session.turns[1].own_ids();
        assert_eq!(own.len(), 3);
        assert_eq!(prompt, Prompt::Chat { before: vec![own], text: "And?".to_owned() });
        assert_eq!(
            refused(&mut session, "/more"),
            "no story to continue yet; type the beginning of one"
        );
    }

    #[test]
    fn again_runs_the_same_ids_with_what_is_set_now() {
        let mut session = session();
        assert_eq!(refused(&mut session, "/again"), "no prompt to run again yet");
        write(&mut session, "Once");

        message(&mut session, "/seed 7");
        let (prompt, _, sampling) = write(&mut session, "/again");

        assert_eq!(prompt, Prompt::Again { ids: vec![0, 5], before: 1 });
        assert_eq!(sampling.seed, 7);
        assert_eq!(session.turns[1].typed, "Once");
    }

    #[test]
    fn a_comparison_writes_the_text_without_steering_and_the_steered_one() {
        let mut session = session();
        assert!(message(&mut session, "/compare on").contains("once there is an intervention"));
        assert_eq!(write(&mut session, "Once").1.len(), 1);
        message(&mut session, "/steer 7:add:27");

        let (_, plans, _) = write(&mut session, "Once");

        assert!(plans[0].interventions.is_empty());
        assert_eq!(plans[1].interventions, session.plan.interventions);
        let turn = session.turns.last().unwrap();
        assert_eq!(
            turn.variants.iter().map(|variant| variant.is_steered).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(turn.last_variant().text(), " a dog");
        assert!(turn.variants[0].fluency.is_none());
        let fluency = turn.variants[1].fluency.unwrap();
        assert_eq!((fluency.nll, fluency.unsteered_nll), (1.25, Some(0.5)));
        assert!(turn.variants[1].report().any(|line| line.contains("2.5 times")));
    }

    #[test]
    fn the_first_steering_is_compared_with_the_unsteered_text_unless_that_was_turned_off() {
        let mut session = session();
        message(&mut session, "/steer 7:add:27");
        assert_eq!(write(&mut session, "Once").1.len(), 2);
        message(&mut session, "/compare off");
        message(&mut session, "/steer off");
        message(&mut session, "/steer 7:add:27");
        assert_eq!(write(&mut session, "Once").1.len(), 1);
    }

    #[test]
    fn a_random_seed_is_noted_with_its_text() {
        let mut session = session();
        message(&mut session, "/seed random");

        let seeds: Vec<u64> = (0..4).map(|_| write(&mut session, "Once").2.seed).collect();

        assert!(seeds.iter().any(|seed| *seed != seeds[0]), "{seeds:?}");
        let noted: Vec<u64> = session.turns.iter().map(|turn| turn.sampling.seed).collect();
        assert_eq!(noted, seeds);
    }

    #[test]
    fn while_a_text_is_written_nothing_else_is_begun() {
        let mut session = session();
        job(&mut session, "Once");

        for line in ["Twice", "/again", "/more", "/clear", "/save x.json"] {
            assert_eq!(
                refused(&mut session, line),
                "a text is still being generated; Esc stops it",
                "{line}"
            );
        }
        message(&mut session, "/seed 3");
        session.record(WorkerEvent::Failed("no room".to_owned()));
        assert_eq!(session.turns[0].state, State::Failed("no room".to_owned()));
        job(&mut session, "Twice");
    }

    #[test]
    fn a_saved_run_has_all_that_gives_it_again_and_is_not_written_over() {
        let mut session = session();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.json");
        let save = format!("/save {}", path.display());
        assert_eq!(refused(&mut session, &save), "no text to save yet");
        message(&mut session, "/steer 7:add:27");
        message(&mut session, "/set temperature 0.7");
        write(&mut session, "Once");

        message(&mut session, &save);

        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let run = &json["runs"][0];
        assert_eq!(run["prompt"], "Once");
        assert_eq!(run["prompt_ids"], json!([0, 5]));
        assert_eq!(run["seed"], 42);
        assert_eq!(run["sampling"]["temperature"], 0.7);
        assert_eq!(run["steer"], json!([format!("{LATE}:7:add:27")]));
        assert_eq!(run["texts"][0]["text"], " there was");
        assert_eq!(run["texts"][0]["steered"], false);
        assert_eq!(run["texts"][1]["text"], " a dog");
        assert_eq!(run["texts"][1]["steered"], true);
        assert_eq!(run["texts"][1]["fluency"]["nll"], 1.25);
        assert_eq!(run["texts"][0]["end"], "max_tokens");
        let tokens = run["texts"][0]["tokens"].as_array().unwrap();
        assert_eq!(tokens.len(), 3);
        assert_eq!(tokens[0]["logprob"], serde_json::Value::Null);
        let features = &tokens[2]["features"][LATE.to_string()];
        assert_eq!(features[0][1], 2.0);

        assert!(refused(&mut session, &save).contains("already exists"));
        std::fs::write(&path, "mine").unwrap();
        message(&mut session, &save.replace("/save", "/save!"));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\n"));
    }
}
