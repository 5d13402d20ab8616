//! A pass over copies of one text, differentiated by activations.
//!
//! The weights stay plain tensors: at each hook point numbers are added that require a gradient, zeros if
//! the activation is to stay as it is. One pass and one backward therefore give the gradients at all hook
//! points, where a leaf in the place of an activation would end the graph below it.

use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Tensor, TensorData};
use nanoscope_hooks::{HookError, HookPoint, HookRouter};
use nanoscope_kernels::to_host;
use nanoscope_transformer::{Gpt, TokenBatch};

use crate::error::AttributeError;
use crate::metric::{Readout, slopes};

/// A pass over rows that are copies of one text.
pub(crate) struct Pass<'a, 'm> {
    pub(crate) gpt: &'a Gpt,
    pub(crate) tokens: &'a [u32],
    /// The number that each row ends in: of tokens, or of features, for all rows.
    pub(crate) readouts: &'a [Readout<'m>],
    /// Offsets to add to the activations at these points, `[rows · seq, width]`; gradients are by them.
    pub(crate) offsets: BTreeMap<HookPoint, Tensor<2>>,
    /// The points whose additions from an embedding are differentiated by, `[rows · seq, n_embd]`. They are
    /// made before an SAE reads the point.
    pub(crate) inputs: BTreeSet<HookPoint>,
    pub(crate) between: Between,
    /// The points whose activations are kept.
    pub(crate) keep: BTreeSet<HookPoint>,
}

/// The effects that a derivative by an activation counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Every effect, through later points too.
    Total,
    /// The effects that do not go through a later one of the points.
    Direct,
}

/// The numbers and gradients of a pass.
pub(crate) struct Differentiated {
    /// The readout of each row.
    pub(crate) values: Vec<f32>,
    /// The derivative of each row's readout by the activation at each point, `[rows · seq, width]`.
    pub(crate) gradients: BTreeMap<HookPoint, Tensor<2>>,
    /// The derivative by what is added from an embedding.
    pub(crate) input_gradients: BTreeMap<HookPoint, Tensor<2>>,
    /// The activations that arrived at the points to keep, `[rows · seq, width]`.
    pub(crate) kept: BTreeMap<HookPoint, Tensor<2>>,
    /// The logits of the last position, `[rows, vocab_size]`, if tokens are read.
    pub(crate) logits: Option<Tensor<2>>,
}

impl Pass<'_, '_> {
    /// Runs the pass and differentiates it.
    pub(crate) fn run(self) -> Result<Differentiated, AttributeError> {
        let rows = self.readouts.len();
        let batch = TokenBatch::new(&vec![self.tokens.to_vec(); rows])?;
        let leaf = |offset: Tensor<2>| offset.autodiff().require_grad();
        let leaves: BTreeMap<HookPoint, Tensor<2>> =
            self.offsets.into_iter().map(|(point, offset)| (point, leaf(offset))).collect();
        let positions = rows * self.tokens.len();
        let zeros =
            || Tensor::zeros([positions, self.gpt.config().shape.n_embd], self.gpt.device());
        let inputs: BTreeMap<HookPoint, Tensor<2>> =
            self.inputs.into_iter().map(|point| (point, leaf(zeros()))).collect();
        let targets: BTreeSet<HookPoint> = self.readouts.iter().filter_map(Readout::hook).collect();
        let mut router = GradientRouter {
            leaves: &leaves,
            inputs: &inputs,
            between: self.between,
            keep: &targets | &self.keep,
            kept: BTreeMap::new(),
            normed: None,
        };
        let of_logits = matches!(self.readouts.first(), Some(Readout::Token(_)));
        let deepest = if of_logits {
            HookPoint::FinalNormalized
        } else {
            *router.keep.last().expect("a feature is read at a hook point")
        };
        self.gpt.forward_to(&batch, deepest, &mut router)?;
        let GradientRouter { keep, kept, normed, .. } = router;
        if let Some(&point) = keep.iter().find(|point| !kept.contains_key(point)) {
            return Err(HookError::NeverReached { point }.into());
        }
        let (values, total, logits) = match normed {
            Some(normed) if of_logits => {
                let last = last_positions(normed, rows);
                of_tokens(self.gpt, self.readouts, last)
            }
            _ => {
                let values = of_features(self.readouts, self.tokens.len(), &kept)?;
                (to_host(values.clone().inner()), values.sum(), None)
            }
        };
        if values.iter().any(|value| !value.is_finite()) {
            return Err(AttributeError::NotFinite { quantity: "the metric" });
        }
        let mut found = total.is_tracked().then(|| total.backward());
        let mut of = |leaves: &BTreeMap<HookPoint, Tensor<2>>| -> BTreeMap<HookPoint, Tensor<2>> {
            let gradient = |(&point, leaf): (&HookPoint, &Tensor<2>)| {
                let gradient = found.as_mut().and_then(|found| leaf.grad_remove(found));
                // A readout before the point, or beside it, does not depend on it.
                (point, gradient.unwrap_or_else(|| leaf.clone().inner().zeros_like()))
            };
            leaves.iter().map(gradient).collect()
        };
        let (gradients, input_gradients) = (of(&leaves), of(&inputs));
        let kept = kept.into_iter().map(|(point, x)| (point, x.inner())).collect();
        Ok(Differentiated { values, gradients, input_gradients, kept, logits })
    }
}

/// Takes the last position of each row: `[rows · seq, width]` becomes `[rows, width]`.
fn last_positions(x: Tensor<2>, rows: usize) -> Tensor<2> {
    let [positions, width] = x.dims();
    let seq = positions / rows;
    x.reshape([rows, seq, width]).slice_dim(1, seq - 1..seq).reshape([rows, width])
}

/// Computes the metric of each row, a number with the same derivative as their sum, and the logits.
///
/// The way from the normed activation to the metric is written down rather than recorded: its derivative is a
/// weighted sum of the unembedding's rows. A recorded product would keep the whole unembedding in float32.
///
/// # Shapes
/// - `normed`: `[rows, n_embd]`
/// - output: the logits are `[rows, vocab_size]`
fn of_tokens(
    gpt: &Gpt,
    readouts: &[Readout<'_>],
    normed: Tensor<2>,
) -> (Vec<f32>, Tensor<1>, Option<Tensor<2>>) {
    let logits = gpt.unembed(normed.clone().inner().unsqueeze_dim(1)).squeeze_dim::<2>(1);
    let [rows, vocab_size] = logits.dims();
    let on_host = to_host(logits.clone());
    let (mut values, mut weights) = (Vec::with_capacity(rows), Vec::with_capacity(on_host.len()));
    for (row, readout) in readouts.iter().enumerate() {
        let Readout::Token(metric) = readout else {
            unreachable!("a pass reads tokens or features");
        };
        values.extend(metric.of(logits.clone().slice_dim(0, row..row + 1)));
        let logits = &on_host[row * vocab_size..(row + 1) * vocab_size];
        let derivatives = metric.derivatives(logits).into_iter().zip(slopes(gpt, logits));
        weights.extend(derivatives.map(|(derivative, slope)| (derivative * slope) as f32));
    }
    let weights = Tensor::from_data(TensorData::new(weights, [rows, vocab_size]), gpt.device());
    let total = (normed * gpt.unembedding_sums(weights)).sum();
    (values, total, Some(logits))
}

/// Computes the pre-activation of each row from the activations that were kept.
pub(crate) fn of_features(
    readouts: &[Readout<'_>],
    seq: usize,
    kept: &BTreeMap<HookPoint, Tensor<2>>,
) -> Result<Tensor<1>, AttributeError> {
    let of_row = |(row, readout): (usize, &Readout<'_>)| match readout {
        Readout::Feature { hook, sae, feature, position } => {
            let at = row * seq + position;
            let x = kept[hook].clone().slice_dim(0, at..at + 1);
            let pre = sae.pre_activations_of(x, &[*feature]);
            let pre = pre.map_err(|source| AttributeError::Feature { hook: *hook, source })?;
            Ok(pre.squeeze_dim::<1>(1))
        }
        Readout::Token(_) => unreachable!("a pass reads tokens or features"),
    };
    let values: Result<Vec<_>, AttributeError> = readouts.iter().enumerate().map(of_row).collect();
    Ok(Tensor::cat(values?, 0))
}

/// Adds what is differentiated by, and keeps activations.
struct GradientRouter<'l> {
    leaves: &'l BTreeMap<HookPoint, Tensor<2>>,
    inputs: &'l BTreeMap<HookPoint, Tensor<2>>,
    between: Between,
    keep: BTreeSet<HookPoint>,
    kept: BTreeMap<HookPoint, Tensor<2>>,
    /// The input of the unembedding, `[rows · seq, n_embd]`, with what is added to it.
    normed: Option<Tensor<2>>,
}

impl HookRouter for GradientRouter<'_> {
    fn wants(&self, point: HookPoint) -> bool {
        self.leaves.contains_key(&point)
            || self.inputs.contains_key(&point)
            || self.keep.contains(&point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = match self.inputs.get(&point) {
            Some(input) => {
                let dims = x.dims();
                x + input.clone().reshape(dims)
            }
            None => x,
        };
        // Before a leaf is added: what an SAE reads depends on earlier points, and not on its own.
        if self.keep.contains(&point) {
            self.kept.insert(point, by_position(x.clone()));
        }
        let x = match self.leaves.get(&point) {
            Some(leaf) => {
                let dims = x.dims();
                let x = if self.between == Between::Direct { x.inner() } else { x };
                x + leaf.clone().reshape(dims)
            }
            None => x,
        };
        if point == HookPoint::FinalNormalized {
            self.normed = Some(by_position(x.clone()));
        }
        x
    }
}

/// An activation with a row for each position: `[batch, seq, ..]` becomes `[batch · seq, width]`.
pub(crate) fn by_position<const D: usize>(x: Tensor<D>) -> Tensor<2> {
    let dims = x.dims();
    let rows = dims[0] * dims[1];
    let width = dims.iter().product::<usize>() / rows;
    x.reshape([rows, width])
}

/// The largest number of tokens in a batch, all rows together.
pub(crate) const MAX_TOKENS: usize = 2048;
/// The same for a batch that is differentiated.
pub(crate) const MAX_DIFFERENTIATED: usize = 1024;
