//! Loss and gradients of SAEs that select a few features.
//!
//! Features that are not selected do not contribute to the loss, so the gradient is known in closed
//! form and touches only `k` features per activation. Only the product with the encoder is dense:
//! one of the five products in an autodiff graph over dense features.

use nanoscope_kernels::to_host;

use rayon::prelude::*;

use crate::parameters::{Parameters, Weight, upload};
use crate::pass::encoder::{Input, decoder_bias_gradient, pre_activations};
use crate::pass::entries::Entries;
use crate::pass::losses::{Losses, Pass};
use crate::pass::rule::Kept;
use crate::pass::select;
use crate::pass::sparse_products::{
    FeatureGradients, Size, Upstream, mean_square, reconstruct, row_squares, scale, sum_of_rows,
};
use crate::recipe::AuxK;

/// Rule for selecting features.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keep {
    /// The `k` largest of each activation.
    PerRow(usize),
    /// The `k · rows` largest of the batch.
    PerBatch(usize),
}

/// Parameters of a pass over a batch, besides the weights.
#[derive(Debug)]
pub(crate) struct Selected<'a> {
    pub(crate) keep: Keep,
    /// Ends of the groups of features that reconstruct on their own, ascending; the last is
    /// `d_sae`.
    pub(crate) groups: &'a [usize],
    pub(crate) aux_k: &'a AuxK,
    /// The dead features, ascending.
    pub(crate) dead: &'a [u32],
}

impl Selected<'_> {
    /// Computes the loss of the activations `x` and its gradients.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]` row-major
    pub(crate) fn pass(&self, parameters: &Parameters, x: &[f32]) -> Pass {
        let encoder = parameters.get(Weight::Encoder);
        let ([d_sae, d_in], device) = (encoder.dims(), encoder.device());
        let size = Size { rows: x.len() / d_in, d_in, d_sae };
        let decoder = to_host(parameters.get(Weight::Decoder));
        let b_dec = to_host(parameters.get(Weight::DecoderBias));

        let uploaded = upload(x.to_vec(), [size.rows, d_in], &device);
        let pre = pre_activations(parameters, uploaded, Input::WithoutDecoderBias);
        let kept = match self.keep {
            Keep::PerRow(k) => select::top_k(&pre, d_sae, k),
            Keep::PerBatch(k) => select::batch_top_k(&pre, d_sae, k),
        };

        let errors = reconstruct(&kept, |_, value| value, self.groups, &decoder, &b_dec, x, size);
        let last = errors.len() - 1;
        let losses: Vec<f64> = errors.iter().map(|errors| mean_square(errors, size.rows)).collect();
        let aux = self.aux(&pre, &errors[last], &decoder, size);
        let row_errors = row_squares(&errors[last], d_in);
        drop(pre);

        let mut gradient = FeatureGradients::zeros(size);
        let by_group = upstream(errors, size.rows);
        let upstream = Upstream { by_group: &by_group, groups: self.groups, gates: &[] };
        gradient.add(&Kept, &kept.by_feature(), upstream, &decoder, x, size);
        if let Some(aux) = &aux {
            let by_group = std::slice::from_ref(&aux.upstream);
            let upstream = Upstream { by_group, groups: &[d_sae], gates: &[] };
            gradient.add(&Kept, &aux.kept.by_feature(), upstream, &decoder, x, size);
        }
        gradient.take_off(&b_dec);

        let bias: Vec<f32> = gradient.sums.iter().map(|sums| sums.pre).collect();
        let b_dec_gradient = decoder_bias_gradient(
            parameters,
            sum_of_rows(&by_group[0], d_in),
            bias.clone(),
            Input::WithoutDecoderBias,
        );
        let mut fired = vec![0_u32; d_sae];
        for (feature, _) in kept.iter() {
            fired[feature as usize] += 1;
        }
        Pass {
            losses: Losses {
                mse: losses[last],
                total: losses.iter().sum::<f64>() / losses.len() as f64
                    + aux.as_ref().map_or(0.0, |aux| aux.loss),
                sparsity: 0.0,
                aux: aux.map_or(0.0, |aux| aux.loss),
            },
            smallest: kept.iter().map(|(_, value)| value).reduce(f32::min),
            fired,
            errors: row_errors,
            gradients: Parameters::new([
                (Weight::Encoder, upload(gradient.encoder, [d_sae, d_in], &device)),
                (Weight::EncoderBias, upload(bias, [1, d_sae], &device)),
                (Weight::Decoder, upload(gradient.decoder, [d_sae, d_in], &device)),
                (Weight::DecoderBias, b_dec_gradient),
            ]),
        }
    }

    /// Computes the auxiliary loss: dead features reconstruct the error of the others, without
    /// `b_dec`. The error is treated as a constant.
    fn aux(&self, pre: &[f32], errors: &[f32], decoder: &[f32], size: Size) -> Option<Aux> {
        let k = self.aux_k.k.unwrap_or(size.d_in / 2).max(1);
        let weight = self.aux_k.coefficient * (self.dead.len() as f64 / k as f64).min(1.0);
        if weight == 0.0 {
            return None;
        }
        let kept = select::top_k_among(pre, size.d_sae, self.dead, k);
        // `errors` are `x̂ − x`; the missing part is their negative.
        let missing: Vec<f32> = errors.iter().map(|error| -error).collect();
        let zero = vec![0.0; size.d_in];
        let groups = [size.d_sae];
        let mut left =
            reconstruct(&kept, |_, value| value, &groups, decoder, &zero, &missing, size);
        let mut upstream = left.pop().expect("there is one group");
        let loss = weight * mean_square(&upstream, size.rows);
        scale(&mut upstream, (2.0 * weight / size.rows as f64) as f32);
        Some(Aux { loss, kept, upstream })
    }
}

struct Aux {
    loss: f64,
    kept: Entries,
    /// Gradient of the reconstruction, `[rows, d_in]`.
    upstream: Vec<f32>,
}

/// Gradient of the loss with respect to each group's contribution: a feature takes part in the
/// reconstruction of its own group and of all later ones.
fn upstream(mut errors: Vec<Vec<f32>>, rows: usize) -> Vec<Vec<f32>> {
    let by = 2.0 / (rows * errors.len()) as f32;
    for at in (0..errors.len()).rev() {
        let (these, later) = errors.split_at_mut(at + 1);
        let these = &mut these[at];
        match later.first() {
            Some(later) => {
                these
                    .par_iter_mut()
                    .zip(later)
                    .for_each(|(this, later)| *this = *this * by + later);
            }
            None => scale(these, by),
        }
    }
    errors
}
