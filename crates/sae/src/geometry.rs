use std::sync::Arc;

use burn::tensor::{Tensor, bf16};
use nanoscope_kernels::to_host;

use crate::decoder::clamp_norms;
use crate::sae::{CAST_CHUNK, row_norms};
use crate::{Sae, SaeError};

/// Norms and alignment of one feature's weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// Norm of the feature's row of `W_dec`.
    pub decoder_norm: f32,
    /// Norm of the feature's column of `W_enc`.
    pub encoder_norm: f32,
    /// Cosine between the two; `None` if one of them is zero, or `d_in` and `d_out` differ.
    pub encoder_decoder_cosine: Option<f32>,
}

/// The number of features whose weights are [landmarks](Sae::landmarks).
const LANDMARKS: usize = 256;

impl Sae {
    /// Numbers by which an SAE is recognised, on every backend and after
    /// [`with_matrices_as`](Self::with_matrices_as) too: for up to 256 features, spread over all, the places of
    /// the largest weight in the decoder and in the encoder, the mean length of these weights in eighths of an
    /// octave, and the place of the largest bias.
    pub fn landmarks(&self) -> Arc<[u32]> {
        self.unrounded.clone().unwrap_or_else(|| {
            let d_sae = self.config().d_sae();
            let count = d_sae.min(LANDMARKS);
            let ids: Vec<u32> = (0..count).map(|at| (at * d_sae / count) as u32).collect();
            let indices = self.indices(&ids);
            let mut landmarks = Vec::new();
            for matrix in [&self.w_dec, &self.w_enc.transposed()] {
                let rows = matrix.rows(&ids, &indices);
                let [_, width] = rows.dims();
                // An SAE that was read in bfloat16 has only these.
                let rounded = |weight: f32| bf16::from_f32(weight).to_f32();
                let rows: Vec<f32> = to_host(rows).into_iter().map(rounded).collect();
                landmarks.extend(rows.chunks_exact(width).map(place_of_largest));
                let squares = rows.iter().map(|&weight| f64::from(weight).powi(2)).sum::<f64>();
                landmarks.push(((squares / count as f64).log2() * 4.0).round() as i32 as u32);
            }
            landmarks.push(place_of_largest(&to_host(self.b_enc.clone())));
            landmarks.into()
        })
    }

    /// Sets the [`landmarks`](Self::landmarks), for a loader that has rounded the matrices.
    pub fn with_landmarks(mut self, landmarks: Arc<[u32]>) -> Self {
        self.unrounded = Some(landmarks);
        self
    }

    /// Computes the geometry of each of `features`, in their order.
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] for the first that is out of range.
    pub fn geometry(&self, features: &[usize]) -> Result<Vec<Geometry>, SaeError> {
        for &feature in features {
            self.config().check_feature(feature)?;
        }
        let ids = features.iter().map(|&feature| feature as u32).collect::<Vec<_>>();
        let indices = self.indices(&ids);
        let decoder = self.w_dec.rows(&ids, &indices);
        let encoder = self.w_enc.transposed().rows(&ids, &indices);
        let same_width = self.config().d_in() == self.config().d_out();
        let products = same_width.then(|| to_host((decoder.clone() * encoder.clone()).sum_dim(1)));
        let (decoder, encoder) = (to_host(row_norms(decoder)), to_host(row_norms(encoder)));
        let geometry = |at: usize| {
            let norms = decoder[at] * encoder[at];
            Geometry {
                decoder_norm: decoder[at],
                encoder_norm: encoder[at],
                encoder_decoder_cosine: products
                    .as_ref()
                    .filter(|_| norms > 0.0)
                    .map(|products| products[at] / norms),
            }
        };
        Ok((0..features.len()).map(geometry).collect())
    }

    /// The `n` other features whose decoder rows are most similar to that of `feature`, with their
    /// cosines, the largest first.
    ///
    /// # Errors
    /// [`SaeError::FeatureOutOfRange`] if `feature` is.
    pub fn nearest(&self, feature: usize, n: usize) -> Result<Vec<(u32, f32)>, SaeError> {
        let directions = self.directions(&[feature])?;
        let [mut nearest] = <[_; 1]>::try_from(self.nearest_to(directions, n.saturating_add(1)))
            .expect("each direction has a list");
        nearest.retain(|&(other, _)| other as usize != feature);
        nearest.truncate(n);
        Ok(nearest)
    }

    /// The `n` features whose decoder rows have the largest cosine with each of `directions`, the
    /// largest first; among equal cosines the lower index comes first.
    ///
    /// The decoder is read in blocks, so that temporary memory is limited to a few megabytes. A zero
    /// vector has cosine 0 with everything.
    ///
    /// # Shapes
    /// - `directions`: `[directions, d_out]`
    ///
    /// # Panics
    /// If `directions` does not have `d_out` columns.
    pub fn nearest_to(&self, directions: Tensor<2>, n: usize) -> Vec<Vec<(u32, f32)>> {
        let [count, d_out] = directions.dims();
        self.nearest_in_blocks(directions, n, (CAST_CHUNK / d_out.max(count)).max(1))
    }

    /// [`nearest_to`](Self::nearest_to), `block_rows` decoder rows at a time.
    fn nearest_in_blocks(
        &self,
        directions: Tensor<2>,
        n: usize,
        block_rows: usize,
    ) -> Vec<Vec<(u32, f32)>> {
        let [count, _] = directions.dims();
        let d_sae = self.config().d_sae();
        let norms = clamp_norms(row_norms(directions.clone()));
        let units = (directions / norms.unsqueeze_dim(1)).transpose(); // [d_out, directions]
        let mut nearest = vec![Vec::new(); count];
        for from in (0..d_sae).step_by(block_rows) {
            let rows = from..(from + block_rows).min(d_sae);
            let block = self.w_dec.row_range(rows, &self.device());
            let norms = clamp_norms(row_norms(block.clone()));
            let cosines = block.matmul(units.clone()) / norms.unsqueeze_dim(1);
            for (at, row) in to_host(cosines).chunks_exact(count).enumerate() {
                for (nearest, &cosine) in nearest.iter_mut().zip(row) {
                    insert_nearest(nearest, n, (from + at) as u32, cosine);
                }
            }
        }
        nearest
    }
}

/// Inserts a feature into `nearest` in order, if it is among the `n` nearest so far.
fn insert_nearest(nearest: &mut Vec<(u32, f32)>, n: usize, feature: u32, cosine: f32) {
    // A decoder row that is not finite is not near anything.
    if !cosine.is_finite() {
        return;
    }
    let at = nearest.partition_point(|&(_, other)| other >= cosine);
    if at < n {
        nearest.insert(at, (feature, cosine));
        nearest.truncate(n);
    }
}

/// The place of the largest number, the first of several.
fn place_of_largest(numbers: &[f32]) -> u32 {
    let largest = (0..).zip(numbers).reduce(|a, b| if b.1 > a.1 { b } else { a });
    largest.map_or(0, |(place, _)| place)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, TensorData};

    use super::*;
    use crate::{Architecture, SaeConfig, SaeWeights};

    /// Decoder rows `[2, 0]`, `[3, 4]`, `[-1, 0]`, `[0, 0]`; encoder columns `[0, 5]`, `[3, 4]`,
    /// `[1, 0]`, `[1, 0]`.
    fn sae() -> Sae {
        let device = nanoscope_testing::test_device();
        let config = SaeConfig::new(2, 4, Architecture::Relu).unwrap();
        let weights = SaeWeights::new(
            Tensor::from_floats([[0.0, 3.0, 1.0, 1.0], [5.0, 4.0, 0.0, 0.0]], &device),
            Tensor::zeros([4], &device),
            Tensor::from_floats([[2.0, 0.0], [3.0, 4.0], [-1.0, 0.0], [0.0, 0.0]], &device),
            Tensor::zeros([2], &device),
        );
        Sae::new(config, weights).unwrap()
    }

    #[test]
    fn nearest_features_are_ranked_by_cosine_and_leave_the_feature_itself_out() {
        assert_eq!(sae().nearest(0, 3), Ok(vec![(1, 0.6), (3, 0.0), (2, -1.0)]));
        assert_eq!(sae().nearest(0, 1), Ok(vec![(1, 0.6)]));
        assert_eq!(sae().nearest(1, 1), Ok(vec![(0, 0.6)]));
        assert_eq!(sae().nearest(0, usize::MAX).unwrap().len(), 3);
        assert_eq!(sae().nearest(0, 0), Ok(vec![]));
        assert_eq!(sae().nearest(4, 1), Err(SaeError::FeatureOutOfRange { feature: 4, d_sae: 4 }));
    }

    fn noisy(d_in: usize, d_sae: usize) -> Sae {
        let device = nanoscope_testing::test_device();
        let matrix = |step: f32, shape: [usize; 2]| {
            let numbers = (0..shape[0] * shape[1]).map(|at| (at as f32 * step).sin()).collect();
            Tensor::from_data(TensorData::new(numbers, shape), &device)
        };
        let (w_enc, w_dec) = (matrix(0.7, [d_in, d_sae]), matrix(1.3, [d_sae, d_in]));
        let weights = SaeWeights::new(
            w_enc,
            Tensor::zeros([d_sae], &device),
            w_dec,
            Tensor::zeros([d_in], &device),
        );
        Sae::new(SaeConfig::new(d_in, d_sae, Architecture::Relu).unwrap(), weights).unwrap()
    }

    #[test]
    fn an_sae_is_recognised_whatever_its_matrices_are_rounded_to_and_no_other_is() {
        // Octaves of 4 + 25 + 1 and of 25 + 25 + 1 + 1, over four features.
        let length = |squares: f64| ((squares / 4.0).log2() * 4.0).round() as u32;
        let expected = [0, 1, 1, 0, length(30.0), 1, 1, 0, 0, length(52.0), 0];
        assert_eq!(sae().landmarks()[..], expected);

        let whole = noisy(64, 1000);
        let landmarks = whole.landmarks();
        for dtype in [DType::BF16, DType::F16, DType::I8] {
            if dtype != DType::I8 && !whole.device().supports_dtype(dtype) {
                continue;
            }
            let rounded = whole.clone().with_matrices_as(dtype);
            assert_eq!(rounded.landmarks(), landmarks, "{dtype:?}");
            assert_eq!(rounded.with_matrices_as(DType::F32).landmarks(), landmarks, "{dtype:?}");
        }
        // The same but for the order of the features after the first.
        let order: Vec<i32> = std::iter::once(0).chain((1..1000).rev()).collect();
        let order = Tensor::from_ints(&order[..], &whole.device());
        let mut weights = whole.weights();
        weights.w_enc = weights.w_enc.select(1, order.clone());
        weights.w_dec = weights.w_dec.select(0, order);
        let other = Sae::new(whole.config().clone(), weights).unwrap();
        assert_ne!(other.landmarks(), landmarks);
    }

    #[test]
    fn several_directions_have_a_list_each() {
        let directions =
            Tensor::from_floats([[0.0, 7.0], [-2.0, 0.0]], &nanoscope_testing::test_device());

        let nearest = sae().nearest_to(directions, 2);

        assert_eq!(nearest, [vec![(1, 0.8), (0, 0.0)], vec![(2, 1.0), (3, 0.0)]]);
    }

    #[test]
    fn the_blocks_in_which_the_decoder_is_read_do_not_matter() {
        let directions = sae().directions(&[0, 1, 2, 3]).unwrap();

        let whole = sae().nearest_to(directions.clone(), 4);
        for rows in 1..5 {
            assert_eq!(sae().nearest_in_blocks(directions.clone(), 4, rows), whole, "{rows}");
        }
    }

    #[test]
    fn the_weights_of_a_feature_are_measured_and_compared() {
        let geometry = sae().geometry(&[0, 1, 2, 3]).unwrap();

        let cosines: Vec<_> = geometry.iter().map(|g| g.encoder_decoder_cosine).collect();
        assert_eq!(cosines, [Some(0.0), Some(1.0), Some(-1.0), None]);
        let norms: Vec<_> = geometry.iter().map(|g| (g.decoder_norm, g.encoder_norm)).collect();
        assert_eq!(norms, [(2.0, 5.0), (5.0, 5.0), (1.0, 1.0), (0.0, 1.0)]);
        assert!(sae().geometry(&[4]).is_err());
    }

    #[test]
    fn a_transcoder_of_two_widths_has_no_cosine_of_its_weights() {
        let device = nanoscope_testing::test_device();
        let config = SaeConfig::new(1, 1, Architecture::Relu).unwrap().with_d_out(2).unwrap();
        let weights = SaeWeights::new(
            Tensor::from_floats([[2.0]], &device),
            Tensor::zeros([1], &device),
            Tensor::from_floats([[3.0, 4.0]], &device),
            Tensor::zeros([2], &device),
        );

        let geometry = Sae::new(config, weights).unwrap().geometry(&[0]).unwrap()[0];

        assert_eq!((geometry.decoder_norm, geometry.encoder_norm), (5.0, 2.0));
        assert_eq!(geometry.encoder_decoder_cosine, None);
    }
}
