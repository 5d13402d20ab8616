use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SparseFeatures;

/// The outcome of a [`Batch`] step for one generation.
///
/// [`Batch`]: crate::Batch
#[derive(Debug, Clone, PartialEq)]
pub enum StepOutcome {
    /// A piece of the prompt was run.
    Prompt,
    /// The next token was generated.
    Step(Step),
    /// The generation has ended; [`Generation::end`](crate::Generation::end) returns the reason.
    End,
}

/// One generated token.
///
/// The JSON form is the token object that the command line and the server write, with the number of
/// features of each SAE so that it can be read back:
///
/// ```json
/// {"position": 5, "token_id": 262, "token": " a", "logprob": -1.2,
///  "features": {"blocks.2.hook_resid_post": [[417, 3.5], [12, 0.25]]},
///  "d_sae": {"blocks.2.hook_resid_post": 2048}, "top_logprobs": [[262, -1.2]]}
/// ```
///
/// Features are `[index, activation]`, strongest first; a label after them is ignored. `d_sae` and
/// `top_logprobs` are omitted if they are empty. An unknown key, a feature index out of range and a
/// feature listed twice are errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The position in the sequence, counted from the start of the prompt.
    pub position: usize,
    /// The token's id.
    pub token_id: u32,
    /// The text that the token completes; `token` in JSON. The bytes of an incomplete character are
    /// returned with the token that completes it, or as U+FFFD with the last token. Empty without a
    /// tokenizer.
    pub text: String,
    /// The natural logarithm of the model's probability for the token, before temperature, top-k
    /// and top-p.
    pub logprob: f32,
    /// One row for each tracked hook point: the features at the token's own position.
    pub features: BTreeMap<HookPoint, SparseFeatures>,
    /// The features that interventions changed at the token's own position, with their activations
    /// afterwards, as far as their SAE is tracked. Not part of the JSON form.
    pub steered_features: BTreeMap<HookPoint, Vec<(u32, f32)>>,
    /// The [`Sampling::top_logprobs`](crate::Sampling::top_logprobs) most likely tokens at this position with their log
    /// probabilities, most likely first.
    pub top_logprobs: Vec<(u32, f32)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_model::{gpt, sae};
    use crate::{InterpretableModel, Plan, Sampling};

    #[test]
    fn a_steered_feature_has_its_activation_after_the_interventions() {
        let hook = HookPoint::ResidPost(1);
        let model = InterpretableModel::new(gpt()).with_sae(hook, sae(0.0)).unwrap();
        let specs = ["3:set:4", "3:multiply:2", "9:add:1.5", "5:add:50%"];
        let plan = specs.iter().fold(Plan::new().track(hook), |plan, spec| {
            plan.intervene(format!("{hook}:{spec}@all").parse().unwrap())
        });

        let steps: Vec<Step> =
            model.generate(&[3, 1, 4], &plan, &Sampling::greedy(3)).unwrap().collect();

        for step in &steps {
            let after = &step.steered_features[&hook];
            let value = |feature: u32| after.iter().find(|(index, _)| *index == feature).unwrap().1;
            let before = |feature| step.features[&hook].get(0, feature);
            assert_eq!(after.len(), 3);
            assert_eq!(value(3), 8.0);
            assert!((value(9) - before(9) - 1.5).abs() < 1e-5);
            assert!(value(5) > before(5));
        }
        // Nothing in the pass reads these features, so that a device is asked for them after it.
        let plan = Plan::new().track(hook).intervene(format!("{hook}:9:add:1.5").parse().unwrap());
        for step in model.generate(&[3, 1, 4], &plan, &Sampling::greedy(3)).unwrap() {
            let [(9, after)] = step.steered_features[&hook][..] else { panic!("one feature") };
            assert!((after - step.features[&hook].get(0, 9) - 1.5).abs() < 1e-5, "{after}");
        }
        let mut untracked = plan.clone();
        untracked.track.clear();
        let steps = model.generate(&[3, 1, 4], &untracked, &Sampling::greedy(1)).unwrap();
        assert!(steps.map(|step| step.steered_features).all(|steered| steered.is_empty()));
    }
}
