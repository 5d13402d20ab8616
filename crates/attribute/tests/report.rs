//! Reports: defaults of a question, and the numbers that they repeat.

use std::ops::ControlFlow;

use nanoscope_attribute::{
    Asked, AttributeError, Metric, Report, ReportOptions, ReportSubject, Steps, TokenError,
    parse_token,
};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Plan};
use nanoscope_testing::{TINY_SHAPE, identity_sae, test_device, tiny_gpt};
use nanoscope_transformer::TokenBatch;

const FIRST: HookPoint = HookPoint::ResidPost(0);
const SECOND: HookPoint = HookPoint::ResidPost(1);
const TOKENS: [u32; 6] = [3, 1, 4, 1, 5, 9];
const LIKELIEST: Asked = Asked::Token { target: None, contrast: None };

fn model() -> InterpretableModel {
    let device = test_device();
    let model = InterpretableModel::new(tiny_gpt(TINY_SHAPE, &device));
    let model = model.with_sae(FIRST, identity_sae(64, 4, &device)).unwrap();
    model.with_sae(SECOND, identity_sae(64, 4, &device)).unwrap()
}

fn go_on() -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn a_question_without_a_target_is_about_the_next_token_of_the_text_else_the_likeliest() {
    let model = model();
    let metric =
        |asked: Asked, position| asked.attribute(&model, &TOKENS, position, None).unwrap().metric();
    let end = LIKELIEST.attribute(&model, &TOKENS, None, None).unwrap();
    let logits = end.logits().unwrap().to_vec();
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));

    assert_eq!(end.metric(), Metric::LogitDiff { target: order[0], contrast: order[1] });
    let Metric::LogitDiff { target, contrast } = metric(LIKELIEST, Some(3)) else { panic!() };
    assert_eq!(target, 5, "the token after position 3");
    assert_ne!(contrast, 5);
    let only = |target, contrast| Asked::Token { target, contrast };
    assert_eq!(metric(only(Some(7), None), None), Metric::LogProb { target: 7 });
    let both = Metric::LogitDiff { target: 7, contrast: 8 };
    assert_eq!(metric(only(Some(7), Some(8)), None), both);
    let against = Metric::LogitDiff { target: order[1], contrast: order[0] };
    assert_eq!(metric(only(None, Some(order[0])), None), against);
    // The token that follows is not compared with itself.
    let Metric::LogitDiff { target, .. } = metric(only(None, Some(5)), Some(3)) else { panic!() };
    assert_ne!(target, 5);
    let feature = Asked::Feature { hook: SECOND, feature: 2 };
    let expected = Metric::Feature { hook: SECOND, feature: 2, position: 3 };
    assert_eq!(metric(feature, Some(3)), expected);
    let outside = LIKELIEST.attribute(&model, &TOKENS, Some(6), None).unwrap_err();
    assert!(matches!(outside, AttributeError::Position { position: 6, len: 6 }));
}

#[test]
fn a_report_repeats_the_numbers_of_its_parts() {
    let model = model();
    let attribution = LIKELIEST.attribute(&model, &TOKENS, None, None).unwrap();
    let options = ReportOptions {
        exact: 5,
        top: 7,
        integrate: Some(Steps::Midpoints(3)),
        direct: true,
        lens: 2,
        alternatives: 3,
        faithfulness: Some(nanoscope_attribute::Rest::Mean),
    };

    let report = Report::new(&attribution, &options, go_on).unwrap();

    let order = attribution.strongest(usize::MAX);
    let exact = attribution.ablate(&order[..5]).unwrap();
    let integrated = attribution.integrate(Steps::Midpoints(3)).unwrap();
    assert_eq!((report.features.len(), report.found), (7, order.len()));
    for (at, feature) in report.features.iter().enumerate() {
        let effect = attribution.features()[order[at]];
        assert_eq!(
            (feature.hook, feature.position, feature.feature),
            (effect.hook, effect.position, effect.feature)
        );
        assert_eq!(
            (feature.activation, feature.attribution),
            (effect.activation, effect.attribution)
        );
        assert_eq!(feature.ablation, exact.get(at).copied());
        assert_eq!(feature.ig, Some(integrated.features[order[at]]));
        assert_eq!(feature.direct.is_some(), feature.position == TOKENS.len() - 1);
        let steer: nanoscope_runtime::Intervention = feature.steer.parse().unwrap();
        assert_eq!(steer.hook, feature.hook);
        if let Some(exact) = feature.ablation {
            let (small, large) = (
                exact.abs().min(effect.attribution.abs()),
                exact.abs().max(effect.attribution.abs()),
            );
            let expected = exact * effect.attribution < 0.0 || large > 2.0 * small;
            assert_eq!(feature.disagrees, expected);
        }
    }
    assert_eq!(report.errors.len(), 2 * TOKENS.len());
    assert_eq!(report.ig_steps, 3);
    let ReportSubject::Token(target) = &report.target else { panic!() };
    assert_eq!((target.rank, target.id), (1, report.alternatives[0].id));
    let contrast = report.contrast.as_ref().unwrap();
    assert_eq!((contrast.rank, contrast.id), (2, report.alternatives[1].id));
    assert!(
        (f64::from(target.logit - contrast.logit) - (target.logprob - contrast.logprob)).abs()
            < 1e-5
    );
    assert!((report.metric.value - (target.logit - contrast.logit)).abs() < 1e-5);
    assert_eq!(report.lens.len(), 2);
    assert_eq!(report.lens[0].top.len(), 2);
    assert!(report.components.is_some() && report.faithfulness.is_some());
    assert_eq!(report.texts[0], "<3>", "without a tokenizer a token is its id");
}

#[test]
fn names_are_given_to_features_and_to_the_target() {
    let model = model();
    let asked = Asked::Feature { hook: SECOND, feature: 2 };
    let attribution = asked.attribute(&model, &TOKENS, None, None).unwrap();
    let mut report = Report::new(&attribution, &ReportOptions::default(), go_on).unwrap();

    report.name_features(|hook, feature| {
        (hook == SECOND || feature % 2 == 0).then(|| (format!("{feature}"), feature == 2))
    });

    assert!(report.features.iter().all(|feature| feature.hook == FIRST));
    for feature in &report.features {
        assert_eq!(feature.label.is_some(), feature.feature % 2 == 0);
        assert_eq!(feature.auto, feature.feature == 2);
    }
    let ReportSubject::Feature(target) = &report.target else { panic!() };
    assert_eq!((target.label.as_deref(), target.auto), (Some("2"), true));
    assert_eq!(target.pre_activation, report.metric.value);
    assert!(report.contrast.is_none() && report.alternatives.is_empty());
}

#[test]
fn a_feature_behind_the_final_norm_is_a_target_too() {
    let model = model().with_sae(HookPoint::FinalNormalized, identity_sae(64, 4, &test_device()));
    let model = model.unwrap();
    let asked = Asked::Feature { hook: HookPoint::FinalNormalized, feature: 2 };

    let attribution = asked.attribute(&model, &TOKENS, None, None).unwrap();

    let tokens = TokenBatch::new(&[TOKENS.to_vec()]).unwrap();
    let run = model.run(&tokens, &Plan::new().capture(HookPoint::FinalNormalized)).unwrap();
    let seen = run.captured.get(HookPoint::FinalNormalized).unwrap().to_vec();
    let last = &seen[seen.len() - 64..];
    assert!((attribution.value() - last[2]).abs() < 1e-5, "{}, {}", attribution.value(), last[2]);
    let strongest = attribution.strongest(1);
    let exact = attribution.ablate(&strongest).unwrap()[0];
    let estimate = attribution.features()[strongest[0]].attribution;
    assert!(exact * estimate > 0.0 && exact.abs() > 1e-3, "{exact}, {estimate}");
}

#[test]
fn a_report_ends_when_it_is_told_to() {
    let model = model();
    let attribution = LIKELIEST.attribute(&model, &TOKENS, None, None).unwrap();

    let ended = Report::new(&attribution, &ReportOptions::default(), || ControlFlow::Break(()));

    assert!(matches!(ended, Err(AttributeError::Interrupted)));
}

#[test]
fn without_a_tokenizer_a_token_is_its_id() {
    let model = model();
    let vocab_size = model.gpt().config().shape.vocab_size;

    assert_eq!(parse_token(&model, "id:7").unwrap(), 7);
    let outside = parse_token(&model, &format!("id:{vocab_size}")).unwrap_err();
    assert!(matches!(outside, TokenError::Unknown { .. }), "{outside}");
    assert!(matches!(parse_token(&model, " dog"), Err(TokenError::NoTokenizer)));
}
