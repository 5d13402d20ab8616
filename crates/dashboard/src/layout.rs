//! The map of features: UMAP (McInnes et al. 2018) of decoder directions under cosine distance.

use burn::tensor::Tensor;
use rand::rngs::ChaCha12Rng;
use rand::{Rng, SeedableRng};

use crate::DashboardError;
use crate::neighbours::{Graph, graph};
use crate::principal::two_components;

/// How often every edge of the map is gone through at most.
pub const ROUNDS: usize = 200;
/// Features that are pushed away for each that is drawn near, as UMAP's default.
const PUSHED: usize = 5;
/// `1 / (1 + A·d^2B)` is the closest to UMAP's curve for a smallest distance of 0.1 and a spread
/// of 1.
const A: f32 = 1.577;
const B: f32 = 0.895;
/// A step is no longer than this.
const LONGEST: f32 = 4.0;
/// How wide the map is at first.
const WIDTH: f32 = 20.0;

/// A place for each of `directions`, near those that point the same way; `0..=1` in both axes.
///
/// It begins with the two principal components and follows McInnes et al. 2018 from there, on one
/// thread, so that it is a function of the directions and the seed.
///
/// # Shapes
/// - `directions`: `[features, d_out]`
///
/// # Errors
/// What `round` gives, which is called after each of [`ROUNDS`].
pub(crate) fn layout(
    directions: Tensor<2>,
    seed: u64,
    mut round: impl FnMut(u64) -> Result<(), DashboardError>,
) -> Result<Vec<[f32; 2]>, DashboardError> {
    let [n, _] = directions.dims();
    let mut rng = ChaCha12Rng::seed_from_u64(seed);
    let mut places = two_components(directions.clone(), &mut rng);
    fit(&mut places, WIDTH);
    // Directions that are the same would stay in one place for ever.
    for place in &mut places {
        place.iter_mut().for_each(|x| *x += 1e-3 * uniform(&mut rng));
    }
    if n > 2 {
        move_apart(&mut places, &graph(directions), &mut rng, &mut round)?;
    }
    fit(&mut places, 1.0);
    Ok(places)
}

fn move_apart(
    places: &mut [[f32; 2]],
    graph: &Graph,
    rng: &mut ChaCha12Rng,
    round: &mut impl FnMut(u64) -> Result<(), DashboardError>,
) -> Result<(), DashboardError> {
    let strongest = graph.edges.iter().map(|edge| edge.weight).fold(0.0, f32::max);
    // An edge takes part as often as its weight says.
    let mut due: Vec<f32> = vec![0.0; graph.edges.len()];
    for done in 0..ROUNDS {
        let rate = 1.0 - done as f32 / ROUNDS as f32;
        for (edge, due) in graph.edges.iter().zip(&mut due) {
            *due += edge.weight / strongest;
            if *due < 1.0 {
                continue;
            }
            *due -= 1.0;
            let (a, b) = (edge.a as usize, edge.b as usize);
            let step = pull(places[a], places[b]);
            for axis in 0..2 {
                places[a][axis] += rate * step[axis];
                places[b][axis] -= rate * step[axis];
            }
            for end in [a, b] {
                for _ in 0..PUSHED {
                    let other = rng.next_u64() as usize % places.len();
                    if other == end {
                        continue;
                    }
                    let step = push(places[end], places[other]);
                    for axis in 0..2 {
                        places[end][axis] += rate * step[axis];
                    }
                }
            }
        }
        round(done as u64 + 1)?;
    }
    Ok(())
}

/// The step that draws `a` to `b`: minus the gradient of `−log q`.
fn pull(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    let square = distance(a, b);
    if square == 0.0 {
        return [0.0; 2];
    }
    let power = square.powf(B);
    let factor = -2.0 * A * B * power / square / (1.0 + A * power);
    step(a, b, factor)
}

/// The step that pushes `a` from `b`: minus the gradient of `−log (1 − q)`.
fn push(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    let square = distance(a, b);
    let factor = 2.0 * B / ((1e-3 + square) * (1.0 + A * square.powf(B)));
    step(a, b, factor)
}

fn step(a: [f32; 2], b: [f32; 2], factor: f32) -> [f32; 2] {
    [0, 1].map(|axis| (factor * (a[axis] - b[axis])).clamp(-LONGEST, LONGEST))
}

fn distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

/// Moves and scales the places so that both axes are `0..=width`.
fn fit(places: &mut [[f32; 2]], width: f32) {
    for axis in 0..2 {
        let low = places.iter().map(|place| place[axis]).fold(f32::INFINITY, f32::min);
        let high = places.iter().map(|place| place[axis]).fold(f32::NEG_INFINITY, f32::max);
        for place in places.iter_mut() {
            let at = (place[axis] - low) / (high - low);
            place[axis] = width * if at.is_finite() { at } else { 0.5 };
        }
    }
}

/// In `0..1`.
pub(crate) fn uniform(rng: &mut ChaCha12Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three bundles of 20 directions in 16 dimensions.
    fn bundles() -> Tensor<2> {
        let mut rng = ChaCha12Rng::seed_from_u64(5);
        let mut rows = Vec::new();
        for n in 0..60 {
            for axis in 0..16 {
                let centre = if axis == n / 20 { 1.0 } else { 0.0 };
                rows.push(centre + 0.2 * (uniform(&mut rng) - 0.5));
            }
        }
        let device = nanoscope_device::for_tests();
        Tensor::<1>::from_floats(rows.as_slice(), &device).reshape([60, 16])
    }

    #[test]
    fn features_that_point_the_same_way_are_near_each_other() {
        let places = layout(bundles(), 1, |_| Ok(())).unwrap();

        let mut own = 0.0_f32;
        let mut others = f32::INFINITY;
        for a in 0..60 {
            let to = |b: usize| distance(places[a], places[b]);
            let same = (0..60).filter(|&b| b != a && b / 20 == a / 20).map(to);
            own = own.max(same.fold(f32::INFINITY, f32::min));
            others = others
                .min((0..60).filter(|&b| b / 20 != a / 20).map(to).fold(f32::INFINITY, f32::min));
        }
        assert!(own < others, "nearest of the own bundle {own}, of another {others}");
        assert!(places.iter().flatten().all(|x| (0.0..=1.0).contains(x)));
    }

    #[test]
    fn the_map_depends_on_the_seed_only() {
        let with = |seed| layout(bundles(), seed, |_| Ok(())).unwrap();

        assert_eq!(with(1), with(1));
        assert_ne!(with(1), with(2));
    }

    #[test]
    fn few_or_equal_features_have_places_too() {
        let device = nanoscope_device::for_tests();
        for n in 1..6 {
            let places = layout(Tensor::zeros([n, 4], &device), 1, |_| Ok(())).unwrap();

            assert_eq!(places.len(), n);
            assert!(places.iter().flatten().all(|x| x.is_finite()), "{n}: {places:?}");
        }
    }
}
