//! The processing of a model's weights before an SAE was trained on it.

use nanoscope_hooks::HookPoint;
use serde_json::Value;

use crate::sae::metadata::Metadata;

/// The key of an SAE's metadata with the arguments of TransformerLens's `from_pretrained`.
pub(crate) const PROCESSING: &str = "model_from_pretrained_kwargs";

pub(crate) const CENTER_WRITING_WEIGHTS: &str = "center_writing_weights";
const FOLD_LN: &str = "fold_ln";
const FOLD_VALUE_BIASES: &str = "fold_value_biases";
const REFACTOR_FACTORED: &str = "refactor_factored_attn_matrices";

/// The processing of a model's weights by TransformerLens before an SAE was trained on it.
///
/// Each step leaves the logits what they were, up to a constant, and changes some activations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the files have them")]
pub struct WeightProcessing {
    /// `center_writing_weights`: the mean over the channels is absent from the residual stream.
    pub centred: bool,
    /// `fold_ln`: the norms have no gain and bias; the matrices after them do.
    pub fold_ln: bool,
    /// `fold_value_biases`: values have no bias; the output projection has it.
    pub fold_value_biases: bool,
    /// `refactor_factored_attn_matrices`: queries, keys and values have another basis.
    pub refactored: bool,
}

impl WeightProcessing {
    /// Reads the processing that an SAE's metadata states. What it does not state was not done, as in
    /// SAELens.
    ///
    /// # Errors
    /// [`WeightProcessingError::NotBool`] if a step is neither true nor false.
    pub fn of(metadata: &Metadata) -> Result<Self, WeightProcessingError> {
        let stated = metadata.get(PROCESSING);
        let done = |key: &'static str| match stated.and_then(|stated| stated.get(key)) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(done)) => Ok(*done),
            Some(other) => Err(WeightProcessingError::NotBool { key, found: other.to_string() }),
        };
        Ok(Self {
            centred: done(CENTER_WRITING_WEIGHTS)?,
            fold_ln: done(FOLD_LN)?,
            fold_value_biases: done(FOLD_VALUE_BIASES)?,
            refactored: done(REFACTOR_FACTORED)?,
        })
    }

    /// Checks that the activation at `hook` is the same without the processing, centring apart.
    ///
    /// # Errors
    /// [`WeightProcessingError::Changes`], which names the step.
    pub fn check_at(self, hook: HookPoint) -> Result<(), WeightProcessingError> {
        use HookPoint as P;

        let is_after_gain = matches!(hook, P::AttnIn(_) | P::MlpIn(_));
        let is_value = matches!(hook, P::V(_) | P::Z(_));
        let is_in_basis = is_value || matches!(hook, P::Q(_) | P::K(_) | P::RotQ(_) | P::RotK(_));
        for (is_done, changes, key) in [
            (self.fold_ln, is_after_gain, FOLD_LN),
            (self.fold_value_biases, is_value, FOLD_VALUE_BIASES),
            (self.refactored, is_in_basis, REFACTOR_FACTORED),
        ] {
            if is_done && changes {
                return Err(WeightProcessingError::Changes { key, hook });
            }
        }
        Ok(())
    }
}

/// Errors of the processing of weights that an SAE's files state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WeightProcessingError {
    /// A step is neither true nor false.
    #[error("{}.{key} is `{found}` (expected true or false)", PROCESSING)]
    NotBool {
        /// The step.
        key: &'static str,
        /// Its value.
        found: String,
    },
    /// The SAE was trained on an activation that the step changes.
    #[error("the SAE was trained with `{key}: true`, which changes the activation at {hook}")]
    Changes {
        /// The step.
        key: &'static str,
        /// The hook point.
        hook: HookPoint,
    },
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata(processing: Value) -> Metadata {
        Metadata::from_iter([(PROCESSING.to_owned(), processing)])
    }

    #[test]
    fn what_is_not_stated_was_not_done() {
        for stated in [json!(null), json!({}), json!({"fold_ln": false, "n_devices": 2})] {
            let processing = WeightProcessing::of(&metadata(stated)).unwrap();
            assert_eq!(processing, WeightProcessing::default());
        }
        assert_eq!(WeightProcessing::of(&Metadata::new()), Ok(WeightProcessing::default()));
        let centred = WeightProcessing::of(&metadata(json!({"center_writing_weights": true})));
        assert!(centred.unwrap().centred);
        let error = WeightProcessing::of(&metadata(json!({"fold_ln": "yes"}))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "model_from_pretrained_kwargs.fold_ln is `\"yes\"` (expected true or false)"
        );
    }

    #[test]
    fn a_step_is_refused_by_name_where_it_changes_the_activation() {
        let cases = [
            ("fold_ln", vec![HookPoint::AttnIn(1), HookPoint::MlpIn(1)]),
            ("fold_value_biases", vec![HookPoint::V(1), HookPoint::Z(1)]),
            (
                "refactor_factored_attn_matrices",
                vec![
                    HookPoint::Q(1),
                    HookPoint::K(1),
                    HookPoint::V(1),
                    HookPoint::RotQ(1),
                    HookPoint::RotK(1),
                    HookPoint::Z(1),
                ],
            ),
            ("center_unembed", Vec::new()),
        ];
        for (key, changed) in cases {
            let processing = WeightProcessing::of(&metadata(json!({ key: true }))).unwrap();
            for hook in HookPoint::all(2).filter(|hook| hook.layer() != Some(0)) {
                match processing.check_at(hook) {
                    Ok(()) => assert!(!changed.contains(&hook), "{key} {hook}"),
                    Err(error) => {
                        assert!(changed.contains(&hook), "{key} {hook}");
                        assert!(error.to_string().contains(key), "{error}");
                    }
                }
            }
        }
    }
}
