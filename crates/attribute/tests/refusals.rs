//! Every question that cannot be answered is refused, with its own error.

use nanoscope_attribute::{
    AttributeError, Attribution, Graph, Metric, Question, Steps, logit_lens,
};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RuntimeError};
use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};

const EARLY: HookPoint = HookPoint::ResidPost(0);
const LATE: HookPoint = HookPoint::ResidPost(1);
const DIFF: Metric = Metric::LogitDiff { target: 7, contrast: 9 };

fn bare() -> InterpretableModel {
    InterpretableModel::new(tiny_gpt(TINY_SHAPE, &test_device()))
}

fn model() -> InterpretableModel {
    let sae = || identity_sae(TINY_SHAPE.n_embd, 4, &test_device());
    bare().with_sae(EARLY, sae()).unwrap().with_sae(LATE, sae()).unwrap()
}

fn question(metric: Metric) -> Question {
    Question::new(vec![3, 1, 4], metric)
}

#[track_caller]
fn assert_refused(model: &InterpretableModel, question: &Question, text: &str) {
    let error = Attribution::new(model, question).map(|found| found.value()).unwrap_err();
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_text_without_tokens_or_without_the_position_is_refused() {
    let model = model();

    assert_refused(&model, &Question::new(Vec::new(), DIFF), "there are no tokens to attribute to");
    let text = "position 3 is outside the text, which has 3 tokens (0 to 2)";
    assert_refused(&model, &question(DIFF).after(3), text);
    let metric = Metric::Feature { hook: LATE, feature: 5, position: 3 };
    assert_refused(&model, &question(metric), text);
    let found = Attribution::new(&model, &question(DIFF)).unwrap();
    let error = found.ablate_errors(&[(EARLY, 3)]).unwrap_err();
    assert_eq!(error.to_string(), text);
}

#[test]
fn tokens_that_the_model_lacks_or_that_are_the_same_are_refused() {
    let model = model();
    let outside = "token id 50 is outside the vocabulary of 50";

    assert_refused(&model, &question(Metric::LogProb { target: 50 }), outside);
    assert_refused(&model, &question(Metric::Logit { target: 50 }), outside);
    assert_refused(&model, &question(Metric::LogitDiff { target: 7, contrast: 50 }), outside);
    let same = Metric::LogitDiff { target: 7, contrast: 7 };
    assert_refused(&model, &question(same), "target and contrast are the same token, 7");
    let error = logit_lens(&model, &[3], &[EARLY], 1, &[50]).unwrap_err();
    assert_eq!(error.to_string(), outside);
    let text = Question::new(vec![3, 77], DIFF);
    let error = Attribution::new(&model, &text).map(drop).unwrap_err();
    assert!(matches!(error, AttributeError::Gpt(_)), "{error}");
}

#[test]
fn sources_that_are_missing_or_too_late_are_refused() {
    let feature = |hook| Metric::Feature { hook, feature: 5, position: 2 };

    assert_refused(&bare(), &question(DIFF), "there is no SAE to attribute to");
    let none = "there is no SAE to attribute to in front of blocks.0.hook_resid_post";
    assert_refused(&model(), &question(feature(EARLY)), none);
    let order = "the target feature at blocks.0.hook_resid_post does not come after its source at blocks.1.hook_resid_post";
    assert_refused(&model(), &question(feature(EARLY)).sources([LATE]), order);
    let itself = "the target feature at blocks.1.hook_resid_post does not come after its source at blocks.1.hook_resid_post";
    assert_refused(&model(), &question(feature(LATE)).sources([EARLY, LATE]), itself);
    let twice = "blocks.0.hook_resid_post is listed twice";
    assert_refused(&model(), &question(DIFF).sources([EARLY, LATE, EARLY]), twice);
    assert_refused(&model(), &question(DIFF).sources([]), "there is no SAE to attribute to");
    let model = model();
    let error = Attribution::new(&model, &question(DIFF).sources([HookPoint::MlpOut(0)]));
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, AttributeError::Runtime(RuntimeError::NoSae { .. })), "{error}");
}

#[test]
fn a_feature_that_the_target_lacks_is_refused() {
    let model = model();

    let metric = Metric::Feature { hook: LATE, feature: 64, position: 2 };
    assert_refused(
        &model,
        &question(metric),
        "the SAE at blocks.1.hook_resid_post has no such feature",
    );
    let metric = Metric::Feature { hook: HookPoint::MlpOut(1), feature: 0, position: 2 };
    let error = Attribution::new(&model, &question(metric)).map(drop).unwrap_err();
    assert!(matches!(error, AttributeError::Runtime(RuntimeError::NoSae { .. })), "{error}");
}

#[test]
fn rows_and_hook_points_that_are_not_there_are_refused() {
    let model = model();
    let found = Attribution::new(&model, &question(DIFF).sources([EARLY])).unwrap();
    let rows = found.features().len();

    let text = format!("row {rows} is not one of the {rows} active features");
    assert_eq!(found.ablate(&[0, rows]).unwrap_err().to_string(), text);
    assert_eq!(found.ablate_by_steering(&[rows]).unwrap_err().to_string(), text);
    let error = found.ablate_errors(&[(LATE, 0)]).unwrap_err();
    let text =
        "blocks.1.hook_resid_post is not one of the hook points that the metric is attributed to";
    assert_eq!(error.to_string(), text);
    assert_eq!(found.gradient_at(LATE).unwrap_err().to_string(), text);
    assert!(found.ablate(&[]).unwrap().is_empty());
}

#[test]
fn what_needs_a_token_a_step_or_the_stream_is_refused_without() {
    let model = model();
    let metric = Metric::Feature { hook: LATE, feature: 5, position: 2 };
    let of_feature = Attribution::new(&model, &question(metric)).unwrap();

    let text = "a direct effect needs a token for its target; the target here is a feature";
    assert_eq!(of_feature.direct().unwrap_err().to_string(), text);
    let text = "a graph needs a token for its target; the target here is a feature";
    assert_eq!(Graph::new(&of_feature, 5).unwrap_err().to_string(), text);
    for steps in [Steps::Ends(0), Steps::Midpoints(0)] {
        let error = of_feature.integrate(steps).unwrap_err();
        assert_eq!(error.to_string(), "integrated gradients need at least one step");
    }
    for hook in [HookPoint::MlpOut(0), HookPoint::ResidPost(2), HookPoint::FinalNormalized] {
        let error = logit_lens(&model, &[3], &[hook], 1, &[]).unwrap_err();
        let text = format!(
            "{hook} is not the residual stream; the lens reads hook_resid_pre, hook_resid_mid and hook_resid_post"
        );
        assert_eq!(error.to_string(), text);
    }
    let error = logit_lens(&model, &[], &[EARLY], 1, &[]).unwrap_err();
    assert_eq!(error.to_string(), "there are no tokens to attribute to");
}

#[test]
fn an_sae_that_is_not_finite_is_an_error_rather_than_nan() {
    let sae = identity_sae(TINY_SHAPE.n_embd, 4, &test_device());
    let with = |b_enc: f32, w_dec: f32| {
        let mut weights = sae.weights();
        (weights.b_enc, weights.w_dec) = (weights.b_enc + b_enc, weights.w_dec * w_dec);
        let sae = nanoscope_sae::Sae::new(sae.config().clone(), weights).unwrap();
        bare().with_sae(EARLY, sae).unwrap()
    };
    let model = with(f32::NAN, 1.0);
    let error = Attribution::new(&model, &question(DIFF)).map(drop).unwrap_err();
    let text = "the activations at blocks.0.hook_resid_post cannot be encoded";
    assert_eq!(error.to_string(), text);

    // At 1e30 decoder rows are finite, but the norm of an activation without them overflows.
    for scale in [f32::INFINITY, f32::NAN, 1e30] {
        let model = with(0.0, scale);
        let error = Attribution::new(&model, &question(DIFF)).map(drop).unwrap_err();
        let text = "what features add to blocks.0.hook_resid_post leaves the range of float32";
        assert_eq!(error.to_string(), text, "{scale}");
    }
}
