/// Active features by row, on the host, in compressed sparse row form.
///
/// A row's features are in ascending order of index; features that are not listed are 0.
///
/// Serde writes `{"d_sae": 8, "rows": [[[2, 1.5], [7, 0.25]], []]}`, a list of `[index, value]` pairs
/// per row.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseFeatures {
    d_sae: usize,
    /// Row `r` has the entries `indptr[r]..indptr[r + 1]`.
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl SparseFeatures {
    /// Creates features without rows, of an SAE with `d_sae` features.
    pub fn new(d_sae: usize) -> Self {
        Self { d_sae, indptr: vec![0], indices: Vec::new(), values: Vec::new() }
    }

    /// Creates features from the three arrays of [`csr`](Self::csr), which the caller has checked.
    pub(crate) fn from_csr(
        d_sae: usize,
        indptr: Vec<usize>,
        indices: Vec<u32>,
        values: Vec<f32>,
    ) -> Self {
        Self { d_sae, indptr, indices, values }
    }

    /// Appends a row of `(index, value)` pairs in ascending order of index. Zeros are left out.
    ///
    /// # Panics
    /// If an index is not below `d_sae`.
    pub fn push_row(&mut self, row: impl IntoIterator<Item = (u32, f32)>) {
        let row = row.into_iter();
        // If the length is known, as after a selection, memory is allocated once.
        if let (_, Some(max)) = row.size_hint()
            && max < self.d_sae
        {
            self.indices.reserve(max);
            self.values.reserve(max);
        }
        for (index, value) in row {
            assert!((index as usize) < self.d_sae, "feature {index} of {}", self.d_sae);
            if value != 0.0 {
                self.indices.push(index);
                self.values.push(value);
            }
        }
        self.indptr.push(self.indices.len());
    }

    /// Appends the rows of `more`.
    ///
    /// # Panics
    /// If it has another number of features.
    pub fn append(&mut self, more: &Self) {
        assert_eq!(self.d_sae, more.d_sae, "rows of another SAE");
        let before = self.indices.len();
        self.indices.extend_from_slice(&more.indices);
        self.values.extend_from_slice(&more.values);
        self.indptr.extend(more.indptr[1..].iter().map(|at| before + at));
    }

    /// Number of features of the SAE.
    pub fn d_sae(&self) -> usize {
        self.d_sae
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Number of active features in all rows together.
    pub fn nnz(&self) -> usize {
        self.indices.len()
    }

    /// The active features of `row` with their values, in ascending order of index.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn row(&self, row: usize) -> impl Iterator<Item = (u32, f32)> {
        let range = self.indptr[row]..self.indptr[row + 1];
        self.indices[range.clone()].iter().copied().zip(self.values[range].iter().copied())
    }

    /// The value of `feature` in `row`; 0 if it is not active.
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn get(&self, row: usize, feature: u32) -> f32 {
        let range = self.indptr[row]..self.indptr[row + 1];
        match self.indices[range.clone()].binary_search(&feature) {
            Ok(at) => self.values[range.start + at],
            Err(_) => 0.0,
        }
    }

    /// At most `n` features of `row`, the largest first (by value rather than magnitude, as in
    /// nanochat-SAE).
    ///
    /// # Panics
    /// If `row` is out of range.
    pub fn strongest(&self, row: usize, n: usize) -> Vec<(u32, f32)> {
        let mut features: Vec<_> = self.row(row).collect();
        features.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        features.truncate(n);
        features
    }

    /// Copies the rows `from..to`.
    ///
    /// # Panics
    /// If the rows are out of range.
    pub fn slice(&self, from: usize, to: usize) -> Self {
        let mut out = Self::new(self.d_sae);
        for row in from..to {
            out.push_row(self.row(row));
        }
        out
    }

    /// All values in row-major order, `[rows * d_sae]`, zeros included.
    pub fn to_dense(&self) -> Vec<f32> {
        let mut dense = vec![0.0; self.rows() * self.d_sae];
        for row in 0..self.rows() {
            for (index, value) in self.row(row) {
                dense[row * self.d_sae + index as usize] = value;
            }
        }
        dense
    }

    /// The three arrays of the compressed sparse row form: `indptr` (`[rows + 1]`), `indices`
    /// (`[nnz]`) and `values` (`[nnz]`).
    pub fn csr(&self) -> (&[usize], &[u32], &[f32]) {
        (&self.indptr, &self.indices, &self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rows() -> SparseFeatures {
        let mut features = SparseFeatures::new(5);
        features.push_row([(0, 1.0), (2, 0.0), (3, -4.0), (4, 2.0)]);
        features.push_row([]);
        features
    }

    #[test]
    fn zeros_are_left_out_and_rows_read_back() {
        let features = two_rows();

        assert_eq!((features.rows(), features.nnz()), (2, 3));
        assert_eq!(features.row(0).collect::<Vec<_>>(), [(0, 1.0), (3, -4.0), (4, 2.0)]);
        assert_eq!(features.row(1).count(), 0);
        assert_eq!(features.get(0, 3), -4.0);
        assert_eq!(features.get(0, 2), 0.0);
        assert_eq!(features.to_dense()[..5], [1.0, 0.0, 0.0, -4.0, 2.0]);
    }

    #[test]
    fn the_strongest_are_ranked_by_signed_value() {
        assert_eq!(two_rows().strongest(0, 2), [(4, 2.0), (0, 1.0)]);
    }
}
