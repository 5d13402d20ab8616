//! `nanoscope generate`.

use std::io::{IsTerminal, Write, sink};
use std::time::Instant;

use anyhow::Result;
use nanoscope_runtime::{EndReason, Fluency, Generation, Plan, Sampling, Step};
use serde_json::{Value, json};

use super::unsteered::{Written, fluency, unsteered};
use crate::args::{ModelArgs, PlanArgs, SamplingArgs, prompt};
use crate::export::{ExportArgs, Exports};
use crate::load::{note_indexes, open, plan, text_tokenizer};
use crate::preflight::Inputs;
use crate::prompt::{SpecialTokensArg, encode_document, note_message};
use crate::terminal::applied;
use crate::terminal::differences::marked_differences;
use crate::terminal::display::{DIM, counted, end_note, sanitized};
use crate::terminal::export::TokenEntry;
use crate::terminal::messages::{Hint, report_to};
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
  nanoscope generate 'Once upon a time, there was a' --steer 1909:add:30% --compare
      two stories: the second with a feature about dogs, added at 30 % of the activation's norm
  nanoscope generate --model ~/.cache/nanochat --sae sae_outputs --track blocks.12.hook_resid_post
      your own model and SAEs
  nanoscope generate --json | jq .token
      one JSON object per token
  nanoscope generate --heatmap story.svg --table story.parquet
      a picture of the strongest features over the tokens, and all of them for pandas or polars

Each line is a token with its strongest features: their activation, as a bar relative to the largest
so far and as a number, their index and their name.

A steered text ends with its fluency, for which an unsteered text is generated too, also without
--compare: this takes about twice as long.

With --json each token is an object with the keys `position`, `token_id`, `token`, `logprob` and
`features`, for each tracked hook point a list of [index, activation, label], strongest first; with
an automatic name [index, activation, name, true].

--table has the columns row, position, token_id, token, is_prompt, logprob (null for the prompt),
hook, feature, activation and label (an automatic name where there is no label). A token on which no
feature is active has no row. docs/tables.md explains them.")]
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
    /// Also print the unsteered text, and mark the phrases that differ
    #[arg(long)]
    pub(crate) compare: bool,
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
    let inputs = Inputs::of_model(&args.model).and("--steer-file", &args.plan.steer_file);
    args.export.check(args.json, None, &inputs)?;
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
    if args.compare && plan.interventions.is_empty() {
        let hint = "turn a feature up with --steer, for example --steer 1909:add:30%";
        return Err(Hint::new("there is nothing to compare without steering", hint).into());
    }
    let mut exports = Exports::open(&scope, &args.export, args.top, &mut plan)?;
    let mut generation = scope.model().generate(&prompt, &plan, &sampling)?;
    exports.prompt(&generation)?;
    let request = Request { scope: &scope, prompt: &prompt, plan: &plan, sampling: &sampling };
    if args.json {
        print_json(&request, &mut generation, args, &mut exports)?;
        exports.finish(&mut sink())?;
    } else {
        print_lines(&request, &mut generation, args, &mut exports)?;
        exports.finish(&mut report_to(args.export.stdout()))?;
    }
    note_indexes(&scope);
    Ok(())
}

/// The prompt, plan and sampling of a generation.
struct Request<'r> {
    scope: &'r Microscope,
    prompt: &'r [u32],
    plan: &'r Plan,
    sampling: &'r Sampling,
}

impl Request<'_> {
    /// The text without steering and the fluency of the steered one, if it is steered.
    fn compared(&self, steered: &Written) -> Result<Option<(Written, Option<Fluency>)>> {
        if self.plan.interventions.is_empty() {
            return Ok(None);
        }
        let without = unsteered(self.scope, self.prompt, self.plan, self.sampling)?;
        let fluency = fluency(self.scope, self.prompt, steered, &without)?;
        Ok(Some((without, fluency)))
    }
}

fn print_json(
    request: &Request<'_>,
    generation: &mut Generation<'_>,
    args: &GenerateArgs,
    exports: &mut Exports<'_>,
) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut written = Written::default();
    for step in generation.by_ref() {
        exports.step(&step)?;
        written.push(&step.text, step.token_id, step.logprob);
        let Step { position, token_id: token, text, logprob, features, .. } = step;
        let entry = TokenEntry {
            position,
            token_id: token,
            token: &text,
            logprob: Some(logprob),
            features: &features,
            row: 0,
        };
        writeln!(out, "{}", entry.to_json(args.top, request.scope))?;
    }
    let mut last = json!({
        "end": generation.end().map(|end| end.to_string()),
        "applied": generation.applied().iter().map(applied::json).collect::<Vec<_>>(),
    });
    if let Some(EndReason::Condition { condition, value }) = generation.end() {
        last["stop_when"] = json!({ "condition": condition.to_string(), "value": value });
    }
    if let Some(error) = generation.error() {
        writeln!(out, "{last}")?;
        return Err(error.into());
    }
    if let Some((without, fluency)) = request.compared(&written)? {
        last["fluency"] = fluency.as_ref().map_or(Value::Null, applied::fluency_json);
        if args.compare {
            last["unsteered"] = without.text.into();
        }
    }
    writeln!(out, "{last}")?;
    Ok(())
}

fn print_lines(
    request: &Request<'_>,
    generation: &mut Generation<'_>,
    args: &GenerateArgs,
    exports: &mut Exports<'_>,
) -> Result<()> {
    let (scope, hooks) = (request.scope, &request.plan.track);
    let mut out = report_to(args.export.stdout());
    let saes = scope.model().saes();
    let hooks: Vec<_> = hooks.iter().map(|&hook| (hook, saes[&hook].config().d_sae())).collect();
    // An output on stdout is in place of the lines.
    let tracks = !hooks.is_empty() && args.export.stdout().is_none();
    let mut lines = TokenLines::new(args.top, hooks);
    let mut written = Written::default();
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
        written.push(&step.text, step.token_id, step.logprob);
        if tracks {
            let tokenizer = scope.model().tokenizer();
            let token = tokenizer.and_then(|tokenizer| tokenizer.token_text(step.token_id));
            let tracked = step.features.iter().map(|(&hook, features)| (hook, features, 0));
            writeln!(out, "{}", lines.token(&token.unwrap_or_default(), scope, tracked))?;
        } else {
            write!(out, "{}", wrap.push(&sanitized(&step.text)))?;
        }
        out.flush()?;
    }
    let took = started.elapsed().as_secs_f64();
    writeln!(out, "{}", wrap.finish())?;
    let wrapped = |text: &str| WordWrap::for_stdout().wrap(text);
    let whole = |written: &Written| format!("{opening}{}", sanitized(&written.text));
    let compared = match generation.error() {
        None => request.compared(&written)?,
        Some(_) => None,
    };
    match &compared {
        Some((without, _)) if args.compare => {
            let [before, after] = marked_differences(&whole(without), &whole(&written));
            writeln!(out, "{DIM}unsteered:{DIM:#}\n{}\n", wrapped(&before))?;
            writeln!(out, "{DIM}steered:{DIM:#}\n{}\n", wrapped(&after))?;
        }
        _ if tracks => writeln!(out, "{}", wrapped(&whole(&written)))?,
        _ => {}
    }
    for applied in generation.applied() {
        writeln!(out, "{}", wrapped(&applied::line(&applied)))?;
    }
    if let Some((_, Some(fluency))) = &compared {
        writeln!(out, "{}", wrapped(&applied::fluency_line(fluency)))?;
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
