//! The products of the closed form with all entries, for batches in which many features are active.

use burn::tensor::Tensor;
use nanoscope_kernels::to_host;
use pulp::Arch;
use rayon::prelude::*;

use crate::parameters::upload;
use crate::pass::entries::CHUNK_ROWS;
use crate::pass::rule::{Along, Rule, Sums};
use crate::pass::sparse_products::FeatureGradients;

/// Applies `value(feature, pre)` to all entries.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]` row-major
pub(super) fn values(
    pre: &[f32],
    d_sae: usize,
    value: impl Fn(usize, f32) -> f32 + Sync + Send,
) -> Vec<f32> {
    let arch = Arch::new();
    let mut values = vec![0.0; pre.len()];
    let rows = values.par_chunks_exact_mut(d_sae).zip(pre.par_chunks_exact(d_sae));
    rows.with_min_len(16).for_each(|(values, pre)| {
        arch.dispatch(|| {
            for (feature, (to, pre)) in values.iter_mut().zip(pre).enumerate() {
                *to = value(feature, *pre);
            }
        });
    });
    values
}

/// Computes `x̂ − x`, `[rows, d_in]`.
///
/// # Shapes
/// - `features`: `[rows, d_sae]`
/// - `decoder`: `[d_sae, d_in]`
pub(super) fn errors(
    features: Tensor<2>,
    decoder: Tensor<2>,
    b_dec: &[f32],
    x: &[f32],
) -> Vec<f32> {
    let mut errors = to_host(features.matmul(decoder));
    let rows = errors.par_chunks_exact_mut(b_dec.len()).zip(x.par_chunks_exact(b_dec.len()));
    rows.with_min_len(64).for_each(|(error, x)| {
        for ((error, b), x) in error.iter_mut().zip(b_dec).zip(x) {
            *error += b - x;
        }
    });
    errors
}

/// Computes the gradients of each feature's weights, for an encoder of `x`.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]` row-major
/// - `features`: `[rows, d_sae]`
/// - `decoder`: `[d_sae, d_in]`
/// - `x`, `upstream`, `gates`: `[rows, d_in]`; `gates` is there if the rule has gates
pub(super) fn gradients<R: Rule>(
    rule: &R,
    pre: &[f32],
    features: Tensor<2>,
    upstream: Tensor<2>,
    gates: Option<Tensor<2>>,
    decoder: &Tensor<2>,
    x: Tensor<2>,
) -> FeatureGradients {
    let [rows, d_sae] = features.dims();
    let device = decoder.device();
    let decoder_gradient = features.transpose().matmul(upstream.clone());
    let mut along = to_host(upstream.matmul(decoder.clone().transpose()));
    let gates = gates.map(|gates| to_host(gates.matmul(decoder.clone().transpose())));

    let arch = Arch::new();
    let per_chunk = CHUNK_ROWS * d_sae;
    let chunks = along.par_chunks_mut(per_chunk).zip(pre.par_chunks(per_chunk)).enumerate();
    let sums = chunks.map(|(chunk, (along, pre))| {
        let gates = gates.as_ref().map(|gates| &gates[chunk * per_chunk..][..pre.len()]);
        let mut sums = vec![Sums::default(); d_sae];
        arch.dispatch(|| {
            for at in (0..pre.len()).step_by(d_sae) {
                let (along, pre) = (&mut along[at..][..d_sae], &pre[at..][..d_sae]);
                let gates = gates.map(|gates| &gates[at..][..d_sae]);
                for (feature, sums) in sums.iter_mut().enumerate() {
                    let gate = gates.map_or(0.0, |gates| gates[feature]);
                    let by = Along { value: along[feature], gate };
                    along[feature] = rule.back(feature, pre[feature], by, sums);
                }
            }
        });
        sums
    });
    // Added in the order of the rows, however many threads there are.
    let mut total = vec![Sums::default(); d_sae];
    for sums in sums.collect::<Vec<_>>() {
        for (total, sums) in total.iter_mut().zip(sums) {
            *total += sums;
        }
    }
    drop(gates);
    let encoder = upload(along, [rows, d_sae], &device).transpose().matmul(x);
    FeatureGradients { encoder: to_host(encoder), decoder: to_host(decoder_gradient), sums: total }
}
