//! A training run and the files it writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use burn::tensor::Device;
use nanoscope_corpus::{ActivationSource, SourceText, StoredFrom};
use nanoscope_hooks::HookPoint;
use serde_json::json;

use super::checkpoints::{self, Best, Checkpoint, HookState, State};
use super::config::RunConfig;
use super::curves;
use super::folder::RunFolder;
use super::held_out::{Division, HeldOutText, SourceView, divide};
use super::metrics::{self, Metrics};
use super::partial_config::PartialConfig;
use super::provenance::provenance;
use super::run_error::RunError;
use super::save_saes::{SaeKind, save_sae};
use super::validate::{Validation, validate};
use crate::{Mixer, StepReport, Trainer};

/// Trains one SAE at each hook point of a source, step by step.
///
/// The files depend only on the configuration and the source, apart from timings: a run that was
/// killed and resumed ends with the same files.
#[derive(Debug)]
pub struct TrainingRun {
    folder: RunFolder,
    config: RunConfig,
    device: Device,
    batches: Mixer<SourceView>,
    held_out: SourceView,
    held_out_text: Option<HeldOutText>,
    stored_from: Option<StoredFrom>,
    trainers: Vec<Trainer>,
    best: Vec<Option<Best>>,
    /// The step of the last evaluation, and its result for each hook point.
    evaluated: Option<(u64, Vec<Evaluated>)>,
    metrics: Metrics,
    segments: u64,
    rows: u64,
    step: u64,
    seconds: f64,
    /// The step and seconds at the last logged line.
    logged: (u64, f64),
    saved: Option<u64>,
    refused: Vec<RunError>,
}

/// An SAE's metrics on the held-out data, and the density of each feature.
type Evaluated = (Validation, Vec<f64>);

/// Maximum activations used to initialise the scale and the weights. More would cost time and
/// memory without changing the result noticeably.
const FIRST_ROWS: usize = 16_384;

/// The outcome of a training step.
#[derive(Debug, Clone)]
pub struct TrainProgress {
    /// The step, from 1.
    pub step: u64,
    /// Step reports, one per hook point.
    pub reports: Vec<StepReport>,
    /// Validation metrics, one per hook point, if the step was followed by an evaluation.
    pub validation: Option<Vec<Validation>>,
    /// The checkpoint, if one was written.
    pub saved: Option<PathBuf>,
}

/// The result of a run at one hook point.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The hook point.
    pub hook: HookPoint,
    /// Validation metrics after the last step.
    pub last: Validation,
    /// The step of the best SAE.
    pub best_step: Option<u64>,
    /// The folder of the last SAE.
    pub last_dir: PathBuf,
    /// The folder of the best SAE.
    pub best_dir: PathBuf,
}

impl TrainingRun {
    /// Opens the run in `folder` at its last intact checkpoint, or at the start if there is none.
    ///
    /// # Errors
    /// [`RunError`] if the source lacks a hook point of `config` or has changed, `config` differs from
    /// that of the checkpoint by more than a larger number of steps, no checkpoint is intact, or
    /// training cannot start.
    pub fn open(
        mut folder: RunFolder,
        config: RunConfig,
        source: Box<dyn ActivationSource>,
        device: &Device,
    ) -> Result<Self, RunError> {
        let segments = source.len();
        let rows = (0..segments).map(|index| source.rows(index) as u64).sum();
        let stored_from = source.stored_from();
        let Division { trained, held_out, text } =
            divide(source, &config.hooks, config.run.hold_out)?;
        let widths: Vec<usize> = trained.points().iter().map(|(_, width)| *width).collect();

        let found = checkpoints::load_last(&folder.checkpoints(), &config.hooks)?;
        if let Some(before) = found.last.as_ref().and_then(|last| last.state.config.as_deref()) {
            // The file beside it may have been edited.
            folder.check_continues(&PartialConfig::parse(before)?.check()?, &config)?;
        }
        let step = found.last.as_ref().map_or(0, |last| last.state.step);
        let recipe = &config.recipe;
        if step > recipe.steps {
            let path = folder.checkpoints().join(format!("step-{step}"));
            let reason = format!("the run has {} steps", recipe.steps);
            return Err(RunError::Damaged { path, reason });
        }
        let mut batches =
            Mixer::new(trained, recipe.batch, recipe.seed, step).map_err(RunError::Batch)?;
        let (mut seconds, mut best) = (0.0, vec![None; config.hooks.len()]);
        let failed = |at: usize| {
            let hook = config.hooks[at];
            move |source| RunError::Train { hook, step: step + 1, source: Box::new(source) }
        };
        let mut trainers = Vec::with_capacity(config.hooks.len());
        if let Some(Checkpoint { state, snapshots }) = &found.last {
            let of = |hook: &HookPoint| &state.hooks[&hook.to_string()];
            let widths_then: Vec<usize> = config.hooks.iter().map(|hook| of(hook).width).collect();
            let was = describe(state.segments, state.rows, &widths_then);
            let is = describe(segments, rows, &widths);
            if was != is {
                return Err(RunError::OtherSource { was, is });
            }
            check_text(folder.dir(), text.as_ref())?;
            seconds = state.seconds;
            for (at, snapshot) in snapshots.iter().enumerate() {
                best[at] = of(&config.hooks[at]).best;
                trainers.push(Trainer::resume(recipe, snapshot, device).map_err(failed(at))?);
            }
        } else {
            let first = batches.first().map_err(RunError::Batch)?;
            for (at, (&width, x)) in widths.iter().zip(&first.at).enumerate() {
                let x = &x[..x.len().min(FIRST_ROWS * width)];
                trainers.push(Trainer::new(recipe, width, x, device).map_err(failed(at))?);
            }
        }
        folder.begin(text.as_ref())?;
        Ok(Self {
            held_out_text: text,
            metrics: Metrics::open(&folder.metrics(), step)?,
            saved: found.last.map(|_| step),
            refused: found.refused,
            folder,
            config,
            device: device.clone(),
            batches,
            held_out,
            stored_from,
            trainers,
            best,
            evaluated: None,
            segments,
            rows,
            step,
            seconds,
            logged: (step, seconds),
        })
    }

    /// Runs the next step, with any logging, evaluation and saving that is due. Returns `None`
    /// after the last step.
    ///
    /// # Errors
    /// [`RunError`]. After a training error (such as a loss that is not finite) the run must be
    /// reopened; saved files are unaffected.
    pub fn advance(&mut self) -> Result<Option<TrainProgress>, RunError> {
        if self.step >= self.config.recipe.steps {
            return Ok(None);
        }
        let began = Instant::now();
        let batch = self.batches.next_batch().map_err(RunError::Batch)?;
        let mut reports = Vec::with_capacity(self.trainers.len());
        for ((trainer, &hook), x) in self.trainers.iter_mut().zip(&self.config.hooks).zip(&batch) {
            let step = self.step + 1;
            let failed = |source| RunError::Train { hook, step, source: Box::new(source) };
            reports.push(trainer.step(x).map_err(failed)?);
        }
        self.step += 1;
        let settings = self.config.run.clone();
        let is_last = self.step == self.config.recipe.steps;
        let is_due = |every| is_last || self.step.is_multiple_of(every);
        let (log, save) = (is_due(settings.log_every), is_due(settings.save_every));
        let validation = if is_due(settings.eval_every) { Some(self.evaluate()?) } else { None };
        self.seconds += began.elapsed().as_secs_f64();
        if log || validation.is_some() {
            self.log(&reports, validation.as_deref())?;
        }
        let saved = if save { Some(self.save()?) } else { None };
        Ok(Some(TrainProgress { step: self.step, reports, validation, saved }))
    }

    fn log(
        &mut self,
        reports: &[StepReport],
        validation: Option<&[Validation]>,
    ) -> Result<(), RunError> {
        let batch = self.config.recipe.batch as u64;
        let (step, seconds) = self.logged;
        let speed = ((self.step - step) * batch) as f64 / (self.seconds - seconds).max(1e-9);
        let time = json!({ "seconds": self.seconds, "tokens_per_s": speed });
        self.logged = (self.step, self.seconds);
        self.metrics.add(&self.config.hooks, self.step * batch, reports, validation, time)
    }

    /// Evaluates all SAEs on the held-out data, and saves those that are the best so far.
    fn evaluate(&mut self) -> Result<Vec<Validation>, RunError> {
        let saes: Vec<_> = self.trainers.iter().map(Trainer::sae).collect();
        let method = &self.config.recipe.method;
        let found = validate(&saes, method, &mut self.held_out, &self.device)?;
        let mut numbers = Vec::with_capacity(found.len());
        for (at, (validation, density)) in found.iter().enumerate() {
            if self.best[at].is_none_or(|best| validation.loss < best.loss) {
                let hook = self.config.hooks[at];
                save_sae(
                    &self.sae_dir(hook, SaeKind::Best),
                    &saes[at],
                    hook,
                    density,
                    SaeKind::Best,
                    &provenance(&self.config, self.stored_from.as_ref(), self.step),
                )?;
                self.best[at] = Some(Best { step: self.step, loss: validation.loss });
            }
            numbers.push(*validation);
        }
        self.evaluated = Some((self.step, found));
        Ok(numbers)
    }

    /// Writes a checkpoint of the last step, unless it exists, and returns its path.
    ///
    /// # Errors
    /// [`RunError`]; existing checkpoints are kept.
    pub fn save(&mut self) -> Result<PathBuf, RunError> {
        let dir = self.folder.checkpoints();
        if self.saved == Some(self.step) {
            return Ok(dir.join(format!("step-{}", self.step)));
        }
        self.metrics.sync()?;
        let points = self.batches.segments().points();
        let hooks: BTreeMap<_, _> = points
            .iter()
            .zip(&self.best)
            .map(|(&(hook, width), &best)| {
                (hook.to_string(), HookState { best, width, ..HookState::default() })
            })
            .collect();
        let (segments, rows) = (self.segments, self.rows);
        let (step, seconds) = (self.step, self.seconds);
        let config = Some(self.config.to_toml());
        let state = State { step, segments, rows, seconds, config, hooks };
        let snapshots = self.trainers.iter().map(Trainer::snapshot).collect();
        let checkpoint = Checkpoint { state, snapshots };
        let path = checkpoints::save(&dir, &self.config.hooks, checkpoint, self.config.run.keep)?;
        self.saved = Some(self.step);
        Ok(path)
    }

    /// Saves the SAEs of the last step, draws the curves, and returns the results.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn finish(mut self) -> Result<Vec<Outcome>, RunError> {
        let saes: Vec<_> = self.trainers.iter().map(Trainer::sae).collect();
        let found = match self.evaluated.take() {
            Some((step, found)) if step == self.step => found,
            // The run was reopened after its last step.
            _ => {
                let method = &self.config.recipe.method;
                validate(&saes, method, &mut self.held_out, &self.device)?
            }
        };
        let mut outcomes = Vec::with_capacity(found.len());
        for (at, (last, density)) in found.into_iter().enumerate() {
            let hook = self.config.hooks[at];
            let last_dir = self.sae_dir(hook, SaeKind::Final);
            let provenance = provenance(&self.config, self.stored_from.as_ref(), self.step);
            save_sae(&last_dir, &saes[at], hook, &density, SaeKind::Final, &provenance)?;
            outcomes.push(Outcome {
                hook,
                last,
                best_step: self.best[at].map(|best| best.step),
                last_dir,
                best_dir: self.sae_dir(hook, SaeKind::Best),
            });
        }
        self.draw()?;
        Ok(outcomes)
    }

    /// Draws the curves up to now.
    fn draw(&self) -> Result<(), RunError> {
        let points = metrics::read(&self.folder.metrics(), &self.config.hooks)?;
        curves::draw(&self.folder.curves(), &self.config.hooks, &points)
    }

    fn sae_dir(&self, hook: HookPoint, which: SaeKind) -> PathBuf {
        self.folder.dir().join(hook.to_string()).join(which.folder())
    }

    /// The step of the last checkpoint.
    pub fn saved(&self) -> Option<u64> {
        self.saved
    }

    /// Number of completed steps.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The configuration.
    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    /// The run's folder.
    pub fn dir(&self) -> &Path {
        self.folder.dir()
    }

    /// Segments and activations of the source, including those held out.
    pub fn source_size(&self) -> (u64, u64) {
        (self.segments, self.rows)
    }

    /// Segments and activations that are held out.
    pub fn held_out(&self) -> (u64, u64) {
        let segments = self.held_out.len();
        (segments, (0..segments).map(|index| self.held_out.rows(index) as u64).sum())
    }

    /// The held-out text, if the source knows its text.
    pub fn held_out_text(&self) -> Option<&HeldOutText> {
        self.held_out_text.as_ref()
    }

    /// Checkpoints that were skipped because they are damaged.
    pub fn refused(&self) -> &[RunError] {
        &self.refused
    }
}

/// Checks that the text is the one that the run in `dir` started with, if it recorded that.
fn check_text(dir: &Path, now: Option<&HeldOutText>) -> Result<(), RunError> {
    let Some(now) = now else { return Ok(()) };
    let before = match RunFolder::held_out_text(dir) {
        Err(RunError::NoHeldOutText { .. }) => return Ok(()),
        before => before?,
    };
    if before.text == now.text {
        return Ok(());
    }
    let describe = |text: &SourceText| {
        let SourceText { tokens, context_length, tokens_sha256 } = text;
        format!("{tokens} tokens in contexts of {context_length} with SHA-256 {tokens_sha256}")
    };
    Err(RunError::OtherSource { was: describe(&before.text), is: describe(&now.text) })
}

fn describe(segments: u64, rows: u64, widths: &[usize]) -> String {
    let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
    let counted = |n: u64, thing: &str| format!("{n} {thing}{}", if n == 1 { "" } else { "s" });
    let (segments, rows) = (counted(segments, "segment"), counted(rows, "activation"));
    format!("{segments} and {rows} of width {}", widths.join(", "))
}
