use crate::matrix_view::MatrixView;

/// Some columns of a product: `out` is `[rows, columns]`, filled with zeros, and the first one is `from`.
pub(crate) struct Part<'a, 'w, W> {
    pub(crate) matrix: MatrixView<'w, W>,
    pub(crate) x: &'a [f32],
    pub(crate) from: usize,
    pub(crate) out: &'a mut [f32],
    pub(crate) rows: usize,
}
