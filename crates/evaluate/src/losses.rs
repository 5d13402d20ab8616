//! Effect of an intervention on the model's predictions, token by token.

use burn::tensor::Tensor;
use nanoscope_kernels::to_host;
use nanoscope_transformer::Gpt;
use rayon::prelude::*;

/// Maximum logits on the host at once: 16 MB of float32.
pub(crate) const CHUNK_LOGITS: usize = 1 << 22;

/// Losses per row of a batch, in nats.
#[derive(Debug, Clone, Default)]
pub(crate) struct Losses {
    /// `−ln p(target)` of the unmodified model; 0 without a target.
    pub(crate) clean: Vec<f64>,
    /// Losses of each modified model.
    pub(crate) changed: Vec<Changed>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Changed {
    pub(crate) nll: Vec<f64>,
    /// `Σ_v p_clean(v) · (ln p_clean(v) − ln p_changed(v))`
    pub(crate) kl: Vec<f64>,
}

/// Computes the losses, unembedding a few rows at a time so that memory does not grow with the
/// batch.
///
/// # Shapes
/// - `clean`, each of `changed`: input of the unembedding, `[rows, n_embd]`
/// - `targets`: `[rows]`
pub(crate) fn losses(
    gpt: &Gpt,
    clean: &Tensor<2>,
    changed: &[Tensor<2>],
    targets: &[Option<u32>],
) -> Losses {
    losses_at_once(gpt, clean, changed, targets, CHUNK_LOGITS)
}

fn losses_at_once(
    gpt: &Gpt,
    clean: &Tensor<2>,
    changed: &[Tensor<2>],
    targets: &[Option<u32>],
    at_once: usize,
) -> Losses {
    let vocab = gpt.config().shape.vocab_size;
    let rows_at_once = (at_once / vocab).max(1);
    let mut losses = Losses { clean: Vec::new(), changed: vec![Changed::default(); changed.len()] };
    for from in (0..targets.len()).step_by(rows_at_once) {
        let range = from..(from + rows_at_once).min(targets.len());
        let targets = &targets[range.clone()];
        let logits = |hidden: &Tensor<2>| {
            let hidden = hidden.clone().slice_dim(0, range.clone()).unsqueeze::<3>();
            to_host(gpt.unembed(hidden))
        };
        let clean = logits(clean);
        let rows: Vec<Prediction> =
            clean.par_chunks_exact(vocab).map(Prediction::from_logits).collect();
        let nll = |(row, target): (&Prediction, &Option<u32>)| row.nll(*target);
        losses.clean.extend(rows.iter().zip(targets).map(nll));
        for (hidden, out) in changed.iter().zip(&mut losses.changed) {
            let changed = logits(hidden);
            let of: Vec<(f64, f64)> = changed
                .par_chunks_exact(vocab)
                .zip(&rows)
                .zip(targets)
                .map(|((logits, clean), &target)| clean.against(logits, target))
                .collect();
            out.nll.extend(of.iter().map(|(nll, _)| nll));
            out.kl.extend(of.iter().map(|(_, kl)| kl));
        }
    }
    losses
}

/// A row of logits with its softmax probabilities.
pub(crate) struct Prediction<'l> {
    logits: &'l [f32],
    log_sum: f64,
    probabilities: Vec<f64>,
}

impl<'l> Prediction<'l> {
    pub(crate) fn from_logits(logits: &'l [f32]) -> Self {
        let log_sum = log_sum_exp(logits);
        let probability = |&logit: &f32| (f64::from(logit) - log_sum).exp();
        let probabilities = logits.iter().map(probability).collect();
        Self { logits, log_sum, probabilities }
    }

    fn nll(&self, target: Option<u32>) -> f64 {
        target.map_or(0.0, |target| self.log_sum - f64::from(self.logits[target as usize]))
    }

    /// Returns `−ln p(target)` of the other logits, and the KL divergence of their distribution
    /// from this one.
    ///
    /// With `ln p(v) = z_v − ln Σ e^z` and `Σ p = 1`, `KL = Σ p · (z − z') + ln Σ e^z' − ln Σ e^z`.
    pub(crate) fn against(&self, logits: &[f32], target: Option<u32>) -> (f64, f64) {
        let log_sum = log_sum_exp(logits);
        let moved: f64 = self
            .probabilities
            .iter()
            .zip(self.logits.iter().zip(logits))
            .map(|(p, (&z, &changed))| p * (f64::from(z) - f64::from(changed)))
            .sum();
        let nll = target.map_or(0.0, |target| log_sum - f64::from(logits[target as usize]));
        (nll, moved + log_sum - self.log_sum)
    }
}

fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + logits.iter().map(|&logit| (f64::from(logit) - max).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use nanoscope_transformer::{Era, GptShape};

    use super::*;

    #[test]
    fn cross_entropy_and_divergence_are_what_a_sheet_of_paper_says() {
        // p = [1/2, 1/4, 1/4], q = [1/4, 1/4, 1/2]
        let clean = [4.0_f32.ln(), 2.0_f32.ln(), 2.0_f32.ln()];
        let changed = [0.0, 0.0, 2.0_f32.ln()];

        let clean = Prediction::from_logits(&clean);
        let (nll, kl) = clean.against(&changed, Some(2));

        assert!((clean.nll(Some(0)) - 2.0_f64.ln()).abs() < 1e-7);
        assert!((nll - 2.0_f64.ln()).abs() < 1e-7);
        // 1/2 ln 2 + 1/4 ln 1 + 1/4 ln 1/2
        assert!((kl - 0.25 * 2.0_f64.ln()).abs() < 1e-7, "{kl}");
        assert_eq!(clean.nll(None), 0.0);
    }

    #[test]
    fn logits_that_differ_by_a_constant_predict_the_same() {
        let clean = Prediction::from_logits(&[1.0, -2.0, 0.5]);

        let (nll, kl) = clean.against(&[81.0, 78.0, 80.5], Some(1));

        assert!((nll - clean.nll(Some(1))).abs() < 1e-12 && kl.abs() < 1e-12, "{nll} {kl}");
    }

    #[test]
    fn how_many_rows_are_unembedded_at_once_does_not_matter() {
        let device = nanoscope_testing::test_device();
        let shape = GptShape {
            sequence_len: 8,
            vocab_size: 50,
            n_layer: 1,
            n_head: 1,
            n_kv_head: 1,
            n_embd: 32,
        };
        let gpt = Gpt::random(Era::E6.config(shape, None).unwrap(), 3, &device);
        let hidden = |phase: f32| {
            let numbers: Vec<f32> = (0..7 * 32).map(|n| (n as f32 * 0.37 + phase).sin()).collect();
            Tensor::<1>::from_floats(numbers.as_slice(), &device).reshape([7, 32])
        };
        let targets = [Some(3), None, Some(49), Some(0), Some(7), Some(7), None];

        let at_once = |rows: usize| {
            losses_at_once(&gpt, &hidden(0.0), &[hidden(0.1), hidden(2.0)], &targets, rows * 50)
        };

        let (whole, parts) = (at_once(7), at_once(2));
        assert_eq!(whole.clean.len(), 7);
        let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(&whole.clean, &parts.clean));
        for (whole, parts) in whole.changed.iter().zip(&parts.changed) {
            assert!(near(&whole.nll, &parts.nll) && near(&whole.kl, &parts.kl));
            assert!(whole.kl.iter().all(|&kl| kl > 0.0));
        }
    }
}
