//! Tracking and steering: what the reference computes, and what must hold whatever it computes.

use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::load_sae;
use nanoscope_hooks::{HookPoint, Patch, Recorded};
use nanoscope_runtime::{
    EndReason, InterpretableModel, Intervention, InterventionReport, Plan, Sampling, Splice, Step,
};
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use nanoscope_transformer::{Gpt, Logits, TokenBatch};

use crate::golden::{self, Golden, assert_close, assert_same, values};

const STEERED_ATOL: f32 = 5e-5;
const CACHE_ATOL: f32 = 1e-4;
const NEUTRAL_ATOL: f32 = 1e-6;
/// How far an activation was moved, as a share of its length.
const MOVED_ATOL: f32 = 1e-4;

/// Numbers in -1..1 that look random, the same everywhere.
fn noise(seed: u32, len: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// A top-k SAE with noise for weights.
fn noisy_sae(d_in: usize, d_sae: usize) -> Sae {
    let device = nanoscope_device::for_tests();
    let matrix = |seed, rows, columns| {
        let data = TensorData::new(noise(seed, rows * columns), [rows, columns]);
        Tensor::<2>::from_data(data, &device)
    };
    let config = SaeConfig::new(d_in, d_sae, Architecture::SignedTopK { k: 6 }).unwrap();
    let weights = SaeWeights::new(
        matrix(1, d_in, d_sae) * 0.3,
        Tensor::zeros([d_sae], &device),
        matrix(2, d_sae, d_in),
        Tensor::zeros([d_in], &device),
    );
    Sae::new(config, weights).unwrap()
}

/// A model of every era, those with a golden and those without, with an SAE after its first block
/// and a transcoder of its second MLP.
pub(crate) fn models() -> Vec<(String, InterpretableModel)> {
    let golden = golden::ALL.into_iter().map(|golden| (golden.to_string(), golden.model().gpt));
    golden.chain(golden::unseen()).map(|(name, gpt)| (name, with_saes(gpt))).collect()
}

pub(crate) fn with_saes(gpt: Gpt) -> InterpretableModel {
    let width = gpt.config().shape.n_embd;
    let model = InterpretableModel::new(gpt);
    let model = model.with_sae(SITE, noisy_sae(width, 2 * width)).unwrap();
    model.with_transcoder(READ, WRITE, noisy_sae(width, 2 * width)).unwrap()
}

pub(crate) const SITE: HookPoint = HookPoint::ResidPost(0);
pub(crate) const READ: HookPoint = HookPoint::Ln2Normalized(1);
const WRITE: HookPoint = HookPoint::MlpOut(1);

pub(crate) fn spec(text: &str) -> Intervention {
    text.parse().unwrap()
}

fn reconstructing(text: &str) -> Intervention {
    Intervention { splice: Splice::Reconstruct, ..spec(text) }
}

fn plan(interventions: impl IntoIterator<Item = Intervention>) -> Plan {
    interventions.into_iter().fold(Plan::new(), Plan::intervene)
}

/// The golden model with the SAE of a manifest's entry, and what the entry says.
fn reference_cases(golden: Golden) -> Vec<(InterpretableModel, serde_json::Value)> {
    let device = nanoscope_device::for_tests();
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
            let device = nanoscope_device::for_tests();
            let data = Recorded::new(Tensor::<3>::from_data(data, &device));
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

#[test]
fn tracking_and_capturing_change_no_bit_of_the_logits() {
    for (name, model) in models() {
        let tokens = TokenBatch::new(&[(1..20).collect(), (21..40).collect()]).unwrap();
        let bare = model.gpt().forward(&tokens, Logits::All, &mut ()).unwrap();

        let watched = Plan::new().track(SITE).capture(HookPoint::Pattern(1)).capture(SITE);
        let run = model.run(&tokens, &watched).unwrap();

        assert_eq!(run.features[&SITE].rows(), 38);
        assert_same(name, &values(run.logits), &values(bare));
    }
}

#[test]
fn keeping_the_error_at_strength_one_changes_nothing() {
    for (name, model) in models() {
        let tokens = TokenBatch::new(&[(1..20).collect()]).unwrap();
        let bare = model.gpt().forward(&tokens, Logits::All, &mut ()).unwrap();

        let neutral = plan((0..32).map(|f| spec(&format!("{SITE}:{f}:multiply:1@all"))));
        let run = model.run(&tokens, &neutral).unwrap();

        assert!(run.applied.iter().all(|applied| applied.changed == 0));
        assert_close(name, &values(run.logits), &values(bare), NEUTRAL_ATOL);
    }
}

/// Interventions of every kind, at every kind of place, with both splices.
fn mixtures(model: &InterpretableModel) -> Vec<(&'static str, Plan)> {
    let at = |rest: &str| format!("{SITE}:{rest}");
    let width = model.gpt().config().shape.n_embd;
    let with_vectors = |plan: Plan| {
        let plan = plan.vector("calm".parse().unwrap(), noise(3, width));
        plan.vector("glee".parse().unwrap(), noise(4, width))
    };
    vec![
        ("multiply", plan([spec(&at("3:multiply:4"))])),
        ("add while generating", plan([spec(&at("5:add:3@generated"))])),
        (
            "several, in order",
            plan([
                spec(&at("3:set:2@prompt")),
                spec(&at("3:multiply:2")),
                spec(&at("7:ablate@4..9")),
                spec(&at("9:set_if_active:5@all")),
                spec(&at("9:add:1@last")),
            ]),
        ),
        ("reconstruct", plan([reconstructing(&at("3:multiply:2@all"))])),
        ("reconstruct some", plan([reconstructing(&at("3:add:2@generated"))])),
        (
            "directions",
            plan([
                spec(&at("3:add:2:unit")),
                spec(&at("5:orthogonal:0.3:norm@all")),
                spec(&at("3:multiply:2")),
                spec(&at("7:orthogonal:1@2..9")),
            ]),
        ),
        (
            "vectors",
            with_vectors(plan([
                spec(&at("calm:add:0.4:norm")),
                spec(&at("glee:orthogonal:0@1..4")),
                spec("blocks.1.attn.hook_z:glee:add:2:unit@last"),
            ])),
        ),
        (
            "conditions",
            with_vectors(plan([
                spec(&at(&format!("3:add:2 when {SITE}:9>0.01"))),
                spec(&at(&format!("4:set:2@generated when {SITE}:4>0.01"))),
                spec(&format!("blocks.1.hook_resid_post:calm:add:2 when {SITE}:5>0.01")),
                spec(&format!("blocks.1.hook_resid_post:calm:add:-2 when {READ}:5>0.01")),
            ])),
        ),
        (
            "reconstruct under a condition",
            plan([
                reconstructing(&at(&format!("3:multiply:2@all when {SITE}:5>0.01"))),
                reconstructing(&at("5:orthogonal:1:unit@1..5")),
            ]),
        ),
        (
            "transcoder",
            with_vectors(plan([
                spec(&format!("{READ}:3:multiply:3")),
                spec(&format!("{READ}:4:add:1:norm@generated+special")),
                spec(&format!("{WRITE}:calm:orthogonal:1:unit")),
                spec(&format!("{READ}:5:set:2@1..4 when {SITE}:5>0.01")),
            ])),
        ),
        (
            "transcoder reconstructs",
            plan([reconstructing(&format!("{READ}:3:add:2@all when {READ}:7>0.01"))]),
        ),
    ]
}

/// The log probability of each token of `ids` from `from` on, by the logits `[1, seq, vocab]`.
fn logprobs(logits: &[f32], ids: &[u32], from: usize) -> Vec<f32> {
    let vocab = logits.len() / ids.len();
    (from..ids.len())
        .map(|position| {
            let row = &logits[(position - 1) * vocab..position * vocab];
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            (f64::from(row[ids[position] as usize]) - sum.ln()) as f32
        })
        .collect()
}

/// Asserts that the same was done, within the noise of the activations that it was done to.
#[track_caller]
fn assert_applied_alike(what: &str, found: &[InterventionReport], expected: &[InterventionReport]) {
    let done = |applied: &InterventionReport| {
        (applied.intervention.clone(), applied.positions, applied.changed)
    };
    let all = |applied: &[InterventionReport]| applied.iter().map(done).collect::<Vec<_>>();
    assert_eq!(all(found), all(expected), "{what}");
    let moved =
        |applied: &[InterventionReport]| applied.iter().map(|a| a.moved).collect::<Vec<_>>();
    assert_close(what, &moved(found), &moved(expected), MOVED_ATOL);
}

#[test]
fn a_steered_cached_generation_is_the_full_pass_over_the_same_tokens() {
    for (name, model) in models() {
        for (kind, plan) in mixtures(&model) {
            let what = format!("{name}, {kind}");
            let plan = plan.track(SITE);
            let prompt = [7, 40, 11, 250, 3, 99];
            let mut generation = model.generate(&prompt, &plan, &Sampling::greedy(10)).unwrap();
            let steps: Vec<Step> = generation.by_ref().collect();
            assert_eq!(steps.len(), 10, "{what}");

            let mut ids = prompt.to_vec();
            ids.extend(steps.iter().map(|step| step.token_id));
            let all = TokenBatch::new(std::slice::from_ref(&ids)).unwrap();
            let run = model.run_generated(&all, prompt.len(), &plan).unwrap();
            let logits = values(run.logits);

            // The same tokens are the likeliest, and as likely.
            let vocab = logits.len() / ids.len();
            for (position, row) in logits.chunks_exact(vocab).enumerate().skip(prompt.len() - 1) {
                if let Some(&next) = ids.get(position + 1) {
                    let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let near = best - row[next as usize];
                    assert!(near <= golden::tolerance(CACHE_ATOL), "{what}: {next} at {position}");
                }
            }
            let found: Vec<f32> = steps.iter().map(|step| step.logprob).collect();
            assert_close(&what, &found, &logprobs(&logits, &ids, prompt.len()), CACHE_ATOL);

            // And the same features fire, at the prompt and at each generated token.
            let mut dense = generation.prompt_features()[&SITE].to_dense();
            dense.extend(steps.iter().flat_map(|step| step.features[&SITE].to_dense()));
            assert_close(&what, &dense, &run.features[&SITE].to_dense(), CACHE_ATOL);
            assert_applied_alike(&what, &generation.applied(), &run.applied);
        }
    }
}

#[test]
fn a_steered_batch_is_its_steered_rows() {
    for (name, model) in models() {
        let rows: Vec<Vec<u32>> =
            (0..3_u32).map(|row| (0..16).map(|t| (row * 53 + t * 17) % 290).collect()).collect();
        for (kind, plan) in mixtures(&model) {
            // Some cover only what is generated; so two thirds of each row are the prompt.
            let plan = plan.track(SITE).track(READ);
            let prompt_len = 10;
            let all = TokenBatch::new(&rows).unwrap();
            let together = model.run_generated(&all, prompt_len, &plan).unwrap();

            let alone: Vec<_> = rows
                .iter()
                .map(|row| {
                    let row = TokenBatch::new(std::slice::from_ref(row)).unwrap();
                    model.run_generated(&row, prompt_len, &plan).unwrap()
                })
                .collect();

            let what = format!("{name}, {kind}");
            let logits: Vec<f32> =
                alone.iter().flat_map(|run| values(run.logits.clone())).collect();
            assert_close(&what, &values(together.logits), &logits, CACHE_ATOL);
            for hook in [SITE, READ] {
                let features: Vec<f32> =
                    alone.iter().flat_map(|run| run.features[&hook].to_dense()).collect();
                assert_close(&what, &together.features[&hook].to_dense(), &features, CACHE_ATOL);
            }
            for (at, applied) in together.applied.iter().enumerate() {
                let positions: usize = alone.iter().map(|run| run.applied[at].positions).sum();
                let changed: usize = alone.iter().map(|run| run.applied[at].changed).sum();
                assert_eq!((applied.positions, applied.changed), (positions, changed), "{what}");
            }
        }
    }
}

#[test]
fn adding_puts_the_decoder_row_on_the_covered_positions_only() {
    let (_, model) = models().remove(0);
    let ids: Vec<u32> = (30..36).collect();
    let tokens = TokenBatch::new(&[ids]).unwrap();
    let next = HookPoint::ResidPre(1);
    let at = |plan: Plan| {
        let run = model.run(&tokens, &plan.capture(next)).unwrap();
        run.captured.get(next).unwrap().to_vec()
    };

    let before = at(Plan::new());
    let after = at(plan([spec(&format!("{SITE}:5:add:2.5@2..4"))]));

    let direction = values(model.saes()[&SITE].direction(5).unwrap().unsqueeze::<2>());
    let width = direction.len();
    let expected: Vec<f32> = (0..before.len())
        .map(|at| {
            let covered = (2..4).contains(&(at / width));
            before[at] + if covered { 2.5 * direction[at % width] } else { 0.0 }
        })
        .collect();
    assert_close("x + 2.5 · W_dec[5]", &after, &expected, 1e-5);
}

#[test]
fn reconstructing_replaces_the_covered_positions_only() {
    let (_, model) = models().remove(0);
    let tokens = TokenBatch::new(&[(30..36).collect()]).unwrap();
    let next = HookPoint::ResidPre(1);
    let at = |plan: Plan| {
        let run = model.run(&tokens, &plan.capture(next)).unwrap();
        run.captured.get(next).unwrap().to_vec()
    };
    let before = at(Plan::new());
    let sae = &model.saes()[&SITE];
    let width = sae.config().d_in();
    let x = TensorData::new(before.clone(), [6, width]);
    let x = Tensor::<2>::from_data(x, &nanoscope_device::for_tests());
    let decoded = values(sae.decode_sparse(&sae.encode_sparse(x.clone()), x));

    let after = at(plan([reconstructing(&format!("{SITE}:5:multiply:1@2..4"))]));

    let expected: Vec<f32> = (0..before.len())
        .map(|at| if (2..4).contains(&(at / width)) { decoded[at] } else { before[at] })
        .collect();
    assert_close("decode(encode(x)) at 2..4", &after, &expected, 1e-4);
}

#[test]
fn tracking_changes_no_bit_of_a_steered_pass() {
    for (name, model) in models() {
        let tokens = TokenBatch::new(&[(1..20).collect()]).unwrap();
        let steered =
            plan([spec(&format!("{SITE}:5:add:3.3")), spec(&format!("{SITE}:7:add:0.7"))]);

        let alone = model.run(&tokens, &steered).unwrap();
        let tracked = model.run(&tokens, &steered.track(SITE)).unwrap();

        assert_same(name, &values(tracked.logits), &values(alone.logits));
    }
    let (name, model) = models().remove(0);
    for (kind, plan) in mixtures(&model) {
        let tokens = TokenBatch::new(&[(1..20).collect()]).unwrap();
        let run = |plan: Plan| model.run_generated(&tokens, 12, &plan).unwrap().logits;

        let alone = run(plan.clone());
        let tracked = run(plan.track(SITE).track(READ));

        assert_same(format!("{name}, {kind}"), &values(tracked), &values(alone));
    }
}

#[test]
fn an_intervention_on_some_rows_leaves_the_others_as_they_are_alone() {
    for (name, model) in models() {
        let row = |row: u32| (0..12).map(|t| (row * 53 + t * 17) % 290).collect::<Vec<u32>>();
        let rows = [row(0), row(1), row(2)];
        let run = |rows: &[Vec<u32>], plan: Plan| {
            let run = model.run(&TokenBatch::new(rows).unwrap(), &plan).unwrap();
            (values(run.logits), run.applied)
        };
        let everywhere = || plan([spec(&format!("{SITE}:5:add:3"))]);
        let some = plan([spec(&format!("{SITE}:5:add:3@text[1..3]"))]);

        let (logits, applied) = run(&rows, some);

        let expected: Vec<f32> = [
            run(&rows[..1], Plan::new()),
            run(&rows[1..2], everywhere()),
            run(&rows[2..], everywhere()),
        ]
        .into_iter()
        .flat_map(|(logits, _)| logits)
        .collect();
        assert_close(&name, &logits, &expected, CACHE_ATOL);
        assert_eq!(applied[0].positions, 24);
    }
}

#[test]
fn the_final_norm_has_features_of_every_position_of_a_prompt_in_a_generation() {
    let (name, model) = models().remove(0);
    let (hook, width) = (HookPoint::FinalNormalized, model.gpt().config().shape.n_embd);
    let model = model.with_sae(hook, noisy_sae(width, 2 * width)).unwrap();
    let prompt = [7, 40, 11];
    for plan in [
        Plan::new().track(hook),
        plan([spec(&format!("{hook}:3:add:2@0..1 when {hook}:5>-1000"))]).track(hook),
    ] {
        let full = TokenBatch::new(&[prompt.to_vec()]).unwrap();
        let full = model.run(&full, &plan).unwrap();

        let generation = model.generate(&prompt, &plan, &Sampling::greedy(2)).unwrap();

        let found = generation.prompt_features()[&hook].to_dense();
        assert_close(&name, &found, &full.features[&hook].to_dense(), CACHE_ATOL);
        assert_applied_alike(&name, &generation.applied(), &full.applied);
    }
}

#[test]
fn a_generation_stops_after_the_token_at_which_a_feature_exceeds_a_value() {
    for (name, model) in models() {
        let prompt = [7, 40, 11, 250, 3, 99];
        let free: Vec<Step> = model
            .generate(&prompt, &Plan::new().track(SITE), &Sampling::greedy(8))
            .unwrap()
            .collect();
        // A feature's first rise after the first token, and a threshold below it.
        let value = |step: usize, f: u32| free[step].features[&SITE].get(0, f);
        let risen = (1..7).find_map(|step| {
            let before = |f: u32| (0..step).all(|earlier| value(earlier, f) <= 0.0);
            let of = free[step].features[&SITE].strongest(0, 6).into_iter();
            of.filter(|&(f, _)| before(f)).map(|(f, value)| (step, f, value)).next()
        });
        let (step, feature, value) = risen.unwrap();
        let stop = |above: f32| format!("{SITE}:{feature}>{above}").parse().unwrap();

        let plan = Plan::new().track(SITE).stop_when(stop(value * 0.5));
        let mut generation = model.generate(&prompt, &plan, &Sampling::greedy(8)).unwrap();
        let steps: Vec<Step> = generation.by_ref().collect();

        let tokens = |steps: &[Step]| steps.iter().map(|step| step.token_id).collect::<Vec<_>>();
        assert_eq!(tokens(&steps), tokens(&free[..=step]), "{name}");
        let Some(EndReason::Condition { condition, value: found }) = generation.end() else {
            panic!("{name}: ended by {:?}", generation.end());
        };
        assert_eq!((condition.feature, condition.above), (feature as usize, value * 0.5));
        assert_close(&name, &[found], &[value], CACHE_ATOL);
        assert_eq!(generation.end().unwrap().to_string(), "stop_when");

        // With nothing tracked it stops all the same, and above what is reached it does not.
        let untracked = Plan::new().stop_when(stop(value * 0.5));
        let steps = model.generate(&prompt, &untracked, &Sampling::greedy(8)).unwrap();
        assert_eq!(steps.count(), step + 1, "{name}");
        let unreached = Plan::new().stop_when(stop(1e6));
        let mut generation = model.generate(&prompt, &unreached, &Sampling::greedy(8)).unwrap();
        assert_eq!(generation.by_ref().count(), 8, "{name}");
        assert_eq!(generation.end(), Some(EndReason::MaxTokens));
    }
}

#[test]
fn a_condition_that_holds_at_the_last_token_asked_for_is_why_the_generation_ended() {
    let (_, model) = models().remove(0);
    let plan = Plan::new().stop_when(format!("{SITE}:0>-1000").parse().unwrap());

    let mut generation = model.generate(&[7, 40], &plan, &Sampling::greedy(1)).unwrap();

    assert_eq!(generation.by_ref().count(), 1);
    assert!(matches!(generation.end(), Some(EndReason::Condition { .. })));
}

#[test]
fn turning_what_never_fires_changes_nothing_whatever_the_sign() {
    let (_, model) = models().remove(0);
    let tokens = TokenBatch::new(&[vec![30]]).unwrap();
    let run = model.run(&tokens, &Plan::new().track(SITE)).unwrap();
    let silent = (0..64).find(|&feature| run.features[&SITE].get(0, feature) == 0.0).unwrap();

    let run = model.run(&tokens, &plan([spec(&format!("{SITE}:{silent}:multiply:-3"))])).unwrap();

    assert_eq!((run.applied[0].positions, run.applied[0].changed), (1, 0));
}
