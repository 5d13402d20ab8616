use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::Prefix;

use crate::error::AttributeError;
use crate::metric::{Metric, Readout};
use crate::pass::{Between, Pass};
use crate::question::{Checked, Question};
use crate::source::{Decomposed, Source, row_products};

/// A metric of one text, attributed to the features of SAEs at every position.
///
/// Made by one forward and one backward pass for all hook points together. With `g = ∂m/∂x`, the gradient of
/// the metric `m` by the activation `x` at a position, through everything that follows and no SAE, and with
/// `d` the direction of an active feature (its decoder row, with a normalisation undone) and `f` its value:
///
/// | number | formula | |
/// | --- | --- | --- |
/// | [`gradient`](FeatureEffect::gradient) | `g · d` | `∂m/∂f` |
/// | [`attribution`](FeatureEffect::attribution) | `f · g · d` | gradient × activation |
/// | [`error`](HookTerms::error) | `g · ε` | of what the SAE does not reconstruct |
/// | [`bias`](HookTerms::bias) | `g · b` | of the reconstruction without features, mostly `b_dec` |
/// | [`stream`](HookTerms::stream) | `g · x` | the sum of the three |
///
/// Positive means that the feature speaks for the target. This is attribution patching (Nanda 2023; Syed et al.
/// 2023, arXiv:2310.10348) with zero in place of the corrupted value, and `IE_atp` of sparse feature circuits
/// (Marks et al. 2024, arXiv:2403.19647): a first-order estimate of [`ablate`](Self::ablate). Kramár et al.
/// 2024 (AtP*, arXiv:2403.00745) describe where such estimates fail; of a prompt's twenty strongest features one
/// in a hundred has the wrong sign. The sums over a hook point are not the metric, because a model is not linear;
/// [`integrate`](Self::integrate) has shares that add up.
///
/// A transcoder's features are read at one hook point and move another one; `g`, `x` and `ε` are those of the
/// latter.
#[derive(Debug)]
pub struct Attribution<'m> {
    pub(crate) model: &'m InterpretableModel,
    pub(crate) tokens: Vec<u32>,
    pub(crate) readout: Readout<'m>,
    pub(crate) decomposed: Vec<Decomposed<'m>>,
    pub(crate) prefix: Prefix,
    metric: Metric,
    value: f32,
    logits: Option<Vec<f32>>,
    features: Vec<FeatureEffect>,
    hooks: Vec<HookTerms>,
    gradients: BTreeMap<HookPoint, Tensor<2>>,
}

/// An active feature at one position, and its share of the metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureEffect {
    /// The hook point that the feature's SAE reads.
    pub hook: HookPoint,
    /// The position, from 0.
    pub position: usize,
    /// The feature.
    pub feature: u32,
    /// Its value `f`.
    pub activation: f32,
    /// `∂m/∂f`: what adding 1 to the feature does, to first order.
    pub gradient: f32,
    /// `f · ∂m/∂f`.
    pub attribution: f32,
}

/// The terms of one SAE.
#[derive(Debug, Clone, PartialEq)]
pub struct HookTerms {
    /// The hook point that the SAE reads.
    pub hook: HookPoint,
    /// The number of active features at all positions together.
    pub active: usize,
    /// The sum of the attributions of all features at all positions.
    pub features: f64,
    /// The sum of their absolute values.
    pub magnitude: f64,
    /// `g · ε` at each position.
    pub error: Vec<f32>,
    /// `g · b` at each position.
    pub bias: Vec<f32>,
    /// `g · x` at each position: the sum of the features', the bias' and the error's.
    pub stream: Vec<f32>,
}

impl HookTerms {
    /// The share of the error terms in all that is attributed:
    /// `Σ |error| / (Σ |error| + Σ |attribution|)`; 0 if nothing is.
    pub fn error_share(&self) -> f64 {
        let error: f64 = self.error.iter().map(|&error| f64::from(error).abs()).sum();
        let all = error + self.magnitude;
        if all > 0.0 { error / all } else { 0.0 }
    }
}

impl<'m> Attribution<'m> {
    /// Answers `question`.
    ///
    /// # Errors
    /// [`AttributeError`] if a token, a position, a hook point or a feature does not exist, if no SAE comes
    /// before the target, or if a number is not finite.
    pub fn new(model: &'m InterpretableModel, question: &Question) -> Result<Self, AttributeError> {
        let Checked { tokens, readout, sources } = question.check(model)?;
        let gpt = model.gpt();
        let seq = tokens.len();
        let offsets = sources.iter().map(|source| {
            (source.write, Tensor::zeros([seq, source.sae.config().d_out()], gpt.device()))
        });
        let shape = &gpt.config().shape;
        let cached = (0..shape.n_layer).flat_map(|layer| gpt.config().cached_points(layer));
        let read = sources.iter().flat_map(|source| [source.hook, source.write]);
        let pass = Pass {
            gpt,
            tokens: &tokens,
            readouts: &[readout],
            offsets: offsets.collect(),
            inputs: BTreeSet::new(),
            between: Between::Total,
            keep: read.chain(cached).collect(),
        };
        let found = pass.run()?;
        let heads = |x: &Tensor<2>| {
            let [_, width] = x.dims();
            let head_dim = width / shape.n_kv_head;
            x.clone().reshape([1, seq, shape.n_kv_head, head_dim])
        };
        let prefix = Prefix::new(gpt, tokens.clone(), |point| found.kept.get(&point).map(heads))?;
        let logits = found.logits.map(to_host);
        let (mut features, mut hooks) = (Vec::new(), Vec::new());
        let mut decomposed = Vec::with_capacity(sources.len());
        for source in sources {
            let Source { hook, write, .. } = source;
            let (read, written) = (found.kept[&hook].clone(), found.kept[&write].clone());
            let parts = Decomposed::new(source, read, written)?;
            let gradient = &found.gradients[&write];
            let (effects, terms) = effects(&parts, gradient)?;
            features.extend(effects);
            hooks.push(terms);
            decomposed.push(parts);
        }
        let value = found.values[0];
        let gradients = found.gradients;
        Ok(Self {
            model,
            tokens,
            readout,
            decomposed,
            prefix,
            metric: question.metric(),
            value,
            logits,
            features,
            hooks,
            gradients,
        })
    }

    /// The metric that is attributed.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// The metric's value.
    pub fn value(&self) -> f32 {
        self.value
    }

    /// The tokens up to the position that the metric is about.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The position that the metric is about: what is predicted after this token, or where the target feature is.
    pub fn position(&self) -> usize {
        self.tokens.len() - 1
    }

    /// The logits after the position, after the softcap; `None` if the metric is a feature.
    pub fn logits(&self) -> Option<&[f32]> {
        self.logits.as_deref()
    }

    /// Every active feature at every position: by hook point in execution order, then by position, then by
    /// feature. An index into it is a *row*.
    pub fn features(&self) -> &[FeatureEffect] {
        &self.features
    }

    /// The terms of each SAE, in execution order.
    pub fn hooks(&self) -> &[HookTerms] {
        &self.hooks
    }

    /// The gradient of the metric by the activation that the SAE at `hook` writes.
    ///
    /// # Shapes
    /// - output: `[seq, d_out]`
    ///
    /// # Errors
    /// [`AttributeError::NotASource`] if `hook` is not the hook point of one of the SAEs.
    pub fn gradient_at(&self, hook: HookPoint) -> Result<Tensor<2>, AttributeError> {
        Ok(self.gradients[&self.at(hook)?.source.write].clone())
    }

    /// The rows of the `n` features with the largest absolute attribution, the largest first. Equal ones
    /// are in the order of the rows.
    pub fn strongest(&self, n: usize) -> Vec<usize> {
        let magnitude = |row: usize| self.features[row].attribution.abs();
        let mut rows: Vec<usize> = (0..self.features.len()).collect();
        rows.sort_by(|&a, &b| magnitude(b).total_cmp(&magnitude(a)));
        rows.truncate(n);
        rows
    }

    /// The decomposition at the SAE that reads `hook`.
    pub(crate) fn at(&self, hook: HookPoint) -> Result<&Decomposed<'m>, AttributeError> {
        let found = self.decomposed.iter().find(|parts| parts.source.hook == hook);
        found.ok_or(AttributeError::NotASource { hook })
    }

    /// The rows of each hook point's features.
    pub(crate) fn rows_of(&self, hook: HookPoint) -> std::ops::Range<usize> {
        let first = self.features.partition_point(|feature| feature.hook < hook);
        let end = self.features.partition_point(|feature| feature.hook <= hook);
        first..end
    }

    pub(crate) fn check_rows(&self, rows: &[usize]) -> Result<(), AttributeError> {
        let outside = rows.iter().find(|&&row| row >= self.features.len());
        outside.map_or(Ok(()), |&row| Err(AttributeError::Row { row, rows: self.features.len() }))
    }
}

/// The effects of one SAE's features, bias and error by the gradient at the activation that it writes.
fn effects(
    parts: &Decomposed<'_>,
    gradient: &Tensor<2>,
) -> Result<(Vec<FeatureEffect>, HookTerms), AttributeError> {
    let hook = parts.source.hook;
    let gradients = parts.by_feature(gradient);
    let effect = |((position, (feature, activation)), &gradient)| FeatureEffect {
        hook,
        position,
        feature,
        activation,
        gradient,
        attribution: activation * gradient,
    };
    let features: Vec<FeatureEffect> = parts.active().zip(&gradients).map(effect).collect();
    let attributions = || features.iter().map(|feature| f64::from(feature.attribution));
    let terms = HookTerms {
        hook,
        active: features.len(),
        features: attributions().sum(),
        magnitude: attributions().map(f64::abs).sum(),
        error: row_products(gradient, &parts.error),
        bias: row_products(gradient, &parts.bias),
        stream: row_products(gradient, &parts.activation),
    };
    let positions = [&terms.error, &terms.bias, &terms.stream].into_iter().flatten();
    if !terms.magnitude.is_finite() || positions.into_iter().any(|value| !value.is_finite()) {
        return Err(AttributeError::NotFinite { quantity: "an attribution" });
    }
    Ok((features, terms))
}
