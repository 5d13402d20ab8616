//! The reference's steering, reconstructions and continuations.

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::load_sae;
use nanoscope_hooks::{Activation, HookPoint, Patch};
use nanoscope_runtime::{EndReason, InterpretableModel, Plan, Sampling};
use nanoscope_testing::test_device;
use nanoscope_transformer::Logits;

use crate::golden::{self, Golden, assert_close, values};

const STEERED_ATOL: f32 = 5e-5;

/// The golden model with the SAE of each entry of the manifest, and the entry.
fn reference_cases(golden: Golden) -> Vec<(InterpretableModel, serde_json::Value)> {
    let device = test_device();
    let manifest = golden.manifest();
    let gpt = golden.model().gpt;
    let entries = manifest["saes"].as_array().unwrap();
    assert!(!entries.is_empty());
    entries
        .iter()
        .map(|entry| {
            let path = golden.dir().join(entry["checkpoint"].as_str().unwrap());
            let loaded = load_sae(&path, &device).unwrap();
            let model = InterpretableModel::new(gpt.clone());
            (model.with_sae(loaded.hook().unwrap(), loaded.sae).unwrap(), entry.clone())
        })
        .collect()
}

#[test]
fn the_references_steering_is_reproduced() {
    for golden in golden::WITH_SAES {
        let (expected, tokens) = (golden.sae_expected(), golden.tokens());
        for (model, entry) in reference_cases(golden) {
            let key = entry["key"].as_str().unwrap();
            let hook: HookPoint = entry["hook_point"].as_str().unwrap().parse().unwrap();
            let feature = entry["feature_idx"].as_u64().unwrap() as usize;
            for strength in ["0", "2", "5", "-1"] {
                let run = model.steer(&tokens, (hook, feature), strength.parse().unwrap()).unwrap();

                let steered = expected.floats(&format!("{key}/steer{strength}"));
                let what = format!("{golden}, {key} times {strength}");
                assert_close(what, &values(run.logits), &steered.values, STEERED_ATOL);
                assert_eq!(run.applied[0].positions, tokens.batch() * tokens.seq());
            }
        }
    }
}

#[test]
fn reconstructing_at_strength_one_puts_the_references_reconstruction_in_place() {
    for golden in golden::WITH_SAES {
        let (expected, tokens) = (golden.sae_expected(), golden.tokens());
        for (model, entry) in reference_cases(golden) {
            let key = entry["key"].as_str().unwrap();
            let hook: HookPoint = entry["hook_point"].as_str().unwrap().parse().unwrap();
            let reconstruction = expected.floats(&format!("{key}/reconstruction"));
            let data = TensorData::new(
                reconstruction.values.clone(),
                [tokens.batch(), tokens.seq(), *reconstruction.shape.last().unwrap()],
            );
            let device = test_device();
            let data = Activation::new(Tensor::<3>::from_data(data, &device));
            let mut patch = Patch::new().replace(hook, data);
            let patched = model.gpt().forward(&tokens, Logits::All, &mut patch).unwrap();
            patch.finish().unwrap();

            let run = model.steer(&tokens, (hook, 0), 1.0).unwrap();

            let what = format!("{golden}, {key}");
            assert_close(what, &values(run.logits), &values(patched), STEERED_ATOL);
        }
    }
}

#[test]
fn the_references_greedy_continuation_is_reproduced() {
    for golden in golden::WITH_SAES {
        let greedy = &golden.manifest()["greedy"];
        let ids = |key: &str| -> Vec<u32> { serde_json::from_value(greedy[key].clone()).unwrap() };
        let (prompt, expected) = (ids("prompt"), ids("engine"));
        assert_eq!(expected, ids("naive_generate"));
        let model = InterpretableModel::new(golden.model().gpt);

        let sampling = Sampling::greedy(expected.len());
        let mut generation = model.generate(&prompt, &Plan::new(), &sampling).unwrap();
        let found: Vec<u32> = generation.by_ref().map(|step| step.token_id).collect();

        assert_eq!(found, expected, "{golden}");
        assert_eq!(generation.end(), Some(EndReason::MaxTokens));
    }
}
