//! Features that do not fire, and how they start anew.

use rand::rngs::ChaCha8Rng;
use rand_distr::Distribution;
use rand_distr::weighted::WeightedIndex;

use crate::adam::Adam;
use crate::parameters::{Parameters, Part, download, upload};
use crate::vector::square;

/// A resampled encoder row has this part of the others' mean norm (Bricken et al. 2023).
const ENCODER_NORM: f32 = 0.2;

/// When each feature fired last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fired {
    /// For each feature the number of steps that were done when it had last fired.
    pub(crate) last: Vec<u64>,
}

impl Fired {
    /// Of features none of which has fired, nor had the time to.
    pub(crate) fn new(d_sae: usize) -> Self {
        Self { last: vec![0; d_sae] }
    }

    /// Notes how often each feature fired in step number `step` (from 1).
    pub(crate) fn note(&mut self, step: u64, counts: &[u32]) {
        for (last, count) in self.last.iter_mut().zip(counts) {
            if *count > 0 {
                *last = step;
            }
        }
    }

    /// The features that have not fired in the last `window` of `steps` steps.
    pub(crate) fn dead(&self, steps: u64, window: u64) -> Vec<u32> {
        let dead = |last: &u64| steps - last >= window;
        (0..).zip(&self.last).filter(|(_, last)| dead(last)).map(|(at, _)| at).collect()
    }
}

/// Lets the features `dead` start anew: each reads and writes the direction of an activation that is
/// reconstructed badly, drawn by the square of its error, and its state in Adam is forgotten
/// (Bricken et al. 2023, "neuron resampling").
///
/// # Shapes
/// - `x`: `[rows, d_in]` row-major
/// - `errors`: `[rows]`
pub(crate) fn resample(
    parameters: &mut Parameters,
    adam: &mut Adam,
    dead: &[u32],
    x: &[f32],
    errors: &[f32],
    random: &mut ChaCha8Rng,
) {
    let [d_sae, d_in] = parameters.get(Part::Encoder).dims();
    let weights = errors.iter().map(|error| f64::from(*error).powi(2));
    // Perfect reconstructions: nothing to learn from.
    let Ok(draw) = WeightedIndex::new(weights) else { return };
    let b_dec = download(parameters.get(Part::DecoderBias));
    let decoder = download(parameters.get(Part::Decoder));
    let encoder = download(parameters.get(Part::Encoder));
    let is_dead: Vec<bool> = {
        let mut is_dead = vec![false; d_sae];
        for &feature in dead {
            is_dead[feature as usize] = true;
        }
        is_dead
    };
    let mean_norm = |matrix: &[f32]| {
        let alive = matrix.chunks_exact(d_in).zip(&is_dead).filter(|(_, dead)| !**dead);
        let norms: Vec<f32> = alive.map(|(row, _)| square(row).sqrt()).collect();
        if norms.is_empty() { 1.0 } else { norms.iter().sum::<f32>() / norms.len() as f32 }
    };
    let (decoder_norm, encoder_norm) = (mean_norm(&decoder), mean_norm(&encoder) * ENCODER_NORM);
    // As low as any that is in use, so that the feature has a chance to fire.
    let low_threshold = parameters.iter().find(|(part, _)| *part == Part::LogThreshold);
    let low_threshold = low_threshold.map_or(0.0, |(_, thresholds)| {
        download(thresholds.clone()).into_iter().fold(f32::INFINITY, f32::min)
    });
    let directions: Vec<Vec<f32>> = dead
        .iter()
        .map(|_| {
            let row = &x[draw.sample(random) * d_in..][..d_in];
            let direction: Vec<f32> = row.iter().zip(&b_dec).map(|(x, b)| x - b).collect();
            let norm = square(&direction).sqrt().max(f32::MIN_POSITIVE);
            direction.iter().map(|number| number / norm).collect()
        })
        .collect();

    let parts: Vec<Part> = parameters.iter().map(|(part, _)| part).collect();
    for part in parts {
        let shape = part.shape(d_in, d_sae);
        let start = |direction: &[f32]| match part {
            Part::Encoder => direction.iter().map(|number| number * encoder_norm).collect(),
            Part::Decoder => direction.iter().map(|number| number * decoder_norm).collect(),
            Part::LogThreshold => vec![low_threshold],
            _ => vec![0.0],
        };
        if part == Part::DecoderBias {
            continue;
        }
        let width = if shape[0] == d_sae { d_in } else { 1 };
        let put = |of: &mut Parameters, new: &dyn Fn(&[f32]) -> Vec<f32>| {
            let tensor = of.get(part);
            let device = tensor.device();
            let mut numbers = download(tensor);
            for (&feature, direction) in dead.iter().zip(&directions) {
                numbers[feature as usize * width..][..width].copy_from_slice(&new(direction));
            }
            of.set(part, upload(numbers, shape, &device));
        };
        put(parameters, &start);
        let zero = |_: &[f32]| vec![0.0; width];
        put(&mut adam.mean, &zero);
        put(&mut adam.square, &zero);
    }
}
