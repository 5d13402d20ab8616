//! Products with panels: matrices as narrow as the sums that fit into registers.

use crate::simd::{Simd, WithSimd, run};

/// The number of rows whose sums with a panel are in registers together.
const TOGETHER: usize = 6;

/// The widths of the panels for the vector instructions of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelWidth {
    /// The numbers of a vector; every panel has a multiple.
    pub(crate) lanes: usize,
    /// The width of all panels but a last one.
    pub(crate) max: usize,
}

impl PanelWidth {
    pub(crate) fn of_machine() -> Self {
        struct Widths;

        impl WithSimd for Widths {
            type Output = PanelWidth;

            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> PanelWidth {
                // A browser compiles WebAssembly for a processor that may have 16 registers.
                let many = S::REGISTER_COUNT >= 32 && !cfg!(target_arch = "wasm32");
                PanelWidth { lanes: S::F32_LANES, max: S::F32_LANES * if many { 4 } else { 2 } }
            }
        }

        run(Widths)
    }
}

/// Computes `rows · panel`. Each sum has the order of the panel's rows, whatever else is computed.
///
/// # Shapes
/// - `panel`: `[d, width]`, where the width is that of one to four vectors
/// - `rows`: `[n, d]`
/// - `out`: `[n, width]`
#[inline(always)]
pub(crate) fn multiply_panel<S: Simd>(
    simd: S,
    panel: &[f32],
    width: usize,
    rows: &[&[f32]],
    out: &mut [f32],
) {
    match width / S::F32_LANES {
        1 => by_vectors::<S, 1>(simd, panel, rows, out),
        2 => by_vectors::<S, 2>(simd, panel, rows, out),
        3 => by_vectors::<S, 3>(simd, panel, rows, out),
        _ => by_vectors::<S, 4>(simd, panel, rows, out),
    }
}

#[inline(always)]
fn by_vectors<S: Simd, const VECTORS: usize>(
    simd: S,
    panel: &[f32],
    rows: &[&[f32]],
    out: &mut [f32],
) {
    let width = VECTORS * S::F32_LANES;
    let (groups, rest) = rows.as_chunks::<TOGETHER>();
    let (of_groups, of_rest) = out.split_at_mut(groups.len() * TOGETHER * width);
    for (rows, out) in groups.iter().zip(of_groups.chunks_exact_mut(TOGETHER * width)) {
        sums::<S, VECTORS, TOGETHER>(simd, panel, *rows, out);
    }
    let (twos, rest) = rest.as_chunks::<2>();
    let (of_twos, of_rest) = of_rest.split_at_mut(twos.len() * 2 * width);
    for (rows, out) in twos.iter().zip(of_twos.chunks_exact_mut(2 * width)) {
        sums::<S, VECTORS, 2>(simd, panel, *rows, out);
    }
    if let [row] = rest {
        sums::<S, VECTORS, 1>(simd, panel, [row], of_rest);
    }
}

#[inline(always)]
fn sums<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    panel: &[f32],
    rows: [&[f32]; ROWS],
    out: &mut [f32],
) {
    let panel = S::as_simd_f32s(panel).0;
    let d = panel.len() / VECTORS;
    let rows = rows.map(|row| &row[..d]);
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for (at, vectors) in panel.chunks_exact(VECTORS).enumerate() {
        let vectors: [S::f32s; VECTORS] = std::array::from_fn(|vector| vectors[vector]);
        for row in 0..ROWS {
            let number = simd.splat_f32s(rows[row][at]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_e_f32s(number, vectors[vector], sums[row][vector]);
            }
        }
    }
    let out = S::as_mut_simd_f32s(out).0;
    for (out, sums) in out.chunks_exact_mut(VECTORS).zip(sums) {
        out.copy_from_slice(&sums);
    }
}
