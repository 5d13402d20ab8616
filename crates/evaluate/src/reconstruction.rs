//! Metrics of reconstruction quality and shrinkage.

use crate::mean::Mean;

/// Running sums over counted tokens.
#[derive(Debug, Clone)]
pub(crate) struct Reconstruction {
    pub(crate) l2_norm_in: Mean,
    pub(crate) l2_norm_out: Mean,
    pub(crate) l2_ratio: Mean,
    pub(crate) cossim: Mean,
    /// `‖x − x̂‖²`
    pub(crate) squared_error: Mean,
    pub(crate) explained_variance_legacy: Mean,
    /// Averaged over batches.
    pub(crate) bias_by_batch: Mean,
    squared_norm: Mean,
    squared_norm_out: Mean,
    inner: Mean,
    sum: Vec<f64>,
    sum_of_errors: Vec<f64>,
}

impl Reconstruction {
    pub(crate) fn new(width: usize) -> Self {
        let mean = Mean::default();
        Self {
            l2_norm_in: mean,
            l2_norm_out: mean,
            l2_ratio: mean,
            cossim: mean,
            squared_error: mean,
            explained_variance_legacy: mean,
            bias_by_batch: mean,
            squared_norm: mean,
            squared_norm_out: mean,
            inner: mean,
            sum: vec![0.0; width],
            sum_of_errors: vec![0.0; width],
        }
    }

    /// Adds the counted rows of a batch.
    ///
    /// # Shapes
    /// - `x`, `x_hat`: `[rows, width]` row-major
    pub(crate) fn add(&mut self, x: &[f32], x_hat: &[f32]) {
        let width = self.sum.len();
        let rows = x.len() / width;
        if rows == 0 {
            return;
        }
        let mut batch_mean = vec![0.0; width];
        for row in x.chunks_exact(width) {
            for (mean, &x) in batch_mean.iter_mut().zip(row) {
                *mean += f64::from(x) / rows as f64;
            }
        }
        let (mut out_squared, mut inner_sum) = (0.0, 0.0);
        for (x, x_hat) in x.chunks_exact(width).zip(x_hat.chunks_exact(width)) {
            let (mut squared, mut squared_out, mut inner) = (0.0, 0.0, 0.0);
            let (mut error, mut from_mean) = (0.0, 0.0);
            for (at, (&x, &x_hat)) in x.iter().zip(x_hat).enumerate() {
                let (x, x_hat) = (f64::from(x), f64::from(x_hat));
                squared += x * x;
                squared_out += x_hat * x_hat;
                inner += x * x_hat;
                error += (x - x_hat).powi(2);
                from_mean += (x - batch_mean[at]).powi(2);
                self.sum[at] += x;
                self.sum_of_errors[at] += x - x_hat;
            }
            let (norm, norm_out) = (squared.sqrt(), squared_out.sqrt());
            self.l2_norm_in.add(norm);
            self.l2_norm_out.add(norm_out);
            // SAELens divides by 1 where the norm is almost zero.
            self.l2_ratio.add(norm_out / if norm < 1e-4 { 1.0 } else { norm });
            let norms = norm * norm_out;
            self.cossim.add(if norms > 0.0 { inner / norms } else { 0.0 });
            self.squared_error.add(error);
            // A batch of one token has no variance that could be explained.
            if from_mean > 0.0 {
                self.explained_variance_legacy.add(1.0 - error / from_mean);
            }
            self.squared_norm.add(squared);
            self.squared_norm_out.add(squared_out);
            self.inner.add(inner);
            out_squared += squared_out;
            inner_sum += inner;
        }
        self.bias_by_batch.add(out_squared / inner_sum);
    }

    /// `E‖x‖² − ‖E x‖²`
    fn variance(&self) -> f64 {
        self.squared_norm.get() - self.squared_length_of_mean(&self.sum)
    }

    fn squared_length_of_mean(&self, sums: &[f64]) -> f64 {
        let count = self.squared_norm.count as f64;
        sums.iter().map(|sum| (sum / count).powi(2)).sum()
    }

    /// `1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)` over all tokens.
    pub(crate) fn explained_variance(&self) -> f64 {
        let (error, variance) = (self.squared_error.get(), self.variance());
        // As in SAELens if all activations are equal.
        match (variance < 1e-10, error < 1e-10) {
            (true, true) => 1.0,
            (true, false) => 0.0,
            (false, _) => 1.0 - error / variance,
        }
    }

    /// Like [`explained_variance`](Self::explained_variance), but ignoring an error that is the
    /// same for all tokens.
    pub(crate) fn frac_variance_explained(&self) -> f64 {
        let error = self.squared_error.get() - self.squared_length_of_mean(&self.sum_of_errors);
        1.0 - error / self.variance()
    }

    /// `Σ‖x − x̂‖² / Σ‖x − x̄‖²`
    pub(crate) fn fvu(&self) -> f64 {
        self.squared_error.get() / self.variance()
    }

    /// `E‖x̂‖² / E[x · x̂]` over all tokens.
    pub(crate) fn bias(&self) -> f64 {
        self.squared_norm_out.get() / self.inner.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATOL: f64 = 1e-12;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < ATOL, "{found}, expected {expected}");
    }

    /// Activations `[3, 4]` and `[0, 2]`, reconstructed as `[3, 0]` and `[0, 1]`.
    fn two_tokens() -> Reconstruction {
        let mut sums = Reconstruction::new(2);
        sums.add(&[3.0, 4.0, 0.0, 2.0], &[3.0, 0.0, 0.0, 1.0]);
        sums
    }

    #[test]
    fn errors_norms_and_angles_are_means_over_tokens() {
        let sums = two_tokens();

        near(sums.squared_error.get(), f64::midpoint(16.0, 1.0));
        near(sums.l2_norm_in.get(), f64::midpoint(5.0, 2.0));
        near(sums.l2_norm_out.get(), f64::midpoint(3.0, 1.0));
        near(sums.l2_ratio.get(), f64::midpoint(0.6, 0.5));
        near(sums.cossim.get(), f64::midpoint(0.6, 1.0));
        // (9 + 1) / (9 + 2)
        near(sums.bias(), 10.0 / 11.0);
        near(sums.bias_by_batch.get(), 10.0 / 11.0);
    }

    #[test]
    fn the_legacy_variance_divides_token_by_token_and_the_fixed_one_once() {
        let sums = two_tokens();

        // The mean is [1.5, 3]; both tokens are at distance √3.25 from it.
        near(sums.explained_variance(), 1.0 - 8.5 / 3.25);
        near(sums.explained_variance_legacy.get(), 1.0 - f64::midpoint(16.0 / 3.25, 1.0 / 3.25));

        let mut skewed = Reconstruction::new(1);
        skewed.add(&[0.0, 0.0, 6.0], &[1.0, 1.0, 4.0]);
        // The mean is 2, the variance 8, the squared errors 1, 1, 4.
        near(skewed.explained_variance(), 1.0 - 2.0 / 8.0);
        near(skewed.explained_variance_legacy.get(), 1.0 - (0.25 + 0.25 + 0.25) / 3.0);
        let mut skewed = Reconstruction::new(1);
        skewed.add(&[0.0, 0.0, 6.0], &[0.0, 0.0, 2.0]);
        near(skewed.explained_variance(), 1.0 - (16.0 / 3.0) / 8.0);
        near(skewed.explained_variance_legacy.get(), 1.0 - 1.0 / 3.0);
        // A batch of one token is left out.
        skewed.add(&[5.0], &[4.0]);
        near(skewed.explained_variance_legacy.get(), 1.0 - 1.0 / 3.0);
    }

    #[test]
    fn batches_decide_what_is_taken_by_batch_and_nothing_else() {
        let mut parts = Reconstruction::new(1);
        parts.add(&[1.0, 3.0], &[1.0, 2.0]);
        parts.add(&[5.0, 6.0], &[5.0, 5.0]);
        let mut whole = Reconstruction::new(1);
        whole.add(&[1.0, 3.0, 5.0, 6.0], &[1.0, 2.0, 5.0, 5.0]);

        near(parts.explained_variance(), whole.explained_variance());
        near(parts.bias(), whole.bias());
        // 5 / 7 and 50 / 55
        near(parts.bias_by_batch.get(), f64::midpoint(5.0 / 7.0, 50.0 / 55.0));
        near(whole.bias_by_batch.get(), 55.0 / 62.0);
        assert!(parts.explained_variance_legacy.get() != whole.explained_variance_legacy.get());
    }

    #[test]
    fn an_error_that_every_token_shares_is_no_unexplained_variance_of_dictionary_learning() {
        let mut sums = Reconstruction::new(1);
        sums.add(&[0.0, 4.0], &[1.0, 5.0]);

        near(sums.frac_variance_explained(), 1.0);
        near(sums.explained_variance(), 1.0 - 1.0 / 4.0);
        near(sums.fvu(), 1.0 / 4.0);
    }

    #[test]
    fn activations_that_are_all_the_same_are_explained_or_not() {
        let mut hit = Reconstruction::new(1);
        hit.add(&[2.0, 2.0], &[2.0, 2.0]);
        let mut missed = Reconstruction::new(1);
        missed.add(&[2.0, 2.0], &[2.0, 1.0]);

        assert_eq!((hit.explained_variance(), missed.explained_variance()), (1.0, 0.0));
    }

    #[test]
    fn a_reconstruction_of_zeros_has_cosine_zero() {
        let mut sums = Reconstruction::new(2);
        sums.add(&[1.0, 0.0, 0.0, 0.0], &[0.0, 0.0, 3.0, 4.0]);

        assert_eq!(sums.cossim.get(), 0.0);
        // The second token's activation is zero, so its ratio is the norm of the reconstruction.
        near(sums.l2_ratio.get(), 2.5);
    }
}
