//! Compares the closed form, with few entries and with all, with automatic differentiation.

use nanoscope_kernels::to_host;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

use crate::parameters::{Parameters, Weight, upload};
use crate::pass::autodiff::autodiff;
use crate::pass::closed_form::closed_form;
use crate::pass::entries::CHUNK_ROWS;
use crate::pass::{Dense, Pass};

/// Not multiples of what is handled together.
const D_IN: usize = 21;
const D_SAE: usize = 83;
const ROWS: usize = CHUNK_ROWS + 45;
/// Relative to the largest number of the tensor. All is float32, summed in different orders.
const RTOL: f64 = 2e-5;
const BANDWIDTH: f64 = 0.4;

/// Shares of entries that count: all of the entries that are touched, and all entries.
const FORMS: [(&str, f64); 2] = [("sparse", 1.0), ("dense", -1.0)];

fn losses() -> [Dense; 3] {
    [
        Dense::Relu { l1: 0.7 },
        Dense::JumpRelu { weight: 3.0, target_l0: 4.0, bandwidth: BANDWIDTH },
        Dense::Gated { l1: 0.7 },
    ]
}

fn x() -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    (0..ROWS * D_IN).map(|_| StandardNormal.sample(&mut random)).collect()
}

/// Random weights. `bias` moves the pre-activations, and with them the number of active features.
fn parameters(bias: f32) -> Parameters {
    let device = nanoscope_testing::test_device();
    let mut random = ChaCha8Rng::seed_from_u64(6);
    let parts = [
        Weight::Encoder,
        Weight::EncoderBias,
        Weight::Decoder,
        Weight::DecoderBias,
        Weight::LogThreshold,
        Weight::Magnitude,
        Weight::MagnitudeBias,
    ];
    Parameters::new(parts.map(|part| {
        let [rows, columns] = part.shape(D_IN, D_SAE);
        let mut numbers: Vec<f32> =
            (0..rows * columns).map(|_| StandardNormal.sample(&mut random)).collect();
        for number in &mut numbers {
            *number = match part {
                // From much less than the bandwidth, where an entry that is near may be negative.
                Weight::LogThreshold => random.random_range(-5.0..0.5),
                Weight::EncoderBias => *number * 0.2 + bias,
                _ => *number * 0.3,
            };
        }
        if part == Weight::EncoderBias {
            // Dead in every row.
            numbers[3] = -1e3;
            numbers[D_SAE - 1] = -1e3;
        }
        (part, upload(numbers, [rows, columns], &device))
    }))
}

/// The weights that the method of `loss` has.
fn of_method(loss: Dense, all: &Parameters) -> Parameters {
    let has = |part| match part {
        Weight::LogThreshold => matches!(loss, Dense::JumpRelu { .. }),
        Weight::Magnitude | Weight::MagnitudeBias => matches!(loss, Dense::Gated { .. }),
        _ => true,
    };
    Parameters::new(all.iter().filter(|(part, _)| has(*part)).map(|(part, of)| (part, of.clone())))
}

#[track_caller]
fn assert_same(found: &Pass, expected: &Pass, case: &str) {
    let close = |name: &str, found: &[f64], expected: &[f64]| {
        assert_eq!(found.len(), expected.len(), "{case}: {name}");
        let largest = expected.iter().fold(0.0_f64, |max, number| max.max(number.abs()));
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let off = (found - expected).abs();
            assert!(off <= RTOL * largest, "{case}: {name}[{at}] is {found}, not {expected}");
        }
    };
    let losses = |pass: &Pass| {
        let losses = pass.losses;
        [
            ("total", losses.total),
            ("mse", losses.mse),
            ("sparsity", losses.sparsity),
            ("aux", losses.aux),
        ]
    };
    for ((name, found), (_, expected)) in losses(found).into_iter().zip(losses(expected)) {
        close(name, &[found], &[expected]);
    }
    let wide = |numbers: &[f32]| numbers.iter().map(|&n| f64::from(n)).collect::<Vec<_>>();
    close("errors", &wide(&found.errors), &wide(&expected.errors));
    assert_eq!(found.fired, expected.fired, "{case}: fired");
    assert_eq!(found.gradients.iter().count(), expected.gradients.iter().count(), "{case}");
    for (part, expected) in expected.gradients.iter() {
        let found = to_host(found.gradients.get(part));
        close(part.name(), &wide(&found), &wide(&to_host(expected.clone())));
    }
}

#[test]
fn losses_and_gradients_in_closed_form_are_those_of_automatic_differentiation() {
    for loss in losses() {
        let mut shares = Vec::new();
        for bias in [0.5, -1.5, -30.0] {
            let parameters = of_method(loss, &parameters(bias));
            let expected = autodiff(loss, &parameters, &x());
            for (form, share) in FORMS {
                let found = closed_form(loss, &parameters, &x(), share).unwrap();

                assert_same(&found, &expected, &format!("{loss:?}, bias {bias}, {form}"));
            }
            let active: u32 = expected.fired.iter().sum();
            shares.push(f64::from(active) / (ROWS * D_SAE) as f64);
        }
        // Many, few and none.
        let expected = shares[0] > 0.3 && (0.01..0.2).contains(&shares[1]) && shares[2] == 0.0;
        assert!(expected, "{loss:?}: {shares:?}");
    }
}

/// Pre-activations that are exactly the threshold, exactly at the rectangle's edges, and 0.
#[test]
fn entries_on_an_edge_are_counted_as_by_automatic_differentiation() {
    let device = nanoscope_testing::test_device();
    let steps: Vec<f32> = (-8..=8).map(|n| n as f32 / 8.0).collect();
    let column = |by: f32| vec![by; steps.len()];
    let parameters = Parameters::new([
        (Weight::Encoder, upload(column(1.0), [steps.len(), 1], &device)),
        (Weight::EncoderBias, upload(steps.clone(), [1, steps.len()], &device)),
        (Weight::Decoder, upload(column(0.5), [steps.len(), 1], &device)),
        (Weight::DecoderBias, upload(vec![0.0], [1, 1], &device)),
        // Thresholds of 1, and a bandwidth that is 2: near are those from 0 to 2.
        (Weight::LogThreshold, upload(column(0.0), [1, steps.len()], &device)),
        (Weight::Magnitude, upload(column(0.0), [1, steps.len()], &device)),
        (Weight::MagnitudeBias, upload(column(-0.5), [1, steps.len()], &device)),
    ]);
    let x = [0.0, 1.0, -1.0, 0.5, 2.0];
    let jump_relu = Dense::JumpRelu { weight: 3.0, target_l0: 2.0, bandwidth: 2.0 };
    for loss in [Dense::Relu { l1: 0.5 }, jump_relu, Dense::Gated { l1: 0.5 }] {
        let parameters = of_method(loss, &parameters);
        let expected = autodiff(loss, &parameters, &x);
        for (form, share) in FORMS {
            let found = closed_form(loss, &parameters, &x, share).unwrap();

            assert_same(&found, &expected, &format!("{loss:?}, {form}"));
        }
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for loss in losses() {
        let parameters = of_method(loss, &parameters(-0.5));
        for (form, share) in FORMS {
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let pass = pool.install(|| closed_form(loss, &parameters, &x(), share).unwrap());
                let gradients: Vec<_> =
                    pass.gradients.iter().map(|(_, of)| to_host(of.clone())).collect();
                (pass.losses, pass.errors, pass.fired, gradients)
            };

            assert_eq!(on(1), on(3), "{loss:?}, {form}");
        }
    }
}

#[test]
fn pre_activations_that_are_not_finite_are_left_to_automatic_differentiation() {
    let loss = Dense::Relu { l1: 0.1 };
    let mut parameters = of_method(loss, &parameters(0.0));
    let mut bias = to_host(parameters.get(Weight::EncoderBias));
    bias[7] = f32::NAN;
    let device = parameters.get(Weight::Encoder).device();
    parameters.set(Weight::EncoderBias, upload(bias, [1, D_SAE], &device));

    assert!(closed_form(loss, &parameters, &x(), 1.0).is_none());
}
