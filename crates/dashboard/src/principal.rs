use burn::tensor::{Tensor, TensorData};
use rand::rngs::ChaCha12Rng;

use crate::layout::uniform;

/// Products of the covariance with a vector. The map only begins with what they find.
const STEPS: usize = 60;

/// The rows' coordinates along their two principal components, rows taken as directions.
///
/// # Shapes
/// - `rows`: `[n, d]`
pub(crate) fn two_components(rows: Tensor<2>, rng: &mut ChaCha12Rng) -> Vec<[f32; 2]> {
    let [_, d] = rows.dims();
    let device = rows.device();
    let norms = rows.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE);
    let units = rows / norms;
    let centred = units.clone() - units.mean_dim(0);
    let covariance = centred.clone().transpose().matmul(centred.clone());
    let covariance: Vec<f32> = covariance.into_data().iter::<f32>().collect();

    let mut axes: Vec<Vec<f32>> = Vec::new();
    for _ in 0..2 {
        let mut axis: Vec<f32> = (0..d).map(|_| uniform(rng) - 0.5).collect();
        for _ in 0..STEPS {
            let mut next: Vec<f32> =
                covariance.chunks_exact(d).map(|row| dot(row, &axis)).collect();
            for other in &axes {
                let along = dot(&next, other);
                next.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
            let norm = dot(&next, &next).sqrt();
            if norm <= f32::MIN_POSITIVE {
                break;
            }
            axis = next.into_iter().map(|x| x / norm).collect();
        }
        axes.push(axis);
    }
    let axes = TensorData::new(axes.concat(), [2, d]);
    let axes = Tensor::<2>::from_data(axes, &device).transpose();
    let places: Vec<f32> = centred.matmul(axes).into_data().iter::<f32>().collect();
    places.chunks_exact(2).map(|place| [place[0], place[1]]).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn the_first_component_is_where_the_rows_differ_most() {
        let device = nanoscope_device::for_tests();
        // On the unit circle of two axes, and a little of a third.
        let rows = Tensor::from_floats(
            [[0.0, 1.0, 0.1], [0.0, -1.0, 0.1], [0.3, 0.9, -0.1], [0.3, -0.9, -0.1]],
            &device,
        );

        let places = two_components(rows, &mut ChaCha12Rng::seed_from_u64(1));

        let firsts: Vec<f32> = places.iter().map(|place| place[0].abs()).collect();
        assert!(firsts.iter().all(|&x| x > 0.9), "{places:?}");
        assert!(places[0][0] * places[1][0] < 0.0, "{places:?}");
        assert!(places[0][1] * places[2][1] < 0.0, "{places:?}");
    }
}
