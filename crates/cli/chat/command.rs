//! Slash commands: lines that begin with `/`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use nanoscope_hooks::{HookPoint, did_you_mean, most_similar};

use super::mode::Mode;

/// A slash command.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Command {
    Help,
    Mode(Mode),
    /// Sets the hook points whose SAEs are tracked; none lists them.
    Track(Option<Tracked>),
    /// Adds an intervention, as it was typed.
    Steer(String),
    /// Removes the N-th intervention, counted from 1, or all.
    SteerOff(Option<usize>),
    Steers,
    Compare(Option<bool>),
    Shade(ShadeBy),
    Feature(FeatureName),
    Find(String),
    /// Explains a token: the last one with this text, else the selected one.
    Why(Option<String>),
    /// Sets the seed; none draws one for each text.
    Seed(Option<u64>),
    Set(Setting),
    Again,
    More(String),
    Save {
        path: PathBuf,
        overwrite: bool,
    },
    Clear,
    Quit,
}

/// The SAEs to track.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tracked {
    All,
    None,
    Hooks(Vec<HookPoint>),
}

/// The feature to shade tokens by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ShadeBy {
    Auto,
    Off,
    Feature(FeatureName),
}

/// A feature; without a hook point, of the deepest tracked SAE.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FeatureName {
    pub(crate) hook: Option<HookPoint>,
    pub(crate) index: usize,
}

/// A sampling setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Setting {
    Temperature(f32),
    TopK(Option<usize>),
    TopP(Option<f32>),
    MaxTokens(usize),
}

/// A command as shown in the help.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) does: &'static str,
}

const fn usage(name: &'static str, arguments: &'static str, does: &'static str) -> Usage {
    Usage { name, arguments, does }
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: [Usage; 18] = [
    usage("/help", "", "list the commands and keys"),
    usage("/again", "", "run the last prompt again with the current settings"),
    usage("/more", "[TEXT]", "continue the story, after TEXT; so does an empty line"),
    usage("/steer", "SPEC | off [N]", "steer with a feature: 1909:add:30%, or HOOK:1909:ablate"),
    usage("/steers", "", "list the interventions"),
    usage("/compare", "[on|off]", "show the unsteered text beside the steered one"),
    usage("/track", "HOOK… | all | none", "choose the SAEs whose features are shown"),
    usage("/shade", "[HOOK:]N | auto | off", "shade tokens by a feature"),
    usage("/feature", "[HOOK:]N", "show a feature in detail"),
    usage("/find", "WORD", "list the features that write a word, are about it or fire on it"),
    usage("/why", "[WORD]", "explain the last such token, or the selected one, by features"),
    usage("/seed", "N | random", "set the seed; the same seed gives the same text"),
    usage(
        "/set",
        "temperature|top-k|top-p|max-tokens V",
        "change the sampling; off removes a limit",
    ),
    usage("/mode", "chat | story", "chat with the model, or let it continue a text"),
    usage("/save", "FILE", "save the texts with their features as JSON; /save! overwrites"),
    usage("/clear", "", "remove all texts"),
    usage("/quit", "", "exit"),
    usage("//", "TEXT", "a text that begins with a slash"),
];

/// The names of the sampling settings, as /set takes them.
const SETTINGS: [&str; 4] = ["temperature", "top-k", "top-p", "max-tokens"];

impl Command {
    /// Parses a line that begins with a slash.
    pub(crate) fn parse(line: &str) -> Result<Self> {
        let line = line.trim_start();
        let (name, whole) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let rest = whole.trim();
        if rest.is_empty() && requires_argument(name) {
            bail!("{name} expects {}", arguments(name));
        }
        let command = match name {
            "/help" | "/?" => return Ok(Self::Help),
            "/mode" => Self::Mode(rest.parse()?),
            "/track" => Self::Track(tracked(rest)?),
            "/steer" => steer(rest)?,
            "/steers" => Self::Steers,
            "/compare" => Self::Compare(match rest {
                "" => None,
                "on" => Some(true),
                "off" => Some(false),
                _ => bail!(
                    "/compare expects on or off, not `{rest}`{}",
                    did_you_mean(rest, ["on", "off"])
                ),
            }),
            "/shade" => Self::Shade(match rest {
                "auto" => ShadeBy::Auto,
                "off" => ShadeBy::Off,
                _ => ShadeBy::Feature(feature(rest)?),
            }),
            "/feature" => Self::Feature(feature(rest)?),
            "/find" => Self::Find(rest.to_owned()),
            "/why" => Self::Why((!rest.is_empty()).then(|| rest.to_owned())),
            "/seed" => Self::Seed(match rest {
                "random" => None,
                _ => Some(number("/seed", rest, "a whole number or `random`")?),
            }),
            "/set" => Self::Set(setting(rest)?),
            "/again" => Self::Again,
            // The text goes on where the story ends, so its spaces count.
            "/more" => Self::More(whole.to_owned()),
            "/save" | "/save!" => Self::Save { path: rest.into(), overwrite: name.ends_with('!') },
            "/clear" => Self::Clear,
            "/quit" | "/exit" | "/q" => return Ok(Self::Quit),
            _ => match most_similar(name, COMMANDS.iter().map(|usage| usage.name)) {
                Some(known) => bail!("unknown command {name}; did you mean {known}?"),
                None => bail!("unknown command {name}; /help lists the commands"),
            },
        };
        if !rest.is_empty() && arguments(name).is_empty() && name != "/save!" {
            bail!("{name} does not take an argument; found `{rest}`");
        }
        Ok(command)
    }
}

fn arguments(name: &str) -> &'static str {
    COMMANDS
        .iter()
        .find(|usage| usage.name == name.trim_end_matches('!'))
        .map_or("", |u| u.arguments)
}

/// Returns whether a command requires an argument.
fn requires_argument(name: &str) -> bool {
    const OPTIONAL: [&str; 4] = ["/more", "/compare", "/track", "/why"];
    !arguments(name).is_empty() && !OPTIONAL.contains(&name)
}

fn number<T: std::str::FromStr>(name: &str, text: &str, expected: &str) -> Result<T> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bail!("{name} expects {expected}, not `{text}`"),
    }
}

fn tracked(rest: &str) -> Result<Option<Tracked>> {
    Ok(match rest {
        "" => None,
        "all" => Some(Tracked::All),
        "none" => Some(Tracked::None),
        _ => {
            let hooks = rest.split([' ', ',']).filter(|word| !word.is_empty());
            Some(Tracked::Hooks(hooks.map(str::parse).collect::<Result<_, _>>()?))
        }
    })
}

fn steer(rest: &str) -> Result<Command> {
    match rest.split_once(' ').unwrap_or((rest, "")) {
        ("off", "") => Ok(Command::SteerOff(None)),
        ("off", which) => {
            let which = which.trim();
            Ok(Command::SteerOff(Some(number("/steer off", which, "a number from /steers")?)))
        }
        _ => Ok(Command::Steer(rest.to_owned())),
    }
}

fn feature(text: &str) -> Result<FeatureName> {
    let (hook, index) = match text.rsplit_once(':') {
        Some((hook, index)) => (Some(hook.parse()?), index),
        None => (None, text),
    };
    match index.trim_start_matches('#').parse() {
        Ok(index) => Ok(FeatureName { hook, index }),
        Err(_) => {
            bail!("`{text}` is not a feature; expected 1909, or blocks.3.hook_resid_post:1909")
        }
    }
}

fn setting(rest: &str) -> Result<Setting> {
    let Some((name, value)) = rest.split_once(char::is_whitespace) else {
        bail!("/set expects {}", arguments("/set"));
    };
    let (value, is_off) = (value.trim(), value.trim() == "off");
    Ok(match name {
        "temperature" => Setting::Temperature(number(name, value, "a number")?),
        "top-k" if is_off => Setting::TopK(None),
        "top-k" => Setting::TopK(Some(number(name, value, "a whole number or `off`")?)),
        "top-p" if is_off => Setting::TopP(None),
        "top-p" => Setting::TopP(Some(number(name, value, "a number or `off`")?)),
        "max-tokens" => Setting::MaxTokens(number(name, value, "a whole number")?),
        _ => bail!(
            "unknown setting {name}; expected temperature, top-k, top-p or max-tokens{}",
            did_you_mean(name, SETTINGS)
        ),
    })
}

/// The completion of a line.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Completion {
    /// The line, completed as far as it is unambiguous.
    pub(crate) line: String,
    /// The matching words, if there are several.
    pub(crate) choices: Vec<String>,
}

/// Completes the last word of `line`: a command or its argument.
pub(crate) fn complete(line: &str, hooks: &[HookPoint]) -> Completion {
    let (before, word) = match line.rsplit_once(char::is_whitespace) {
        Some((_, word)) => line.split_at(line.len() - word.len()),
        None => ("", line),
    };
    let words: Vec<String> = match before.split_whitespace().next() {
        None if word.starts_with('/') => {
            COMMANDS.iter().map(|usage| usage.name.to_owned()).filter(|name| name != "//").collect()
        }
        None => Vec::new(),
        Some(name) => {
            let hooks = hooks.iter().map(ToString::to_string);
            let fixed: &[&str] = match name {
                "/track" => &["all", "none"],
                "/steer" => &["off"],
                "/shade" => &["auto", "off"],
                "/feature" => &[],
                "/mode" => return among(before, word, &["chat", "story"].map(str::to_owned)),
                "/compare" => return among(before, word, &["on", "off"].map(str::to_owned)),
                "/seed" => return among(before, word, &["random".to_owned()]),
                "/set" => {
                    return among(before, word, &SETTINGS.map(str::to_owned));
                }
                _ => return Completion { line: line.to_owned(), choices: Vec::new() },
            };
            hooks.chain(fixed.iter().map(|&word| word.to_owned())).collect()
        }
    };
    among(before, word, &words)
}

fn among(before: &str, word: &str, words: &[String]) -> Completion {
    let fits: Vec<&String> = words.iter().filter(|fit| fit.starts_with(word)).collect();
    match fits.as_slice() {
        [] => Completion { line: format!("{before}{word}"), choices: Vec::new() },
        // A hook point in an intervention is followed by a colon.
        [one] if one.contains("hook_") => {
            let is_list = before.starts_with("/track");
            let end = if is_list { " " } else { ":" };
            Completion { line: format!("{before}{one}{end}"), choices: Vec::new() }
        }
        [one] => Completion { line: format!("{before}{one} "), choices: Vec::new() },
        [first, rest @ ..] => {
            let shared = rest.iter().fold(first.len(), |shared, fit| {
                let same = first.bytes().zip(fit.bytes()).take_while(|(a, b)| a == b).count();
                shared.min(same)
            });
            Completion {
                line: format!("{before}{}", &first[..shared]),
                choices: fits.into_iter().cloned().collect(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOOK: HookPoint = HookPoint::ResidPost(3);

    #[track_caller]
    fn parsed(line: &str) -> Command {
        Command::parse(line).unwrap()
    }

    #[track_caller]
    fn refused(line: &str) -> String {
        Command::parse(line).unwrap_err().to_string()
    }

    #[test]
    fn each_command_is_read() {
        let feature = |hook| FeatureName { hook, index: 1909 };
        let save = |overwrite| Command::Save { path: "a b.json".into(), overwrite };
        let cases = [
            ("/help", Command::Help),
            ("/again", Command::Again),
            ("/why", Command::Why(None)),
            ("/why dog", Command::Why(Some("dog".to_owned()))),
            ("/more", Command::More(String::new())),
            ("/more and then", Command::More("and then".to_owned())),
            ("/more  and then ", Command::More(" and then ".to_owned())),
            ("  /more \n", Command::More("\n".to_owned())),
            ("/steer 1909:add:27", Command::Steer("1909:add:27".to_owned())),
            ("/steer off", Command::SteerOff(None)),
            ("/steer off  2", Command::SteerOff(Some(2))),
            ("/steers", Command::Steers),
            ("/compare", Command::Compare(None)),
            ("/compare off", Command::Compare(Some(false))),
            ("/track", Command::Track(None)),
            ("/track all", Command::Track(Some(Tracked::All))),
            (
                "/track blocks.3.hook_resid_post, hook_embed",
                Command::Track(Some(Tracked::Hooks(vec![HOOK, HookPoint::Embed]))),
            ),
            ("/shade auto", Command::Shade(ShadeBy::Auto)),
            ("/shade #1909", Command::Shade(ShadeBy::Feature(feature(None)))),
            ("/feature blocks.3.hook_resid_post:1909", Command::Feature(feature(Some(HOOK)))),
            ("/find little dog", Command::Find("little dog".to_owned())),
            ("/seed 7", Command::Seed(Some(7))),
            ("/seed random", Command::Seed(None)),
            ("/set temperature 0.5", Command::Set(Setting::Temperature(0.5))),
            ("/set top-k off", Command::Set(Setting::TopK(None))),
            ("/set top-p 0.9", Command::Set(Setting::TopP(Some(0.9)))),
            ("/set max-tokens 20", Command::Set(Setting::MaxTokens(20))),
            ("/mode chat", Command::Mode(Mode::Chat)),
            ("/save a b.json", save(false)),
            ("/save! a b.json", save(true)),
            ("  /clear ", Command::Clear),
            ("/quit", Command::Quit),
        ];
        for (line, command) in cases {
            assert_eq!(parsed(line), command, "{line}");
        }
    }

    #[test]
    fn what_is_no_command_is_refused_with_what_would_be() {
        assert_eq!(refused("/stear 3"), "unknown command /stear; did you mean /steer?");
        assert_eq!(refused("/sead 3"), "unknown command /sead; did you mean /seed?");
        assert_eq!(refused("/xyzzy"), "unknown command /xyzzy; /help lists the commands");
        assert_eq!(refused("/steer"), "/steer expects SPEC | off [N]");
        assert_eq!(refused("/save!"), "/save! expects FILE");
        assert_eq!(refused("/again now"), "/again does not take an argument; found `now`");
        assert_eq!(refused("/seed -1"), "/seed expects a whole number or `random`, not `-1`");
        assert_eq!(refused("/compare maybe"), "/compare expects on or off, not `maybe`");
        assert!(refused("/set temperature").starts_with("/set expects temperature|top-k"));
        assert!(refused("/set heat 3").starts_with("unknown setting heat"));
        assert!(refused("/set temprature 3").ends_with("; did you mean `temperature`?"));
        assert!(refused("/mode storie").ends_with("chat or story; did you mean `story`?"));
        assert!(refused("/feature dog").starts_with("`dog` is not a feature"));
        assert!(refused("/steer off x").contains("a number from /steers"));
        assert!(Command::parse("/track blocks.x").is_err());
        assert!(Command::parse("/mode prose").is_err());
    }

    #[test]
    fn tab_completes_commands_and_what_they_take() {
        let hooks = [HookPoint::ResidPost(2), HOOK];
        let completed = |line: &str| complete(line, &hooks);
        let one = |line: &str| Completion { line: line.to_owned(), choices: Vec::new() };

        assert_eq!(completed("/ag"), one("/again "));
        assert_eq!(completed("/st").line, "/steer");
        assert_eq!(completed("/st").choices, ["/steer", "/steers"]);
        assert_eq!(completed("/track bl").line, "/track blocks.");
        assert_eq!(completed("/track bl").choices.len(), 2);
        assert_eq!(completed("/track blocks.3"), one("/track blocks.3.hook_resid_post "));
        assert_eq!(completed("/steer blocks.3"), one("/steer blocks.3.hook_resid_post:"));
        assert_eq!(completed("/set temp"), one("/set temperature "));
        assert_eq!(completed("/mode s"), one("/mode story "));
        assert_eq!(completed("a story"), one("a story"));
        assert_eq!(completed("/nothing x"), one("/nothing x"));
        assert_eq!(completed(""), one(""));
    }
}
