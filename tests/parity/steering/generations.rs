//! Steered generations equal the full pass over the same tokens, and stop where they should.

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, Plan, Sampling, Step};
use nanoscope_testing::{noisy_sae, test_device};
use nanoscope_transformer::TokenBatch;

use super::{CACHE_ATOL, SITE, assert_applied_alike, mixtures, models, plan, spec};
use crate::golden::{self, assert_close, values};

/// The log probability of each token of `ids` from `from` on, given logits `[1, seq, vocab]`.
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

#[test]
fn a_steered_cached_generation_is_the_full_pass_over_the_same_tokens() {
    for (name, model) in models() {
        for (kind, plan) in mixtures(&model) {
            let what = format!("{name}, {kind}");
            let plan = plan.track(SITE);
            let prompt = [7, 40, 11, 85, 3, 96];
            let mut generation = model.generate(&prompt, &plan, &Sampling::greedy(10)).unwrap();
            let steps: Vec<Step> = generation.by_ref().collect();
            assert_eq!(steps.len(), 10, "{what}");

            let mut ids = prompt.to_vec();
            ids.extend(steps.iter().map(|step| step.token_id));
            let all = TokenBatch::new(std::slice::from_ref(&ids)).unwrap();
            let run = model.run_generated(&all, prompt.len(), &plan).unwrap();
            let logits = values(run.logits);

            // The generated tokens are the likeliest ones, with the same log probabilities.
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

            // The same features fire on the prompt and on each generated token.
            let mut dense = generation.prompt_features()[&SITE].to_dense();
            dense.extend(steps.iter().flat_map(|step| step.features[&SITE].to_dense()));
            assert_close(&what, &dense, &run.features[&SITE].to_dense(), CACHE_ATOL);
            assert_applied_alike(&what, &generation.applied(), &run.applied);
        }
    }
}

#[test]
fn the_final_norm_has_features_of_every_position_of_a_prompt_in_a_generation() {
    let (name, model) = models().remove(0);
    let (hook, width) = (HookPoint::FinalNormalized, model.gpt().config().shape.n_embd);
    let model = model.with_sae(hook, noisy_sae(width, 2 * width, 6, &test_device())).unwrap();
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
        let prompt = [7, 40, 11, 85, 3, 96];
        // Sampled, because a random model's likeliest token can be the same one for ever.
        let sampling = Sampling { max_tokens: 8, seed: 5, ..Sampling::default() };
        let free: Vec<Step> =
            model.generate(&prompt, &Plan::new().track(SITE), &sampling).unwrap().collect();
        // A feature that first fires after the first token, and a threshold below its activation.
        let value = |step: usize, f: u32| free[step].features[&SITE].get(0, f);
        let risen = (1..7).find_map(|step| {
            let before = |f: u32| (0..step).all(|earlier| value(earlier, f) <= 0.0);
            let of = free[step].features[&SITE].strongest(0, 6).into_iter();
            of.filter(|&(f, _)| before(f)).map(|(f, value)| (step, f, value)).next()
        });
        let (step, feature, value) =
            risen.unwrap_or_else(|| panic!("{name}: nothing begins to fire"));
        let stop = |above: f32| format!("{SITE}:{feature}>{above}").parse().unwrap();

        let plan = Plan::new().track(SITE).stop_when(stop(value * 0.5));
        let mut generation = model.generate(&prompt, &plan, &sampling).unwrap();
        let steps: Vec<Step> = generation.by_ref().collect();

        let tokens = |steps: &[Step]| steps.iter().map(|step| step.token_id).collect::<Vec<_>>();
        assert_eq!(tokens(&steps), tokens(&free[..=step]), "{name}");
        let Some(EndReason::Condition { condition, value: found }) = generation.end() else {
            panic!("{name}: ended by {:?}", generation.end());
        };
        assert_eq!((condition.feature, condition.above), (feature as usize, value * 0.5));
        assert_close(&name, &[found], &[value], CACHE_ATOL);
        assert_eq!(generation.end().unwrap().to_string(), "stop_when");

        // It stops without tracking too, and not at a threshold that is never reached.
        let untracked = Plan::new().stop_when(stop(value * 0.5));
        let steps = model.generate(&prompt, &untracked, &sampling).unwrap();
        assert_eq!(steps.count(), step + 1, "{name}");
        let unreached = Plan::new().stop_when(stop(1e6));
        let mut generation = model.generate(&prompt, &unreached, &sampling).unwrap();
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
