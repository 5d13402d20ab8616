//! Loss and gradients of SAEs that select a few features.
//!
//! Features that are not selected do not contribute to the loss, so the gradient is known in closed
//! form and touches only `k` features per activation. Only the product with the encoder is dense:
//! one of the five products in an autodiff graph over dense features.

use nanoscope_sae::SparseFeatures;
use pulp::Arch;
use rayon::prelude::*;

use crate::parameters::{Parameters, Weight, download, upload};
use crate::pass::losses::{Losses, Pass};
use crate::pass::select;
use crate::recipe::AuxK;
use crate::simd::{add_scaled, dot, square};

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
        let rows = x.len() / d_in;
        let decoder = download(parameters.get(Weight::Decoder));
        let b_dec = download(parameters.get(Weight::DecoderBias));

        // `b_dec` is subtracted in the bias: `(x − b_dec) · W + b = x · W + (b − b_dec · W)`.
        let turned = encoder.clone().transpose();
        let offset = parameters.get(Weight::DecoderBias).matmul(turned.clone());
        let bias = parameters.get(Weight::EncoderBias) - offset;
        let pre = upload(x.to_vec(), [rows, d_in], &device).matmul(turned) + bias;
        let pre = download(pre);
        let kept = match self.keep {
            Keep::PerRow(k) => select::top_k(&pre, d_sae, k),
            Keep::PerBatch(k) => select::batch_top_k(&pre, d_sae, k),
        };

        let size = Size { rows, d_in, d_sae };
        let errors = reconstruct(&kept, self.groups, &decoder, &b_dec, x, size);
        let last = errors.len() - 1;
        let losses: Vec<f64> = errors.iter().map(|errors| mean_square(errors, rows)).collect();
        let aux = self.aux(&pre, &errors[last], &decoder, size);
        let arch = Arch::new();
        let row_errors = errors[last]
            .par_chunks_exact(d_in)
            .with_min_len(64)
            .map(|row| arch.dispatch(|| square(row)))
            .collect();
        drop(pre);

        let mut gradient = FeatureGradients::zeros(size);
        let upstream = upstream(errors, rows);
        gradient.add(
            &Columns::from_features(&kept, size),
            &upstream,
            self.groups,
            &decoder,
            x,
            size,
        );
        if let Some(aux) = &aux {
            let columns = Columns::from_features(&aux.kept, size);
            gradient.add(
                &columns,
                std::slice::from_ref(&aux.upstream),
                &[d_sae],
                &decoder,
                x,
                size,
            );
        }
        gradient.take_off(&b_dec);

        let mut b_dec_gradient = vec![0.0; d_in];
        for row in upstream[0].chunks_exact(d_in) {
            add_scaled(&mut b_dec_gradient, 1.0, row);
        }
        let bias_gradient = upload(gradient.bias, [1, d_sae], &device);
        let through_encoder = bias_gradient.clone().matmul(encoder);
        let b_dec_gradient = upload(b_dec_gradient, [1, d_in], &device) - through_encoder;

        let mut fired = vec![0_u32; d_sae];
        for &feature in kept.csr().1 {
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
            smallest: kept.csr().2.iter().copied().reduce(f32::min),
            fired,
            errors: row_errors,
            gradients: Parameters::new([
                (Weight::Encoder, upload(gradient.encoder, [d_sae, d_in], &device)),
                (Weight::EncoderBias, bias_gradient),
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
        let mut left = reconstruct(&kept, &[size.d_sae], decoder, &zero, &missing, size);
        let mut upstream = left.pop().expect("there is one group");
        let loss = weight * mean_square(&upstream, size.rows);
        let scale = (2.0 * weight / size.rows as f64) as f32;
        for error in &mut upstream {
            *error *= scale;
        }
        Some(Aux { loss, kept, upstream })
    }
}

struct Aux {
    loss: f64,
    kept: SparseFeatures,
    /// Gradient of the reconstruction, `[rows, d_in]`.
    upstream: Vec<f32>,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    rows: usize,
    d_in: usize,
    d_sae: usize,
}

/// Computes `x̂ − x` for each group, reconstructed from its features and those of earlier groups;
/// `[rows, d_in]`.
fn reconstruct(
    kept: &SparseFeatures,
    groups: &[usize],
    decoder: &[f32],
    b_dec: &[f32],
    x: &[f32],
    size: Size,
) -> Vec<Vec<f32>> {
    let Size { rows, d_in, .. } = size;
    let mut errors = vec![vec![0.0; rows * d_in]; groups.len()];
    // For each row, its slice of every group's errors.
    let mut parts: Vec<Vec<&mut [f32]>> = (0..rows).map(|_| Vec::new()).collect();
    for errors in &mut errors {
        for (row, part) in errors.chunks_exact_mut(d_in).enumerate() {
            parts[row].push(part);
        }
    }
    let arch = Arch::new();
    parts.into_par_iter().with_min_len(64).enumerate().for_each_init(
        || vec![0.0; d_in],
        |sum, (row, parts)| {
            let x = &x[row * d_in..][..d_in];
            arch.dispatch(|| {
                for ((sum, b), x) in sum.iter_mut().zip(b_dec).zip(x) {
                    *sum = b - x;
                }
                let mut features = kept.row(row).peekable();
                for (part, &end) in parts.into_iter().zip(groups) {
                    while let Some((feature, value)) =
                        features.next_if(|(feature, _)| (*feature as usize) < end)
                    {
                        add_scaled(sum, value, &decoder[feature as usize * d_in..][..d_in]);
                    }
                    part.copy_from_slice(sum);
                }
            });
        },
    );
    errors
}

/// Gradient of the loss with respect to each group's contribution: a feature takes part in the
/// reconstruction of its own group and of all later ones.
fn upstream(mut errors: Vec<Vec<f32>>, rows: usize) -> Vec<Vec<f32>> {
    let scale = 2.0 / (rows * errors.len()) as f32;
    for at in (0..errors.len()).rev() {
        let (these, later) = errors.split_at_mut(at + 1);
        let these = &mut these[at];
        match later.first() {
            Some(later) => {
                these
                    .par_iter_mut()
                    .zip(later)
                    .for_each(|(this, later)| *this = *this * scale + later);
            }
            None => these.par_iter_mut().for_each(|this| *this *= scale),
        }
    }
    errors
}

/// Sum of squares per row, averaged over the rows.
fn mean_square(errors: &[f32], rows: usize) -> f64 {
    // Split into chunks whose order does not depend on the number of threads.
    let sums: Vec<f64> = errors
        .par_chunks(1 << 14)
        .map(|errors| f64::from(Arch::new().dispatch(|| square(errors))))
        .collect();
    sums.iter().sum::<f64>() / rows as f64
}

/// Selected features in compressed sparse column format.
struct Columns {
    starts: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Columns {
    fn from_features(kept: &SparseFeatures, size: Size) -> Self {
        let (indptr, indices, values) = kept.csr();
        let mut starts = vec![0; size.d_sae + 1];
        for &feature in indices {
            starts[feature as usize + 1] += 1;
        }
        for at in 0..size.d_sae {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut entries = vec![(0, 0.0); indices.len()];
        for row in 0..size.rows {
            for at in indptr[row]..indptr[row + 1] {
                let place = &mut next[indices[at] as usize];
                entries[*place] = (row as u32, values[at]);
                *place += 1;
            }
        }
        Self { starts, entries }
    }
}

/// Gradients of each feature's weights.
struct FeatureGradients {
    /// `[d_sae, d_in]`
    encoder: Vec<f32>,
    /// `[d_sae]`
    bias: Vec<f32>,
    /// `[d_sae, d_in]`
    decoder: Vec<f32>,
}

impl FeatureGradients {
    fn zeros(size: Size) -> Self {
        let matrix = vec![0.0; size.d_sae * size.d_in];
        Self { encoder: matrix.clone(), bias: vec![0.0; size.d_sae], decoder: matrix }
    }

    /// Adds the gradients of features with these values. `upstream` is the gradient of each group's
    /// reconstruction.
    ///
    /// Each feature is handled by one thread, which adds its rows in order, so the sums do not
    /// depend on the number of threads.
    fn add(
        &mut self,
        columns: &Columns,
        upstream: &[Vec<f32>],
        groups: &[usize],
        decoder: &[f32],
        x: &[f32],
        size: Size,
    ) {
        let d_in = size.d_in;
        let arch = Arch::new();
        self.encoder
            .par_chunks_exact_mut(d_in)
            .zip(self.decoder.par_chunks_exact_mut(d_in))
            .zip(self.bias.par_iter_mut())
            .with_min_len(16)
            .enumerate()
            .for_each(|(feature, ((encoder_gradient, decoder_gradient), bias_gradient))| {
                let entries =
                    &columns.entries[columns.starts[feature]..columns.starts[feature + 1]];
                let group = groups.partition_point(|&end| end <= feature);
                let direction = &decoder[feature * d_in..][..d_in];
                arch.dispatch(|| {
                    for &(row, value) in entries {
                        let upstream = &upstream[group][row as usize * d_in..][..d_in];
                        let by_value = dot(upstream, direction);
                        add_scaled(decoder_gradient, value, upstream);
                        add_scaled(encoder_gradient, by_value, &x[row as usize * d_in..][..d_in]);
                        *bias_gradient += by_value;
                    }
                });
            });
    }

    /// Converts gradients of an encoder of `x` to those of an encoder of `x − b_dec`.
    fn take_off(&mut self, b_dec: &[f32]) {
        let rows = self.encoder.par_chunks_exact_mut(b_dec.len());
        rows.zip(&self.bias).for_each(|(row, bias)| add_scaled(row, -bias, b_dec));
    }
}
