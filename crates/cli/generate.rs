//! `nanoscope generate`.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use anyhow::Result;
use nanoscope_runtime::{EndReason, Generation, Step};
use serde_json::json;

use crate::args::GenerateArgs;
use crate::display::{Lines, harmless};
use crate::export::features_json;
use crate::load::Scope;
use crate::steered;

pub(crate) fn generate(args: &GenerateArgs) -> Result<()> {
    let scope = Scope::load(&args.model)?;
    let prompt =
        if args.chat { scope.encode_chat(&args.prompt)? } else { scope.encode(&args.prompt)? };
    let sampling = args.sampling.sampling(args.max_tokens);
    let mut generation = scope.model.generate(&prompt, &scope.plan(&args.plan)?, &sampling)?;
    if args.json {
        print_json(&scope, &mut generation, args.top)
    } else {
        print_lines(&scope, &mut generation, args)
    }
}

fn print_json(scope: &Scope, generation: &mut Generation<'_>, top: Option<usize>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    for Step { position, token_id: token, text, logprob, features, .. } in generation.by_ref() {
        let features: serde_json::Map<_, _> = features
            .iter()
            .map(|(hook, features)| {
                (hook.to_string(), features_json(features, 0, top, scope.labels.get(hook)))
            })
            .collect();
        let line = json!({
            "position": position,
            "token_id": token,
            "text": text,
            "logprob": logprob,
            "features": features,
        });
        writeln!(out, "{line}")?;
    }
    let mut last = json!({
        "end": generation.end().map(|end| end.to_string()),
        "applied": generation.applied().iter().map(steered::json).collect::<Vec<_>>(),
    });
    if let Some(EndReason::Condition { condition, value }) = generation.end() {
        last["stop_when"] = json!({ "condition": condition.to_string(), "value": value });
    }
    writeln!(out, "{last}")?;
    Ok(())
}

fn print_lines(scope: &Scope, generation: &mut Generation<'_>, args: &GenerateArgs) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let mut lines = Lines::new(args.top);
    let mut text = String::new();
    let mut tokens = 0;
    let started = Instant::now();
    let tracks = !scope.model.saes().is_empty();
    // An answer is not a continuation of the question.
    let opening = if args.chat { String::new() } else { harmless(&args.prompt) };
    if !tracks {
        write!(out, "{opening}")?;
    }
    for step in generation.by_ref() {
        tokens += 1;
        text.push_str(&step.text);
        if tracks {
            let tokenizer = scope.model.tokenizer();
            let token = tokenizer.and_then(|tokenizer| tokenizer.token_text(step.token_id));
            let tracked = step
                .features
                .iter()
                .map(|(&hook, features)| (hook, features, 0, scope.labels.get(&hook)));
            writeln!(out, "{}", lines.token(&token.unwrap_or_default(), tracked))?;
        } else {
            write!(out, "{}", harmless(&step.text))?;
        }
        out.flush()?;
    }
    let took = started.elapsed().as_secs_f64();
    writeln!(out)?;
    if tracks {
        writeln!(out, "{opening}{}", harmless(&text))?;
    }
    for applied in generation.applied() {
        writeln!(out, "{}", steered::line(&applied))?;
    }
    let end = generation.end().expect("the iterator was driven to its end");
    let why = why(&end);
    if std::io::stderr().is_terminal() {
        anstream::eprintln!("{tokens} tokens in {took:.2} s{why}");
    } else if !why.is_empty() {
        anstream::eprintln!("{tokens} tokens{why}");
    }
    Ok(())
}

/// Why a text ended, to be put after a number of tokens; nothing if that was asked for.
pub(crate) fn why(end: &EndReason) -> String {
    match end {
        EndReason::MaxTokens => String::new(),
        EndReason::Stop { .. } => ", the model ended its text".to_owned(),
        EndReason::Condition { condition, value } => {
            format!(", stopped when {condition}: it was {value:.2}")
        }
        EndReason::ContextFull { capacity } => {
            format!(", the context of {capacity} tokens is full")
        }
        EndReason::NotFinite => ", the logits are not finite".to_owned(),
    }
}
