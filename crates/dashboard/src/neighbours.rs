use burn::tensor::Tensor;

/// Nearest directions that a direction is tied to, as UMAP's default.
const NEIGHBOURS: usize = 15;
/// Cosines that are made at once: 64 MB.
const AT_ONCE: usize = 1 << 24;

/// Which directions belong together, and how strongly: UMAP's fuzzy simplicial set.
#[derive(Debug)]
pub(crate) struct Graph {
    /// Each pair once, ordered.
    pub(crate) edges: Vec<Edge>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Edge {
    pub(crate) a: u32,
    pub(crate) b: u32,
    /// `0..=1`.
    pub(crate) weight: f32,
}

/// The graph of `directions` under cosine distance.
///
/// # Shapes
/// - `directions`: `[n, d]`
pub(crate) fn graph(directions: Tensor<2>) -> Graph {
    let mut edges: Vec<Edge> = Vec::new();
    for (a, near) in (0..).zip(nearest(directions, NEIGHBOURS)) {
        let distances: Vec<f32> = near.iter().map(|&(_, cosine)| (1.0 - cosine).max(0.0)).collect();
        for (&(b, _), weight) in near.iter().zip(memberships(&distances)) {
            edges.push(Edge { a: a.min(b), b: a.max(b), weight });
        }
    }
    edges.sort_by_key(|edge| (edge.a, edge.b));
    // What either end says: w + w' − w·w'.
    edges.dedup_by(|next, kept| {
        let same = (next.a, next.b) == (kept.a, kept.b);
        if same {
            kept.weight = kept.weight + next.weight - kept.weight * next.weight;
        }
        same
    });
    edges.retain(|edge| edge.weight > 0.0);
    Graph { edges }
}

/// For each row its `k` nearest others by cosine, the nearest first.
fn nearest(directions: Tensor<2>, k: usize) -> Vec<Vec<(u32, f32)>> {
    let [n, _] = directions.dims();
    let norms = directions.clone().powi_scalar(2).sum_dim(1).sqrt().clamp_min(f32::MIN_POSITIVE);
    let units = directions / norms;
    let across = units.clone().transpose();
    let at_once = (AT_ONCE / n).max(1);
    let mut nearest = Vec::with_capacity(n);
    for from in (0..n).step_by(at_once) {
        let block = units.clone().slice_dim(0, from..(from + at_once).min(n));
        let cosines: Vec<f32> = block.matmul(across.clone()).into_data().iter::<f32>().collect();
        for (row, cosines) in (from..).zip(cosines.chunks_exact(n)) {
            let mut near: Vec<(u32, f32)> = Vec::with_capacity(k + 1);
            for (other, &cosine) in cosines.iter().enumerate() {
                let full = near.len() == k && near.last().is_some_and(|last| cosine <= last.1);
                if other == row || full || !cosine.is_finite() {
                    continue;
                }
                let at = near.partition_point(|&(_, other)| other >= cosine);
                near.insert(at, (other as u32, cosine));
                near.truncate(k);
            }
            nearest.push(near);
        }
    }
    nearest
}

/// How strongly each neighbour belongs: `exp(−(d − d₀) / s)` with the nearest's distance `d₀` and
/// an `s` for which they add up to log₂ of their number.
fn memberships(distances: &[f32]) -> Vec<f32> {
    let nearest = distances.iter().copied().fold(f32::INFINITY, f32::min);
    let target = (distances.len() as f32).log2();
    let member = |scale: f32| move |&d: &f32| (-(d - nearest) / scale).exp();
    let (mut low, mut high) = (1e-6_f32, 1e3_f32);
    for _ in 0..64 {
        let middle = (low * high).sqrt();
        if distances.iter().map(member(middle)).sum::<f32>() > target {
            high = middle;
        } else {
            low = middle;
        }
    }
    distances.iter().map(member(low)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memberships_add_up_to_the_logarithm_of_their_number() {
        let weights = memberships(&[0.5, 0.1, 0.3, 0.9]);

        assert!((weights.iter().sum::<f32>() - 2.0).abs() < 1e-3, "{weights:?}");
        assert_eq!(weights[1], 1.0);
        assert!(weights[2] > weights[0] && weights[0] > weights[3]);
    }

    #[test]
    fn an_edge_has_what_either_end_gives_it() {
        let device = nanoscope_device::for_tests();
        let rows = Tensor::from_floats([[1.0, 0.0], [1.0, 0.1], [1.0, 0.5]], &device);

        let graph = graph(rows);

        let ends: Vec<_> = graph.edges.iter().map(|edge| (edge.a, edge.b)).collect();
        assert_eq!(ends, [(0, 1), (0, 2), (1, 2)]);
        // Each is the other's nearest.
        assert_eq!(graph.edges[0].weight, 1.0);
    }
}
