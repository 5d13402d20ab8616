//! The measurements of a sweep.

use std::ops::ControlFlow;
use std::slice;

use anyhow::{Context, Result, bail};
use nanoscope_attribute::Metric;
use nanoscope_hooks::HookPoint;
use nanoscope_index::{Continuation, Continuations};
use nanoscope_runtime::{
    EndReason, Fluency, InterpretableModel, Intervention, Op, Plan, RuntimeError, Sampling, Target,
};
use nanoscope_transformer::TokenBatch;

use super::strength::is_neutral;
use crate::terminal::progress::DelayedBar;

/// The number of texts that are written in shared passes. Each has a key-value cache of its own.
const ROWS: usize = 32;

/// Computes the logits of the token after `tokens`.
pub(super) fn next_logits(
    model: &InterpretableModel,
    tokens: &[u32],
    plan: &Plan,
) -> Result<Vec<f32>> {
    let run = model.run(&TokenBatch::new(&[tokens.to_vec()])?, plan)?;
    let [_, seq, _] = run.logits.dims();
    let last = run.logits.slice_dim(1, seq - 1..seq).into_data();
    Ok(last.iter::<f32>().collect())
}

impl Question<'_> {
    /// Measures each of `features` with each of `ops`.
    ///
    /// # Errors
    /// If the model cannot be run, or its activations leave the range of float32.
    pub(super) fn measure(&self, features: &[(HookPoint, u32)], ops: &[Op]) -> Result<Sweep> {
        let steered = ops.iter().copied().filter(|&op| !is_neutral(op));
        let steered: Vec<Intervention> = features
            .iter()
            .flat_map(|&(hook, feature)| {
                let target = Target::Feature(feature as usize);
                steered.clone().map(move |op| Intervention::new(hook, target.clone(), op))
            })
            .collect();
        let rows = (1 + steered.len()) * self.seeds.len();
        let bar = DelayedBar::new("sweeping", (rows * self.sampling.max_tokens) as u64, "tokens");
        let mut metrics = Vec::with_capacity(1 + steered.len());
        metrics.push(self.metric_with(&Plan::new())?);
        for intervention in &steered {
            bar.set(0);
            let plan = Plan::new().intervene(intervention.clone());
            let metric = self.metric_with(&plan);
            metrics.push(metric.with_context(|| format!("could not steer with {intervention}"))?);
        }
        let plans = steered.iter().map(|i| Plan::new().intervene(i.clone()));
        let plans: Vec<Plan> = [Plan::new()].into_iter().chain(plans).collect();
        let mut measured = self.fluencies(&plans, &metrics, &bar)?.into_iter();
        drop(bar);

        let unsteered = measured.next().context("the unsteered text was not measured")?;
        let mut features: Vec<FeatureSweep> = features
            .iter()
            .map(|&(hook, feature)| FeatureSweep { hook, feature, points: Vec::new() })
            .collect();
        for swept in &mut features {
            for &op in ops {
                let neutral = is_neutral(op).then(|| unsteered.clone());
                let Some(measured) = neutral.or_else(|| measured.next()) else {
                    bail!("{}:{} was not measured", swept.hook, swept.feature);
                };
                swept.points.push(Point { op, measured });
            }
        }
        Ok(Sweep { metric: self.metric, unsteered, features })
    }

    fn metric_with(&self, plan: &Plan) -> Result<f32> {
        let logits = next_logits(self.model, self.tokens, plan)?;
        self.metric.of_logits(&logits).context("the metric is not one of the next token")
    }

    /// Writes texts with each plan and measures their fluency.
    fn fluencies(
        &self,
        plans: &[Plan],
        metrics: &[f32],
        bar: &DelayedBar,
    ) -> Result<Vec<Measured>> {
        let prompts = slice::from_ref(self.tokens);
        let texts = Continuations { model: self.model, prompts, sampling: self.sampling };
        let per_pass = (ROWS / self.seeds.len()).max(1);
        let mut all = Vec::with_capacity(plans.len());
        let mut done = 0;
        for (plans, metrics) in plans.chunks(per_pass).zip(metrics.chunks(per_pass)) {
            let mut written: Vec<Vec<Continuation>> = plans.iter().map(|_| Vec::new()).collect();
            for seeds in self.seeds.chunks(ROWS) {
                let rows = plans.len() * seeds.len();
                let mut passes = 0;
                let part = texts.write(plans, seeds, || {
                    let passed = passes.min(self.sampling.max_tokens);
                    bar.set((done * self.sampling.max_tokens + passed * rows) as u64);
                    passes += 1;
                    ControlFlow::Continue(())
                })?;
                done += rows;
                for (texts, more) in written.iter_mut().zip(part) {
                    texts.extend(more);
                }
            }
            for (texts_of_plan, &metric) in written.into_iter().zip(metrics) {
                for text in &texts_of_plan {
                    if let Some(EndReason::NotFinite(found)) = text.end {
                        return Err(RuntimeError::NonFinite { found }.into());
                    }
                }
                let nll = texts.nll(&texts_of_plan)?;
                let texts = texts_of_plan.into_iter().map(|Continuation { text, .. }| text);
                all.push(Measured { metric, nll, texts: texts.collect() });
            }
        }
        Ok(all)
    }
}

/// The prompt, the metric and the sampling of a sweep.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'q> {
    pub(super) model: &'q InterpretableModel,
    /// The prompt.
    pub(super) tokens: &'q Vec<u32>,
    pub(super) metric: Metric,
    pub(super) sampling: &'q Sampling,
    /// The seed of each text.
    pub(super) seeds: &'q [u64],
}

/// The measurements of a sweep.
#[derive(Debug, Clone)]
pub(super) struct Sweep {
    pub(super) metric: Metric,
    pub(super) unsteered: Measured,
    pub(super) features: Vec<FeatureSweep>,
}

/// A feature at each strength, weakest first.
#[derive(Debug, Clone)]
pub(super) struct FeatureSweep {
    pub(super) hook: HookPoint,
    pub(super) feature: u32,
    pub(super) points: Vec<Point>,
}

/// A feature at one strength.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) op: Op,
    pub(super) measured: Measured,
}

/// The measurements with one intervention, or without.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// The metric of the next token after the prompt.
    pub(super) metric: f32,
    /// The mean negative log-likelihood of the texts under the unsteered model; `None` if all ended at once.
    pub(super) nll: Option<f64>,
    pub(super) texts: Vec<String>,
}

impl Sweep {
    /// The fluency at one point; `None` if all its texts ended at once.
    pub(super) fn fluency(&self, point: &Point) -> Option<Fluency> {
        let nll = point.measured.nll?;
        Some(Fluency { nll, unsteered_nll: self.unsteered.nll })
    }
}

impl FeatureSweep {
    /// The intervention with `op`.
    pub(super) fn intervention(&self, op: Op) -> Intervention {
        Intervention::new(self.hook, Target::Feature(self.feature as usize), op)
    }
}
