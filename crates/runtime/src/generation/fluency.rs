use nanoscope_kernels::{log_sum_exp, to_host};
use nanoscope_transformer::{Logits, TokenBatch};

use crate::error::RuntimeError;
use crate::model::InterpretableModel;
use crate::pass::{NonFinite, NonFiniteAt};

/// The fluency of a steered text: how likely the model without steering finds it.
///
/// Both numbers are mean negative log-likelihoods per generated token, in nats, under the unsteered
/// model: one of the steered text, one of the text that the same request generates without steering.
///
/// ```
/// use nanoscope_runtime::Fluency;
///
/// let fluency = Fluency { nll: 3.0, unsteered_nll: Some(1.2) };
/// assert_eq!(fluency.ratio(), Some(2.5));
/// assert!(fluency.is_broken());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fluency {
    /// The mean negative log-likelihood of the steered text.
    pub nll: f64,
    /// The mean negative log-likelihood of the unsteered text; `None` if none was generated.
    pub unsteered_nll: Option<f64>,
}

impl Fluency {
    /// The ratio from which on a text counts as broken.
    pub const BROKEN: f64 = 2.0;

    /// The smallest denominator of a ratio, in nats: a text that the model is certain of has 0.
    const MIN_NLL: f64 = 0.1;

    /// The negative log-likelihood of the steered text divided by that of the unsteered one.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.nll / self.unsteered_nll?.max(Self::MIN_NLL))
    }

    /// Returns whether the text exceeds [`BROKEN`](Self::BROKEN) times the unsteered negative
    /// log-likelihood.
    pub fn is_broken(&self) -> bool {
        self.ratio().is_some_and(|ratio| ratio > Self::BROKEN)
    }
}

/// The number of positions whose logits are in memory at a time.
const PIECE: usize = 64;

impl InterpretableModel {
    /// Computes the mean negative log-likelihood, in nats, of the tokens from position `from` on under
    /// the model without steering. `None` if there are no tokens from there on, or only the first of the
    /// sequence, which nothing predicts.
    ///
    /// # Errors
    /// [`RuntimeError`] if a token is outside the vocabulary or the sequence exceeds the context;
    /// [`RuntimeError::NonFinite`] if a logit is NaN or infinite.
    pub fn mean_nll(&self, tokens: &[u32], from: usize) -> Result<Option<f64>, RuntimeError> {
        let from = from.max(1);
        if from >= tokens.len() {
            return Ok(None);
        }
        // The last token predicts nothing that is there.
        let read = &tokens[..tokens.len() - 1];
        let mut cache = self.gpt().cache(1, read.len());
        let mut sum = 0.0;
        for (piece, start) in read.chunks(PIECE).zip((0..).step_by(PIECE)) {
            let batch = TokenBatch::new(&[piece.to_vec()])?;
            if start + piece.len() < from {
                self.gpt().forward_cached(&batch, &mut cache, Logits::Last, &mut ())?;
                continue;
            }
            let logits = self.gpt().forward_cached(&batch, &mut cache, Logits::All, &mut ())?;
            let [_, _, vocab] = logits.dims();
            for (row, position) in to_host(logits).chunks_exact(vocab).zip(start + 1..) {
                if position < from {
                    continue;
                }
                let Some(all) = log_sum_exp(row) else {
                    let at = NonFiniteAt::Logits;
                    let found = NonFinite { at, row: 0, position: position - 1 };
                    return Err(RuntimeError::NonFinite { found });
                };
                sum -= f64::from(all.logprob(row[tokens[position] as usize]));
            }
        }
        Ok(Some(sum / (tokens.len() - from) as f64))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation::log_softmax;

    use super::*;
    use crate::test_model::gpt;
    use crate::{Plan, Sampling};

    /// The generated text and its log probabilities as they were when each token was drawn.
    #[test]
    fn the_mean_is_that_of_the_log_probabilities_of_the_generation() {
        let model = InterpretableModel::new(gpt());
        let prompt = [3, 1, 4];
        let sampling = Sampling { temperature: 1.0, ..Sampling::greedy(5) };
        let steps: Vec<_> = model.generate(&prompt, &Plan::new(), &sampling).unwrap().collect();
        let tokens: Vec<u32> =
            prompt.into_iter().chain(steps.iter().map(|step| step.token_id)).collect();

        let found = model.mean_nll(&tokens, 3).unwrap().unwrap();

        let sum: f64 = steps.iter().map(|step| -f64::from(step.logprob)).sum();
        assert!((found - sum / steps.len() as f64).abs() < 1e-5, "{found}");
        assert_eq!(model.mean_nll(&tokens, tokens.len()).unwrap(), None);
        assert_eq!(model.mean_nll(&[], 0).unwrap(), None);
        assert_eq!(model.mean_nll(&[7], 0).unwrap(), None);
    }

    #[test]
    fn a_long_text_in_pieces_has_the_mean_of_one_pass() {
        let model = InterpretableModel::new(gpt());
        let len = model.context_len();
        let tokens: Vec<u32> = (0..len as u32).map(|i| (i * 7 + i * i) % 50).collect();
        let batch = TokenBatch::new(std::slice::from_ref(&tokens)).unwrap();
        let logits = model.run(&batch, &Plan::new()).unwrap().logits.squeeze_dim::<2>(0);
        let [_, vocab] = logits.dims();
        let log_probs = log_softmax(logits, 1).into_data().try_to_vec::<f32>().unwrap();
        for from in [0, 1, 2, len / 2, len - 1] {
            let first = from.max(1);
            let sum: f64 = (first..len)
                .map(|at| -f64::from(log_probs[(at - 1) * vocab + tokens[at] as usize]))
                .sum();
            let expected = sum / (len - first) as f64;
            let found = model.mean_nll(&tokens, from).unwrap().unwrap();
            assert!((found - expected).abs() < 1e-5, "from {from}: {found}, {expected}");
        }
    }

    #[test]
    fn a_text_that_the_model_is_certain_of_has_a_finite_ratio() {
        assert_eq!(Fluency { nll: 1.0, unsteered_nll: Some(0.0) }.ratio(), Some(10.0));
        let alone = Fluency { nll: 9.0, unsteered_nll: None };
        assert!(alone.ratio().is_none() && !alone.is_broken());
    }
}
