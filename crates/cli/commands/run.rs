//! `nanoscope run`.

use std::io::{Write, sink};

use anyhow::{Context, Result, bail};
use nanoscope_checkpoint::{is_stdout, python_json};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Plan, RunOutput};
use nanoscope_transformer::TokenBatch;
use serde_json::{Value, json};

use crate::args::{ModelArgs, PlanArgs, output_path, prompt};
use crate::export::{ExportArgs, Exports};
use crate::load::{open, plan, text_tokenizer};
use crate::preflight::Inputs;
use crate::prompt::{SpecialTokensArg, encode_document};
use crate::read_file::read_file;
use crate::terminal::applied;
use crate::terminal::display::{sanitized, visible};
use crate::terminal::export::{TokenEntry, write_run};
use crate::terminal::messages::report_to;
use crate::terminal::token_lines::TokenLines;
use clap::Args;
use nanoscope::Microscope;
use std::path::{Path, PathBuf};

/// Run the model once on a text or on token ids
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope run 'The dog was very' --track blocks.2.hook_resid_post
  nanoscope run --tokens 4087,550,468 --capture blocks.1.hook_mlp_out --out run.safetensors
  nanoscope run --prompt 'The dog was very' --table features.parquet --heatmap features.svg
  nanoscope run --tokens-file tokens.json --steer 1909:add:30% --json

--out writes safetensors: `logits` [batch, seq, vocab], `tokens`, `<hook>` for each captured
activation, `<hook>/features` [batch, seq, d_sae] and `<hook>/reconstruction` [batch, seq, d_in] for
each tracked SAE. Features and captured activations are those before any intervention at the hook
point.

--json prints `tokens`, for each row a list of tokens as in `nanoscope generate --json` (with
`logprob` null), and `next_tokens`, for each row the most likely next tokens with their `logprob`.

--table has the columns row, position, token_id, token, is_prompt, logprob (null), hook, feature,
activation and label (an automatic name where there is no label). A token on which no feature is
active has no row. docs/tables.md explains them.")]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    #[command(flatten)]
    pub(crate) special: SpecialTokensArg,

    /// Also capture the activation at this hook point
    #[arg(long, value_name = "HOOK")]
    pub(crate) capture: Vec<HookPoint>,
    /// The safetensors file to write the results to; `-` is stdout
    #[arg(long, short, value_name = "FILE", value_parser = output_path())]
    pub(crate) out: Option<PathBuf>,
    /// The number of features to show per token and hook point, strongest first [default: as many
    /// as fit, up to 3; with --json and --table all]. With --heatmap the number of rows per hook point
    /// [default: 12]
    #[arg(long, value_name = "N")]
    pub(crate) top: Option<usize>,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) export: ExportArgs,
}

/// Flags for the input, one of which is required.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct InputArgs {
    /// A text, after `<|bos|>` or what the tokenizer begins with
    #[arg(value_name = "TEXT", value_parser = prompt)]
    pub(crate) text: Option<String>,
    /// A text, as a flag
    #[arg(long, short, value_name = "TEXT", value_parser = prompt)]
    pub(crate) prompt: Option<String>,
    /// Token ids; nothing is prepended
    #[arg(long, value_name = "ID,ID,…", value_delimiter = ',')]
    pub(crate) tokens: Option<Vec<u32>>,
    /// A JSON file with rows of token ids: [[1, 2], [3, 4]]
    #[arg(long, value_name = "FILE")]
    pub(crate) tokens_file: Option<PathBuf>,
}

impl RunArgs {
    /// The path of stdout, if an output goes there: then the report goes to stderr.
    fn report_on_stderr(&self) -> Option<&Path> {
        self.out.as_deref().filter(|path| is_stdout(path)).or(self.export.stdout())
    }
}

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let inputs = Inputs::of_model(&args.model)
        .and("--steer-file", &args.plan.steer_file)
        .and("--tokens-file", &args.input.tokens_file);
    args.export.check(args.json, args.out.as_deref(), &inputs)?;
    let scope = open(&args.model)?;
    let tokens = TokenBatch::new(&rows(&scope, &args.input, args.special)?)?;
    let mut plan = args.capture.iter().copied().fold(plan(&scope, &args.plan)?, Plan::capture);
    if args.out.is_some() {
        // A reconstruction may depend on the activation, not only on its features.
        plan = plan.capture_tracked();
    }
    let mut exports = Exports::open(&scope, &args.export, args.top, &mut plan)?;
    let run = scope.model().run(&tokens, &plan)?;
    exports.run(&tokens, &run)?;
    if let Some(path) = &args.out {
        write_run(path, scope.model(), &tokens, &run, &args.capture)?;
    }
    if args.json {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", run_json(&scope, &tokens, &run, args))?;
        exports.finish(&mut sink())
    } else {
        print_lines(&scope, &tokens, &run, args)?;
        exports.finish(&mut report_to(args.report_on_stderr()))
    }
}

/// The rows of tokens that the flags name.
fn rows(scope: &Microscope, input: &InputArgs, special: SpecialTokensArg) -> Result<Vec<Vec<u32>>> {
    let text = input.text.as_ref().or(input.prompt.as_ref());
    Ok(match (text, &input.tokens, &input.tokens_file) {
        (Some(text), ..) => vec![encode_document(text_tokenizer(scope)?, text, special)?],
        (_, Some(ids), _) => vec![ids.clone()],
        (.., Some(path)) => read_rows(path)?,
        _ => bail!("nothing to run; expected a text, --tokens or --tokens-file"),
    })
}

/// The tokens that the flags name, for a command that reads one row.
pub(crate) fn one_row(
    scope: &Microscope,
    input: &InputArgs,
    special: SpecialTokensArg,
) -> Result<Vec<u32>> {
    let rows = rows(scope, input, special)?;
    match <[Vec<u32>; 1]>::try_from(rows) {
        Ok([row]) => Ok(row),
        Err(rows) => bail!("expected one row of tokens, found {}", rows.len()),
    }
}

fn read_rows(path: &Path) -> Result<Vec<Vec<u32>>> {
    let text = read_file(path)?;
    python_json::from_slice(&text)
        .with_context(|| format!("{} is not a JSON list of rows of token ids", path.display()))
}

/// A candidate for the next token, with its log probability.
struct NextToken {
    id: u32,
    text: String,
    logprob: f32,
}

/// The most likely next tokens after the last position of each row.
fn next_tokens(scope: &Microscope, run: &RunOutput) -> Vec<Vec<NextToken>> {
    const SHOWN: usize = 5;

    let [batch, seq, vocab] = run.logits.dims();
    let last = run.logits.clone().slice_dim(1, seq - 1..seq).reshape([batch, vocab]);
    let logprobs = burn::tensor::activation::log_softmax(last, 1).into_data();
    let logprobs: Vec<f32> = logprobs.iter::<f32>().collect();
    let of_row = |row: &[f32]| {
        let mut order: Vec<u32> = (0..vocab as u32).collect();
        order.sort_unstable_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
        let next = |id: u32| NextToken {
            id,
            text: scope.model().token_text(id),
            logprob: row[id as usize],
        };
        order.into_iter().take(SHOWN).map(next).collect()
    };
    logprobs.chunks_exact(vocab).map(of_row).collect()
}

fn run_json(scope: &Microscope, tokens: &TokenBatch, run: &RunOutput, args: &RunArgs) -> Value {
    let row = |(at, ids): (usize, &[u32])| {
        let token = |(position, &id): (usize, &u32)| {
            let entry = TokenEntry {
                position,
                token_id: id,
                token: &scope.model().token_text(id),
                logprob: None,
                features: &run.features,
                row: at * tokens.seq() + position,
            };
            entry.to_json(args.top, scope)
        };
        ids.iter().enumerate().map(token).collect::<Vec<_>>()
    };
    let next = |row: Vec<NextToken>| {
        let token = |NextToken { id, text, logprob }: NextToken| json!({ "token_id": id, "token": text, "logprob": logprob });
        row.into_iter().map(token).collect::<Vec<_>>()
    };
    let captured: serde_json::Map<_, _> = run
        .captured
        .iter()
        .filter(|(hook, _)| args.capture.contains(hook))
        .map(|(hook, x)| (hook.to_string(), json!(x.shape())))
        .collect();
    json!({
        "tokens": tokens.rows().enumerate().map(row).collect::<Vec<_>>(),
        "next_tokens": next_tokens(scope, run).into_iter().map(next).collect::<Vec<_>>(),
        "captured": captured,
        "applied": run.applied.iter().map(applied::json).collect::<Vec<_>>(),
    })
}

fn print_lines(
    scope: &Microscope,
    tokens: &TokenBatch,
    run: &RunOutput,
    args: &RunArgs,
) -> Result<()> {
    let mut out = report_to(args.report_on_stderr());
    let sae_of = |hook: &HookPoint| scope.model().saes()[hook].config().d_sae();
    let mut lines =
        TokenLines::new(args.top, run.features.keys().map(|hook| (*hook, sae_of(hook))));
    let next_tokens = next_tokens(scope, run);
    for (row, ids) in tokens.rows().enumerate() {
        if tokens.batch() > 1 {
            writeln!(out, "row {row}")?;
        }
        // An output on stdout is in place of the lines.
        let shown = if args.export.stdout().is_some() { &[] } else { ids };
        if !run.features.is_empty() && !shown.is_empty() {
            writeln!(out, "{}", lines.header())?;
        }
        for (at, &id) in shown.iter().enumerate() {
            let at = row * tokens.seq() + at;
            let tracked = run.features.iter().map(|(&hook, features)| (hook, features, at));
            writeln!(out, "{}", lines.token(&scope.model().token_text(id), scope, tracked))?;
        }
        let next: Vec<String> = next_tokens[row]
            .iter()
            .map(|next| format!("{} {:.0}%", visible(&next.text), next.logprob.exp() * 100.0))
            .collect();
        writeln!(out, "next tokens: {}", sanitized(&next.join("  ")))?;
    }
    for applied in &run.applied {
        writeln!(out, "{}", applied::line(applied))?;
    }
    let is_requested = |hook: &HookPoint| args.capture.contains(hook);
    for (hook, activation) in run.captured.iter().filter(|(hook, _)| is_requested(hook)) {
        writeln!(out, "captured {hook} {:?}", activation.shape())?;
    }
    if let Some(path) = &args.out {
        writeln!(out, "written to {}", path.display())?;
    } else if !args.capture.is_empty() {
        writeln!(out, "use --out FILE to write the captured activations")?;
    }
    Ok(())
}
