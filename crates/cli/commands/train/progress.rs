//! The progress of a training run and its final summary.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, Instant};

use super::suggestions::suggestions;
use anyhow::Result;
use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use nanoscope_train::{
    HeldOutText, Outcome, RunConfig, StepReport, TrainProgress, TrainingRun, Validation,
};

/// The time between lines if stderr is not a terminal.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// The number of recent steps over which the speed is measured.
const RECENT_STEPS: usize = 50;

/// A view of the progress: live lines on a terminal, plain ones elsewhere.
pub(crate) struct ProgressView {
    config: RunConfig,
    times: VecDeque<Instant>,
    /// The last evaluation; empty before the first.
    held_out: Vec<Validation>,
    kind: Kind,
}

enum Kind {
    Live { bar: ProgressBar, lines: Vec<ProgressBar> },
    Plain { last: Option<Instant> },
}

impl ProgressView {
    pub(crate) fn new(run: &TrainingRun) -> Self {
        let config = run.config().clone();
        let kind = if std::io::stderr().is_terminal() {
            let all = MultiProgress::new();
            let style = |template| {
                ProgressStyle::with_template(template).expect("the template is a constant")
            };
            let bar = all.add(ProgressBar::new(config.recipe.steps));
            bar.set_style(style("{bar:30} step {pos}/{len}  {msg}"));
            bar.set_position(run.step());
            let line = |_| {
                let line = all.add(ProgressBar::new_spinner());
                line.set_style(style("  {msg}"));
                line
            };
            Kind::Live { bar, lines: config.hooks.iter().map(line).collect() }
        } else {
            Kind::Plain { last: None }
        };
        Self { config, times: VecDeque::from([Instant::now()]), held_out: Vec::new(), kind }
    }

    /// Shows the result of a step.
    pub(crate) fn show(&mut self, progress: &TrainProgress) {
        self.times.push_back(Instant::now());
        if self.times.len() > RECENT_STEPS {
            self.times.pop_front();
        }
        if let Some(held_out) = &progress.validation {
            self.held_out.clone_from(held_out);
        }
        let is_evaluated = progress.validation.is_some();
        if let Kind::Plain { last } = &mut self.kind {
            if !is_evaluated && last.is_some_and(|last| last.elapsed() < LOG_INTERVAL) {
                return;
            }
            *last = Some(Instant::now());
        }
        let speed = self.speed(progress.step);
        let numbers = progress.reports.iter().enumerate().map(|(at, report)| {
            // Live lines keep showing the last evaluation; plain lines print it once.
            let is_shown = is_evaluated || matches!(self.kind, Kind::Live { .. });
            let held_out = self.held_out.get(at).filter(|_| is_shown);
            format!("{}  {}", self.config.hooks[at], self.numbers(report, held_out))
        });
        match &self.kind {
            Kind::Live { bar, lines } => {
                bar.set_position(progress.step);
                bar.set_message(speed);
                lines.iter().zip(numbers).for_each(|(line, text)| line.set_message(text));
            }
            Kind::Plain { .. } => {
                let total = self.config.recipe.steps;
                anstream::eprintln!("step {}/{total}  {speed}", progress.step);
                numbers.for_each(|text| anstream::eprintln!("  {text}"));
            }
        }
    }

    fn numbers(&self, report: &StepReport, held_out: Option<&Validation>) -> String {
        let dead = |dead: usize| 100.0 * dead as f64 / self.config.recipe.d_sae as f64;
        let StepReport { loss, explained_variance, l0, .. } = report;
        let mut text = format!(
            "loss {loss:.4}  explained variance {explained_variance:.4}  L0 {l0:.1}  dead {:.1} %",
            dead(report.dead)
        );
        if let Some(found) = held_out {
            let _ = write!(
                text,
                "  held out: explained variance {:.4}  L0 {:.1}  dead {:.1} %",
                found.explained_variance,
                found.l0,
                dead(found.dead)
            );
        }
        text
    }

    /// The speed in tokens per second and the remaining time.
    fn speed(&self, step: u64) -> String {
        let (Some(first), Some(last)) = (self.times.front(), self.times.back()) else {
            return String::new();
        };
        let per_step = (*last - *first).as_secs_f64() / (self.times.len() - 1).max(1) as f64;
        let left = Duration::from_secs_f64(per_step * (self.config.recipe.steps - step) as f64);
        let speed = self.config.recipe.batch as f64 / per_step.max(1e-9);
        format!("{speed:.0} tokens/s  {} left", HumanDuration(left))
    }

    /// Clears the live lines.
    pub(crate) fn clear(&self) {
        if let Kind::Live { bar, lines } = &self.kind {
            lines.iter().for_each(ProgressBar::finish_and_clear);
            bar.finish_and_clear();
        }
    }
}

/// Prints the results of a run and commands to use them with.
pub(crate) fn summary(
    run: &RunConfig,
    held_out: Option<&HeldOutText>,
    (outcomes, indexes): (&[Outcome], &[String]),
    dir: &std::path::Path,
) -> Result<()> {
    let mut out = anstream::stdout().lock();
    let wide = outcomes.iter().map(|outcome| outcome.hook.to_string().len()).max().unwrap_or(0);
    writeln!(
        out,
        "{:wide$}  explained variance        L0         dead  mean squared error  best step",
        "held out"
    )?;
    for outcome in outcomes {
        let Validation { explained_variance, l0, dead, mse, .. } = outcome.last;
        writeln!(
            out,
            "{:wide$}  {explained_variance:18.4}  {l0:8.1}  {:8.2} %  {mse:19.5}  {:>9}",
            outcome.hook.to_string(),
            100.0 * dead as f64 / run.recipe.d_sae as f64,
            outcome.best_step.map_or_else(|| "none".to_owned(), |step| step.to_string()),
        )?;
    }
    for line in indexes {
        writeln!(out, "index of {line}")?;
    }
    writeln!(out)?;
    for outcome in outcomes {
        writeln!(out, "{}", outcome.last_dir.display())?;
        if let Some(step) = outcome.best_step.filter(|step| *step != run.recipe.steps) {
            let best = outcome.best_dir.display();
            writeln!(out, "{best} (step {step}, which was better)")?;
        }
    }
    writeln!(out, "{}", dir.join("curves.svg").display())?;
    let Some(outcome) = outcomes.last() else { return Ok(()) };
    writeln!(out, "\nTo use the SAE:")?;
    for command in suggestions(run, held_out, dir, &outcome.last_dir) {
        writeln!(out, "  {command}")?;
    }
    Ok(())
}
