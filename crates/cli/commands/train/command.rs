//! `nanoscope train`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use nanoscope_train::{
    Outcome, PartialConfig, RunConfig, RunFolder, TrainingRun, training_bytes, widths,
};
use serde_json::json;

use super::args::TrainArgs;
use super::indexing::index_outcomes;
use super::progress::{ProgressView, summary};
use super::source::source;
use super::suggestions::{command, text};
use crate::preflight::{NewFolder, check_memory, is_cpu, output_folder};
use crate::remote::{check_store, check_texts};
use crate::terminal::display::counted;
use crate::terminal::messages::{Hint, note};
use crate::terminal::signals::{InterruptFlag, exit_code};

pub(crate) fn train(args: &TrainArgs) -> Result<ExitCode> {
    if args.print_config {
        let text = args.apply_to(config_file(args)?)?.commented()?;
        write!(anstream::stdout(), "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let interrupted = InterruptFlag::watch();
    let Some(run) = begin(args, &interrupted)? else {
        note("interrupted while reading the texts; the run was not started");
        return Ok(exit_code());
    };
    follow(args, run, &interrupted)
}

/// Reads the file of --config.
fn config_file(args: &TrainArgs) -> Result<PartialConfig> {
    Ok(args.config.as_deref().map(PartialConfig::read).transpose()?.unwrap_or_default())
}

/// Opens the run that the flags describe, new or at its last checkpoint; none if it was interrupted
/// before it started.
fn begin(args: &TrainArgs, interrupted: &InterruptFlag) -> Result<Option<TrainingRun>> {
    let resumed = resumed(args)?;
    let draft = match (&resumed, &args.config) {
        (Some(dir), None) => RunFolder::partial_config(dir)?,
        _ => config_file(args)?,
    };
    let draft = args.apply_to(draft)?;
    let checked = draft.check()?;
    check_texts(&checked.source.text)?;
    checked.source.store.as_deref().map_or(Ok(()), check_store)?;
    let device = nanoscope_device::by_name(&checked.device)?;
    let Some(dir) = resumed.clone().map_or_else(|| draft.out(), |dir| Ok(Some(dir)))? else {
        return Err(Hint::new("the run has no folder", "choose one with --out DIR").into());
    };

    let dir = output_folder(&dir)?;
    let opened = match resumed {
        Some(_) => Some(RunFolder::open(&dir)?),
        None => {
            RunFolder::check_empty(&dir)?;
            None
        }
    };
    let fits = |widths: &[usize]| -> Result<()> {
        let recipe = draft.resolve(widths)?.recipe;
        let needed = training_bytes(&recipe, widths);
        let hint = "lower it with --d-sae, --expansion or --batch, or with fewer --hook";
        check_memory("the training", needed, hint, args.ignore_memory || !is_cpu(&checked.device))
    };
    let _folder = NewFolder::create(&dir)?;
    // More steps use the same text again, so that what was held out stays so.
    let read_before = opened.as_ref().and_then(|_| RunFolder::held_out_text(&dir).ok());
    let limit = read_before.map(|held_out| held_out.text.tokens);
    let Some(source) = source(&checked, &dir, limit, &fits, args.ignore_memory, interrupted)?
    else {
        return Ok(None);
    };
    let widths = widths(source.as_ref(), &checked.hooks)?;
    fits(&widths)?;
    let config = draft.resolve(&widths)?;
    let (folder, steps_before) = match opened {
        Some((mut folder, before)) => {
            folder.resume_with(&before, &config)?;
            (folder, before.recipe.steps)
        }
        None => (RunFolder::create(&dir, &config)?, 0),
    };
    let run = TrainingRun::open(folder, config, source, &device)?;
    note_start(&run, steps_before);
    Ok(Some(run))
}

/// The folder of the run to continue.
fn resumed(args: &TrainArgs) -> Result<Option<PathBuf>> {
    let hint = |error| Hint::new(error, "nanoscope train --resume DIR continues the run in DIR");
    let Some(resume) = &args.resume else { return Ok(None) };
    match (Path::new(resume), &args.out) {
        (dir, None) if dir.as_os_str().is_empty() => {
            Err(hint("--resume does not name a folder").into())
        }
        (dir, Some(out)) if dir.as_os_str().is_empty() => Ok(Some(out.clone())),
        (dir, Some(out)) if dir != out => {
            Err(hint("--resume and --out name different folders").into())
        }
        (dir, _) => Ok(Some(dir.to_owned())),
    }
}

/// Prints a note about the training that starts, of a run that had `steps_before`.
fn note_start(run: &TrainingRun, steps_before: u64) {
    for refused in run.refused() {
        note(&format!("{refused}; using the previous one"));
    }
    let (recipe, (segments, rows)) = (&run.config().recipe, run.source_size());
    let (held_out, held_out_rows) = run.held_out();
    let begin = if run.step() == 0 {
        "training".to_owned()
    } else {
        format!("continuing after step {}:", run.step())
    };
    note(&format!(
        "{begin} {} with {}, {} of {}; the source has {} in {}, {held_out_rows} in {held_out} held out",
        counted(run.config().hooks.len() as u64, "SAE", "SAEs"),
        counted(recipe.d_sae as u64, "feature", "features"),
        counted(recipe.steps, "step", "steps"),
        counted(recipe.batch as u64, "activation", "activations"),
        counted(rows, "activation", "activations"),
        counted(segments, "segment", "segments"),
    ));
    if recipe.steps > steps_before {
        let wanted = recipe.steps.saturating_mul(recipe.batch as u64);
        if let Some(text) = reuse(wanted, rows - held_out_rows) {
            note(&text);
        }
    }
}

/// The number of times that an activation is used from which on an SAE knows it by heart.
const MANY_TIMES: f64 = 100.0;

/// A note about `rows` activations that are fewer than the `wanted` ones of a training.
fn reuse(wanted: u64, rows: u64) -> Option<String> {
    if rows >= wanted {
        return None;
    }
    let times = wanted as f64 / rows.max(1) as f64;
    let number = if times < 10.0 { format!("{times:.1}") } else { format!("{times:.0}") };
    let advice = if times < MANY_TIMES {
        String::new()
    } else {
        let enough = (rows as f64 * MANY_TIMES / 10.0) as u64;
        format!(
            ", so that the SAE learns them by heart and little else; use more text, or --tokens {enough} \
             for ten times"
        )
    };
    Some(format!("each activation is used about {number} times{advice}"))
}

fn follow(args: &TrainArgs, mut run: TrainingRun, interrupted: &InterruptFlag) -> Result<ExitCode> {
    let mut view = ProgressView::new(&run);
    loop {
        let progress = match run.advance() {
            Ok(Some(progress)) => progress,
            Ok(None) => break,
            Err(error) => {
                view.clear();
                return Err(note_checkpoint(&run, error.into()));
            }
        };
        view.show(&progress);
        if interrupted.is_set() && progress.step < run.config().recipe.steps {
            view.clear();
            if let Err(error) = run.save() {
                return Err(note_checkpoint(&run, error.into()));
            }
            let resume = ["--resume".to_owned(), text(run.dir())];
            note(&format!(
                "interrupted after step {}, which is saved; continue with\n  {}",
                progress.step,
                command("train", [&resume[..]])
            ));
            return Ok(exit_code());
        }
    }
    view.clear();
    let (config, dir) = (run.config().clone(), run.dir().to_owned());
    let held_out = run.held_out_text().cloned();
    let outcomes = run.finish()?;
    let indexes =
        if args.no_index { Vec::new() } else { index_outcomes(&config, &outcomes, interrupted) };
    if args.json {
        writeln!(anstream::stdout(), "{}", as_json(&config, &outcomes, &dir))?;
    } else {
        summary(&config, held_out.as_ref(), (&outcomes, &indexes), &dir)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a note about the last checkpoint. Returns `error`.
fn note_checkpoint(run: &TrainingRun, error: anyhow::Error) -> anyhow::Error {
    match run.saved() {
        Some(step) => note(&format!("the checkpoint of step {step} is intact")),
        None => note("no checkpoint was saved yet"),
    }
    error
}

fn as_json(config: &RunConfig, outcomes: &[Outcome], dir: &Path) -> serde_json::Value {
    let hook = |outcome: &Outcome| {
        json!({
            "hook": outcome.hook.to_string(),
            "held_out": outcome.last,
            "best_step": outcome.best_step,
            "best": outcome.best_dir,
            "final": outcome.last_dir,
        })
    };
    json!({
        "out": dir,
        "steps": config.recipe.steps,
        "d_sae": config.recipe.d_sae,
        "hooks": outcomes.iter().map(hook).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_that_are_used_many_times_are_warned_about() {
        assert_eq!(reuse(100, 100), None);
        assert_eq!(reuse(150, 100).unwrap(), "each activation is used about 1.5 times");
        assert_eq!(reuse(1200, 100).unwrap(), "each activation is used about 12 times");
        let many = reuse(4_096_000, 6150).unwrap();
        assert!(
            many.starts_with("each activation is used about 666 times, so that the SAE"),
            "{many}"
        );
        assert!(many.ends_with("or --tokens 61500 for ten times"), "{many}");
    }
}
