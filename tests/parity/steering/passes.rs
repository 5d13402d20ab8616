//! Properties that hold for any full pass with interventions.

use burn::tensor::{Tensor, TensorData};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::Plan;
use nanoscope_testing::test_device;
use nanoscope_transformer::{Logits, TokenBatch};

use super::{CACHE_ATOL, READ, SITE, mixtures, models, plan, reconstructing, spec};
use crate::golden::{assert_close, assert_same, values};

const NEUTRAL_ATOL: f32 = 1e-6;

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

#[test]
fn a_steered_batch_is_its_steered_rows() {
    for (name, model) in models() {
        let rows: Vec<Vec<u32>> =
            (0..3_u32).map(|row| (0..16).map(|t| (row * 53 + t * 17) % 97).collect()).collect();
        for (kind, plan) in mixtures(&model) {
            // Some plans cover only generated positions, so the prompt is two thirds of each row.
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
    let x = Tensor::<2>::from_data(x, &test_device());
    let decoded = values(sae.decode_sparse(&sae.encode_sparse(x.clone()).unwrap(), x));

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
        let row = |row: u32| (0..12).map(|t| (row * 53 + t * 17) % 97).collect::<Vec<u32>>();
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
fn turning_what_never_fires_changes_nothing_whatever_the_sign() {
    let (_, model) = models().remove(0);
    let tokens = TokenBatch::new(&[vec![30]]).unwrap();
    let run = model.run(&tokens, &Plan::new().track(SITE)).unwrap();
    let silent = (0..64).find(|&feature| run.features[&SITE].get(0, feature) == 0.0).unwrap();

    let run = model.run(&tokens, &plan([spec(&format!("{SITE}:{silent}:multiply:-3"))])).unwrap();

    assert_eq!((run.applied[0].positions, run.applied[0].changed), (1, 0));
}
