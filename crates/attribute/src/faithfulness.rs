//! The part of a metric that the strongest features carry.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::Tensor;
use nanoscope_hooks::{ActivationRecorder, HookPoint, HookRouter};
use nanoscope_kernels::to_host;
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::{Logits, TokenBatch};

use crate::attribution::Attribution;
use crate::error::AttributeError;
use crate::metric::Readout;
use crate::pass::{MAX_TOKENS, by_position, of_features};
use crate::source::Decomposed;

/// The values of active features that are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// 0.
    Zero,
    /// Their mean over the positions of the text, which removes what a position has of its own.
    Mean,
}

/// The metric with some features alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Faithfulness {
    /// The metric of the text, `m`.
    pub value: f32,
    /// The metric without any feature, `m(∅)`.
    pub without_features: f32,
    /// The metric with the strongest features, in the order asked for.
    pub kept: Vec<Kept>,
}

/// The metric with the strongest features alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kept {
    /// The number of features kept, of all SAEs and positions together.
    pub features: usize,
    /// The metric with them, `m(C)`.
    pub value: f32,
    /// The share of the metric that survives, `(m(C) − m(∅)) / (m − m(∅))`: 0 without features, 1 with all of
    /// them, and below or above if features that speak for and against the target are kept unevenly. `None` if the
    /// features make no difference. Where they make a small one, as of a logit difference between two tokens that the
    /// error terms alone rank alike, it is a quotient of small numbers; a log probability is steadier.
    pub share: Option<f64>,
}

impl Attribution<'_> {
    /// Computes the metric with only the `n` strongest features, by absolute attribution, for each `n` of
    /// `counts`. More than there are keeps all.
    ///
    /// In one pass, at every hook point and position, the features of the activation that arrives are computed, and the
    /// active ones that are not kept are set to 0 or to their mean; kept features have the values that follow from what is left
    /// before them. Error and bias terms stay, so that they alone make `m(∅)`. The faithfulness of Marks et al. 2024
    /// (arXiv:2403.19647).
    ///
    /// # Errors
    /// [`AttributeError::Encode`] if an activation cannot be encoded; [`AttributeError::NotFinite`] if the metric
    /// is not finite.
    pub fn faithfulness(
        &self,
        counts: &[usize],
        rest: Rest,
    ) -> Result<Faithfulness, AttributeError> {
        let order = self.strongest(usize::MAX);
        let means: Vec<Vec<f32>> = self.decomposed.iter().map(|parts| means(parts, rest)).collect();
        // The first is without features.
        let all: Vec<usize> = [0].iter().chain(counts).map(|&n| n.min(order.len())).collect();
        let mut values = Vec::with_capacity(all.len());
        let at_once = (MAX_TOKENS / self.tokens.len()).max(1);
        for part in all.chunks(at_once) {
            let kept = part.iter().map(|&n| {
                let nodes = order[..n].iter().map(|&row| {
                    let feature = &self.features()[row];
                    (feature.hook, feature.position, feature.feature)
                });
                nodes.collect()
            });
            values.extend(self.with_nodes(kept.collect(), &means)?);
        }
        let (value, without_features) = (self.value(), values[0]);
        let whole = f64::from(value) - f64::from(without_features);
        let kept = all[1..].iter().zip(&values[1..]).map(|(&features, &value)| {
            let left = f64::from(value) - f64::from(without_features);
            Kept { features, value, share: (whole != 0.0).then(|| left / whole) }
        });
        Ok(Faithfulness { value, without_features, kept: kept.collect() })
    }

    /// The metric of rows that keep these nodes.
    fn with_nodes(
        &self,
        kept: Vec<BTreeSet<Node>>,
        means: &[Vec<f32>],
    ) -> Result<Vec<f32>, AttributeError> {
        let gpt = self.model.gpt();
        let rows = kept.len();
        let tokens = TokenBatch::new(&vec![self.tokens.clone(); rows])?;
        let seq = self.tokens.len();
        let sources = self.decomposed.iter().zip(means).collect();
        let mut router = KeepRouter { sources, kept, seq, pending: BTreeMap::new(), failed: None };
        let values = match self.readout {
            Readout::Token(metric) => {
                let logits = gpt.forward(&tokens, Logits::Last, &mut router)?;
                metric.of(logits.squeeze_dim::<2>(1))
            }
            Readout::Feature { hook, .. } => {
                let mut routers = (&mut router, ActivationRecorder::new([hook]));
                gpt.forward_to(&tokens, hook, &mut routers)?;
                let seen = routers.1.finish()?;
                let seen = seen.iter().map(|(point, activation)| {
                    let x = match activation.shape().len() {
                        4 => by_position(activation.tensor::<4>()),
                        _ => by_position(activation.tensor::<3>()),
                    };
                    (point, x)
                });
                to_host(of_features(&vec![self.readout; rows], seq, &seen.collect())?)
            }
        };
        if let Some(error) = router.failed {
            return Err(error);
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(AttributeError::NotFinite { quantity: "the metric with some features" });
        }
        Ok(values)
    }
}

/// A feature at a position.
type Node = (HookPoint, usize, u32);

/// The value of each feature of an SAE that is not kept.
fn means(parts: &Decomposed<'_>, rest: Rest) -> Vec<f32> {
    let mut means = vec![0.0; parts.features.d_sae()];
    if rest == Rest::Mean {
        for (_, (feature, value)) in parts.active() {
            means[feature as usize] += value / parts.features.rows() as f32;
        }
    }
    means
}

/// Sets the features that a row does not keep.
struct KeepRouter<'a, 'm> {
    sources: Vec<(&'a Decomposed<'m>, &'a Vec<f32>)>,
    /// For each row.
    kept: Vec<BTreeSet<Node>>,
    seq: usize,
    /// The changes to subtract at the points that are still to come, `[rows · seq, width]`.
    pending: BTreeMap<HookPoint, Vec<Tensor<2>>>,
    /// A pass cannot be ended at a hook point.
    failed: Option<AttributeError>,
}

impl KeepRouter<'_, '_> {
    /// The part of the written activation that comes from features that are not kept.
    ///
    /// # Shapes
    /// - `x`: `[rows · seq, d_in]`
    /// - output: `[rows · seq, d_out]`
    fn removed(
        &self,
        parts: &Decomposed<'_>,
        means: &[f32],
        x: Tensor<2>,
    ) -> Result<Tensor<2>, AttributeError> {
        let (hook, sae) = (parts.source.hook, parts.source.sae);
        let features = sae.encode_sparse(x.clone());
        let features = features.map_err(|source| AttributeError::Encode { hook, source })?;
        let d_sae = features.d_sae();
        let (mut removed, mut none) = (SparseFeatures::new(d_sae), SparseFeatures::new(d_sae));
        for at in 0..features.rows() {
            let (row, position) = (at / self.seq, at % self.seq);
            let is_kept = |feature| self.kept[row].contains(&(hook, position, feature));
            let rest = features.row(at).filter(|(feature, _)| !is_kept(*feature));
            removed.push_row(rest.map(|(feature, f)| (feature, f - means[feature as usize])));
            none.push_row([]);
        }
        Ok(sae.decode_sparse(&removed, x.clone()) - sae.decode_sparse(&none, x))
    }
}

impl HookRouter for KeepRouter<'_, '_> {
    fn wants(&self, point: HookPoint) -> bool {
        let mut sources = self.sources.iter().map(|(parts, _)| parts.source);
        sources.any(|source| source.hook == point || source.write == point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        for (parts, means) in self.sources.clone() {
            if parts.source.hook != point {
                continue;
            }
            match self.removed(parts, means, by_position(x.clone())) {
                Ok(removed) => self.pending.entry(parts.source.write).or_default().push(removed),
                Err(error) => {
                    self.failed.get_or_insert(error);
                }
            }
        }
        let Some(removed) = self.pending.remove(&point) else { return x };
        let dims = x.dims();
        removed.into_iter().fold(by_position(x), |x, removed| x - removed).reshape(dims)
    }
}
