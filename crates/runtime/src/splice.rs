//! What becomes of an activation when its features change.

use burn::tensor::{Bool, Tensor, TensorData};
use nanoscope_sae::{Sae, SparseFeatures};

/// `x + decode(f') − decode(f)`, from the changed features only.
///
/// # Shapes
/// - `x`: `[rows, d_in]`; the output has the same shape
/// - `changes`: `[rows * features]`, each changed feature's `f' − f`
/// - `directions`: `[features, d_in]`, their decoder rows
pub(crate) fn keep_error(x: Tensor<2>, changes: Vec<f32>, directions: &Tensor<2>) -> Tensor<2> {
    let [rows, _] = x.dims();
    let [features, _] = directions.dims();
    let delta = if let [change] = changes[..] {
        directions.clone() * change
    } else {
        let changes = TensorData::new(changes, [rows, features]);
        Tensor::<2>::from_data(changes, &x.device()).matmul(directions.clone())
    };
    x + delta
}

/// `decode(f')` in the covered rows, `x` in the others.
///
/// # Shapes
/// - `x`: `[rows, d_in]`; the output has the same shape
/// - `covered`: `[rows]`
pub(crate) fn reconstruct(
    x: Tensor<2>,
    sae: &Sae,
    changed: &SparseFeatures,
    covered: Vec<bool>,
) -> Tensor<2> {
    let decoded = sae.decode_sparse(changed, x.clone());
    if covered.iter().all(|&covered| covered) {
        return decoded;
    }
    let [rows, d_in] = x.dims();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(covered, [rows, 1]), &x.device());
    x.mask_where(mask.expand([rows, d_in]), decoded)
}

/// The row `row` of `f`, with the features in `slots` at their new `values`.
pub(crate) fn with_changes(
    f: &SparseFeatures,
    row: usize,
    slots: &[usize],
    values: &[f32],
) -> Vec<(u32, f32)> {
    let changed = |index: u32| slots.contains(&(index as usize));
    let mut out: Vec<(u32, f32)> = f.row(row).filter(|&(index, _)| !changed(index)).collect();
    out.extend(slots.iter().zip(values).map(|(&index, &value)| (index as u32, value)));
    out.sort_unstable_by_key(|&(index, _)| index);
    out
}
