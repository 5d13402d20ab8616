//! The command itself.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use nanoscope_checkpoint::check_writable;
use nanoscope_hooks::HookPoint;
use serde_json::json;

use super::args::IndexArgs;
use super::make::{Steering, index_line, make_index, save};
use crate::commands::features::sae_at;
use crate::commands::interruption::is_interruption;
use crate::load::{are_saes_kept, open};
use crate::terminal::messages::{Hint, note};
use crate::terminal::signals::{InterruptFlag, exit_code};
use crate::texts::tokenize;

pub(crate) fn index(args: &IndexArgs) -> Result<ExitCode> {
    match make(args) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if is_interruption(&error) => {
            note("interrupted");
            Ok(exit_code())
        }
        Err(error) => Err(error),
    }
}

fn make(args: &IndexArgs) -> Result<()> {
    let interrupted = InterruptFlag::watch();
    let corpus = args.texts.open(&interrupted)?;
    let scope = open(&args.model)?;
    let hooks: Vec<HookPoint> = match args.hook {
        Some(hook) => vec![sae_at(&scope, Some(hook))?.0],
        None => scope.model().saes().keys().copied().collect(),
    };
    if hooks.is_empty() {
        sae_at(&scope, None)?;
    }
    if args.out.is_some() && hooks.len() > 1 {
        let hint = "choose one with --hook HOOK, or leave out --out";
        return Err(Hint::new("--out names one file, but there are several SAEs", hint).into());
    }
    if let Some(out) = &args.out {
        check_writable(out)?;
    }
    let limits = (args.context, Some(args.tokens));
    let tokens = tokenize(&scope, &corpus, limits, &interrupted)?;
    let steering = match args.steered_texts {
        _ if args.no_steering => Steering::Unmeasured,
        texts => Steering::Measured(texts.map(usize::from)),
    };
    for hook in hooks {
        let index = make_index(&scope, hook, &tokens, steering, &interrupted)?;
        let path = save(&scope, &index, args.out.as_deref(), are_saes_kept(&args.model))?;
        let mut out = anstream::stdout().lock();
        if args.json {
            let dead = index.iter().filter(|entry| entry.fires == 0).count();
            let line = json!({
                "hook": hook.to_string(), "features": index.d_sae(), "dead": dead,
                "tokens": index.tokens, "steering": index.shares, "writing": index.writing, "index": path,
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}\n  {}", index_line(&index), path.display())?;
        }
    }
    Ok(())
}
