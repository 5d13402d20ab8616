use crate::product::part::Part;
use crate::simd::{Simd, WithSimd, multiply_add};
use crate::stored::Stored;

/// The number of rows of the matrix that are added at once.
const GROUP: usize = 8;
/// The number of rows whose sums are in registers together.
const MAX_TILE: usize = 4;
/// The number of columns whose sums are in registers together: a few vectors.
const LANES: usize = 32;

/// A part of a product with a matrix by input: adds its rows, times their inputs, to the sums.
pub(crate) struct ByInput<'a, 'w, W>(pub(crate) Part<'a, 'w, W>);

impl<W: Stored> WithSimd for ByInput<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Part { matrix, x, from, out, rows } = self.0;
        let columns = out.len() / rows;
        let row = |at: usize| &matrix.values[at * matrix.stride + from..][..columns];
        let groups = matrix.d_in / GROUP;
        for group in 0..groups {
            let first = group * GROUP;
            let weights: [&[W]; GROUP] = std::array::from_fn(|at| row(first + at));
            let inputs = |row: usize| -> [f32; GROUP] {
                std::array::from_fn(|at| x[row * matrix.d_in + first + at])
            };
            let mut done = 0;
            for out in out.chunks_mut(MAX_TILE * columns) {
                match out.len() / columns {
                    1 => add_group::<W, 1, S>([done].map(inputs), &weights, out),
                    2 => add_group::<W, 2, S>([0, 1].map(|at| inputs(done + at)), &weights, out),
                    3 => {
                        add_group::<W, 3, S>([0, 1, 2].map(|at| inputs(done + at)), &weights, out);
                    }
                    _ => {
                        let x = [0, 1, 2, 3].map(|at| inputs(done + at));
                        add_group::<W, 4, S>(x, &weights, out);
                    }
                }
                done += MAX_TILE;
            }
        }
        for input in groups * GROUP..matrix.d_in {
            let weights = row(input);
            for (x, out) in x.chunks_exact(matrix.d_in).zip(out.chunks_exact_mut(columns)) {
                for (sum, weight) in out.iter_mut().zip(weights) {
                    *sum = multiply_add::<S>(x[input], weight.widen(), *sum);
                }
            }
        }
    }
}

/// Adds a group of the matrix's rows, times their inputs `x`, to `out`, which is `[ROWS, columns]`.
#[inline(always)]
fn add_group<W: Stored, const ROWS: usize, S: Simd>(
    x: [[f32; GROUP]; ROWS],
    weights: &[&[W]; GROUP],
    out: &mut [f32],
) {
    let columns = weights[0].len();
    let whole = columns / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        // The sums of a tile are in registers.
        let mut sums = [[0.0_f32; LANES]; ROWS];
        for (row, sums) in sums.iter_mut().enumerate() {
            sums.copy_from_slice(&out[row * columns + first..][..LANES]);
        }
        for at in 0..GROUP {
            let weights = &weights[at][first..first + LANES];
            let weights: [f32; LANES] = std::array::from_fn(|lane| weights[lane].widen());
            for row in 0..ROWS {
                for lane in 0..LANES {
                    sums[row][lane] = multiply_add::<S>(x[row][at], weights[lane], sums[row][lane]);
                }
            }
        }
        for (row, sums) in sums.iter().enumerate() {
            out[row * columns + first..][..LANES].copy_from_slice(sums);
        }
    }
    for row in 0..ROWS {
        for column in whole..columns {
            let sum = &mut out[row * columns + column];
            for at in 0..GROUP {
                *sum = multiply_add::<S>(x[row][at], weights[at][column].widen(), *sum);
            }
        }
    }
}
