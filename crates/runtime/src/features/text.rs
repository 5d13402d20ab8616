use burn::tensor::Tensor;
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_sae::{Sae, SaeError, SparseFeatures};
use nanoscope_transformer::{Logits, TokenBatch};

use crate::error::RuntimeError;
use crate::model::InterpretableModel;
use crate::pass::{NonFinite, NonFiniteAt};

impl InterpretableModel {
    /// Computes the features of the SAE at `hook`, with a row for each token.
    ///
    /// The features are those that [`run`](Self::run) tracks, but logits are computed at the last
    /// position only, which suits long texts.
    ///
    /// # Errors
    /// [`RuntimeError`] if the model lacks an SAE at `hook`, the tokens cannot be run;
    /// [`RuntimeError::NonFinite`] if an activation cannot be encoded.
    pub fn features_at(
        &self,
        hook: HookPoint,
        tokens: &TokenBatch,
    ) -> Result<SparseFeatures, RuntimeError> {
        let sae = self.sae(hook)?;
        let features = SparseFeatures::new(sae.config().d_sae());
        let mut encoder = Encoder { hook, sae, features: Ok(features) };
        self.gpt().forward(tokens, Logits::Last, &mut encoder)?;
        encoder.features.map_err(|row| {
            let (row, position) = (row / tokens.seq(), row % tokens.seq());
            let found = NonFinite { at: NonFiniteAt::Features(hook), row, position };
            RuntimeError::NonFinite { found }
        })
    }
}

/// Encodes the activation at one hook point.
struct Encoder<'m> {
    hook: HookPoint,
    sae: &'m Sae,
    /// The error is the first row that cannot be encoded.
    features: Result<SparseFeatures, usize>,
}

impl HookRouter for Encoder<'_> {
    fn wants(&self, point: HookPoint) -> bool {
        point == self.hook
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if point == self.hook {
            let d_in = self.sae.config().d_in();
            let rows = x.shape().num_elements() / d_in;
            self.features = self.sae.encode_sparse(x.clone().reshape([rows, d_in])).map_err(
                |error| match error {
                    SaeError::NotFinite { row, .. } => row,
                    _ => 0,
                },
            );
        }
        x
    }
}

/// Splits a text into contexts of at most `context_len` tokens, each preceded by `first`, the token
/// that the model was trained to see at the start of a text.
///
/// ```
/// let contexts = nanoscope_runtime::split_into_contexts(&[1, 2, 3], Some(0), 3);
/// assert_eq!(contexts, [vec![0, 1, 2], vec![0, 3]]);
/// ```
pub fn split_into_contexts(text: &[u32], first: Option<u32>, context_len: usize) -> Vec<Vec<u32>> {
    let room = context_len.saturating_sub(usize::from(first.is_some())).max(1);
    text.chunks(room)
        .map(|piece| first.into_iter().chain(piece.iter().copied()).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Plan;
    use crate::test_model::{gpt, sae};

    #[test]
    fn the_features_of_a_text_are_those_that_a_run_tracks() {
        let (gpt, sae) = (gpt(), sae(0.0));
        let tokens = TokenBatch::new(&[vec![3, 1, 4], vec![1, 5, 9]]).unwrap();

        for hook in HookPoint::all(2) {
            let Ok(model) = InterpretableModel::new(gpt.clone()).with_sae(hook, sae.clone()) else {
                continue;
            };
            let run = model.run(&tokens, &Plan::new().track(hook)).unwrap();
            assert_eq!(model.features_at(hook, &tokens).unwrap(), run.features[&hook], "{hook}");
        }
    }

    #[test]
    fn a_text_is_cut_where_the_context_ends() {
        assert_eq!(split_into_contexts(&[1, 2, 3, 4], None, 2), [[1, 2], [3, 4]]);
        assert_eq!(split_into_contexts(&[1, 2], Some(0), 3), [[0, 1, 2]]);
        assert!(split_into_contexts(&[], Some(0), 3).is_empty());
        // A context holds at least one token of text; the model rejects it if it is too long.
        assert_eq!(split_into_contexts(&[1, 2], Some(0), 1), [[0, 1], [0, 2]]);
    }
}
