//! Evaluations: agreement with SAELens, and properties that hold for any SAE.

use std::path::Path;

use burn::tensor::Device;
use nanoscope_checkpoint::{ModelFiles, load_saes, load_tokenizer};
use nanoscope_corpus::{Context, SpecialTokens};
use nanoscope_evaluate::{
    EvalOptions, EvalTarget, EvaluateError, Evaluation, FEATURE_METRICS, Group, METRICS, evaluate,
};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Intervention, Op, Plan, Positions, Splice, Target};
use nanoscope_sae::Sae;
use nanoscope_testing::{TINY_SHAPE, scaled_identity_sae, test_device, tiny_gpt};
use nanoscope_transformer::{GptShape, TokenBatch};
use serde_json::Value;

/// Relative tolerance against SAELens in float64.
const RTOL: f64 = 1e-4;
/// The magnitude below which errors are measured relative to this.
const ATOL_OF: f64 = 1e-3;

fn demo(device: &Device) -> InterpretableModel {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let files = ModelFiles::find(&root).unwrap();
    let gpt = files.load(device).unwrap().gpt;
    let tokenizer = load_tokenizer(files.tokenizer.as_ref().unwrap()).unwrap();
    InterpretableModel::new(gpt).with_tokenizer(tokenizer).unwrap()
}

fn demo_subjects(model: &InterpretableModel) -> Vec<EvalTarget> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/saes");
    let saes = load_saes([root.as_path()], model.gpt().device()).unwrap();
    let subject = |sae: nanoscope_checkpoint::LoadedSae| {
        let hook = sae.hook().unwrap();
        EvalTarget::new(model, hook.to_string(), (hook, None), sae.sae).unwrap()
    };
    saes.into_iter().map(subject).collect()
}

fn contexts(rows: Vec<Vec<u32>>) -> Vec<Result<Context, nanoscope_corpus::CorpusError>> {
    let context = |(index, tokens): (u64, Vec<u32>)| {
        Ok(Context { index, documents: vec![0; tokens.len()], tokens })
    };
    (0..).zip(rows).map(context).collect()
}

#[track_caller]
fn assert_near(what: &str, found: f64, expected: f64) {
    let difference = (found - expected).abs() / expected.abs().max(ATOL_OF);
    assert!(difference < RTOL, "{what}: {found}, expected {expected}, off by {difference:.1e}");
}

#[test]
fn every_metric_of_the_demo_is_what_saelens_computes_in_float64() {
    let expected = include_str!("../fixtures/evaluate/expected.json");
    let expected: Value = serde_json::from_str(expected).unwrap();
    let rows: Vec<Vec<u32>> = serde_json::from_value(expected["contexts"].clone()).unwrap();
    let batch_contexts = expected["batch_contexts"].as_u64().unwrap() as usize;
    let model = demo(&test_device());
    let subjects = demo_subjects(&model);

    let evaluated = |special| {
        let options = EvalOptions { batch_contexts, special };
        evaluate(&model, &subjects, contexts(rows.clone()), options, |_| {}).unwrap()
    };
    let (skipped, kept) = (evaluated(SpecialTokens::Skip), evaluated(SpecialTokens::Keep));

    let runs = expected["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 8);
    for run in runs {
        let layer = run["layer"].as_u64().unwrap() as usize;
        let keep = run["keep_special"].as_bool().unwrap();
        let found = if keep { &kept[layer] } else { &skipped[layer] };
        for metric in METRICS {
            let (group, name) = (metric.group.name(), metric.name);
            let expected = &run["metrics"][group][name];
            let what = format!("layer {layer}, keep {keep}: {group}.{name}");
            let expected = expected.as_f64().unwrap_or_else(|| panic!("no {what}"));
            assert_near(&what, found.get(metric.group, name), expected);
        }
        for (at, metric) in FEATURE_METRICS.iter().enumerate() {
            let expected = run["every_128th_feature"][metric.name].as_array().unwrap();
            assert_eq!(expected.len(), 16, "{}", metric.name);
            for (feature, expected) in (0..).step_by(128).zip(expected) {
                let found = found.features()[feature][at];
                let what = format!("layer {layer}, keep {keep}: {}[{feature}]", metric.name);
                match expected.as_f64() {
                    Some(expected) => assert_near(&what, found, expected),
                    None => assert!(found.is_nan(), "{what}: {found}"),
                }
            }
        }
    }
}

fn small() -> InterpretableModel {
    let shape = GptShape { vocab_size: 60, n_embd: 32, ..TINY_SHAPE };
    InterpretableModel::new(tiny_gpt(shape, &test_device()))
}

/// An SAE whose features are the activation's coordinates, multiplied by `scale` in the decoder.
fn scaled(scale: f32, k: usize) -> Sae {
    scaled_identity_sae(32, k, scale, &test_device())
}

fn some_rows(seed: u32, rows: usize, len: usize) -> Vec<Vec<u32>> {
    let id = |at: usize| ((at as u32 + seed).wrapping_mul(2_654_435_761) >> 7) % 60;
    (0..rows).map(|row| (0..len).map(|at| id(row * 100 + at)).collect()).collect()
}

fn one(
    model: &InterpretableModel,
    (read, write): (HookPoint, Option<HookPoint>),
    sae: Sae,
    rows: Vec<Vec<u32>>,
) -> Evaluation {
    let subject = EvalTarget::new(model, "it", (read, write), sae).unwrap();
    let all = evaluate(model, &[subject], contexts(rows), EvalOptions::default(), |_| {}).unwrap();
    all.into_iter().next().unwrap()
}

#[test]
fn an_sae_that_gives_back_what_it_reads_changes_nothing() {
    let model = small();
    let hook = HookPoint::ResidPost(0);

    let found = one(&model, (hook, None), scaled(1.0, 32), some_rows(1, 3, 12));

    assert!(found.get(Group::Behavior, "kl_div_with_sae").abs() < 1e-6);
    assert!((found.get(Group::Behavior, "kl_div_score") - 1.0).abs() < 1e-3);
    assert!(found.get(Group::Others, "ce_loss_increase").abs() < 1e-6);
    assert!((found.get(Group::Reconstruction, "explained_variance") - 1.0).abs() < 1e-9);
    assert_eq!(found.get(Group::Sparsity, "l0"), 32.0);
}

#[test]
fn an_sae_that_gives_back_nothing_is_the_ablation() {
    let model = small();
    let hooks = [
        (HookPoint::ResidPost(0), None),
        (HookPoint::Z(1), None),
        (HookPoint::FinalNormalized, None),
        (HookPoint::Ln2Normalized(0), Some(HookPoint::MlpOut(0))),
    ];
    for hook in hooks {
        let found = one(&model, hook, scaled(0.0, 32), some_rows(2, 3, 12));

        let ce = |name| found.get(Group::Performance, name);
        let name = hook.0;
        assert_eq!(ce("ce_loss_with_sae"), ce("ce_loss_with_ablation"), "{name}");
        assert!(ce("ce_loss_without_sae") != ce("ce_loss_with_ablation"), "{name}");
        assert_eq!(found.get(Group::Behavior, "kl_div_score"), 0.0, "{name}");
        assert_eq!(found.get(Group::Shrinkage, "l2_norm_out"), 0.0, "{name}");
        assert_eq!(found.get(Group::Reconstruction, "cossim"), 0.0, "{name}");
    }
}

/// `Splice::Reconstruct` itself is checked against nanochat-SAE in `steering`.
#[test]
fn the_spliced_loss_is_that_of_a_reconstructing_intervention() {
    let hook = HookPoint::ResidPost(0);
    let model = small().with_sae(hook, scaled(0.7, 9)).unwrap();
    let rows = some_rows(5, 2, 10);
    let nothing_more = Intervention {
        at: Positions::ALL,
        splice: Splice::Reconstruct,
        ..Intervention::new(hook, Target::Feature(0), Op::Multiply(1.0))
    };
    let plan = Plan::new().intervene(nothing_more);
    let run = model.run(&TokenBatch::new(&rows).unwrap(), &plan).unwrap();
    let log_p = burn::tensor::activation::log_softmax(run.logits, 2).into_data();
    let log_p: Vec<f32> = log_p.iter::<f32>().collect();
    let nll = |row: usize, at: usize| {
        -f64::from(log_p[(row * 10 + at) * 60 + rows[row][at + 1] as usize])
    };
    let expected: f64 =
        (0..2).flat_map(|row| (0..9).map(move |at| nll(row, at))).sum::<f64>() / 18.0;

    let found = one(&model, (hook, None), scaled(0.7, 9), rows.clone());

    let found = found.get(Group::Performance, "ce_loss_with_sae");
    assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
}

#[test]
fn a_transcoder_is_held_against_what_it_writes() {
    let model = small();
    let (read, write) = (HookPoint::Ln2Normalized(1), HookPoint::MlpOut(1));
    let rows = some_rows(3, 2, 8);
    let plan = Plan::new().capture(write);
    let run = model.run(&TokenBatch::new(&rows).unwrap(), &plan).unwrap();
    let written = run.captured.get(write).unwrap().to_vec();
    let norms = written.chunks(32).map(|x| x.iter().map(|x| x * x).sum::<f32>().sqrt());
    let expected = norms.map(f64::from).sum::<f64>() / 16.0;

    let found = one(&model, (read, Some(write)), scaled(1.0, 32), rows);

    let norm_in = found.get(Group::Shrinkage, "l2_norm_in");
    assert!((norm_in - expected).abs() < 1e-5 * expected, "{norm_in}, expected {expected}");
    assert!(found.get(Group::Reconstruction, "explained_variance") < 1.0);
}

#[test]
fn saes_are_evaluated_together_as_each_alone() {
    let model = small();
    let hook = |layer| (HookPoint::ResidPost(layer), None);
    let subject = |name, layer, sae| EvalTarget::new(&model, name, hook(layer), sae).unwrap();
    let together = [
        subject("a", 0, scaled(1.0, 4)),
        subject("b", 1, scaled(0.5, 8)),
        subject("c", 0, scaled(1.0, 16)),
    ];
    let rows = some_rows(9, 5, 10);

    let found = evaluate(&model, &together, contexts(rows.clone()), EvalOptions::default(), |_| {})
        .unwrap();

    for (subject, found) in together.iter().zip(found) {
        let alone = one(&model, (subject.read(), None), subject.sae().clone(), rows.clone());
        let pairs = found.metrics().zip(alone.metrics());
        for ((metric, together), (_, alone)) in pairs {
            let same = together == alone || (together.is_nan() && alone.is_nan());
            assert!(same, "{} {}: {together}, {alone}", subject.name(), metric.name);
        }
    }
}

#[test]
fn contexts_of_one_token_have_no_loss_and_are_an_error() {
    let model = small();
    let subject = EvalTarget::new(&model, "it", (HookPoint::Embed, None), scaled(1.0, 4)).unwrap();
    let subjects = [subject];

    let found = |rows| evaluate(&model, &subjects, contexts(rows), EvalOptions::default(), |_| {});

    let error = found(some_rows(1, 3, 1)).unwrap_err();
    assert!(matches!(error, EvaluateError::NothingCounts { tokens: 3 }), "{error}");
    let error = found(vec![]).unwrap_err();
    assert!(matches!(error, EvaluateError::NothingCounts { tokens: 0 }), "{error}");
    let error = found(vec![vec![3, 999]]).unwrap_err();
    assert_eq!(error.to_string(), "context 0 could not be run");
    let none = EvalOptions { batch_contexts: 0, ..EvalOptions::default() };
    let error = evaluate(&model, &subjects, contexts(vec![]), none, |_| {}).unwrap_err();
    assert!(matches!(error, EvaluateError::EmptyBatch), "{error}");
}

#[test]
fn an_sae_that_does_not_fit_is_an_error_with_its_name() {
    let model = small();

    let error = EvalTarget::new(&model, "mine", (HookPoint::MlpPost(0), None), scaled(1.0, 4));
    assert_eq!(error.unwrap_err().to_string(), "mine does not fit the model");
    let backwards = (HookPoint::MlpOut(0), Some(HookPoint::Embed));
    assert!(EvalTarget::new(&model, "mine", backwards, scaled(1.0, 4)).is_err());
}
