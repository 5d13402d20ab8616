//! Moves activations along directions, or replaces rows by their reconstruction.

use burn::tensor::{Bool, Tensor, TensorData};

/// Moves each row of `x` along directions.
///
/// # Shapes
/// - `x`: `[plans * tokens, width]`; the output has the same shape
/// - `moved`: the distance along each direction, `[plans * tokens * directions]`
/// - `directions`: `[plans, directions, width]`
pub(crate) fn move_along(x: Tensor<2>, moved: Vec<f32>, directions: Tensor<3>) -> Tensor<2> {
    let [rows, width] = x.dims();
    let [plans, count, _] = directions.dims();
    let delta = if let [moved] = moved[..] {
        directions * moved
    } else {
        let moved = TensorData::new(moved, [plans, rows / plans, count]);
        Tensor::<3>::from_data(moved, &x.device()).matmul(directions)
    };
    x + delta.reshape([rows, width])
}

/// Replaces the covered rows of `x` by those of `with`.
///
/// # Shapes
/// - `x`, `with`: `[rows, width]`; the output has the same shape
/// - `covered`: `[rows]`
pub(crate) fn replace_rows(x: Tensor<2>, with: Tensor<2>, covered: Vec<bool>) -> Tensor<2> {
    if covered.iter().all(|&covered| covered) {
        return with;
    }
    let [rows, width] = x.dims();
    let mask = Tensor::<2, Bool>::from_data(TensorData::new(covered, [rows, 1]), &x.device());
    x.mask_where(mask.expand([rows, width]), with)
}
