//! Attribution to every kind of SAE.

use burn::tensor::{Tensor, TensorData};
use nanoscope_attribute::{Attribution, Metric, Question, Rest, Steps};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Intervention, Plan};
use nanoscope_sae::{
    Architecture, GateWeights, MagnitudeWeights, Normalization, Sae, SaeConfig, SaeWeights,
};
use nanoscope_testing::{TINY_SHAPE, noise, test_device, tiny_gpt};
use nanoscope_transformer::TokenBatch;

const WIDTH: usize = TINY_SHAPE.n_embd;
const D_SAE: usize = 96;
const HOOK: HookPoint = HookPoint::ResidPost(0);
const READ: HookPoint = HookPoint::Ln2Normalized(0);
const WRITE: HookPoint = HookPoint::MlpOut(0);
const TOKENS: [u32; 5] = [3, 1, 4, 1, 5];
const METRIC: Metric = Metric::LogitDiff { target: 7, contrast: 9 };

fn matrix(seed: u32, rows: usize, columns: usize) -> Tensor<2> {
    let data = TensorData::new(noise(seed, rows * columns), [rows, columns]);
    Tensor::from_data(data, &test_device())
}

fn vector(seed: u32, len: usize) -> Tensor<1> {
    Tensor::from_data(TensorData::new(noise(seed, len), [len]), &test_device())
}

fn sae(config: SaeConfig) -> Sae {
    let architecture = config.architecture();
    let w_dec = matrix(2, D_SAE, WIDTH) * 0.3;
    let common = SaeWeights::new(
        matrix(1, WIDTH, D_SAE) * 0.3,
        vector(3, D_SAE) * 0.1,
        w_dec,
        vector(4, WIDTH) * 0.2,
    );
    let weights = SaeWeights {
        threshold: (architecture == Architecture::JumpRelu).then(|| vector(5, D_SAE) * 0.2),
        magnitude: (architecture == Architecture::Gated).then(|| MagnitudeWeights {
            r_mag: vector(6, D_SAE) * 0.3,
            b_mag: vector(7, D_SAE) * 0.1,
        }),
        gate: (architecture == Architecture::SignedGated).then(|| GateWeights {
            w_gate: matrix(8, WIDTH, D_SAE) * 0.3,
            b_gate: vector(9, D_SAE) * 0.1,
        }),
        w_skip: config.skip().then(|| matrix(10, WIDTH, WIDTH) * 0.1),
        ..common
    };
    Sae::new(config, weights).unwrap()
}

/// A model with each kind of SAE, or transcoder, with its name.
fn every() -> Vec<(String, InterpretableModel)> {
    let top = Architecture::TopK { k: 8, rescale_acts_by_decoder_norm: false };
    let config = |architecture| SaeConfig::new(WIDTH, D_SAE, architecture).unwrap();
    let architectures = [
        Architecture::Relu,
        Architecture::JumpRelu,
        top,
        Architecture::TopK { k: 8, rescale_acts_by_decoder_norm: true },
        Architecture::AbsTopK { k: 8, rescale_acts_by_decoder_norm: true },
        Architecture::GroupMax { k: 8 },
        Architecture::Gated,
        Architecture::SignedTopK { k: 8 },
        Architecture::SignedGated,
        Architecture::MatchingPursuit {
            residual_threshold: 0.01,
            max_iterations: 4,
            stop_on_duplicate_support: true,
        },
    ];
    let mut configs: Vec<SaeConfig> = architectures.into_iter().map(config).collect();
    for normalization in [
        Normalization::ExpectedAverageOnlyIn { scale: 0.7 },
        Normalization::ConstantNormRescale,
        Normalization::LayerNorm,
    ] {
        configs.push(config(top).with_normalization(normalization).unwrap());
    }
    configs.push(config(top).with_apply_b_dec_to_input(true).unwrap());
    configs.push(config(top).with_skip());
    let model = || InterpretableModel::new(tiny_gpt(TINY_SHAPE, &test_device()));
    let saes = configs
        .clone()
        .into_iter()
        .map(|config| (format!("{config:?}"), model().with_sae(HOOK, sae(config)).unwrap()));
    let transcoders = configs.into_iter().map(|config| {
        let transcoder = sae(config.clone().into_transcoder());
        let model = model().with_transcoder(READ, WRITE, transcoder).unwrap();
        (format!("transcoder, {config:?}"), model)
    });
    saes.chain(transcoders).collect()
}

fn attribute(model: &InterpretableModel, metric: Metric) -> Attribution<'_> {
    Attribution::new(model, &Question::new(TOKENS.to_vec(), metric)).unwrap()
}

fn logit_diff(model: &InterpretableModel, intervention: &str) -> f32 {
    let intervention: Intervention = intervention.parse().unwrap();
    let tokens = TokenBatch::new(&[TOKENS.to_vec()]).unwrap();
    let logits = model.run(&tokens, &Plan::new().intervene(intervention)).unwrap().logits;
    let last = TOKENS.len() - 1;
    let logits = logits.slice_dim(1, last..last + 1).into_data().iter::<f32>().collect::<Vec<_>>();
    logits[7] - logits[9]
}

#[track_caller]
fn assert_near(what: &str, found: f32, expected: f32, atol: f32) {
    assert!((found - expected).abs() <= atol, "{what}: {found}, not {expected}");
}

#[test]
fn features_bias_and_error_sum_to_the_stream() {
    for (name, model) in every() {
        let attribution = attribute(&model, METRIC);

        let terms = &attribution.hooks()[0];
        assert!(terms.active > 0, "{name}");
        for (position, &stream) in terms.stream.iter().enumerate() {
            let at = attribution.features().iter().filter(|row| row.position == position);
            let features: f32 = at.map(|row| row.attribution).sum();
            let sum = features + terms.error[position] + terms.bias[position];
            assert_near(&format!("{name}, {position}"), sum, stream, 2e-4);
        }
        let of_rows: f64 =
            attribution.features().iter().map(|row| f64::from(row.attribution)).sum();
        assert!((of_rows - terms.features).abs() < 1e-9, "{name}");
        assert!((0.0..=1.0).contains(&terms.error_share()), "{name}");
    }
}

#[test]
fn gradients_and_ablations_are_those_of_steering() {
    for (name, model) in every() {
        let attribution = attribute(&model, METRIC);
        let rows: Vec<usize> = (0..attribution.features().len()).step_by(7).collect();

        let ablations = attribution.ablate(&rows).unwrap();

        let exact = attribution.ablate_by_steering(&rows).unwrap();
        let largest = attribution.features().iter().map(|row| row.gradient.abs());
        let largest = largest.fold(0.0_f32, f32::max);
        for ((&row, ablation), exact) in rows.iter().zip(ablations).zip(exact) {
            let row = attribution.features()[row];
            let (hook, position, feature) = (row.hook, row.position, row.feature);
            let what = format!("{name}, {position}, {feature}");
            assert_near(&what, ablation, exact, 1e-4);
            let step = 0.02;
            let at = |step: f32| {
                let end = position + 1;
                let add = format!("{hook}:{feature}:add:{step}@{position}..{end}+special");
                logit_diff(&model, &add)
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            assert_near(&what, row.gradient, found, 0.02 * largest.max(0.02));
        }
    }
}

#[test]
fn without_all_features_the_metric_is_the_one_that_integrated_gradients_start_from() {
    for (name, model) in every() {
        let attribution = attribute(&model, METRIC);
        let all = attribution.features().len();

        let found = attribution.faithfulness(&[all, usize::MAX, 1], Rest::Zero).unwrap();

        let integrated = attribution.integrate(Steps::Ends(1)).unwrap();
        let expected = integrated.hooks[0].without_features;
        assert_near(&name, found.without_features, expected, 2e-4);
        for kept in &found.kept[..2] {
            assert_eq!(kept.features, all);
            assert_near(&name, kept.value, attribution.value(), 2e-4);
            assert_near(&name, kept.share.unwrap() as f32, 1.0, 0.01);
        }
        assert!(found.kept[2].value.is_finite() && found.kept[2].features == 1);
    }
}

#[test]
fn means_over_one_position_change_nothing() {
    for (name, model) in every() {
        let question = Question::new(TOKENS.to_vec(), METRIC).after(0);
        let attribution = Attribution::new(&model, &question).unwrap();

        let found = attribution.faithfulness(&[3], Rest::Mean).unwrap();

        assert_near(&name, found.without_features, attribution.value(), 1e-4);
        assert_near(&name, found.kept[0].value, attribution.value(), 1e-4);
    }
}

#[test]
fn later_tokens_change_nothing() {
    let (_, model) = every().swap_remove(2);
    let short = Question::new(TOKENS[..3].to_vec(), METRIC);
    let long = Question::new(TOKENS.to_vec(), METRIC).after(2);

    let short = Attribution::new(&model, &short).unwrap();
    let long = Attribution::new(&model, &long).unwrap();

    assert_eq!((long.tokens(), long.position()), (&TOKENS[..3], 2));
    assert_eq!(long.features(), short.features());
    assert_eq!(long.hooks(), short.hooks());
}

#[test]
fn the_strongest_are_the_largest_by_magnitude_in_falling_order() {
    let (_, model) = every().swap_remove(2);
    let attribution = attribute(&model, METRIC);

    let strongest = attribution.strongest(5);

    let magnitude = |row: usize| attribution.features()[row].attribution.abs();
    assert!(strongest.is_sorted_by(|&a, &b| magnitude(a) >= magnitude(b)));
    let others = (0..attribution.features().len()).filter(|row| !strongest.contains(row));
    let largest = others.map(magnitude).fold(0.0_f32, f32::max);
    assert!(magnitude(strongest[4]) >= largest && strongest.len() == 5);
    assert_eq!(attribution.strongest(usize::MAX).len(), attribution.features().len());
}
