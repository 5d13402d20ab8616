//! The number of times that a step waits for its device.

use nanoscope_hooks::HookPoint;
use nanoscope_kernels::{has_kernels, reads};
use nanoscope_runtime::{Batch, InterpretableModel, Plan, Sampling, StepOutcome};
use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};

const HOOKS: [HookPoint; 2] = [HookPoint::ResidPost(0), HookPoint::ResidPost(1)];

/// A model with two SAEs; `None` where nothing has to be waited for: there features are selected at once, while
/// the products are in a cache.
fn model() -> Option<InterpretableModel> {
    let device = test_device();
    let mut model = InterpretableModel::new(tiny_gpt(TINY_SHAPE, &device));
    for hook in HOOKS {
        model = model.with_sae(hook, identity_sae(TINY_SHAPE.n_embd, 4, &device)).unwrap();
    }
    (!has_kernels(&model.sae(HOOKS[0]).unwrap().weights().w_enc)).then_some(model)
}

fn steered(text: &str) -> Plan {
    Plan::new().track_all().intervene(text.parse().unwrap())
}

/// Asserts that steps of the first generations, of all of `plans` and of each number before, read `expected` times.
#[track_caller]
fn assert_reads(model: &InterpretableModel, plans: &[Plan], expected: u64) {
    for count in 1..=plans.len() {
        let mut batch = Batch::new(model, 0);
        let mut all: Vec<_> = plans[..count]
            .iter()
            .map(|plan| batch.begin(&[3, 1, 4], plan, &Sampling::greedy(8)).unwrap())
            .collect();
        let mut rows: Vec<_> = all.iter_mut().collect();
        // The first steps read what is read once in the life of a model.
        for _ in 0..3 {
            batch.step(&mut rows).unwrap();
        }
        for _ in 0..3 {
            let before = reads();
            let outcomes = batch.step(&mut rows).unwrap();
            assert!(outcomes.iter().all(|outcome| matches!(outcome, StepOutcome::Step(_))));
            assert_eq!(reads() - before, expected, "{count} generations");
        }
    }
}

#[test]
fn a_step_reads_its_logits_features_and_lengths_at_once_from_a_device() {
    let Some(model) = model() else { return };
    let plans = [
        Plan::new(),
        Plan::new().track_all(),
        steered("blocks.1.hook_resid_post:3:add:0.5"),
        Plan::new().track_all(),
    ];
    assert_reads(&model, &plans, 1);
}

/// The numbers that the change depends on are read when the activation arrives, for all generations together.
#[test]
fn an_operation_that_depends_on_the_activation_is_one_read_more_for_any_number_of_generations() {
    let Some(model) = model() else { return };
    let at = |rest: &str| steered(&format!("blocks.1.hook_resid_post:{rest}"));
    // The length; the component along the direction; both; the activation of the feature.
    assert_reads(&model, &[at("3:add:0.5:norm"), at("4:add:0.1:norm"), at("5:add:0.2:norm")], 2);
    assert_reads(&model, &[at("3:orthogonal:0.5"), at("4:orthogonal:0.1"), Plan::new()], 2);
    assert_reads(&model, &[at("3:orthogonal:0.5:norm"), at("4:add:0.1:norm")], 2);
    assert_reads(&model, &[at("3:set:0.5"), at("4:set:0.1"), at("5:multiply:2")], 2);
}
