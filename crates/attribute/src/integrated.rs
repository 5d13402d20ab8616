//! Integrated gradients.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;

use crate::attribution::Attribution;
use crate::error::AttributeError;
use crate::pass::{Between, MAX_DIFFERENTIATED, Pass};
use crate::source::{Decomposed, matrix};

/// The points at which gradients are taken on the way from no features (0) to all of them (1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Steps {
    /// `k / n` for `k` from 1 to `n`, as in EAP-IG (Hanna et al. 2024, arXiv:2403.17806) and the code of
    /// sparse feature circuits. With one step this is gradient × activation.
    Ends(usize),
    /// `(k − ½) / n` for `k` from 1 to `n`, whose sums come nearer to the difference that they share out.
    Midpoints(usize),
}

impl Steps {
    /// The number of points.
    pub fn count(self) -> usize {
        match self {
            Self::Ends(n) | Self::Midpoints(n) => n,
        }
    }
}

/// Integrated gradients of every feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Integrated {
    /// The share of each row of [`Attribution::features`].
    pub features: Vec<f32>,
    /// The sums, one for each SAE, in execution order.
    pub hooks: Vec<IntegratedHook>,
}

/// The integrated gradients of one SAE's features together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IntegratedHook {
    /// The hook point that the SAE reads.
    pub hook: HookPoint,
    /// The sum over the features at all positions. With ever more steps it becomes the metric less
    /// [`without_features`](Self::without_features).
    pub sum: f64,
    /// The metric without any of the features, with the error and bias terms at all positions.
    pub without_features: f32,
}

impl Attribution<'_> {
    /// Computes integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365), each SAE by itself along the
    /// ablation of all its features at all positions:
    ///
    /// ```text
    /// x(t) = x − (1 − t) · Σ_i f_i · d_i
    /// share of feature i = f_i · d_i · mean over t of ∂m/∂x at x(t)
    /// ```
    ///
    /// The shares of an SAE add up to the effect of removing all its features. They are not a better estimate of a
    /// single ablation than the gradient is.
    ///
    /// # Errors
    /// [`AttributeError::NoSteps`] without a step; [`AttributeError::NotFinite`] if a number is not finite.
    pub fn integrate(&self, steps: Steps) -> Result<Integrated, AttributeError> {
        let points: Vec<f64> = match steps {
            Steps::Ends(n) => (1..=n).map(|k| k as f64 / n as f64).collect(),
            Steps::Midpoints(n) => (1..=n).map(|k| (k as f64 - 0.5) / n as f64).collect(),
        };
        if points.is_empty() {
            return Err(AttributeError::NoSteps);
        }
        let mut integrated =
            Integrated { features: Vec::with_capacity(self.features().len()), hooks: Vec::new() };
        for parts in &self.decomposed {
            let (mean, without_features) = self.mean_gradient(parts, &points)?;
            let gradients = parts.by_feature(&mean);
            let shares = gradients.iter().zip(parts.active()).map(|(g, (_, (_, value)))| g * value);
            let shares: Vec<f32> = shares.collect();
            let sum = shares.iter().map(|&share| f64::from(share)).sum::<f64>();
            if !sum.is_finite() {
                return Err(AttributeError::NotFinite { quantity: "an integrated gradient" });
            }
            let hook = parts.source.hook;
            integrated.hooks.push(IntegratedHook { hook, sum, without_features });
            integrated.features.extend(shares);
        }
        Ok(integrated)
    }

    /// The mean of the gradients at `points`, `[seq, width]`, and the metric at 0.
    fn mean_gradient(
        &self,
        parts: &Decomposed<'_>,
        points: &[f64],
    ) -> Result<(Tensor<2>, f32), AttributeError> {
        let [seq, width] = parts.activation.dims();
        let at_once = (MAX_DIFFERENTIATED / seq).max(1);
        let mut sum = Tensor::<2>::zeros([seq, width], &parts.activation.device());
        let mut without_features = 0.0;
        // The first row is at 0, and has no weight.
        let all: Vec<f64> = std::iter::once(0.0).chain(points.iter().copied()).collect();
        for (part, points) in all.chunks(at_once).enumerate() {
            let less: Vec<f32> = points.iter().map(|t| (t - 1.0) as f32).collect();
            let less = matrix(less, [points.len(), 1], &parts.activation);
            let moved = parts.from_features.clone().reshape([1, seq * width]);
            let offset = less.matmul(moved).reshape([points.len() * seq, width]);
            let write = parts.source.write;
            let pass = Pass {
                gpt: self.model.gpt(),
                tokens: &self.tokens,
                readouts: &vec![self.readout; points.len()],
                offsets: BTreeMap::from([(write, offset)]),
                inputs: BTreeSet::new(),
                between: Between::Total,
                keep: BTreeSet::new(),
            };
            let found = pass.run()?;
            let gradient = found.gradients[&write].clone().reshape([points.len(), seq * width]);
            let counted = if part == 0 {
                without_features = found.values[0];
                gradient.slice_dim(0, 1..points.len())
            } else {
                gradient
            };
            let [rows, _] = counted.dims();
            if rows > 0 {
                sum = sum + counted.sum_dim(0).reshape([seq, width]);
            }
        }
        Ok((sum / points.len() as f32, without_features))
    }
}
