//! Dead-feature tracking and resampling.

use nanoscope_kernels::to_host;

use rand::rngs::ChaCha8Rng;
use rand_distr::Distribution;
use rand_distr::weighted::WeightedIndex;

use crate::adam::Adam;
use crate::parameters::{Parameters, Weight, upload};
use crate::simd::square;

/// Norm of a resampled encoder row, relative to the mean norm of the others (Bricken et al. 2023).
const ENCODER_NORM: f32 = 0.2;

/// The last step at which each feature fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastFired {
    /// For each feature, the number of steps completed when it last fired.
    pub(crate) last: Vec<u64>,
}

impl LastFired {
    /// Starts the count at step 0: no feature has fired, and none is dead yet.
    pub(crate) fn new(d_sae: usize) -> Self {
        Self { last: vec![0; d_sae] }
    }

    /// Records how often each feature fired in step number `step` (from 1).
    pub(crate) fn note(&mut self, step: u64, counts: &[u32]) {
        for (last, count) in self.last.iter_mut().zip(counts) {
            if *count > 0 {
                *last = step;
            }
        }
    }

    /// Returns the features that have not fired in the last `window` of `steps` steps.
    pub(crate) fn dead(&self, steps: u64, window: u64) -> Vec<u32> {
        let dead = |last: &u64| steps - last >= window;
        (0..).zip(&self.last).filter(|(_, last)| dead(last)).map(|(at, _)| at).collect()
    }
}

/// Resamples the `dead` features: each one's encoder and decoder rows are set to the direction of a
/// badly reconstructed activation, drawn with probability proportional to its squared error, and
/// its Adam state is reset (Bricken et al. 2023, "neuron resampling"). Returns false, and changes nothing, if every
/// reconstruction is perfect.
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
) -> bool {
    let [d_sae, d_in] = parameters.get(Weight::Encoder).dims();
    let weights = errors.iter().map(|error| f64::from(*error).powi(2));
    let Ok(draw) = WeightedIndex::new(weights) else { return false };
    let b_dec = to_host(parameters.get(Weight::DecoderBias));
    let decoder = to_host(parameters.get(Weight::Decoder));
    let encoder = to_host(parameters.get(Weight::Encoder));
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
    // The lowest threshold in use, so that the feature has a chance to fire.
    let thresholds = parameters.iter().find(|(part, _)| *part == Weight::LogThreshold);
    let low_threshold = thresholds.map_or(0.0, |(_, thresholds)| {
        let thresholds = to_host(thresholds.clone());
        let alive = thresholds.iter().zip(&is_dead).filter(|(_, dead)| !**dead);
        let lowest = alive.map(|(threshold, _)| *threshold).reduce(f32::min);
        lowest.unwrap_or_else(|| thresholds.iter().copied().fold(f32::INFINITY, f32::min))
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

    let parts: Vec<Weight> = parameters.iter().map(|(part, _)| part).collect();
    for part in parts {
        let shape = part.shape(d_in, d_sae);
        let start = |direction: &[f32]| match part {
            Weight::Encoder => direction.iter().map(|number| number * encoder_norm).collect(),
            Weight::Decoder => direction.iter().map(|number| number * decoder_norm).collect(),
            Weight::LogThreshold => vec![low_threshold],
            _ => vec![0.0],
        };
        if part == Weight::DecoderBias {
            continue;
        }
        let width = if shape[0] == d_sae { d_in } else { 1 };
        let put = |of: &mut Parameters, new: &dyn Fn(&[f32]) -> Vec<f32>| {
            let tensor = of.get(part);
            let device = tensor.device();
            let mut numbers = to_host(tensor);
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
    true
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn filled(numbers: [&[f32]; 5]) -> Parameters {
        let device = nanoscope_testing::test_device();
        let parts = [
            Weight::Encoder,
            Weight::EncoderBias,
            Weight::Decoder,
            Weight::DecoderBias,
            Weight::LogThreshold,
        ];
        let tensor = |(part, numbers): (Weight, &[f32])| {
            (part, upload(numbers.to_vec(), part.shape(2, 3), &device))
        };
        Parameters::new(parts.into_iter().zip(numbers).map(tensor))
    }

    fn weights() -> Parameters {
        // The live encoder rows have norms 2 and 4; the dead feature's threshold is the lowest.
        filled([
            &[2.0, 0.0, 9.0, 9.0, 0.0, 4.0],
            &[0.5, 0.6, 0.7],
            &[1.0, 0.0, 0.6, 0.8, 0.0, 1.0],
            &[3.0, 0.0],
            &[-1.0, -9.0, -2.0],
        ])
    }

    fn resampled(errors: &[f32]) -> (bool, Parameters, Adam) {
        let mut parameters = weights();
        let ones = filled([&[1.0; 6], &[1.0; 3], &[1.0; 6], &[1.0; 2], &[1.0; 3]]);
        let mut adam = Adam { mean: ones.clone(), square: ones };
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let x = [1.0, 1.0, 3.0, 4.0];
        let changed = resample(&mut parameters, &mut adam, &[1], &x, errors, &mut random);
        (changed, parameters, adam)
    }

    fn numbers(parameters: &Parameters, part: Weight) -> Vec<f32> {
        to_host(parameters.get(part))
    }

    #[test]
    fn a_dead_feature_starts_anew_at_what_is_reconstructed_badly_and_the_others_stay() {
        let (changed, found, adam) = resampled(&[0.0, 5.0]);
        assert!(changed);

        // The second activation minus b_dec is (0, 4); a fifth of the mean norm 3 is 0.6.
        let encoder = numbers(&found, Weight::Encoder);
        assert!((encoder[3] - 0.6).abs() < 1e-6, "{encoder:?}");
        assert_eq!([&encoder[..3], &encoder[4..]].concat(), [2.0, 0.0, 0.0, 0.0, 4.0]);
        assert_eq!(numbers(&found, Weight::EncoderBias), [0.5, 0.0, 0.7]);
        assert_eq!(numbers(&found, Weight::Decoder), [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(numbers(&found, Weight::DecoderBias), [3.0, 0.0]);
        assert_eq!(numbers(&found, Weight::LogThreshold), [-1.0, -2.0, -2.0]);
        for state in [&adam.mean, &adam.square] {
            assert_eq!(numbers(state, Weight::Encoder), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
            assert_eq!(numbers(state, Weight::Decoder), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
            assert_eq!(numbers(state, Weight::EncoderBias), [1.0, 0.0, 1.0]);
            assert_eq!(numbers(state, Weight::LogThreshold), [1.0, 0.0, 1.0]);
            assert_eq!(numbers(state, Weight::DecoderBias), [1.0, 1.0]);
        }
    }

    #[test]
    fn where_all_is_reconstructed_nothing_starts_anew() {
        let (changed, found, adam) = resampled(&[0.0, 0.0]);
        assert!(!changed);

        assert_eq!(numbers(&found, Weight::Encoder), numbers(&weights(), Weight::Encoder));
        assert_eq!(numbers(&adam.mean, Weight::Encoder), [1.0; 6]);
    }

    #[test]
    fn a_feature_is_dead_once_the_window_is_full_and_not_a_step_before() {
        let mut fired = LastFired::new(3);
        fired.note(4, &[2, 0, 0]);
        fired.note(5, &[0, 1, 0]);

        assert_eq!(fired.dead(8, 5), [2]);
        assert_eq!(fired.dead(9, 5), [0, 2]);
        assert_eq!(fired.dead(10, 5), [0, 1, 2]);
    }
}
