use std::ops::ControlFlow;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;

use crate::attribution::{Attribution, FeatureEffect, HookTerms};
use crate::direct::Direct;
use crate::error::AttributeError;
use crate::faithfulness::{Faithfulness, Rest};
use crate::integrated::{Integrated, Steps};
use crate::lens::{Lens, last_reading};
use crate::metric::{Metric, softmax};
use crate::report::options::ReportOptions;
use crate::report::parts::{
    Report, ReportComponent, ReportError, ReportFaithfulness, ReportFeature, ReportHook,
    ReportKept, ReportLens, ReportMetric, ReportSubject, ReportTargetFeature, ReportToken,
};

/// The numbers of features that are kept alone.
const KEPT: [usize; 10] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000];

impl Report {
    /// Computes the numbers that `options` names. `go_on` is asked between them.
    ///
    /// # Errors
    /// [`AttributeError::Interrupted`] if `go_on` breaks off;
    /// [`AttributeError::NeedsToken`] for direct effects on a feature; otherwise as the methods of
    /// [`Attribution`].
    pub fn new(
        attribution: &Attribution<'_>,
        options: &ReportOptions,
        mut go_on: impl FnMut() -> ControlFlow<()>,
    ) -> Result<Self, AttributeError> {
        let model = attribution.model;
        let mut check = || match go_on() {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(AttributeError::Interrupted),
        };
        let order = attribution.strongest(usize::MAX);
        check()?;
        let mut exact = Vec::with_capacity(options.exact.min(order.len()));
        for rows in order[..options.exact.min(order.len())].chunks(ABLATED_AT_ONCE) {
            exact.extend(attribution.ablate(rows)?);
            check()?;
        }
        let integrated = options.integrate.map(|steps| attribution.integrate(steps)).transpose()?;
        check()?;
        let direct = options.direct.then(|| attribution.direct()).transpose()?;
        check()?;
        let faithfulness = |rest: Rest| {
            let kept: Vec<usize> = KEPT.into_iter().filter(|&n| n < order.len()).collect();
            attribution.faithfulness(&kept, rest)
        };
        let faithfulness = options.faithfulness.map(faithfulness).transpose()?;
        check()?;
        let metric = attribution.metric();
        let lens = lens(attribution, metric, options.lens)?;
        let logits = attribution.logits().map(|logits| Ranked::new(model, logits));
        let (target, contrast) = subject(attribution, metric, logits.as_ref());
        let features = features(
            attribution,
            &order,
            options.top,
            &exact,
            integrated.as_ref(),
            direct.as_ref(),
        );
        let first = order.first().map(|&row| attribution.ablation(row).to_string());
        Ok(Self {
            tokens: attribution.tokens().to_vec(),
            texts: attribution.tokens().iter().map(|&id| model.token_text(id)).collect(),
            position: attribution.position(),
            target,
            contrast,
            metric: ReportMetric { name: metric.name(), value: attribution.value() },
            ig_steps: options.integrate.map_or(1, Steps::count),
            hooks: hooks(attribution.hooks(), integrated.as_ref()),
            found: order.len(),
            features,
            errors: errors(attribution.hooks()),
            alternatives: logits.map_or_else(Vec::new, |logits| logits.top(options.alternatives)),
            components: direct.map(components),
            lens: lens.into_iter().filter_map(|lens| self::reading(model, lens)).collect(),
            faithfulness: faithfulness.map(kept),
            steer: first,
        })
    }

    /// Names the features by `name`, which gives a name and whether it is an automatic one.
    pub fn name_features(
        &mut self,
        mut name: impl FnMut(HookPoint, u32) -> Option<(String, bool)>,
    ) {
        for feature in &mut self.features {
            let found = name(feature.hook, feature.feature);
            feature.auto = found.as_ref().is_some_and(|(_, auto)| *auto);
            feature.label = found.map(|(text, _)| text);
        }
        if let ReportSubject::Feature(target) = &mut self.target {
            let found = name(target.hook, target.feature as u32);
            target.auto = found.as_ref().is_some_and(|(_, auto)| *auto);
            target.label = found.map(|(text, _)| text);
        }
    }
}

/// The number of features between two questions whether to go on.
const ABLATED_AT_ONCE: usize = 64;

/// The logits after a position, with their ranks.
struct Ranked<'a> {
    model: &'a InterpretableModel,
    logits: &'a [f32],
    logprobs: Vec<f64>,
}

impl<'a> Ranked<'a> {
    fn new(model: &'a InterpretableModel, logits: &'a [f32]) -> Self {
        Self { model, logits, logprobs: softmax(logits).map(f64::ln).collect() }
    }

    fn token(&self, id: u32) -> ReportToken {
        let logit = self.logits[id as usize];
        let before = |&(other, &value): &(usize, &f32)| {
            value > logit || (value == logit && other < id as usize)
        };
        ReportToken {
            id,
            text: self.model.token_text(id),
            rank: 1 + self.logits.iter().enumerate().filter(before).count(),
            logit,
            logprob: self.logprobs[id as usize],
        }
    }

    /// The `n` likeliest tokens.
    fn top(&self, n: usize) -> Vec<ReportToken> {
        crate::lens::largest(self.logits, n).into_iter().map(|(id, _)| self.token(id)).collect()
    }
}

fn subject(
    attribution: &Attribution<'_>,
    metric: Metric,
    logits: Option<&Ranked<'_>>,
) -> (ReportSubject, Option<ReportToken>) {
    match (metric, logits) {
        (Metric::Feature { hook, feature, position }, _) => {
            let target = ReportTargetFeature {
                hook,
                position,
                feature,
                pre_activation: attribution.value(),
                label: None,
                auto: false,
            };
            (ReportSubject::Feature(target), None)
        }
        (Metric::LogitDiff { target, contrast }, Some(logits)) => {
            (ReportSubject::Token(logits.token(target)), Some(logits.token(contrast)))
        }
        (Metric::LogProb { target } | Metric::Logit { target }, Some(logits)) => {
            (ReportSubject::Token(logits.token(target)), None)
        }
        (_, None) => unreachable!("a metric of a token has logits: {:?}", attribution.readout),
    }
}

fn hooks(terms: &[HookTerms], integrated: Option<&Integrated>) -> Vec<ReportHook> {
    let sum = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum();
    let of_hook = |(at, terms): (usize, &HookTerms)| {
        let integrated = integrated.map(|integrated| &integrated.hooks[at]);
        ReportHook {
            hook: terms.hook,
            active: terms.active,
            features: terms.features,
            error: sum(&terms.error),
            bias: sum(&terms.bias),
            error_share: terms.error_share(),
            ig: integrated.map(|integrated| integrated.sum),
            without_features: integrated.map(|integrated| integrated.without_features),
        }
    };
    terms.iter().enumerate().map(of_hook).collect()
}

fn features(
    attribution: &Attribution<'_>,
    order: &[usize],
    top: usize,
    exact: &[f32],
    integrated: Option<&Integrated>,
    direct: Option<&Direct>,
) -> Vec<ReportFeature> {
    let describe = |(at, &row): (usize, &usize)| {
        let FeatureEffect { hook, position, feature, activation, gradient, attribution: estimate } =
            attribution.features()[row];
        let ablation = exact.get(at).copied();
        let direct = direct.and_then(|direct| direct.features.iter().find(|f| f.row == row));
        ReportFeature {
            hook,
            position,
            feature,
            activation,
            gradient,
            attribution: estimate,
            ablation,
            disagrees: ablation.is_some_and(|ablation| disagree(estimate, ablation)),
            ig: integrated.map(|integrated| integrated.features[row]),
            direct: direct.map(|direct| direct.effect.metric),
            label: None,
            auto: false,
            steer: attribution.ablation(row).to_string(),
        }
    };
    order.iter().enumerate().take(top).map(describe).collect()
}

/// Returns whether an estimate and the exact number have opposite signs, or one is more than twice the other.
fn disagree(estimate: f32, exact: f32) -> bool {
    let (small, large) = (estimate.abs().min(exact.abs()), estimate.abs().max(exact.abs()));
    estimate * exact < 0.0 || large > 2.0 * small
}

fn errors(terms: &[HookTerms]) -> Vec<ReportError> {
    let of_hook = |terms: &HookTerms| {
        let hook = terms.hook;
        let error = move |(position, attribution)| ReportError { hook, position, attribution };
        terms.error.clone().into_iter().enumerate().map(error)
    };
    terms.iter().flat_map(of_hook).collect()
}

fn components(direct: Direct) -> Vec<ReportComponent> {
    let component = |part: crate::direct::DirectComponent| ReportComponent {
        name: part.name,
        target: part.effect.raw_target,
        contrast: part.effect.raw_contrast,
    };
    direct.components.into_iter().map(component).collect()
}

/// The lens at the SAEs in the residual stream, with the probabilities of the metric's tokens.
fn lens(
    attribution: &Attribution<'_>,
    metric: Metric,
    top: usize,
) -> Result<Vec<Lens>, AttributeError> {
    let (asked, hooks) = (metric.tokens(), stream_points(attribution));
    if top == 0 || asked.is_empty() || hooks.is_empty() {
        return Ok(Vec::new());
    }
    last_reading(attribution.model, attribution.tokens(), &hooks, top, &asked)
}

fn stream_points(attribution: &Attribution<'_>) -> Vec<HookPoint> {
    use HookPoint::{ResidMid, ResidPost, ResidPre};
    let saes = attribution.model.saes().keys().copied();
    saes.filter(|hook| matches!(hook, ResidPre(_) | ResidMid(_) | ResidPost(_))).collect()
}

fn reading(model: &InterpretableModel, lens: Lens) -> Option<ReportLens> {
    let reading = lens.positions.into_iter().next_back()?;
    let top = reading.top.into_iter().map(|(id, p)| (id, model.token_text(id), p));
    Some(ReportLens {
        hook: lens.hook,
        top: top.collect(),
        target: *reading.asked.first()?,
        contrast: reading.asked.get(1).copied(),
    })
}

fn kept(faithfulness: Faithfulness) -> ReportFaithfulness {
    let kept = faithfulness.kept.iter().map(|kept| ReportKept {
        features: kept.features,
        value: kept.value,
        share: kept.share,
    });
    ReportFaithfulness { without_features: faithfulness.without_features, kept: kept.collect() }
}
