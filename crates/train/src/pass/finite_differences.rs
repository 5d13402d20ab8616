//! Checks each loss's gradient against finite differences of the same loss, written out in float64.

use std::collections::BTreeMap;

use nanoscope_kernels::to_host;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::parameters::{Parameters, Weight, upload};
use crate::pass::autodiff::autodiff;
use crate::pass::closed_form::closed_form;
use crate::pass::{Dense, Keep, Pass, Selected};
use crate::recipe::AuxK;

const D_IN: usize = 5;
const D_SAE: usize = 12;
const ROWS: usize = 7;
const STEP: f64 = 1e-6;
/// The gradients are float32.
const RTOL: f64 = 2e-4;

type Numbers = BTreeMap<&'static str, Vec<f64>>;

fn random(seed: u64, len: usize, scale: f32) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..len)
        .map(|_| {
            let number: f32 = StandardNormal.sample(&mut random);
            number * scale
        })
        .collect()
}

fn x() -> Vec<f32> {
    random(1, ROWS * D_IN, 1.5)
}

fn parameters(extra: &[Weight]) -> Parameters {
    let device = nanoscope_testing::test_device();
    let parts = [Weight::Encoder, Weight::EncoderBias, Weight::Decoder, Weight::DecoderBias];
    Parameters::new(parts.iter().chain(extra).map(|&part| {
        let shape = part.shape(D_IN, D_SAE);
        let mut numbers = random(10 + part as u64, shape[0] * shape[1], 0.5);
        if part == Weight::LogThreshold {
            for number in &mut numbers {
                *number = number.abs() - 2.0;
            }
        }
        (part, upload(numbers, shape, &device))
    }))
}

fn numbers(parameters: &Parameters) -> Numbers {
    parameters
        .iter()
        .map(|(part, tensor)| {
            (part.name(), to_host(tensor.clone()).into_iter().map(f64::from).collect())
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn rows_of_x() -> Vec<Vec<f64>> {
    x().chunks(D_IN).map(|row| row.iter().map(|&number| f64::from(number)).collect()).collect()
}

fn row_of(numbers: &Numbers, part: Weight, feature: usize) -> &[f64] {
    &numbers[part.name()][feature * D_IN..][..D_IN]
}

/// `(x − b_dec) · W_enc + b_enc`; `subtract` says whether `b_dec` is subtracted.
fn pre(numbers: &Numbers, x: &[f64], feature: usize, take_off: bool) -> f64 {
    let input: Vec<f64> = x
        .iter()
        .zip(&numbers["decoder_bias"])
        .map(|(x, b)| if take_off { x - b } else { *x })
        .collect();
    dot(&input, row_of(numbers, Weight::Encoder, feature)) + numbers["encoder_bias"][feature]
}

/// `Σ f · W_dec + b − x`, and its sum of squares.
fn error(numbers: &Numbers, features: &[(usize, f64)], b: &[f64], x: &[f64]) -> (Vec<f64>, f64) {
    let mut error: Vec<f64> = b.iter().zip(x).map(|(b, x)| b - x).collect();
    for &(feature, value) in features {
        for (error, w) in error.iter_mut().zip(row_of(numbers, Weight::Decoder, feature)) {
            *error += value * w;
        }
    }
    let square = dot(&error, &error);
    (error, square)
}

#[track_caller]
fn check_all(parameters: &Parameters, passes: &[Pass], loss: impl Fn(&Numbers, &Numbers) -> f64) {
    for pass in passes {
        check(parameters, pass, &loss);
    }
}

/// Compares each gradient with finite differences of `loss(changed, unchanged)`.
#[track_caller]
fn check(parameters: &Parameters, pass: &Pass, loss: impl Fn(&Numbers, &Numbers) -> f64) {
    let at = numbers(parameters);
    let found = numbers(&pass.gradients);
    let total = loss(&at, &at);
    assert!((total - pass.losses.total).abs() < 1e-4 * total, "{total} {}", pass.losses.total);
    for (part, numbers) in &at {
        for place in 0..numbers.len() {
            let moved = |by: f64| {
                let mut moved = at.clone();
                moved.get_mut(part).unwrap()[place] += by;
                loss(&moved, &at)
            };
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            let found = found[part][place];
            let close = (found - expected).abs() < RTOL * (1.0 + expected.abs());
            assert!(close, "{part}[{place}]: {found}, expected {expected}");
        }
    }
}

/// The pass by automatic differentiation, and the two forms of the closed one.
fn passes(loss: Dense, parameters: &Parameters) -> [Pass; 3] {
    let closed = |share| closed_form(loss, parameters, &x(), share).unwrap();
    [autodiff(loss, parameters, &x()), closed(1.0), closed(-1.0)]
}

/// The loss of selected features. The selection and the target of aux-k are computed from the
/// unchanged weights.
fn selected_loss(
    keep: Keep,
    groups: &[usize],
    aux_k: &AuxK,
    dead: &[u32],
) -> impl Fn(&Numbers, &Numbers) -> f64 {
    move |numbers, unchanged| {
        let xs = rows_of_x();
        let value = |numbers: &Numbers, row: usize, feature| pre(numbers, &xs[row], feature, true);
        let mut all: Vec<(usize, usize, f64)> = (0..ROWS * D_SAE)
            .map(|at| (at / D_SAE, at % D_SAE, value(unchanged, at / D_SAE, at % D_SAE)))
            .filter(|(_, _, value)| *value > 0.0)
            .collect();
        all.sort_by(|a, b| b.2.total_cmp(&a.2));
        let mut counts = [0; ROWS];
        let kept: Vec<_> = all
            .iter()
            .enumerate()
            .filter(|(at, (row, _, _))| {
                counts[*row] += 1;
                match keep {
                    Keep::PerRow(k) => counts[*row] <= k,
                    Keep::PerBatch(k) => *at < k * ROWS,
                }
            })
            .map(|(_, (row, feature, _))| (*row, *feature))
            .collect();

        let mut loss = 0.0;
        for (row, x) in xs.iter().enumerate() {
            let features = |numbers: &Numbers, end: usize| -> Vec<(usize, f64)> {
                let kept = kept.iter().filter(|(of, feature)| *of == row && *feature < end);
                kept.map(|(_, feature)| (*feature, value(numbers, row, *feature))).collect()
            };
            for &end in groups {
                let b = &numbers["decoder_bias"];
                loss += error(numbers, &features(numbers, end), b, x).1 / groups.len() as f64;
            }
            let k = aux_k.k.unwrap();
            let mut revived: Vec<_> = dead
                .iter()
                .map(|&feature| (feature as usize, value(unchanged, row, feature as usize)))
                .filter(|(_, value)| *value > 0.0)
                .collect();
            revived.sort_by(|a, b| b.1.total_cmp(&a.1));
            revived.truncate(k);
            for revived in &mut revived {
                revived.1 = value(numbers, row, revived.0);
            }
            let b = &unchanged["decoder_bias"];
            let missing = error(unchanged, &features(unchanged, D_SAE), b, x).0;
            let missing: Vec<f64> = missing.iter().map(|error| -error).collect();
            let weight = aux_k.coefficient * (dead.len() as f64 / k as f64).min(1.0);
            loss += weight * error(numbers, &revived, &[0.0; D_IN], &missing).1;
        }
        loss / ROWS as f64
    }
}

#[test]
fn top_k_batch_top_k_and_matryoshka_have_the_gradient_of_their_loss() {
    let no_aux = AuxK { k: Some(3), coefficient: 0.0 };
    let aux = AuxK { k: Some(3), coefficient: 0.7 };
    let parameters = parameters(&[]);
    for keep in [Keep::PerRow(2), Keep::PerBatch(2)] {
        for groups in [&[D_SAE][..], &[3, 7, D_SAE]] {
            for (aux_k, dead) in [(&no_aux, &[][..]), (&aux, &[1, 4]), (&aux, &[0, 2, 5, 9, 11])] {
                let pass = Selected { keep, groups, aux_k, dead }.pass(&parameters, &x());

                assert_eq!(pass.losses.aux > 0.0, !dead.is_empty());
                check(&parameters, &pass, selected_loss(keep, groups, aux_k, dead));
            }
        }
    }
}

#[test]
fn relu_has_the_gradient_of_its_loss() {
    let parameters = parameters(&[]);

    let loss = Dense::Relu { l1: 0.3 };
    check_all(&parameters, &passes(loss, &parameters), |numbers, _| {
        let mut loss = 0.0;
        for x in rows_of_x() {
            let value = |feature| pre(numbers, &x, feature, true).max(0.0);
            let features: Vec<_> = (0..D_SAE).map(|feature| (feature, value(feature))).collect();
            loss += error(numbers, &features, &numbers["decoder_bias"], &x).1;
            for (feature, value) in features {
                let row = row_of(numbers, Weight::Decoder, feature);
                loss += 0.3 * value * dot(row, row).sqrt();
            }
        }
        loss / ROWS as f64
    });
}

#[test]
fn gated_has_the_gradient_of_its_loss_with_the_decoder_of_the_gates_frozen() {
    let parameters = parameters(&[Weight::Magnitude, Weight::MagnitudeBias]);

    let loss = Dense::Gated { l1: 0.3 };
    check_all(&parameters, &passes(loss, &parameters), |numbers, frozen| {
        let mut loss = 0.0;
        for x in rows_of_x() {
            let gates: Vec<_> = (0..D_SAE)
                .map(|feature| (feature, pre(numbers, &x, feature, true).max(0.0)))
                .collect();
            let magnitude = |&(feature, gate): &(usize, f64)| {
                let product = pre(numbers, &x, feature, true) - numbers["encoder_bias"][feature];
                let value = product * numbers["r_mag"][feature].exp() + numbers["b_mag"][feature];
                (feature, if gate > 0.0 { value.max(0.0) } else { 0.0 })
            };
            let features: Vec<_> = gates.iter().map(magnitude).collect();
            loss += error(numbers, &features, &numbers["decoder_bias"], &x).1;
            loss += error(frozen, &gates, &frozen["decoder_bias"], &x).1;
            for (feature, gate) in gates {
                let row = row_of(frozen, Weight::Decoder, feature);
                loss += 0.3 * gate * dot(row, row).sqrt();
            }
        }
        loss / ROWS as f64
    });
}

/// The straight-through estimate is not a derivative of the loss. The terms it uses in place of the
/// jump's derivative are written out, with the open gates and the features near their threshold
/// taken from the unchanged weights.
#[test]
fn jump_relu_has_the_gradient_that_the_paper_estimates() {
    let (weight, target_l0, bandwidth) = (0.8, 3.0, 0.9);
    let parameters = parameters(&[Weight::LogThreshold]);

    let loss = Dense::JumpRelu { weight, target_l0, bandwidth };
    check_all(&parameters, &passes(loss, &parameters), |numbers, unchanged| {
        let (mut loss, mut l0) = (0.0, 0.0);
        for x in rows_of_x() {
            let mut features = Vec::new();
            for feature in 0..D_SAE {
                let at = pre(unchanged, &x, feature, false);
                let threshold = unchanged["log_threshold"][feature].exp();
                let moved = numbers["log_threshold"][feature].exp() - threshold;
                let near = f64::from(u8::from((at - threshold).abs() <= bandwidth / 2.0));
                let open = f64::from(u8::from(at > threshold));
                let value = pre(numbers, &x, feature, false) * open;
                features.push((feature, value - threshold / bandwidth * near * moved));
                l0 += open - near / bandwidth * moved;
            }
            loss += error(numbers, &features, &numbers["decoder_bias"], &x).1;
        }
        let excess = l0 / ROWS as f64 / target_l0 - 1.0;
        loss / ROWS as f64 + weight * excess * excess
    });
}
