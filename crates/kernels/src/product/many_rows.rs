//! Products of many rows with a matrix of any stored type, in panels.

use crate::matrix_view::{MatrixView, Order};
use crate::product::panel::{PanelWidth, multiply_panel};
use crate::simd::{Simd, WithSimd, run};
use crate::stored::Stored;
use crate::team::{each_chunk, each_chunk_with, threads_for};

/// The number of products that are worth a thread: about 10 µs.
const PER_THREAD: usize = 1 << 19;
/// The number of outputs that a thread computes at a time, for a matrix by output.
const OUTPUTS: usize = 24;
/// The number of inputs that are turned at a time: their lines stay in the nearest cache.
const TURNED: usize = 16;
/// The number of rows of activations whose products are in memory in the order of the panels: with 32,768 outputs
/// 64 MB.
const MAX_ROWS: usize = 512;

impl<W: Stored> MatrixView<'_, W> {
    /// Computes `x · self` in float32. The sums have one order, whatever the number of threads and of rows.
    ///
    /// # Shapes
    /// - `x`: `[rows, d_in]`, row-major
    /// - output: `[rows, d_out]`, row-major
    pub(crate) fn multiply_many(&self, x: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0_f32; x.len() / self.d_in * self.d_out];
        let parts = x.chunks(MAX_ROWS * self.d_in).zip(out.chunks_mut(MAX_ROWS * self.d_out));
        for (x, out) in parts {
            match self.order {
                Order::ByInput => self.with_panels_of_outputs(x, out),
                Order::ByOutput => self.with_panels_of_rows(x, out),
            }
        }
        out
    }

    fn threads_for(&self, rows: usize) -> usize {
        threads_for(rows * self.d_in * self.d_out, PER_THREAD)
    }

    /// Multiplies with panels of the matrix, in which the numbers of an input are one after another.
    fn with_panels_of_outputs(&self, x: &[f32], out: &mut [f32]) {
        let PanelWidth { lanes, max } = PanelWidth::of_machine();
        let x: Vec<&[f32]> = x.chunks_exact(self.d_in).collect();
        // `[rows, width]` for each panel.
        let mut parts = vec![0.0_f32; x.len() * self.d_out.next_multiple_of(lanes)];
        let threads = self.threads_for(x.len());
        each_chunk_with(&mut parts, x.len() * max, threads, Vec::new, |panel, at, out| {
            let width = out.len() / x.len();
            run(OutputPanel { matrix: *self, from: at * max, width, x: &x, panel, out });
        });
        each_chunk(out, self.d_out, threads, |row, out| {
            for (out, part) in out.chunks_mut(max).zip(parts.chunks(x.len() * max)) {
                let width = part.len() / x.len();
                out.copy_from_slice(&part[row * width..][..out.len()]);
            }
        });
    }

    /// Multiplies with panels of the activations, because the matrix has the numbers of an output one after another.
    fn with_panels_of_rows(&self, x: &[f32], out: &mut [f32]) {
        let widths = PanelWidth::of_machine();
        let threads = self.threads_for(x.len() / self.d_in);
        let panels = RowPanels::new(x, self.d_in, widths, threads);
        // For each group of outputs, `[outputs, width]` of each panel.
        let mut parts = vec![0.0_f32; panels.rows * self.d_out];
        each_chunk_with(
            &mut parts,
            panels.rows * OUTPUTS,
            threads,
            Vec::new,
            |widened, at, out| {
                run(RowPanel { matrix: *self, from: at * OUTPUTS, panels: &panels, widened, out });
            },
        );
        each_chunk(out, widths.max * self.d_out, threads, |panel, out| {
            let first = panel * widths.max;
            let width = (panels.rows - first).min(widths.max);
            for (at, part) in parts.chunks(panels.rows * OUTPUTS).enumerate() {
                let count = part.len() / panels.rows;
                let part = &part[first * count..][..width * count];
                for (row, out) in out.chunks_exact_mut(self.d_out).enumerate() {
                    let sums = part[row..].iter().step_by(width);
                    let out = &mut out[at * OUTPUTS..][..count];
                    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum);
                }
            }
        });
    }
}

/// Rows of activations in panels: the rows of a panel are its columns.
struct RowPanels {
    values: Vec<f32>,
    /// The number of rows, with those of zeros that fill the last vector.
    rows: usize,
    widths: PanelWidth,
}

impl RowPanels {
    fn new(x: &[f32], d_in: usize, widths: PanelWidth, threads: usize) -> Self {
        let rows = (x.len() / d_in).next_multiple_of(widths.lanes);
        let mut values = vec![0.0_f32; rows * d_in];
        each_chunk(&mut values, widths.max * d_in, threads, |panel, values| {
            let width = values.len() / d_in;
            let x = &x[panel * widths.max * d_in..];
            for (at, values) in values.chunks_mut(TURNED * width).enumerate() {
                for (row, x) in x.chunks_exact(d_in).take(width).enumerate() {
                    let places = values[row..].iter_mut().step_by(width);
                    places.zip(&x[at * TURNED..]).for_each(|(place, x)| *place = *x);
                }
            }
        });
        Self { values, rows, widths }
    }
}

/// The products of all rows with one panel of the matrix.
struct OutputPanel<'a, 'w, W> {
    matrix: MatrixView<'w, W>,
    /// The first output.
    from: usize,
    width: usize,
    x: &'a [&'a [f32]],
    panel: &'a mut Vec<f32>,
    out: &'a mut [f32],
}

impl<W: Stored> WithSimd for OutputPanel<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, from, width, x, panel, out } = self;
        // What no output fills stays as it is, and its sums are left out.
        panel.resize(matrix.d_in * width, 0.0);
        let len = width.min(matrix.d_out - from);
        for (input, to) in panel.chunks_exact_mut(width).enumerate() {
            let values = &matrix.values[input * matrix.stride + from..][..len];
            to.iter_mut().zip(values).for_each(|(to, value)| *to = value.widen());
        }
        multiply_panel(simd, panel, width, x, out);
    }
}

/// The products of some outputs of the matrix with all panels of rows.
struct RowPanel<'a, 'w, W> {
    matrix: MatrixView<'w, W>,
    /// The first output.
    from: usize,
    panels: &'a RowPanels,
    widened: &'a mut Vec<f32>,
    out: &'a mut [f32],
}

impl<W: Stored> WithSimd for RowPanel<'_, '_, W> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { matrix, from, panels, widened, out } = self;
        let (count, d_in) = (out.len() / panels.rows, matrix.d_in);
        let values = |output: usize| &matrix.values[(from + output) * matrix.stride..][..d_in];
        widened.resize(count * d_in, 0.0);
        // In a loop: what `collect` calls is not compiled for these vector instructions.
        let mut outputs = [[].as_slice(); OUTPUTS];
        for (output, to) in widened.chunks_exact_mut(d_in).enumerate() {
            outputs[output] = W::widened(values(output), to);
        }
        let outputs = &outputs[..count];
        let max = panels.widths.max;
        for (panel, out) in panels.values.chunks(max * d_in).zip(out.chunks_mut(max * count)) {
            multiply_panel(simd, panel, panel.len() / d_in, outputs, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::bf16;

    use super::*;

    #[test]
    fn a_row_does_not_depend_on_the_others() {
        let (d_in, d_out, rows) = (300, 410, MAX_ROWS + 70);
        let w: Vec<f32> = (0..d_in * d_out).map(|at| (at as f32 * 0.37).sin()).collect();
        let halves: Vec<bf16> = w.iter().map(|&number| bf16::from_f32(number)).collect();
        let x: Vec<f32> = (0..rows * d_in).map(|at| (at as f32 * 0.11).cos()).collect();
        for (order, stride) in [(Order::ByInput, d_out), (Order::ByOutput, d_in)] {
            let float = MatrixView::new(&w, [d_in, d_out], order, stride).unwrap();
            let half = MatrixView::new(&halves, [d_in, d_out], order, stride).unwrap();
            let products = |x: &[f32]| [float.multiply(x), half.multiply(x)];
            let all = products(&x);
            for (from, to) in [(0, 9), (3, 67), (500, 540), (511, 530), (560, 582)] {
                let some = products(&x[from * d_in..to * d_in]);
                for (all, some) in all.iter().zip(some) {
                    assert_eq!(all[from * d_out..to * d_out], some, "{from}..{to}");
                }
            }
        }
    }
}
