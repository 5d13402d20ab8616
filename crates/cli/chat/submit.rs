//! Handling of the lines a user types.

use anyhow::{Context, Result, bail};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Condition, Intervention, Target};
use nanoscope_tokenizer::TokenizerError;

use super::command::{COMMANDS, Command, FeatureName, Setting, ShadeBy, Tracked, Usage};
use super::job::Job;
use super::mode::Mode;
use super::session::{Reply, Session, Shade};
use crate::load::default_hook;
use crate::terminal::display::counted;

impl Session {
    /// Handles a line: a prompt or a slash command. Pages are formatted for lines of `cells`.
    pub(crate) fn submit(&mut self, line: &str, cells: usize) -> Result<Reply> {
        if let Some(text) = line.strip_prefix("//") {
            return self.ask(&format!("/{text}"));
        }
        if line.trim_start().starts_with('/') {
            return self.run_command(Command::parse(line)?, cells);
        }
        if !line.trim().is_empty() {
            return self.ask(line);
        }
        match self.mode {
            Mode::Story if !self.turns.is_empty() => self.more(String::new()),
            _ => Ok(Reply::Message(String::new())),
        }
    }

    fn run_command(&mut self, command: Command, cells: usize) -> Result<Reply> {
        let message = match command {
            Command::Help => help(cells),
            Command::Mode(Mode::Chat) if !self.can_chat => {
                bail!("{}", TokenizerError::NoChatTemplate)
            }
            Command::Mode(mode) => {
                self.mode = mode;
                match mode {
                    Mode::Chat => "chat mode: lines are messages to the model".to_owned(),
                    Mode::Story => "story mode: the model continues your text".to_owned(),
                }
            }
            Command::Track(tracked) => self.track(tracked)?,
            Command::Steer(spec) => self.steer(&spec)?,
            Command::SteerOff(which) => self.steer_off(which)?,
            Command::Steers => self.steers(),
            Command::Compare(on) => self.compare(on),
            Command::Shade(by) => self.shade_by(by)?,
            Command::Feature(name) => {
                let (hook, feature) = self.feature(name)?;
                return Ok(Reply::Work(Job::Page { hook, feature: feature as usize, cells }));
            }
            Command::Why(word) => return self.why(word.as_deref(), cells),
            Command::Find(word) => {
                if self.model_info.saes.is_empty() {
                    bail!("no SAE is loaded; load one with --sae PATH");
                }
                return Ok(Reply::Work(Job::Find { word, cells }));
            }
            Command::Seed(Some(seed)) => {
                (self.sampling.seed, self.random_seeds) = (seed, false);
                format!("seed {seed}")
            }
            Command::Seed(None) => {
                self.random_seeds = true;
                "a new seed is drawn for each text".to_owned()
            }
            Command::Set(setting) => self.set(setting)?,
            Command::Again => return self.again(),
            Command::More(text) => return self.more(text),
            Command::Save { path, overwrite } => self.save(&path, overwrite)?,
            Command::Clear => {
                self.check_idle()?;
                self.turns.clear();
                return Ok(Reply::Cleared);
            }
            Command::Quit => return Ok(Reply::Quit),
        };
        Ok(Reply::Message(message))
    }

    fn track(&mut self, tracked: Option<Tracked>) -> Result<String> {
        match tracked {
            None => {}
            Some(Tracked::All) if self.model_info.saes.is_empty() => {
                bail!("no SAE is loaded to track; load one with --sae PATH")
            }
            Some(Tracked::All) => self.plan.track = self.model_info.saes.keys().copied().collect(),
            Some(Tracked::None) => self.plan.track.clear(),
            Some(Tracked::Hooks(hooks)) => {
                for &hook in &hooks {
                    self.d_sae(hook)?;
                }
                self.plan.track = hooks.into_iter().collect();
            }
        }
        let tracked: Vec<_> = self.plan.track.iter().map(ToString::to_string).collect();
        Ok(if tracked.is_empty() {
            "no SAE is tracked".to_owned()
        } else {
            format!("tracked: {}", tracked.join(", "))
        })
    }

    fn steer(&mut self, spec: &str) -> Result<String> {
        let intervention = Intervention::parse_at(spec, self.default_hook())?;
        match &intervention.target {
            Target::Feature(feature) => self.check_feature(intervention.hook, *feature)?,
            Target::Vector(name) => {
                if !self.plan.vectors.iter().any(|(known, _)| known == name) {
                    bail!("unknown vector {name}; load one with --vector NAME=PATH");
                }
            }
        }
        if let Some(Condition { hook, feature, .. }) = intervention.when {
            self.check_feature(hook, feature)?;
        }
        let label = match intervention.target {
            Target::Feature(feature) => self.label((intervention.hook, feature as u32)),
            Target::Vector(_) => None,
        };
        let label = label.map(|label| format!(" ({label})")).unwrap_or_default();
        let mut message = format!("steering from the next text on: {intervention}{label}");
        let is_first = self.plan.interventions.is_empty();
        if is_first && self.compare.is_none() {
            message.push_str("\nbeside the unsteered text (/compare off writes one text)");
        }
        self.plan.interventions.push(intervention);
        Ok(message)
    }

    fn steer_off(&mut self, which: Option<usize>) -> Result<String> {
        let all = self.plan.interventions.len();
        match which {
            None => self.plan.interventions.clear(),
            Some(at) if (1..=all).contains(&at) => drop(self.plan.interventions.remove(at - 1)),
            Some(at) => bail!("no intervention has number {at}; /steers lists them"),
        }
        Ok(self.steers())
    }

    fn steers(&self) -> String {
        if self.plan.interventions.is_empty() {
            return "there are no interventions".to_owned();
        }
        let line = |(at, steer): (usize, &Intervention)| format!("{}. {steer}", at + 1);
        self.plan.interventions.iter().enumerate().map(line).collect::<Vec<_>>().join("\n")
    }

    fn compare(&mut self, on: Option<bool>) -> String {
        let on = on.unwrap_or(!self.is_comparing());
        self.compare = Some(on);
        match (on, self.plan.interventions.is_empty()) {
            (false, _) => "one text for each prompt".to_owned(),
            (true, true) => "two texts for each prompt, once there is an intervention".to_owned(),
            (true, false) => "two texts for each prompt, unsteered and steered".to_owned(),
        }
    }

    fn shade_by(&mut self, by: ShadeBy) -> Result<String> {
        self.shade = match by {
            ShadeBy::Auto => Shade::Auto,
            ShadeBy::Off => Shade::Off,
            ShadeBy::Feature(name) => {
                let (hook, feature) = self.feature(name)?;
                Shade::Feature(hook, feature)
            }
        };
        Ok(match self.shade {
            Shade::Auto => {
                "tokens are shaded by the steered feature, or the strongest shown".to_owned()
            }
            Shade::Off => "tokens are not shaded".to_owned(),
            Shade::Feature(hook, feature) => {
                let label = self.label((hook, feature)).map(|label| format!(" ({label})"));
                let label = label.unwrap_or_default();
                let note = if self.plan.track.contains(&hook) {
                    ""
                } else {
                    "; its SAE is not tracked, so nothing is shaded until /track"
                };
                format!("tokens are shaded by {hook}:{feature}{label}{note}")
            }
        })
    }

    fn set(&mut self, setting: Setting) -> Result<String> {
        let mut sampling = self.sampling.clone();
        let message = match setting {
            Setting::Temperature(to) => {
                sampling.temperature = to;
                format!("temperature {to}")
            }
            Setting::TopK(to) => {
                sampling.top_k = to;
                to.map_or("no top-k".to_owned(), |to| format!("top-k {to}"))
            }
            Setting::TopP(to) => {
                sampling.top_p = to;
                to.map_or("no top-p".to_owned(), |to| format!("top-p {to}"))
            }
            Setting::MaxTokens(to) => {
                sampling.max_tokens = to;
                format!("at most {}", counted(to as u64, "token", "tokens"))
            }
        };
        sampling.check()?;
        self.sampling = sampling;
        Ok(message)
    }

    /// Resolves a feature and checks that it exists.
    fn feature(&self, name: FeatureName) -> Result<(HookPoint, u32)> {
        let Some(hook) = name.hook.or_else(|| self.default_hook()) else {
            bail!("no SAE is loaded; load one with --sae PATH");
        };
        self.check_feature(hook, name.index)?;
        Ok((hook, name.index as u32))
    }

    fn default_hook(&self) -> Option<HookPoint> {
        default_hook(&self.plan, self.model_info.saes.keys())
    }

    fn check_feature(&self, hook: HookPoint, feature: usize) -> Result<()> {
        let d_sae = self.d_sae(hook)?;
        if feature >= d_sae {
            bail!("the SAE at {hook} has no feature {feature}; expected one of 0..{d_sae}");
        }
        Ok(())
    }

    fn d_sae(&self, hook: HookPoint) -> Result<usize> {
        let have: Vec<_> = self.model_info.saes.keys().map(ToString::to_string).collect();
        let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
        let d_sae = self.model_info.saes.get(&hook).copied();
        d_sae.with_context(|| format!("no SAE at {hook}; available: {have}"))
    }
}

/// The width of a command with its arguments, in cells, and the width of a line from which on its
/// description stands beside it.
const USAGE_CELLS: usize = 46;
const WIDE_CELLS: usize = 100;

fn help(cells: usize) -> String {
    let line = |usage: &Usage| {
        let form = format!("{} {}", usage.name, usage.arguments);
        let does = usage.does;
        if cells >= WIDE_CELLS {
            format!("{form:<USAGE_CELLS$}{does}")
        } else {
            format!("{form}\n  {does}")
        }
    };
    let commands: Vec<String> = COMMANDS.iter().map(line).collect();
    format!("{}\n\n{KEYS}", commands.join("\n"))
}

const KEYS: &str = "\
← →       select a token (with Alt while a line is typed)
Alt ↑ ↓   select a text
↑ ↓       recall earlier lines
PgUp PgDn scroll
Tab       complete
Esc       stop the text, or go back to the newest token
Ctrl-D    exit; so does Ctrl-C twice";

#[cfg(test)]
mod tests {
    use super::super::test_session::{EARLY, LATE, job, message, refused, session};
    use super::*;

    #[test]
    fn steering_is_written_with_the_hook_point_or_without_it() {
        let mut session = session();

        let reply = message(&mut session, "/steer 7:add:27");
        assert_eq!(
            reply,
            format!(
                "steering from the next text on: {LATE}:7:add:27 (a dog)\n\
                 beside the unsteered text (/compare off writes one text)"
            )
        );
        assert!(session.is_comparing());
        message(&mut session, &format!("/steer {EARLY}:3:multiply:2@generated when {LATE}:7>1"));
        assert_eq!(
            message(&mut session, "/steers"),
            format!("1. {LATE}:7:add:27\n2. {EARLY}:3:multiply:2@generated when {LATE}:7>1")
        );
        message(&mut session, "/steer off 1");
        assert_eq!(session.plan.interventions.len(), 1);
        assert_eq!(session.plan.interventions[0].hook, EARLY);
        assert_eq!(message(&mut session, "/steer off"), "there are no interventions");
    }

    #[test]
    fn a_model_without_a_form_for_conversations_stays_in_story_mode() {
        let mut session = session();
        session.can_chat = false;

        assert!(refused(&mut session, "/mode chat").contains("has no chat template"));
        assert_eq!(session.mode, Mode::Story);
        message(&mut session, "/mode story");
    }

    #[test]
    fn steering_that_cannot_be_done_is_refused_at_once() {
        let mut session = session();

        let wrong = refused(&mut session, "/steer 2048:add:1");
        assert_eq!(
            wrong,
            format!("the SAE at {LATE} has no feature 2048; expected one of 0..2048")
        );
        assert!(
            refused(&mut session, "/steer hook_embed:1:add:1").contains("no SAE at hook_embed")
        );
        assert!(
            refused(&mut session, &format!("/steer {LATE}:up:add:1")).contains("unknown vector up")
        );
        assert!(refused(&mut session, "/steer 7:shout:1").contains("shout"));
        assert!(refused(&mut session, "/steer off 1").contains("no intervention has number 1"));
        let when = format!("/steer 7:add:1 when {LATE}:5000>1");
        assert!(refused(&mut session, &when).contains("no feature 5000"));
        assert!(session.plan.interventions.is_empty());
        message(&mut session, "/track all");
        message(&mut session, "/steer 7:add:1");
        assert_eq!(session.plan.interventions[0].hook, LATE);
    }

    #[test]
    fn what_is_tracked_shaded_and_sampled_can_be_changed() {
        let mut session = session();

        message(&mut session, "/track all");
        assert_eq!(session.plan.track.len(), 2);
        message(&mut session, &format!("/track {EARLY}"));
        assert_eq!(session.plan.track, [EARLY].into());
        assert!(refused(&mut session, "/track hook_embed").contains("no SAE at hook_embed"));
        assert!(message(&mut session, &format!("/shade {LATE}:7")).contains("not tracked"));
        assert_eq!(session.shade, Shade::Feature(LATE, 7));
        assert!(refused(&mut session, "/shade 64").contains("no feature 64"));

        message(&mut session, "/set temperature 0.5");
        message(&mut session, "/set top-k 3");
        let wrong = refused(&mut session, "/set top-p 2");
        assert!(wrong.contains("top-p"), "{wrong}");
        assert!(refused(&mut session, "/set temperature nan").contains("temperature"));
        assert!(refused(&mut session, "/set max-tokens 0").contains("max-tokens"));
        assert_eq!((session.sampling.temperature, session.sampling.top_k), (0.5, Some(3)));
        assert_eq!(session.sampling.top_p, None);
    }

    #[test]
    fn a_search_is_work_for_the_model() {
        let mut session = session();

        assert_eq!(job(&mut session, "/find DOG"), Job::Find { word: "DOG".into(), cells: 80 });
        session.model_info.saes.clear();
        assert!(refused(&mut session, "/find dog").contains("no SAE is loaded"));
    }
}
