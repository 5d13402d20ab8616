//! `nanoscope generate`.

use std::io::{IsTerminal, Write, sink};
use std::time::Instant;

use anyhow::Result;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, Generation, Step};
use serde_json::json;

use crate::args::{ModelArgs, PlanArgs, SamplingArgs, prompt};
use crate::export::{ExportArgs, Exports};
use crate::load::{open, plan, text_tokenizer};
use crate::prompt::{SpecialTokensArg, encode_document, note_message};
use crate::terminal::applied;
use crate::terminal::display::{counted, end_note, sanitized};
use crate::terminal::export::TokenEntry;
use crate::terminal::messages::report_to;
use crate::terminal::token_lines::TokenLines;
use crate::terminal::word_wrap::WordWrap;
use clap::Args;
use nanoscope::Microscope;

/// Generate text and show the features that fire on each token
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope generate
      a story by the built-in model, with the features of each token
  nanoscope generate 'Once upon a time, there was a' --steer blocks.3.hook_resid_post:1909:add:27
      the same with the direction of one feature added at every position
  nanoscope generate --model ~/.cache/nanochat --sae sae_outputs --track blocks.12.hook_resid_post
      your own model and SAEs
  nanoscope generate --json | jq .token
      one JSON object per token
  nanoscope generate --heatmap story.svg --table story.parquet
      a picture of the strongest features over the tokens, and all of them for pandas or polars

Each line is a token with its strongest features: their activation, as a bar relative to the largest so
far and as a number, their index and their name.

With --json each token is an object with the keys `position`, `token_id`, `token`, `logprob` and
`features`, for each tracked hook point a list of [index, activation, label?], strongest first.

--table has the columns row, position, token_id, token, is_prompt, logprob (null for the prompt), hook,
feature, activation and label (null if there is none). A token on which no feature is active has no row.
docs/tables.md explains them.")]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,

    /// The text to continue, after `<|bos|>` or what the tokenizer begins with [default: Once upon a
    /// time]
    #[arg(value_name = "TEXT", value_parser = prompt, conflicts_with = "prompt")]
    pub(crate) text: Option<String>,
    /// The text to continue, as a flag
    #[arg(long, short, value_name = "TEXT", value_parser = prompt)]
    pub(crate) prompt: Option<String>,
    /// Treat the prompt as a user message and generate the assistant's answer
    #[arg(long, conflicts_with = "special_tokens")]
    pub(crate) chat: bool,
    #[command(flatten)]
    pub(crate) special: SpecialTokensArg,
    /// The maximum number of tokens to generate
    #[arg(long, short = 'n', default_value_t = 64, value_name = "N")]
    pub(crate) max_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// The number of features to show per token and hook point, strongest first [default: as many
    /// as fit, up to 3; with --json and --table all]. With --heatmap the number of rows per hook point
    /// [default: 12]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Print one JSON object per token, and a final one for the whole text
    #[arg(long, short)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
}

/// The text that is continued if none is given.
const DEFAULT_PROMPT: &str = "Once upon a time";

impl GenerateArgs {
    fn prompt(&self) -> &str {
        self.text.as_deref().or(self.prompt.as_deref()).unwrap_or(DEFAULT_PROMPT)
    }
}

pub(crate) fn generate(args: &GenerateArgs) -> Result<()> {
    args.export.check(args.json, None)?;
    let scope = open(&args.model)?;
    let tokenizer = text_tokenizer(&scope)?;
    let prompt = if args.chat {
        note_message(tokenizer, args.prompt());
        tokenizer.chat_prompt(args.prompt())?
    } else {
        encode_document(tokenizer, args.prompt(), args.special)?
    };
    let sampling = args.sampling.sampling(args.max_tokens);
    let mut plan = plan(&scope, &args.plan)?;
    let mut exports = Exports::open(&scope, &args.export, args.top, &mut plan)?;
    let mut generation = scope.model().generate(&prompt, &plan, &sampling)?;
    exports.prompt(&generation)?;
    if args.json {
        print_json(&scope, &mut generation, args.top, &mut exports)?;
        exports.finish(&mut sink())
    } else {
        let hooks = plan.track;
        print_lines(&scope, &mut generation, (args, hooks), &mut exports)?;
        exports.finish(&mut report_to(args.export.stdout()))
    }
}

fn print_json(
    scope: &Microscope,
    generation: &mut Generation<'_>,
    top: Option<usize>,
    exports: &mut Exports<'_>,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for step in generation.by_ref() {
        exports.step(&step)?;
        let Step { position, token_id: token, text, logprob, features, .. } = step;
        let entry = TokenEntry {
            position,
            token_id: token,
            token: &text,
            logprob: Some(logprob),
            features: &features,
            row: 0,
        };
        writeln!(out, "{}", entry.to_json(top, scope.labels()))?;
    }
    let mut last = json!({
        "end": generation.end().map(|end| end.to_string()),
        "applied": generation.applied().iter().map(applied::json).collect::<Vec<_>>(),
    });
    if let Some(EndReason::Condition { condition, value }) = generation.end() {
        last["stop_when"] = json!({ "condition": condition.to_string(), "value": value });
    }
    writeln!(out, "{last}")?;
    generation.error().map_or(Ok(()), |error| Err(error.into()))
}

fn print_lines(
    scope: &Microscope,
    generation: &mut Generation<'_>,
    (args, hooks): (&GenerateArgs, impl IntoIterator<Item = HookPoint>),
    exports: &mut Exports<'_>,
) -> Result<()> {
    let mut out = report_to(args.export.stdout());
    let saes = scope.model().saes();
    let hooks: Vec<_> =
        hooks.into_iter().map(|hook| (hook, saes[&hook].config().d_sae())).collect();
    // An output on stdout is in place of the lines.
    let tracks = !hooks.is_empty() && args.export.stdout().is_none();
    let mut lines = TokenLines::new(args.top, hooks);
    let mut text = String::new();
    let mut wrap = WordWrap::for_stdout();
    let mut tokens = 0;
    let started = Instant::now();
    // An answer does not continue the text of the question.
    let opening = if args.chat { String::new() } else { sanitized(args.prompt()) };
    if tracks {
        writeln!(out, "{}", lines.header())?;
    } else {
        write!(out, "{}", wrap.push(&opening))?;
    }
    for step in generation.by_ref() {
        tokens += 1;
        exports.step(&step)?;
        text.push_str(&step.text);
        if tracks {
            let tokenizer = scope.model().tokenizer();
            let token = tokenizer.and_then(|tokenizer| tokenizer.token_text(step.token_id));
            let tracked = step
                .features
                .iter()
                .map(|(&hook, features)| (hook, features, 0, scope.labels().get(&hook)));
            writeln!(out, "{}", lines.token(&token.unwrap_or_default(), tracked))?;
        } else {
            write!(out, "{}", wrap.push(&sanitized(&step.text)))?;
        }
        out.flush()?;
    }
    let took = started.elapsed().as_secs_f64();
    writeln!(out, "{}", wrap.finish())?;
    let wrapped = |text: &str| WordWrap::for_stdout().wrap(text);
    if tracks {
        writeln!(out, "{}", wrapped(&format!("{opening}{}", sanitized(&text))))?;
    }
    for applied in generation.applied() {
        writeln!(out, "{}", wrapped(&applied::line(&applied)))?;
    }
    if let Some(error) = generation.error() {
        return Err(error.into());
    }
    let end = generation.end().expect("the iterator has reached its end");
    let why = end_note(&end);
    if std::io::stderr().is_terminal() {
        anstream::eprintln!("{} in {took:.2} s{why}", counted(tokens, "token", "tokens"));
    } else if !why.is_empty() {
        anstream::eprintln!("{}{why}", counted(tokens, "token", "tokens"));
    }
    Ok(())
}
