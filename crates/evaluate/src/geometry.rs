//! Metrics computed from an SAE's weights alone.

use std::ops::Range;

use burn::tensor::{DType, Tensor};
use nanoscope_sae::Sae;
use rayon::prelude::*;

/// Maximum values of a matrix converted to float32 at once: 16 MB.
const CHUNK_VALUES: usize = 1 << 22;

/// Metrics of each feature's weights; NaN where undefined, such as the cosine with a row of zeros.
#[derive(Debug, Clone)]
pub(crate) struct Geometry {
    pub(crate) encoder_bias: Vec<f64>,
    pub(crate) encoder_norm: Vec<f64>,
    pub(crate) encoder_decoder_cosine: Vec<f64>,
    pub(crate) max_encoder_cosine: Vec<f64>,
    pub(crate) max_decoder_cosine: Vec<f64>,
}

impl Geometry {
    pub(crate) fn from_sae(sae: &Sae) -> Self {
        let (d_sae, weights) = (sae.config().d_sae(), sae.weights());
        let at_once = (CHUNK_VALUES / sae.config().d_in().max(sae.config().d_out())).max(1);
        let mut encoder_norm = Vec::with_capacity(d_sae);
        let mut encoder_decoder_cosine = Vec::with_capacity(d_sae);
        for from in (0..d_sae).step_by(at_once) {
            let block: Vec<usize> = (from..(from + at_once).min(d_sae)).collect();
            for feature in sae.geometry(&block).expect("the features are the SAE's own") {
                encoder_norm.push(f64::from(feature.encoder_norm));
                let cosine = feature.encoder_decoder_cosine.map_or(f64::NAN, f64::from);
                encoder_decoder_cosine.push(cosine);
            }
        }
        // As in SAEBench: the magnitude's bias for a gated SAE.
        let bias = weights.magnitude.map_or(weights.b_enc, |magnitude| magnitude.b_mag);
        let (w_enc, w_dec) = (weights.w_enc, weights.w_dec);
        let encoder = |range| w_enc.clone().slice_dim(1, range).cast(DType::F32).transpose();
        let decoder = |range| w_dec.clone().slice_dim(0, range).cast(DType::F32);
        Self {
            encoder_bias: bias.into_data().iter::<f32>().map(f64::from).collect(),
            encoder_norm,
            encoder_decoder_cosine,
            max_encoder_cosine: max_cosines(d_sae, at_once.min(2048), encoder),
            max_decoder_cosine: max_cosines(d_sae, at_once.min(2048), decoder),
        }
    }
}

/// Returns each vector's largest cosine with another of the `count` vectors; NaN if there is only
/// one. Zero vectors have cosine 0 with everything.
///
/// Vectors are compared in blocks, each pair of blocks once.
///
/// # Shapes
/// - `vectors`: returns the vectors in a range, `[range, width]`
fn max_cosines(
    count: usize,
    at_once: usize,
    vectors: impl Fn(Range<usize>) -> Tensor<2>,
) -> Vec<f64> {
    let blocks: Vec<Range<usize>> =
        (0..count).step_by(at_once).map(|from| from..(from + at_once).min(count)).collect();
    let unit = |range: &Range<usize>| {
        let vectors = vectors(range.clone());
        let norms = vectors.clone().square().sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE);
        vectors / norms
    };
    let mut largest = vec![f32::NEG_INFINITY; count];
    for (at, rows) in blocks.iter().enumerate() {
        let units = unit(rows);
        for columns in &blocks[at..] {
            let others = if columns == rows { units.clone() } else { unit(columns) };
            let cosines = units.clone().matmul(others.transpose()).into_data();
            let mut cosines: Vec<f32> = cosines.iter::<f32>().collect();
            if columns == rows {
                for at in 0..rows.len() {
                    cosines[at * columns.len() + at] = f32::NEG_INFINITY;
                }
            }
            let of_rows: Vec<f32> = cosines
                .par_chunks_exact(columns.len())
                .map(|row| row.iter().copied().fold(f32::NEG_INFINITY, f32::max))
                .collect();
            for (largest, found) in largest[rows.clone()].iter_mut().zip(of_rows) {
                *largest = largest.max(found);
            }
            if columns != rows {
                let largest = &mut largest[columns.clone()];
                for row in cosines.chunks_exact(columns.len()) {
                    for (largest, &found) in largest.iter_mut().zip(row) {
                        *largest = largest.max(found);
                    }
                }
            }
        }
    }
    let number = |found: f32| if found == f32::NEG_INFINITY { f64::NAN } else { found.into() };
    largest.into_iter().map(number).collect()
}

#[cfg(test)]
mod tests {
    use nanoscope_sae::{Architecture, SaeConfig, SaeWeights};

    use super::*;

    /// Decoder rows `[2, 0]`, `[3, 4]`, `[-1, 0]`, `[0, 0]`; encoder columns `[0, 5]`, `[3, 4]`,
    /// `[1, 0]`, `[-1, 0]`.
    fn sae() -> Sae {
        let device = nanoscope_testing::test_device();
        let config = SaeConfig::new(2, 4, Architecture::Relu).unwrap();
        let weights = SaeWeights::new(
            Tensor::from_floats([[0.0, 3.0, 1.0, -1.0], [5.0, 4.0, 0.0, 0.0]], &device),
            Tensor::from_floats([0.5, 0.0, 0.0, -1.0], &device),
            Tensor::from_floats([[2.0, 0.0], [3.0, 4.0], [-1.0, 0.0], [0.0, 0.0]], &device),
            Tensor::zeros([2], &device),
        );
        Sae::new(config, weights).unwrap()
    }

    #[track_caller]
    fn near(found: &[f64], expected: &[f64]) {
        let same = |(a, b): (&f64, &f64)| (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-6;
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(same),
            "{found:?}, expected {expected:?}"
        );
    }

    #[test]
    fn weights_are_compared_feature_by_feature() {
        let geometry = Geometry::from_sae(&sae());

        near(&geometry.encoder_bias, &[0.5, 0.0, 0.0, -1.0]);
        near(&geometry.encoder_norm, &[5.0, 5.0, 1.0, 1.0]);
        near(&geometry.encoder_decoder_cosine, &[0.0, 1.0, -1.0, f64::NAN]);
        near(&geometry.max_decoder_cosine, &[0.6, 0.6, 0.0, 0.0]);
        near(&geometry.max_encoder_cosine, &[0.8, 0.8, 0.6, 0.0]);
    }

    #[test]
    fn the_blocks_in_which_vectors_are_compared_do_not_matter() {
        let vectors = |range: Range<usize>| sae().weights().w_dec.slice_dim(0, range);

        for at_once in 1..=4 {
            near(&max_cosines(4, at_once, vectors), &[0.6, 0.6, 0.0, 0.0]);
        }
        near(&max_cosines(1, 4, vectors), &[f64::NAN]);
    }
}
