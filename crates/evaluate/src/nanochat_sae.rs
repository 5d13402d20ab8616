//! Metrics of nanochat-SAE's `SAEEvaluator`, including their dependence on the batch.

use nanoscope_sae::SparseFeatures;

use crate::mean::Mean;

/// Rows per batch of its `evaluate`, by default.
pub(crate) const BATCH_ROWS: usize = 4096;

/// Running sums of that evaluator. Its batches consist of rows, regardless of contexts.
#[derive(Debug, Clone)]
pub(crate) struct NanochatSaeSums {
    rows_at_once: usize,
    pub(crate) squared_error: Mean,
    pub(crate) l0: Mean,
    pub(crate) l1: Mean,
    l0_squared: f64,
    /// Sum over batches of the summed variance times the number of rows.
    variance: f64,
    max: f64,
    mean_activation: Mean,
    batch: Batch,
}

#[derive(Debug, Clone)]
struct Batch {
    rows: usize,
    sum: Vec<f64>,
    squares: Vec<f64>,
    active: Mean,
}

impl Batch {
    fn new(width: usize) -> Self {
        Self { rows: 0, sum: vec![0.0; width], squares: vec![0.0; width], active: Mean::default() }
    }
}

impl NanochatSaeSums {
    pub(crate) fn new(width: usize, rows_at_once: usize) -> Self {
        Self {
            rows_at_once,
            squared_error: Mean::default(),
            l0: Mean::default(),
            l1: Mean::default(),
            l0_squared: 0.0,
            variance: 0.0,
            max: f64::NEG_INFINITY,
            mean_activation: Mean::default(),
            batch: Batch::new(width),
        }
    }

    /// Adds counted rows.
    ///
    /// # Shapes
    /// - `x`, `x_hat`: `[rows, width]` row-major
    pub(crate) fn add(&mut self, x: &[f32], x_hat: &[f32], features: &SparseFeatures) {
        let width = self.batch.sum.len();
        let rows = x.chunks_exact(width).zip(x_hat.chunks_exact(width));
        for (row, (x, x_hat)) in rows.enumerate() {
            let mut error = 0.0;
            for (at, (&x, &x_hat)) in x.iter().zip(x_hat).enumerate() {
                let x = f64::from(x);
                error += (x - f64::from(x_hat)).powi(2);
                self.batch.sum[at] += x;
                self.batch.squares[at] += x * x;
            }
            self.squared_error.add(error);
            let (mut l0, mut l1) = (0_usize, 0.0);
            for (_, value) in features.row(row) {
                let value = f64::from(value);
                l0 += 1;
                l1 += value.abs();
                self.max = self.max.max(value);
                self.batch.active.add(value);
            }
            if l0 < features.d_sae() {
                self.max = self.max.max(0.0);
            }
            self.l0.add(l0 as f64);
            self.l0_squared += (l0 as f64).powi(2);
            self.l1.add(l1);
            self.batch.rows += 1;
            if self.batch.rows == self.rows_at_once {
                self.end_batch();
            }
        }
    }

    /// Completes the last batch.
    pub(crate) fn finish(&mut self) {
        if self.batch.rows > 0 {
            self.end_batch();
        }
    }

    fn end_batch(&mut self) {
        let width = self.batch.sum.len();
        let batch = std::mem::replace(&mut self.batch, Batch::new(width));
        let rows = batch.rows as f64;
        let of = |(sum, squares): (&f64, &f64)| (squares - sum * sum / rows) / (rows - 1.0);
        // For a single row this is 0/0, as in the reference; metrics that are divided by it become
        // 0.
        let variance: f64 = batch.sum.iter().zip(&batch.squares).map(of).sum();
        self.variance += variance * rows;
        if batch.active.count > 0 {
            self.mean_activation.add(batch.active.get());
        }
    }

    pub(crate) fn reconstruction_score(&self) -> f64 {
        let variance = self.variance / self.squared_error.count as f64;
        if variance > 0.0 { 1.0 - self.squared_error.get() / variance } else { 0.0 }
    }

    pub(crate) fn l0_std(&self) -> f64 {
        let n = self.l0.count as f64;
        ((self.l0_squared - self.l0.sum.powi(2) / n).max(0.0) / (n - 1.0)).sqrt()
    }

    pub(crate) fn max_activation(&self) -> f64 {
        self.max
    }

    pub(crate) fn mean_activation(&self) -> f64 {
        if self.mean_activation.count == 0 { 0.0 } else { self.mean_activation.get() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(rows: &[&[(u32, f32)]]) -> SparseFeatures {
        let mut features = SparseFeatures::new(4);
        for row in rows {
            features.push_row(row.iter().copied());
        }
        features
    }

    fn evaluated(rows_at_once: usize, x: &[f32], x_hat: &[f32]) -> NanochatSaeSums {
        let mut sums = NanochatSaeSums::new(1, rows_at_once);
        sums.add(x, x_hat, &features(&vec![&[(0, 1.0)][..]; x.len()]));
        sums.finish();
        sums
    }

    #[test]
    fn the_variance_is_that_within_batches_so_their_size_decides() {
        let x = [0.0, 2.0, 10.0, 12.0];
        let x_hat = [1.0, 2.0, 10.0, 12.0];

        // Within each pair the unbiased variance is 2; over all four it is (36 + 16 + 16 + 36) / 3.
        assert_eq!(evaluated(2, &x, &x_hat).reconstruction_score(), 1.0 - 0.25 / 2.0);
        let whole = evaluated(4, &x, &x_hat).reconstruction_score();
        assert!((whole - (1.0 - 0.25 / (104.0 / 3.0))).abs() < 1e-12, "{whole}");
    }

    #[test]
    fn a_last_batch_of_one_row_makes_the_score_zero() {
        let x = [0.0, 2.0, 10.0];

        assert_eq!(evaluated(2, &x, &x).reconstruction_score(), 0.0);
        assert_eq!(evaluated(4, &x, &x).reconstruction_score(), 1.0);
    }

    #[test]
    fn counts_and_sizes_of_features_are_over_rows_and_batches() {
        let mut sums = NanochatSaeSums::new(1, 2);
        let rows: [&[(u32, f32)]; 4] = [&[(0, 4.0), (1, 2.0)], &[], &[(2, 5.0)], &[(3, 1.0)]];

        sums.add(&[0.0; 4], &[0.0; 4], &features(&rows));
        sums.finish();

        assert_eq!((sums.l0.get(), sums.l1.get()), (1.0, 3.0));
        // l0 is 2, 0, 1, 1.
        assert!((sums.l0_std() - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(sums.max_activation(), 5.0);
        // The active features of each batch have mean 3.
        assert_eq!(sums.mean_activation(), 3.0);
    }
}
