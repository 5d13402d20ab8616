//! Top-k selection on the device equals a sort on the host.

use burn::tensor::{Tensor, TensorData};
use nanoscope_sae::{SparseFeatures, top_k};

const SIZES: [usize; 5] = [64, 1024, 4096, 10_240, 65_536];
/// Values of `k` around the powers of two at which kernels change, and above 63, where burn's own
/// `topk` is wrong on wgpu.
const KS: [usize; 11] = [1, 8, 31, 32, 33, 63, 64, 65, 100, 128, 256];

/// Distinct, unordered numbers in -1..1: successive states of a full-period generator.
fn distinct(len: usize) -> Vec<f32> {
    const PERIOD: u32 = 1 << 24;
    let mut state = 0_u32;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_140_671_485).wrapping_add(12_820_163) % PERIOD;
            state as f32 / (PERIOD / 2) as f32 - 1.0
        })
        .collect()
}

/// The `k` largest of each row, by sorting; of equal values the ones with the lower index.
fn by_sorting(values: &[f32], d_sae: usize, k: usize) -> SparseFeatures {
    let mut features = SparseFeatures::new(d_sae);
    for row in values.chunks_exact(d_sae) {
        let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all.sort_by_key(|&(index, _)| index);
        features.push_row(all);
    }
    features
}

/// Panics with the first difference only, as there are thousands of features.
#[track_caller]
fn assert_selected(what: &str, found: &SparseFeatures, expected: &SparseFeatures) {
    assert_eq!(found.rows(), expected.rows(), "{what}: rows");
    for row in 0..expected.rows() {
        let (found, expected): (Vec<_>, Vec<_>) =
            (found.row(row).collect(), expected.row(row).collect());
        let first = found.iter().zip(&expected).position(|(a, b)| a != b);
        if let Some(at) = first {
            let (found, expected) = (found[at], expected[at]);
            panic!("{what}: entry {at} of row {row} is {found:?}, not {expected:?}");
        }
        assert_eq!(found.len(), expected.len(), "{what}: length of row {row}");
    }
}

#[test]
fn the_largest_values_are_those_of_a_sort() {
    let device = nanoscope_testing::test_device();
    for d_sae in SIZES {
        for rows in [1, 4] {
            let values = distinct(rows * d_sae);
            let pre = TensorData::new(values.clone(), [rows, d_sae]);
            let pre = Tensor::<2>::from_data(pre, &device);
            for k in KS.into_iter().filter(|&k| k <= d_sae) {
                let expected = by_sorting(&values, d_sae, k);
                let found = top_k(pre.clone(), k).unwrap();
                let what = format!("top {k} of {rows} x {d_sae}");
                assert_selected(&what, &found, &expected);
            }
        }
    }
}

#[test]
fn of_equal_values_the_earlier_are_taken() {
    let device = nanoscope_testing::test_device();
    let d_sae = 4096;
    // Sixteen distinct values, so that every selection ends among equal ones.
    let values: Vec<f32> = distinct(d_sae).iter().map(|v| (v * 8.0).floor()).collect();
    let pre = Tensor::<2>::from_data(TensorData::new(values.clone(), [1, d_sae]), &device);
    for k in KS {
        let expected = by_sorting(&values, d_sae, k);
        let found = top_k(pre.clone(), k).unwrap();
        assert_selected(&format!("top {k}"), &found, &expected);
    }
}
