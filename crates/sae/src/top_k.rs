use burn::tensor::{Device, Tensor, TensorData};

use crate::SparseFeatures;

/// Where the `k` largest of each row are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopKPath {
    /// The rows are read back and gone through once. On a CPU burn's own top-k sorts the row:
    /// 199 µs against 10 µs at 10,240 features.
    Host,
    /// The rows are sorted where they are. Not burn's `topk_with_indices`: on wgpu burn 0.22.1
    /// gives wrong values for `k >= 64` without an error.
    Device,
}

/// From this many numbers on, a GPU sorts faster than they are read back.
const READ_BACK: usize = 1 << 20;

impl TopKPath {
    /// The better path for a selection from `len` numbers on `device`.
    pub fn for_device(device: &Device, len: usize) -> Self {
        if len < READ_BACK || in_host_memory(device) { Self::Host } else { Self::Device }
    }
}

/// Whether reading a tensor of this device is only a copy: CPU backends keep no memory pool.
fn in_host_memory(device: &Device) -> bool {
    device.memory_pool_usage().is_none()
}

/// The `k` largest values of each row; of equal ones those with the lower index.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]`
///
/// # Panics
/// If `k` is 0 or larger than `d_sae`.
pub fn top_k(pre: Tensor<2>, k: usize, path: TopKPath) -> SparseFeatures {
    let [_, d_sae] = pre.dims();
    assert!((1..=d_sae).contains(&k), "top {k} of {d_sae}");
    let mut features = SparseFeatures::new(d_sae);
    match path {
        TopKPath::Host => {
            let data = pre.into_data_dtype(burn::tensor::DType::F32);
            let values = data.as_slice::<f32>().expect("the data were just made float32");
            let mut selection = Selection::new(k);
            for row in values.chunks_exact(d_sae) {
                features.push_row(selection.of(row).iter().copied());
            }
        }
        TopKPath::Device => {
            // One more than is kept shows whether the cut goes through equal values: of those
            // burn's sort, which is not stable, may put any first.
            let shown = (k + 1).min(d_sae);
            let (values, indices) = sorted(pre.clone(), shown);
            let values: Vec<f32> = values.into_data().iter::<f32>().collect();
            if k < d_sae && values.chunks_exact(shown).any(|row| row[k - 1] <= row[k]) {
                return top_k(pre, k, TopKPath::Host);
            }
            let indices: Vec<u32> = indices.into_data().iter::<u32>().collect();
            for (values, indices) in values.chunks_exact(shown).zip(indices.chunks_exact(shown)) {
                let mut row: Vec<_> =
                    indices[..k].iter().copied().zip(values[..k].iter().copied()).collect();
                row.sort_unstable_by_key(|(index, _)| *index);
                features.push_row(row);
            }
        }
    }
    features
}

/// `pre` with all but the `k` largest of each row set to 0.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]`; the output has the same shape
pub(crate) fn keep_top_k(pre: Tensor<2>, k: usize, path: TopKPath) -> Tensor<2> {
    let (shape, device) = (pre.dims(), pre.device());
    let dense = top_k(pre, k, path).to_dense();
    Tensor::from_data(TensorData::new(dense, shape), &device)
}

fn sorted(pre: Tensor<2>, k: usize) -> (Tensor<2>, Tensor<2, burn::tensor::Int>) {
    let (values, indices) = pre.sort_descending_with_indices(1);
    (values.slice_dim(1, 0..k), indices.slice_dim(1, 0..k))
}

/// Finds the `k` largest of a row, with memory that is used again for the next row.
struct Selection {
    k: usize,
    /// The largest number of each chunk.
    maxima: Vec<f32>,
    /// What may be among the `k` largest.
    candidates: Vec<(u32, f32)>,
}

/// Numbers whose maximum is taken together, without a branch.
const CHUNK: usize = 16;

impl Selection {
    fn new(k: usize) -> Self {
        Self { k, maxima: Vec::new(), candidates: Vec::with_capacity(2 * k) }
    }

    /// The `k` largest of `row` in ascending order of index.
    ///
    /// The `k`-th largest of the chunks' maxima is no larger than the `k`-th largest number: `k`
    /// numbers, one in each of these chunks, reach it. So only what reaches it is a candidate, and
    /// only about `k` chunks have any.
    fn of(&mut self, row: &[f32]) -> &[(u32, f32)] {
        let largest = |chunk: &[f32]| {
            chunk.iter().fold(f32::NEG_INFINITY, |max, &v| if v > max { v } else { max })
        };
        self.maxima.clear();
        self.maxima.extend(row.chunks(CHUNK).map(largest));
        let bound = self.bound();

        self.candidates.clear();
        let chunks = row.chunks(CHUNK).zip(&self.maxima).enumerate();
        for (at, (chunk, _)) in chunks.filter(|(_, (_, max))| **max >= bound) {
            let first = at * CHUNK;
            let reaching = chunk.iter().enumerate().filter(|(_, value)| **value >= bound);
            self.candidates.extend(reaching.map(|(at, &value)| ((first + at) as u32, value)));
        }
        if self.candidates.len() > self.k {
            self.candidates
                .select_nth_unstable_by(self.k - 1, |a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            self.candidates.truncate(self.k);
            self.candidates.sort_unstable_by_key(|(index, _)| *index);
        }
        &self.candidates
    }

    /// What a number must reach to be among the `k` largest, going by the maxima alone.
    fn bound(&self) -> f32 {
        if self.maxima.len() < self.k {
            return f32::NEG_INFINITY;
        }
        let mut maxima = self.maxima.clone();
        *maxima.select_nth_unstable_by(self.k - 1, |a, b| b.total_cmp(a)).1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by_sorting(row: &[f32], k: usize) -> Vec<(u32, f32)> {
        let mut all: Vec<_> = (0..).zip(row.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all.sort_by_key(|(index, _)| *index);
        all
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_a_sort_finds(
            // Few distinct values, so that ties are common.
            row in prop::collection::vec((-8_i8..8).prop_map(f32::from), 1..300),
            k in 1_usize..80,
        ) {
            let k = k.min(row.len());
            let mut selection = Selection::new(k);
            prop_assert_eq!(selection.of(&row), by_sorting(&row, k));
            // And again with the memory of the first row.
            prop_assert_eq!(selection.of(&row), by_sorting(&row, k));
        }
    }
}
