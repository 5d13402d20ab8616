//! Initial values of the weights.

use burn::tensor::{Device, Tensor};
use nanoscope_kernels::to_host;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::parameters::{Parameters, Weight, upload};
use crate::recipe::{BDecInit, Method, Recipe};
use crate::simd::square;

/// Maximum activations used for the geometric median.
const MEDIAN_ROWS: usize = 4096;
/// Iterations of Weiszfeld's algorithm; it converges to a thousandth well before.
const MEDIAN_STEPS: usize = 50;
/// Maximum activations used for JumpReLU's initial thresholds.
const THRESHOLD_ROWS: usize = 512;
/// Initial L0 as a multiple of the target: features that never fire learn nothing.
const STARTING_L0: f64 = 2.0;

/// Returns the initial weights of a training run with `recipe`. `W_enc` is the transpose of `W_dec`
/// (Gao et al. 2024; Conerly et al. 2024), so each feature starts by reading the direction it
/// writes.
///
/// # Shapes
/// - `first`: `[rows, d_in]` row-major, scaled
pub(crate) fn parameters(
    recipe: &Recipe,
    d_in: usize,
    first: &[f32],
    device: &Device,
) -> Parameters {
    let d_sae = recipe.d_sae;
    let norm = if recipe.method.keeps_decoder_norm() { 1.0 } else { recipe.init.decoder_norm };
    let mut random = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut decoder: Vec<f32> =
        (0..d_sae * d_in).map(|_| StandardNormal.sample(&mut random)).collect();
    for row in decoder.chunks_exact_mut(d_in) {
        let by = norm as f32 / square(row).sqrt().max(f32::MIN_POSITIVE);
        for number in row {
            *number *= by;
        }
    }
    let b_dec = match recipe.init.b_dec {
        BDecInit::Zero => vec![0.0; d_in],
        BDecInit::Mean => mean(first, d_in),
        BDecInit::GeometricMedian => {
            geometric_median(&first[..first.len().min(MEDIAN_ROWS * d_in)], d_in)
        }
    };

    let row = |number: f32| upload(vec![number; d_sae], [1, d_sae], device);
    let mut parts = vec![
        (Weight::Encoder, upload(decoder.clone(), [d_sae, d_in], device)),
        (Weight::EncoderBias, row(0.0)),
        (Weight::Decoder, upload(decoder, [d_sae, d_in], device)),
        (Weight::DecoderBias, upload(b_dec, [1, d_in], device)),
    ];
    match recipe.method {
        Method::JumpRelu { threshold, target_l0, .. } => {
            let encoder = parts[0].1.clone();
            let start = threshold.map_or_else(
                || threshold_for(target_l0 * STARTING_L0, first, d_in, encoder),
                |threshold| threshold as f32,
            );
            parts.push((Weight::LogThreshold, row(start.ln())));
        }
        Method::Gated { .. } => {
            parts.push((Weight::Magnitude, row(0.0)));
            parts.push((Weight::MagnitudeBias, row(0.0)));
        }
        _ => {}
    }
    Parameters::new(parts)
}

/// Returns the threshold that about `l0` features per activation exceed; at least 0.01.
///
/// # Shapes
/// - `activations`: `[rows, d_in]` row-major
/// - `encoder`: `[d_sae, d_in]`
fn threshold_for(l0: f64, activations: &[f32], d_in: usize, encoder: Tensor<2>) -> f32 {
    let some = &activations[..activations.len().min(THRESHOLD_ROWS * d_in)];
    let rows = some.len() / d_in;
    let x = upload(some.to_vec(), [rows, d_in], &encoder.device());
    let mut pre = to_host(x.matmul(encoder.transpose()));
    let wanted = ((l0 * rows as f64) as usize).min(pre.len() - 1);
    let (_, bound, _) = pre.select_nth_unstable_by(wanted, |a, b| b.total_cmp(a));
    bound.max(0.01)
}

/// `√d_in` divided by the mean norm of the activations, as in SAELens's `expected_average_only_in`.
/// It is not a normal number if the activations are close to the limits of float32.
///
/// # Shapes
/// - `activations`: `[rows, d_in]` row-major
pub(crate) fn scale(activations: &[f32], d_in: usize) -> f32 {
    let square = |row: &[f32]| row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
    let norms = activations.chunks_exact(d_in).map(|row| square(row).sqrt());
    let mean = norms.sum::<f64>() / (activations.len() / d_in) as f64;
    ((d_in as f64).sqrt() / mean) as f32
}

fn mean(rows: &[f32], d_in: usize) -> Vec<f32> {
    weighted_mean(rows.chunks_exact(d_in).map(|row| (1.0, row)), d_in)
}

/// Returns the point with the least sum of distances to the rows, by Weiszfeld's algorithm.
fn geometric_median(rows: &[f32], d_in: usize) -> Vec<f32> {
    let mut median = mean(rows, d_in);
    for _ in 0..MEDIAN_STEPS {
        let weighted = rows.chunks_exact(d_in).map(|row| {
            let distance = row.iter().zip(&median).map(|(a, b)| f64::from(a - b).powi(2));
            (1.0 / distance.sum::<f64>().sqrt().max(1e-6), row)
        });
        median = weighted_mean(weighted, d_in);
    }
    median
}

fn weighted_mean<'a>(rows: impl Iterator<Item = (f64, &'a [f32])>, d_in: usize) -> Vec<f32> {
    let (mut sum, mut weights) = (vec![0.0_f64; d_in], 0.0);
    for (weight, row) in rows {
        weights += weight;
        for (sum, number) in sum.iter_mut().zip(row) {
            *sum += weight * f64::from(*number);
        }
    }
    sum.into_iter().map(|sum| (sum / weights) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_brings_the_mean_norm_to_the_root_of_the_width() {
        // Norms 5 and 13, mean 9.
        assert!((scale(&[3.0, 4.0, 5.0, 12.0], 2) - 2.0_f32.sqrt() / 9.0).abs() < 1e-7);
        // Their squares are infinite in float32.
        let found = scale(&[3e20, 4e20], 2) * 5e20;
        assert!((found - 2.0_f32.sqrt()).abs() < 1e-6, "{found}");
    }

    #[test]
    fn an_outlier_moves_the_mean_and_hardly_the_median() {
        let mut rows = [1.0, 2.0].repeat(10);
        rows.extend([1001.0, 2.0]);

        assert!((mean(&rows, 2)[0] - 1011.0 / 11.0).abs() < 1e-3);
        let median = geometric_median(&rows, 2);
        assert!((median[0] - 1.0).abs() < 1e-2 && (median[1] - 2.0).abs() < 1e-6, "{median:?}");
    }
}
