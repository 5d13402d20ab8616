//! The number of times that a step waits for its device.

use nanoscope_hooks::HookPoint;
use nanoscope_kernels::{has_kernels, reads};
use nanoscope_runtime::{Batch, InterpretableModel, Plan, Sampling, StepOutcome};
use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};

/// Where nothing has to be waited for, features are selected at once, while the products are in a cache.
#[test]
fn a_step_reads_its_logits_features_and_lengths_at_once_from_a_device() {
    let device = test_device();
    let hooks = [HookPoint::ResidPost(0), HookPoint::ResidPost(1)];
    let mut model = InterpretableModel::new(tiny_gpt(TINY_SHAPE, &device));
    for hook in hooks {
        model = model.with_sae(hook, identity_sae(TINY_SHAPE.n_embd, 4, &device)).unwrap();
    }
    if has_kernels(&model.sae(hooks[0]).unwrap().weights().w_enc) {
        return;
    }
    let steer = |text: &str| Plan::new().track_all().intervene(text.parse().unwrap());
    let plans = [
        Plan::new(),
        Plan::new().track_all(),
        steer("blocks.1.hook_resid_post:3:add:0.5"),
        Plan::new().track_all(),
    ];
    for count in 1..=plans.len() {
        let mut batch = Batch::new(&model, 0);
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
            assert_eq!(reads() - before, 1, "{count} generations");
        }
    }
}
