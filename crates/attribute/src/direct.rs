//! Direct effects on the logits.

use std::collections::BTreeSet;

use burn::tensor::{Tensor, TensorData};
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_kernels::to_host;
use nanoscope_transformer::{Gpt, Logits, NormKind, TokenBatch};

use crate::attribution::Attribution;
use crate::error::AttributeError;
use crate::metric::{Readout, TokenMetric, slopes};

/// The direct effects on the logits of the last position: direct logit attribution.
///
/// An activation's *direct* effect is the one that passes through no further attention or MLP. The scale `s` of the
/// final norm is frozen at its value in this pass, and the softcap is replaced by its slope there, so that effects
/// add up. With the coefficient `c` of the hook point ([`Gpt::direct_coefficient`]), the unembedding `W_U` (times
/// the gain of the final norm; of a LayerNorm without the mean over channels) and a direction `d` of value `f`:
///
/// ```text
/// raw effect on the token v = f · c · (d · W_U[v]) / s
/// effect on the metric m    = f · c · Σ_v (d · W_U[v]) / s · slope[v] · ∂m/∂logit[v]
/// slope[v]                  = 1 − (logit[v] / softcap)²,  1 without a softcap
/// ```
///
/// In front of the last block this is only a part of a feature's effect. There it differs from the gradient by
/// the derivative of the norm's scale alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Direct {
    /// The effects of the features at the last position, of the hook points in the residual stream and
    /// `ln_final.hook_normalized`, in the order of their rows.
    pub features: Vec<DirectFeature>,
    /// The parts that the logits before the softcap are made of; each of the three numbers sums to the logit
    /// (their mean over the vocabulary).
    pub components: Vec<DirectComponent>,
    /// The coefficient `c` of each source in the residual stream.
    pub coefficients: Vec<(HookPoint, f32)>,
    /// The number `s` that the final norm divides by.
    pub final_norm_scale: f32,
    /// The slope of the softcap at the target's logit.
    pub target_slope: f64,
    /// The slope at the contrast's logit, if there is a contrast.
    pub contrast_slope: Option<f64>,
}

/// The direct effect of a feature at the last position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DirectFeature {
    /// The row in [`Attribution::features`].
    pub row: usize,
    /// The effects.
    pub effect: DirectEffect,
}

/// The direct effect of a part of the model at the last position.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectComponent {
    /// `x0` (the embedding), `bigram`, the hook point of an attention's or MLP's output, or `final_bias` (the
    /// bias of the final norm).
    pub name: String,
    /// The coefficient of the part in the input of the final norm; 1 for `final_bias`.
    pub coefficient: f32,
    /// The effects.
    pub effect: DirectEffect,
}

/// Direct effects on logits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DirectEffect {
    /// On the target's logit before the softcap.
    pub raw_target: f32,
    /// On the contrast's logit before the softcap, if there is a contrast.
    pub raw_contrast: Option<f32>,
    /// On the mean of the logits before the softcap over the vocabulary.
    pub raw_mean: f32,
    /// On the metric.
    pub metric: f32,
}

impl Attribution<'_> {
    /// Computes the direct effects on the logits.
    ///
    /// # Errors
    /// [`AttributeError::NeedsToken`] if the metric is a feature; [`AttributeError::NotFinite`] if a number is
    /// not finite.
    pub fn direct(&self) -> Result<Direct, AttributeError> {
        let (Readout::Token(metric), Some(logits)) = (self.readout, self.logits()) else {
            return Err(AttributeError::NeedsToken { quantity: "a direct effect" });
        };
        let gpt = self.model.gpt();
        let last = self.position();
        let shape = &gpt.config().shape;
        let outputs: Vec<HookPoint> = (0..shape.n_layer)
            .flat_map(|layer| [HookPoint::AttnOut(layer), HookPoint::MlpOut(layer)])
            .collect();
        let end = HookPoint::ResidPost(shape.n_layer - 1);
        let backout = gpt.backout().map(|(layer, lambda)| (HookPoint::ResidPost(layer), lambda));
        let mut points: BTreeSet<HookPoint> = outputs.iter().copied().collect();
        points.extend([end].into_iter().chain(backout.map(|(point, _)| point)));
        let mut recorder = ActivationRecorder::new(points);
        let tokens = TokenBatch::new(std::slice::from_ref(&self.tokens))?;
        gpt.forward(&tokens, Logits::Last, &mut recorder)?;
        let seen = recorder.finish()?;
        let at_last = |x: Tensor<3>| x.slice_dim(1, last..last + 1);
        let seen = |point: HookPoint| match seen.get(point) {
            Some(activation) => at_last(activation.tensor::<3>()),
            None => unreachable!("the recorder finished"),
        };

        let mut x = seen(end);
        if let Some((point, lambda)) = backout {
            x = x - seen(point) * lambda;
        }
        let scale = to_host(gpt.final_norm_scale(x))[0];
        let weights = Weights::new(gpt, metric, logits);
        // In the order of the fields of `DirectEffect`.
        let by_normed = gpt.unembedding_sums(weights.tensor(gpt));
        // A LayerNorm takes the mean over channels from an activation; taken from these, it is the same.
        let by_stream = match gpt.config().norm.kind {
            NormKind::LayerNorm => by_normed.clone() - by_normed.clone().mean_dim(1),
            NormKind::Rms | NormKind::RmsGain => by_normed.clone(),
        } / scale;
        let mut components = Vec::new();
        let mut add = |name: String, coefficient: f32, y: Tensor<3>| {
            let y = y.reshape([1, shape.n_embd]) * coefficient;
            let effect = weights.effect(&to_host(y.matmul(by_stream.clone().transpose())));
            components.push(DirectComponent { name, coefficient, effect });
        };
        for input in gpt.stream_inputs(&tokens)? {
            add(input.name.to_owned(), input.coefficient, at_last(input.activation));
        }
        for &point in &outputs {
            let coefficient = gpt.direct_coefficient(point).unwrap_or_default();
            add(point.to_string(), coefficient, seen(point));
        }
        if gpt.config().norm.kind == NormKind::LayerNorm {
            let bias = to_host(gpt.raw_logits(Tensor::zeros([1, 1, shape.n_embd], gpt.device())));
            let effect = weights.effect(&weights.sums(&bias));
            components.push(DirectComponent {
                name: "final_bias".into(),
                coefficient: 1.0,
                effect,
            });
        }
        let direct = Direct {
            features: self.direct_features(gpt, &weights, &by_stream, &by_normed),
            components,
            coefficients: self.coefficients(gpt),
            final_norm_scale: scale,
            target_slope: weights.slope(metric.target()),
            contrast_slope: metric.contrast().map(|id| weights.slope(id)),
        };
        let effects = direct.features.iter().map(|feature| &feature.effect);
        let effects = effects.chain(direct.components.iter().map(|part| &part.effect));
        let is_finite = |effect: &DirectEffect| {
            effect.raw_target.is_finite()
                && effect.raw_mean.is_finite()
                && effect.metric.is_finite()
        };
        if !effects.into_iter().all(is_finite) {
            return Err(AttributeError::NotFinite { quantity: "a direct effect" });
        }
        Ok(direct)
    }

    fn coefficients(&self, gpt: &Gpt) -> Vec<(HookPoint, f32)> {
        let of =
            |hook: HookPoint| Some((hook, gpt.direct_coefficient(self.model.write_point(hook))?));
        self.decomposed.iter().filter_map(|parts| of(parts.source.hook)).collect()
    }

    /// The effects of the features at the last position.
    ///
    /// # Shapes
    /// - `by_stream`, `by_normed`: `[weights, n_embd]`
    fn direct_features(
        &self,
        gpt: &Gpt,
        weights: &Weights,
        by_stream: &Tensor<2>,
        by_normed: &Tensor<2>,
    ) -> Vec<DirectFeature> {
        let last = self.position();
        let mut features = Vec::new();
        for parts in &self.decomposed {
            let write = parts.source.write;
            let (coefficient, products) = match gpt.direct_coefficient(write) {
                Some(coefficient) => (coefficient, by_stream),
                None if write == HookPoint::FinalNormalized => (1.0, by_normed),
                None => continue,
            };
            let first = self.rows_of(parts.source.hook).start;
            let active = parts.active().enumerate().filter(|(_, (position, _))| *position == last);
            let active: Vec<(usize, (u32, f32))> =
                active.map(|(at, (_, feature))| (first + at, feature)).collect();
            if active.is_empty() {
                continue;
            }
            let ids: Vec<usize> = active.iter().map(|(_, (id, _))| *id as usize).collect();
            let products = to_host(parts.directions(&ids).matmul(products.clone().transpose()));
            let factor = parts.factor(last) * coefficient;
            for (&(row, (_, value)), products) in
                active.iter().zip(products.chunks_exact(weights.rows.len()))
            {
                let scaled: Vec<f32> = products.iter().map(|x| value * factor * x).collect();
                features.push(DirectFeature { row, effect: weights.effect(&scaled) });
            }
        }
        features
    }
}

/// The weights of the logits before the softcap in each number of a [`DirectEffect`].
struct Weights {
    /// Target, contrast if there is one, mean, metric.
    rows: Vec<Vec<f32>>,
    has_contrast: bool,
    slopes: Vec<f64>,
}

impl Weights {
    fn new(gpt: &Gpt, metric: TokenMetric, logits: &[f32]) -> Self {
        let slopes = slopes(gpt, logits);
        let only = |id: u32| {
            let mut row = vec![0.0_f32; logits.len()];
            row[id as usize] = 1.0;
            row
        };
        let derivatives = metric.derivatives(logits);
        let of_metric = derivatives.iter().zip(&slopes).map(|(d, slope)| (d * slope) as f32);
        let mut rows = vec![only(metric.target())];
        rows.extend(metric.contrast().map(only));
        rows.push(vec![1.0 / logits.len() as f32; logits.len()]);
        rows.push(of_metric.collect());
        Self { rows, has_contrast: metric.contrast().is_some(), slopes }
    }

    fn slope(&self, id: u32) -> f64 {
        self.slopes[id as usize]
    }

    /// The weights, `[weights, vocab_size]`.
    fn tensor(&self, gpt: &Gpt) -> Tensor<2> {
        let shape = [self.rows.len(), self.slopes.len()];
        Tensor::from_data(TensorData::new(self.rows.concat(), shape), gpt.device())
    }

    /// The weighted sums of raw logits.
    fn sums(&self, raw: &[f32]) -> Vec<f32> {
        let sum = |row: &Vec<f32>| -> f64 {
            row.iter().zip(raw).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        self.rows.iter().map(|row| sum(row) as f32).collect()
    }

    /// The effects from one number for each weight.
    fn effect(&self, numbers: &[f32]) -> DirectEffect {
        let rest = usize::from(self.has_contrast);
        DirectEffect {
            raw_target: numbers[0],
            raw_contrast: self.has_contrast.then(|| numbers[1]),
            raw_mean: numbers[1 + rest],
            metric: numbers[2 + rest],
        }
    }
}
