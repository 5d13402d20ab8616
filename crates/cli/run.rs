//! `nanoscope run`.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Plan, RunOutput};
use nanoscope_transformer::TokenBatch;
use serde_json::{Value, json};

use crate::args::{InputArgs, RunArgs};
use crate::display::{Lines, harmless, visible};
use crate::export::{features_json, write_run};
use crate::load::Scope;
use crate::steered;

pub(crate) fn run(args: &RunArgs) -> Result<()> {
    let scope = Scope::load(&args.model)?;
    let tokens = tokens(&scope, &args.input)?;
    let mut plan = args.capture.iter().copied().fold(scope.plan(&args.plan)?, Plan::capture);
    if args.out.is_some() {
        // A reconstruction may depend on the activation, not on its features alone.
        plan = plan.capture_tracked();
    }
    let run = scope.model.run(&tokens, &plan)?;
    if let Some(path) = &args.out {
        write_run(path, &scope.model, &tokens, &run, &args.capture)?;
    }
    if args.json {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", run_json(&scope, &tokens, &run, args))?;
        Ok(())
    } else {
        print_lines(&scope, &tokens, &run, args)
    }
}

fn tokens(scope: &Scope, input: &InputArgs) -> Result<TokenBatch> {
    let rows = match (&input.prompt, &input.tokens, &input.tokens_file) {
        (Some(text), ..) => vec![scope.encode(text)?],
        (_, Some(ids), _) => vec![ids.clone()],
        (.., Some(path)) => read_rows(path)?,
        _ => bail!("nothing to run"),
    };
    Ok(TokenBatch::new(&rows)?)
}

fn read_rows(path: &Path) -> Result<Vec<Vec<u32>>> {
    let text = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a JSON list of rows of token ids", path.display()))
}

/// The likeliest next tokens after the last position of each row, with their probabilities.
fn predictions(scope: &Scope, run: &RunOutput) -> Vec<Vec<(u32, String, f32)>> {
    const SHOWN: usize = 5;

    let [batch, seq, vocab] = run.logits.dims();
    let last = run.logits.clone().slice_dim(1, seq - 1..seq).reshape([batch, vocab]);
    let probabilities = burn::tensor::activation::softmax(last, 1).into_data();
    let probabilities: Vec<f32> = probabilities.iter::<f32>().collect();
    let of_row = |row: &[f32]| {
        let mut order: Vec<u32> = (0..vocab as u32).collect();
        order.sort_unstable_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
        let named = |id: u32| (id, token_text(scope, id), row[id as usize]);
        order.into_iter().take(SHOWN).map(named).collect()
    };
    probabilities.chunks_exact(vocab).map(of_row).collect()
}

/// The text of a token; its id where there is no tokenizer.
pub(crate) fn token_text(scope: &Scope, id: u32) -> String {
    let text = scope.model.tokenizer().and_then(|tokenizer| tokenizer.token_text(id));
    text.map_or_else(|| format!("<{id}>"), std::borrow::Cow::into_owned)
}

fn run_json(scope: &Scope, tokens: &TokenBatch, run: &RunOutput, args: &RunArgs) -> Value {
    let seq = tokens.seq();
    let features: serde_json::Map<_, _> = run
        .features
        .iter()
        .map(|(hook, features)| {
            let labels = scope.labels.get(hook);
            let tokens: Vec<Value> = (0..features.rows())
                .map(|token| features_json(features, token, args.top, labels))
                .collect();
            let rows = tokens.chunks(seq).map(|row| Value::Array(row.to_vec()));
            (hook.to_string(), rows.collect())
        })
        .collect();
    let texts: Vec<Vec<String>> =
        tokens.rows().map(|row| row.iter().map(|&id| token_text(scope, id)).collect()).collect();
    let next: Vec<Value> = predictions(scope, run)
        .into_iter()
        .map(|row| row.into_iter().map(|(id, text, p)| json!([id, text, p])).collect())
        .collect();
    let captured: serde_json::Map<_, _> = run
        .captured
        .iter()
        .filter(|(hook, _)| args.capture.contains(hook))
        .map(|(hook, x)| (hook.to_string(), json!(x.shape())))
        .collect();
    json!({
        "tokens": tokens.rows().collect::<Vec<_>>(),
        "texts": texts,
        "features": features,
        "next": next,
        "captured": captured,
        "applied": run.applied.iter().map(steered::json).collect::<Vec<_>>(),
    })
}

fn print_lines(scope: &Scope, tokens: &TokenBatch, run: &RunOutput, args: &RunArgs) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let mut lines = Lines::new(args.top);
    let predictions = predictions(scope, run);
    for (row, ids) in tokens.rows().enumerate() {
        if tokens.batch() > 1 {
            writeln!(out, "row {row}")?;
        }
        for (at, &id) in ids.iter().enumerate() {
            let at = row * tokens.seq() + at;
            let tracked = run
                .features
                .iter()
                .map(|(&hook, features)| (hook, features, at, scope.labels.get(&hook)));
            writeln!(out, "{}", lines.token(&token_text(scope, id), tracked))?;
        }
        let next: Vec<String> = predictions[row]
            .iter()
            .map(|(_, text, p)| format!("{} {:.0}%", visible(text), p * 100.0))
            .collect();
        writeln!(out, "next: {}", harmless(&next.join("  ")))?;
    }
    for applied in &run.applied {
        writeln!(out, "{}", steered::line(applied))?;
    }
    let asked = |hook: &HookPoint| args.capture.contains(hook);
    for (hook, activation) in run.captured.iter().filter(|(hook, _)| asked(hook)) {
        writeln!(out, "captured {hook} {:?}", activation.shape())?;
    }
    if let Some(path) = &args.out {
        writeln!(out, "written to {}", path.display())?;
    } else if !args.capture.is_empty() {
        writeln!(out, "captured activations are written with --out FILE")?;
    }
    Ok(())
}
