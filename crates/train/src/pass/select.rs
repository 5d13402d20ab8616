//! Selection of the features to keep in a batch.

use nanoscope_sae::Selection;
use rayon::prelude::*;

use crate::pass::entries::Entries;

/// Selects the `k` largest positive pre-activations of each row.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]` row-major
pub(crate) fn top_k(pre: &[f32], d_sae: usize, k: usize) -> Entries {
    Entries::by_row(
        pre,
        d_sae,
        || Selection::new(k),
        |selection, row, kept| {
            kept.extend(selection.select(row).iter().filter(|(_, value)| *value > 0.0));
        },
    )
}

/// Selects the `k` largest positive pre-activations of each row among `candidates`.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]` row-major
pub(crate) fn top_k_among(pre: &[f32], d_sae: usize, candidates: &[u32], k: usize) -> Entries {
    let k = k.min(candidates.len());
    let start = || (Selection::new(k), Vec::with_capacity(candidates.len()));
    Entries::by_row(pre, d_sae, start, |(selection, values), row, kept| {
        values.clear();
        values.extend(candidates.iter().map(|&feature| row[feature as usize]));
        let positive = selection.select(values).iter().filter(|(_, value)| *value > 0.0);
        kept.extend(positive.map(|&(at, value)| (candidates[at as usize], value)));
    })
}

/// Selects the `k · rows` largest positive pre-activations of the batch. Of equal ones, the first
/// are selected.
///
/// # Shapes
/// - `pre`: `[rows, d_sae]` row-major
pub(crate) fn batch_top_k(pre: &[f32], d_sae: usize, k: usize) -> Entries {
    let wanted = k * (pre.len() / d_sae);
    let Some((bound, mut ties)) = bound(pre, wanted) else {
        return Entries::by_row(pre, d_sae, || (), |(), row, kept| kept.extend(positive(row)));
    };
    // Values equal to the bound are counted in order, so this runs on one thread.
    let mut features = Entries::new(d_sae);
    for row in pre.chunks_exact(d_sae) {
        let kept = (0..).zip(row).filter(|(_, value)| {
            let tie = **value == bound && ties > 0;
            ties -= usize::from(tie);
            tie || **value > bound
        });
        features.push_row(kept.map(|(index, &value)| (index, value)));
    }
    features
}

/// Returns the `wanted`-th largest positive number of `pre`, and how many equal to it are among the
/// `wanted` largest. `None` if there are at most `wanted`.
fn bound(pre: &[f32], wanted: usize) -> Option<(f32, usize)> {
    // The bits of positive floats have the same order as the floats, so the number is found by
    // counting, first its upper half and then its lower half. Sorting the batch would take most of
    // the step.
    let (upper, above) = nth_half(pre, wanted, |bits| Some(bits >> 16))?;
    let in_upper = |bits: u32| (bits >> 16 == upper).then_some(bits & 0xFFFF);
    let (lower, above) =
        nth_half(pre, wanted - above, in_upper).map(|(lower, n)| (lower, above + n))?;
    Some((f32::from_bits(upper << 16 | lower), wanted - above))
}

/// Among positive numbers for which `half` returns a value, finds the largest half that `wanted` of
/// them reach, and counts those above it.
fn nth_half(
    pre: &[f32],
    wanted: usize,
    half: impl Fn(u32) -> Option<u32> + Sync,
) -> Option<(u32, usize)> {
    let count = |chunk: &[f32]| {
        let mut counts = vec![0_u32; 1 << 16];
        for value in chunk.iter().filter(|value| **value > 0.0) {
            if let Some(half) = half(value.to_bits()) {
                counts[half as usize] += 1;
            }
        }
        counts
    };
    let sum = |mut a: Vec<u32>, b: Vec<u32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    let at_once = pre.len().div_ceil(rayon::current_num_threads()).max(1);
    let counts = pre.par_chunks(at_once).map(count).reduce_with(sum)?;
    let mut above = 0;
    for (half, &count) in counts.iter().enumerate().rev() {
        if above + count as usize >= wanted {
            return Some((half as u32, above));
        }
        above += count as usize;
    }
    None
}

/// The positive values of `row`, with their indices.
fn positive(row: &[f32]) -> impl Iterator<Item = (u32, f32)> {
    (0..).zip(row.iter().copied()).filter(|(_, value)| *value > 0.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Like [`batch_top_k`], by sorting.
    fn by_sorting(pre: &[f32], d_sae: usize, k: usize) -> Entries {
        let mut all: Vec<_> = (0..pre.len()).filter(|&at| pre[at] > 0.0).collect();
        all.sort_by(|&a, &b| pre[b].total_cmp(&pre[a]).then(a.cmp(&b)));
        all.truncate(k * (pre.len() / d_sae));
        all.sort_unstable();
        let mut features = Entries::new(d_sae);
        for row in 0..pre.len() / d_sae {
            let kept = all.iter().filter(|at| *at / d_sae == row);
            features.push_row(kept.map(|&at| ((at % d_sae) as u32, pre[at])));
        }
        features
    }

    proptest! {
        #[test]
        fn counting_keeps_what_sorting_keeps(
            // Few distinct values, so that ties are common, and some that differ only in their last
            // bits.
            pre in prop::collection::vec(
                prop_oneof![(-4_i8..4).prop_map(f32::from), 1.0_f32..1.0001], 7 * 9),
            k in 1_usize..7,
        ) {
            prop_assert_eq!(batch_top_k(&pre, 7, k), by_sorting(&pre, 7, k));
        }
    }

    #[test]
    fn candidates_keep_their_own_numbers_and_negative_ones_are_left_out() {
        let pre = [9.0, 1.0, -2.0, 3.0, 4.0, 0.5];

        let kept = top_k_among(&pre, 6, &[1, 2, 3, 5], 3);

        assert_eq!(kept.row(0), [(1, 1.0), (3, 3.0), (5, 0.5)]);
        assert_eq!(top_k(&pre, 6, 2).row(0), [(0, 9.0), (4, 4.0)]);
    }
}
