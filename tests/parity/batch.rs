//! Generations that share passes and prompt prefixes give the same results as each one alone.

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Batch, EndReason, Generation, InterpretableModel, InterventionReport, Plan, Sampling, Step,
    StepOutcome,
};
use nanoscope_sae::{Normalization, Sae};
use nanoscope_testing::{TINY_SHAPE, noisy_sae, test_device, tiny_gpt};
use nanoscope_transformer::{GptShape, Logits, TokenBatch};

use crate::golden::{self, assert_close, values};
use crate::steering::{READ, SITE, mixtures, models, spec};

const ROW_ATOL: f32 = 1e-5;

/// Models of all eras; on a GPU, which compiles a kernel per row length, of every fourth.
fn eras() -> impl Iterator<Item = (String, InterpretableModel)> {
    models().into_iter().step_by(if golden::on_gpu() { 4 } else { 1 })
}

fn prompt(len: u32, seed: u32) -> Vec<u32> {
    (0..len).map(|i| (i * 37 + seed * 61) % 97).collect()
}

fn steered() -> Plan {
    Plan::new()
        .track(SITE)
        .track(READ)
        .intervene(spec("blocks.0.hook_resid_post:3:add:2"))
        .intervene(spec("blocks.1.ln2.hook_normalized:5:set:1.5@generated"))
}

/// Prompts, plans and samplings that differ as much as possible.
fn asked() -> Vec<(Vec<u32>, Plan, Sampling)> {
    let drawn = |seed| Sampling { seed, max_tokens: 7, ..Sampling::default() };
    vec![
        (prompt(3, 1), Plan::new(), Sampling::greedy(9)),
        (prompt(9, 2), Plan::new().track(SITE), Sampling::greedy(4)),
        (prompt(1, 3), steered(), Sampling::greedy(8)),
        (prompt(9, 4), steered(), Sampling { top_logprobs: 3, ..drawn(5) }),
        (
            prompt(6, 5),
            Plan::new().intervene(spec("blocks.0.hook_resid_post:9:orthogonal:1")),
            drawn(6),
        ),
    ]
}

fn alone(
    model: &InterpretableModel,
    (prompt, plan, sampling): &(Vec<u32>, Plan, Sampling),
) -> (Vec<Step>, Vec<InterventionReport>, Option<EndReason>) {
    let mut generation = model.generate(prompt, plan, sampling).unwrap();
    let steps = generation.by_ref().collect();
    (steps, generation.applied(), generation.end())
}

fn assert_same_steps(what: &str, found: &[Step], expected: &[Step], atol: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(
            (found.position, found.token_id),
            (expected.position, expected.token_id),
            "{what}"
        );
        let logprobs = |step: &Step| -> Vec<f32> {
            let top = step.top_logprobs.iter().map(|&(_, logprob)| logprob);
            std::iter::once(step.logprob).chain(top).collect()
        };
        assert_close(what, &logprobs(found), &logprobs(expected), atol);
        assert!(found.features.keys().eq(expected.features.keys()), "{what}");
        for (hook, features) in &found.features {
            let expected = &expected.features[hook];
            assert_close(what, &features.to_dense(), &expected.to_dense(), 5.0 * atol);
        }
    }
}

fn assert_same_reports(
    what: &str,
    found: &[InterventionReport],
    expected: &[InterventionReport],
    atol: f32,
) {
    let counts =
        |of: &[InterventionReport]| of.iter().map(|a| (a.positions, a.changed)).collect::<Vec<_>>();
    let moved = |of: &[InterventionReport]| of.iter().map(|a| a.moved).collect::<Vec<_>>();
    assert_eq!(counts(found), counts(expected), "{what}");
    assert_close(what, &moved(found), &moved(expected), atol);
}

#[test]
fn generations_that_join_and_leave_give_what_each_gives_alone() {
    for (name, model) in eras() {
        let asked = asked();
        let mut batch = Batch::new(&model, 0);
        let mut running: Vec<(usize, Generation<'_>)> = Vec::new();
        let mut found = vec![Vec::new(); asked.len()];
        let mut ended = vec![None; asked.len()];
        let mut most = 0;
        for round in 0.. {
            // A generation joins in every second round, the last one first.
            if round % 2 == 0 && round / 2 < asked.len() {
                let at = asked.len() - 1 - round / 2;
                let (prompt, plan, sampling) = &asked[at];
                running.push((at, batch.begin(prompt, plan, sampling).unwrap()));
            }
            let mut rows: Vec<_> = running.iter_mut().map(|(_, generation)| generation).collect();
            let progress = batch.step(&mut rows).unwrap();
            for ((at, _), progress) in running.iter().zip(progress) {
                if let StepOutcome::Step(step) = progress {
                    found[*at].push(step);
                }
            }
            most = most.max(running.len());
            for (at, generation) in running.extract_if(.., |(_, g)| g.end().is_some()) {
                ended[at] = Some((generation.applied(), generation.end()));
            }
            if running.is_empty() && round / 2 >= asked.len() {
                break;
            }
        }

        assert!(most > 2, "{name}: {most} ran together at most");
        for (at, asked) in asked.iter().enumerate() {
            let what = format!("{name}, {at}");
            let (steps, applied, end) = alone(&model, asked);
            assert_same_steps(&what, &found[at], &steps, ROW_ATOL);
            let (found_applied, found_end) = ended[at].take().unwrap();
            assert_same_reports(&what, &found_applied, &applied, ROW_ATOL);
            assert_eq!(found_end, end, "{what}");
        }
    }
}

/// Prompts of two lengths share two passes, and all generations the later ones.
#[test]
fn plans_of_every_kind_that_share_passes_give_what_each_gives_alone() {
    let scaled = ("scaled by activation".to_owned(), scaled_model());
    let others = eras().filter(|_| !golden::on_gpu());
    for (name, model) in [scaled].into_iter().chain(others) {
        let sampling = Sampling::greedy(6);
        let mut asked: Vec<_> = mixtures(&model)
            .into_iter()
            .map(|(kind, plan)| (kind, plan.track(SITE).track(READ)))
            .collect();
        asked.insert(3, ("nothing", Plan::new()));
        let prompts = [prompt(7, 1), prompt(5, 2)];
        let prompt = |at: usize| &prompts[at % 2];
        let mut batch = Batch::new(&model, 0);
        let mut all: Vec<_> = asked
            .iter()
            .enumerate()
            .map(|(at, (_, plan))| batch.begin(prompt(at), plan, &sampling).unwrap())
            .collect();
        let mut found = vec![Vec::new(); all.len()];
        while all.iter().any(|generation| generation.end().is_none()) {
            let outcomes = batch.step(&mut all.iter_mut().collect::<Vec<_>>()).unwrap();
            for (steps, outcome) in found.iter_mut().zip(outcomes) {
                steps.extend(if let StepOutcome::Step(step) = outcome { Some(step) } else { None });
            }
        }

        for (at, (kind, plan)) in asked.into_iter().enumerate() {
            let what = format!("{name}, {kind}");
            let (steps, applied, _) = alone(&model, &(prompt(at).clone(), plan, sampling.clone()));
            assert_eq!(steps.len(), 6, "{what}");
            assert_same_steps(&what, &found[at], &steps, ROW_ATOL);
            assert_same_reports(&what, &all[at].applied(), &applied, ROW_ATOL);
        }
    }
}

/// A model whose SAE scales each activation, so that directions have another length at each token.
fn scaled_model() -> InterpretableModel {
    let shape = GptShape { vocab_size: 97, ..TINY_SHAPE };
    let (gpt, width) = (tiny_gpt(shape, &test_device()), shape.n_embd);
    let scaled = |sae: Sae| {
        let config = sae.config().clone().with_normalization(Normalization::ConstantNormRescale);
        Sae::new(config.unwrap(), sae.weights()).unwrap()
    };
    let sae = || scaled(noisy_sae(width, 2 * width, 6, &test_device()));
    let model = InterpretableModel::new(gpt).with_sae(SITE, sae()).unwrap();
    model.with_transcoder(READ, HookPoint::MlpOut(1), sae()).unwrap()
}

#[test]
fn a_prompt_is_run_once_for_those_that_join_together_and_each_is_changed_by_its_own_plan() {
    for (name, model) in eras() {
        let prompt = prompt(11, 1);
        let plans = [steered(), Plan::new().track(SITE), steered()];
        let mut batch = Batch::new(&model, 0);
        let mut all: Vec<_> = plans
            .iter()
            .map(|plan| batch.begin(&prompt, plan, &Sampling::greedy(5)).unwrap())
            .collect();

        let progress = batch.step(&mut all.iter_mut().collect::<Vec<_>>()).unwrap();

        assert_eq!(
            progress,
            [const { StepOutcome::Prompt }; 3],
            "{name}: one pass is the whole prompt"
        );
        for (plan, generation) in plans.iter().zip(&all) {
            let expected = model.generate(&prompt, plan, &Sampling::greedy(5)).unwrap();
            for (hook, features) in generation.prompt_features() {
                let expected = &expected.prompt_features()[hook];
                assert_close(&name, &features.to_dense(), &expected.to_dense(), 5.0 * ROW_ATOL);
            }
            assert_same_reports(&name, &generation.applied(), &expected.applied(), ROW_ATOL);
        }
    }
}

/// Everything a generation produced, including the features of its prompt.
fn run<'m>(batch: &mut Batch<'m>, mut generation: Generation<'m>) -> (Vec<Step>, Generation<'m>) {
    let mut steps = Vec::new();
    while generation.end().is_none() {
        if let Some(StepOutcome::Step(step)) = batch.step(&mut [&mut generation]).unwrap().pop() {
            steps.push(step);
        }
    }
    (steps, generation)
}

#[test]
fn what_is_taken_from_the_cache_of_beginnings_is_to_the_bit_what_is_computed() {
    // 160 positions, so that a prompt spans more than one piece.
    let model = long_model();
    let (first, other) = (prompt(144, 1), [prompt(128, 1), prompt(9, 7)].concat());
    for (plan, others_reuse) in [(Plan::new(), 128), (steered(), 128), (last(), 0)] {
        let sampling = Sampling { seed: 3, max_tokens: 6, ..Sampling::default() };
        let mut batch = Batch::new(&model, 64 << 20);

        let fresh = batch.begin(&first, &plan, &sampling).unwrap();
        assert_eq!(fresh.reused(), 0);
        let (steps, fresh) = run(&mut batch, fresh);
        let again = batch.begin(&first, &plan, &sampling).unwrap();
        assert_eq!(again.reused(), 144);
        let (steps_again, again) = run(&mut batch, again);

        assert_same_steps("again", &steps_again, &steps, 0.0);
        assert_same_prompts(&again, &fresh);
        // The same prefix with another end: the prefix is reused unless the plans differ on it.
        let beginning = batch.begin(&other, &plan, &sampling).unwrap();
        assert_eq!(beginning.reused(), others_reuse);
        let (steps, beginning) = run(&mut batch, beginning);
        let mut expected = model.generate(&other, &plan, &sampling).unwrap();
        assert_same_steps("other", &steps, &expected.by_ref().collect::<Vec<_>>(), 0.0);
        assert_same_prompts(&beginning, &expected);
    }
}

/// Asserts equal prompt features and reports; on a GPU, equal within its noise.
fn assert_same_prompts(found: &Generation<'_>, expected: &Generation<'_>) {
    assert!(found.prompt_features().keys().eq(expected.prompt_features().keys()));
    for (hook, features) in found.prompt_features() {
        let expected = &expected.prompt_features()[hook];
        assert_close(hook, &features.to_dense(), &expected.to_dense(), 0.0);
    }
    assert_same_reports("reports", &found.applied(), &expected.applied(), 0.0);
}

fn last() -> Plan {
    Plan::new().intervene(spec("blocks.0.hook_resid_post:3:add:2@last"))
}

#[test]
fn a_beginning_is_shared_only_by_plans_that_change_it_alike() {
    let model = long_model();
    let prompt = prompt(134, 1);
    let reused = |batch: &mut Batch<'_>, plan: &Plan| {
        batch.begin(&prompt, plan, &Sampling::greedy(1)).unwrap().reused()
    };
    let mut batch = Batch::new(&model, 64 << 20);
    let generation = batch.begin(&prompt, &Plan::new(), &Sampling::greedy(1)).unwrap();
    run(&mut batch, generation);

    let at = |at: &str| Plan::new().intervene(spec(&format!("{SITE}:3:add:2{at}")));
    assert_eq!(reused(&mut batch, &at("")), 0);
    assert_eq!(reused(&mut batch, &at("@prompt")), 0);
    assert_eq!(reused(&mut batch, &at("@generated")), 134);
    // The prefix was cached without features.
    assert_eq!(reused(&mut batch, &Plan::new().track(SITE)), 0);
    let generation = batch.begin(&prompt, &Plan::new().track(SITE), &Sampling::greedy(1)).unwrap();
    run(&mut batch, generation);
    assert_eq!(reused(&mut batch, &Plan::new().track(SITE)), 134);
    assert_eq!(reused(&mut batch, &Plan::new()), 134);

    let vector = |value: f32| {
        let mut values = vec![0.0; model.gpt().config().shape.n_embd];
        values[3] = value;
        Plan::new().vector("v".parse().unwrap(), values).intervene(spec(&format!("{SITE}:v:add:2")))
    };
    let generation = batch.begin(&prompt, &vector(1.0), &Sampling::greedy(1)).unwrap();
    run(&mut batch, generation);
    assert_eq!(reused(&mut batch, &vector(1.0)), 134);
    assert_eq!(reused(&mut batch, &vector(2.0)), 0);
}

#[test]
fn the_cache_of_beginnings_keeps_to_its_size_and_forgets_the_oldest() {
    let model = long_model();
    let shape = model.gpt().config().shape;
    let a_piece = 128 * 2 * shape.n_layer * shape.n_kv_head * shape.head_dim().unwrap() * 4;
    // Room for two pieces and their data.
    let mut batch = Batch::new(&model, 2 * a_piece + a_piece / 2);
    let reused = |batch: &mut Batch<'_>, seed| {
        batch.begin(&prompt(128, seed), &Plan::new(), &Sampling::greedy(1)).unwrap().reused()
    };
    for seed in [1, 2] {
        let generation =
            batch.begin(&prompt(128, seed), &Plan::new(), &Sampling::greedy(1)).unwrap();
        run(&mut batch, generation);
    }
    assert_eq!(reused(&mut batch, 2), 128);
    assert_eq!(reused(&mut batch, 1), 128);

    let generation = batch.begin(&prompt(128, 3), &Plan::new(), &Sampling::greedy(1)).unwrap();
    run(&mut batch, generation);

    // Prompt 2 is the least recently used.
    assert_eq!([1, 2, 3].map(|seed| reused(&mut batch, seed)), [128, 0, 128]);
}

/// A model of the newest era, which smears the previous token's embedding, with 160 positions.
fn long_model() -> InterpretableModel {
    use nanoscope_transformer::{Era, Gpt};

    let shape = GptShape {
        sequence_len: 160,
        vocab_size: 256,
        n_layer: 3,
        n_head: 4,
        n_kv_head: 2,
        ..TINY_SHAPE
    };
    let config = Era::E6.config(shape, Some("SL")).unwrap();
    crate::steering::with_saes(Gpt::random(config, 1, &test_device()))
}

#[test]
fn rows_at_different_positions_have_the_logits_that_each_has_alone() {
    for (name, model) in eras() {
        let gpt = model.gpt();
        let starts = [prompt(2, 1), prompt(13, 2), prompt(5, 3)];
        let mut together: Vec<_> = starts.iter().map(|_| gpt.cache(1, 20)).collect();
        for (start, cache) in starts.iter().zip(&mut together) {
            let tokens = TokenBatch::new(std::slice::from_ref(start)).unwrap();
            gpt.forward_cached(&tokens, cache, Logits::Last, &mut ()).unwrap();
        }
        // A fourth row starts from nothing; all continue with three tokens, then with single ones.
        together.push(gpt.cache(1, 20));
        for more in [3, 1, 1] {
            let rows: Vec<_> = (0..4).map(|row| prompt(more, 10 + row)).collect();
            let mut caches: Vec<_> = together.iter_mut().collect();
            let tokens = TokenBatch::new(&rows).unwrap();
            let found = gpt.forward_together(&tokens, &mut caches, Some(Logits::All), &mut ());
            let found = values(found.unwrap().unwrap());
            let of_row = found.chunks_exact(found.len() / 4);
            for (row, found) in of_row.enumerate() {
                let mut all = starts.get(row).cloned().unwrap_or_default();
                let before = match more {
                    3 => vec![],
                    _ if together[row].len() == all.len() + 4 => prompt(3, 10 + row as u32),
                    _ => [prompt(3, 10 + row as u32), prompt(1, 10 + row as u32)].concat(),
                };
                all.extend(before);
                all.extend(&rows[row]);
                let tokens = TokenBatch::new(&[all.clone()]).unwrap();
                let alone = values(gpt.forward(&tokens, Logits::All, &mut ()).unwrap());
                let vocab = alone.len() / all.len();
                let expected = &alone[(all.len() - more as usize) * vocab..];
                assert_close(format!("{name}, row {row}"), found, expected, 1e-4);
            }
        }
    }
}

#[test]
fn a_pattern_of_rows_at_different_positions_is_refused_and_nothing_is_run() {
    use nanoscope_hooks::ActivationRecorder;

    let model = long_model();
    let mut caches = [model.gpt().cache(1, 8), model.gpt().cache(1, 8)];
    let tokens = TokenBatch::new(&[vec![1], vec![2]]).unwrap();
    let mut recorder = ActivationRecorder::new([HookPoint::Pattern(1)]);
    let mut of_rows: Vec<_> = caches.iter_mut().collect();

    let refused = model.gpt().forward_together(&tokens, &mut of_rows, None, &mut recorder);

    assert_eq!(
        refused.unwrap_err().to_string(),
        "blocks.1.attn.hook_pattern is not available for rows at different positions"
    );
    assert!(caches.iter().all(nanoscope_transformer::KvCache::is_empty));
}
