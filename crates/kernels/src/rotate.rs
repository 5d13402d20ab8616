use burn::tensor::Tensor;

use crate::flex;
use crate::simd::{Simd, WithSimd, run};
use crate::team::each_chunk;

/// The number of values that a thread takes at once.
const CHUNK: usize = 1 << 15;

/// Rotates pairs of channels, as rotary position embeddings do (Su et al. 2021, arXiv:2104.09864). The first
/// `2 · half` channels are two halves that form the pairs: `y1 = x1·cos + x2·sin`, `y2 = x2·cos - x1·sin`. The
/// other channels stay.
///
/// # Shapes
/// - `x`: `[batch, seq, heads, head_dim]`; the output has the same shape
/// - `cos`, `sin`: `[1 or batch, seq, 1, half]`
pub fn rotate(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let [_, seq, heads, head_dim] = x.dims();
    let [tables, _, _, half] = cos.dims();
    let mut x = Some(x);
    let rotated = flex::numbers(cos, |cos| {
        flex::numbers(sin, |sin| {
            let rotation = Rotation { cos, sin, half, heads, head_dim, positions: tables * seq };
            flex::change(x.take().expect("it is taken once"), |values| {
                let position = heads * head_dim;
                let at_once = (CHUNK / position).max(1);
                each_chunk(values, at_once * position, usize::MAX, |at, values| {
                    run(Positions { rotation: &rotation, values, first: at * at_once });
                });
            })
        })
    });
    match rotated.flatten() {
        Some(Ok(rotated)) => rotated,
        Some(Err(x)) => composed(x, cos, sin),
        None => composed(x.expect("it was not taken"), cos, sin),
    }
}

/// Computes [`rotate`] with burn's operations.
fn composed(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    let [_, _, _, head_dim] = x.dims();
    let [_, _, _, half] = cos.dims();
    let channels = 2 * half;
    if channels < head_dim {
        let rest = x.clone().slice_dim(3, channels..head_dim);
        return Tensor::cat(vec![composed(x.slice_dim(3, 0..channels), cos, sin), rest], 3);
    }
    let x1 = x.clone().slice_dim(3, 0..half);
    let x2 = x.slice_dim(3, half..channels);
    let y1 = x1.clone() * cos.clone() + x2.clone() * sin.clone();
    let y2 = x2 * cos.clone() - x1 * sin.clone();
    Tensor::cat(vec![y1, y2], 3)
}

/// Cosines and sines of positions, and the shape of what they rotate.
struct Rotation<'t> {
    cos: &'t [f32],
    sin: &'t [f32],
    half: usize,
    heads: usize,
    head_dim: usize,
    /// The number of positions in the tables, after which they are used again.
    positions: usize,
}

/// Heads of some positions, of which the first is position `first` of the batch.
struct Positions<'a, 't> {
    rotation: &'a Rotation<'t>,
    values: &'a mut [f32],
    first: usize,
}

impl WithSimd for Positions<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Rotation { cos, sin, half, heads, head_dim, positions } = *self.rotation;
        for (at, heads) in self.values.chunks_exact_mut(heads * head_dim).enumerate() {
            let row = (self.first + at) % positions * half;
            let (cos, sin) = (&cos[row..row + half], &sin[row..row + half]);
            for head in heads.chunks_exact_mut(head_dim) {
                let (x1, x2) = head.split_at_mut(half);
                let x2 = &mut x2[..half];
                // Rounded after each product, as the composed operations are: models whose tables are bfloat16
                // lose digits otherwise.
                for pair in 0..half {
                    let (a, b) = (x1[pair], x2[pair]);
                    x1[pair] = a * cos[pair] + b * sin[pair];
                    x2[pair] = b * cos[pair] - a * sin[pair];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use nanoscope_testing::test_device;

    use super::*;

    #[test]
    fn rotations_are_those_of_the_composed_operations_to_the_bit() {
        let device = test_device();
        let tensor = |shape: [usize; 4], step: f32| {
            let numbers = (0..shape.iter().product()).map(|at: usize| (at as f32 * step).sin());
            Tensor::<4>::from_data(TensorData::new(numbers.collect::<Vec<_>>(), shape), &device)
        };
        // Few positions, and enough for several threads; one table for all rows, and one for each.
        for (seq, head_dim, half) in [(3, 8, 4), (3, 10, 4), (300, 32, 16)] {
            for tables in [1, 2] {
                let x = tensor([2, seq, 4, head_dim], 0.3);
                let all = [tables, seq + 2, 1, half];
                let [cos, sin] = [0.7, 0.9].map(|step| tensor(all, step));
                // A view that begins at a later position, as of a longer table.
                let [cos, sin] = [cos, sin].map(|table| table.slice_dim(1, 2..seq + 2));

                let found = rotate(x.clone(), &cos, &sin).into_data();

                assert_eq!(found, composed(x, &cos, &sin).into_data(), "{seq} {tables}");
            }
        }
    }
}
