//! Forward passes up to the input of the unembedding.
//!
//! An evaluation needs the loss of every token, but not all logits at once. The passes stop at
//! `ln_final.hook_normalized`, and the rows are unembedded a few at a time, the clean ones once for
//! all SAEs. Cross entropies and divergences are then sums in float64 on the host, on every
//! backend.

use std::collections::BTreeSet;

use burn::tensor::{Bool, Tensor, TensorData};
use nanoscope_hooks::{
    Activation, ActivationCache, ActivationRecorder, HookPoint, HookRouter, Patch,
};
use nanoscope_transformer::{Gpt, Logits, TokenBatch};

use crate::EvaluateError;

/// Contexts of equal length that are run together.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Number of the first context in the corpus.
    pub(crate) index: u64,
    pub(crate) tokens: TokenBatch,
}

impl Batch {
    /// Runs the unmodified model, and records the activations at `points`.
    ///
    /// # Shapes
    /// - output: input of the unembedding, `[batch * seq, n_embd]`
    pub(crate) fn clean(
        &self,
        gpt: &Gpt,
        points: BTreeSet<HookPoint>,
    ) -> Result<(Tensor<2>, ActivationCache), EvaluateError> {
        let mut recorder =
            ActivationRecorder::new(points.into_iter().chain([HookPoint::FinalNormalized]));
        self.run(gpt, &mut recorder)?;
        let recording = recorder.finish()?;
        Ok((final_rows(&recording), recording))
    }

    /// Runs the model with a patch applied.
    ///
    /// # Shapes
    /// - output: as for [`clean`](Self::clean)
    pub(crate) fn patched(&self, gpt: &Gpt, patch: Patch) -> Result<Tensor<2>, EvaluateError> {
        let mut router = (patch, ActivationRecorder::new([HookPoint::FinalNormalized]));
        self.run(gpt, &mut router)?;
        let (patch, recorder) = router;
        patch.finish()?;
        Ok(final_rows(&recorder.finish()?))
    }

    /// The logits of the last position are computed but not used: they are one row of many.
    fn run(&self, gpt: &Gpt, router: &mut impl HookRouter) -> Result<(), EvaluateError> {
        gpt.forward(&self.tokens, Logits::Last, router)
            .map_err(|source| EvaluateError::Model { index: self.index, source })?;
        Ok(())
    }
}

fn final_rows(recording: &ActivationCache) -> Tensor<2> {
    let recorded = recording.get(HookPoint::FinalNormalized).expect("the point was recorded");
    rows(recorded, recorded.shape()[2])
}

/// Reshapes an activation to a row per token, with heads concatenated.
///
/// # Shapes
/// - output: `[batch * seq, width]`
pub(crate) fn rows(recorded: &Activation, width: usize) -> Tensor<2> {
    let tokens = recorded.shape().iter().product::<usize>() / width;
    match recorded.shape().len() {
        3 => recorded.tensor::<3>().reshape([tokens, width]),
        4 => recorded.tensor::<4>().reshape([tokens, width]),
        rank => unreachable!("an activation with an SAE has rank 3 or 4, not {rank}"),
    }
}

/// Returns `reconstruction` in the counted rows and the activation itself in the others, in the
/// activation's shape.
///
/// # Shapes
/// - `reconstruction`: `[batch * seq, width]`
/// - `counts`: `[batch * seq]`
pub(crate) fn spliced(
    activation: &Activation,
    reconstruction: Tensor<2>,
    counts: &[bool],
) -> Activation {
    let [tokens, width] = reconstruction.dims();
    let masked = if counts.iter().all(|&counts| counts) {
        reconstruction
    } else {
        let mask = TensorData::new(counts.to_vec(), [tokens, 1]);
        let mask = Tensor::<2, Bool>::from_data(mask, &reconstruction.device());
        rows(activation, width).mask_where(mask.expand([tokens, width]), reconstruction)
    };
    match *activation.shape() {
        [a, b, c] => Activation::new(masked.reshape([a, b, c])),
        [a, b, c, d] => Activation::new(masked.reshape([a, b, c, d])),
        _ => unreachable!("rows only accepts rank 3 or 4"),
    }
}
