//! Training on the test device gives the same losses as training on flex.

use nanoscope_train::{AuxK, DeadFeatures, Method, Recipe, StepReport, Trainer};

const D_IN: usize = 24;
const D_SAE: usize = 48;
const BATCH: usize = 64;
const STEPS: u64 = 4;
/// Relative tolerance for losses and gradient norms; backends sum in different orders.
const RTOL: f64 = 1e-4;

/// Activations between -1 and 1, plus a direction that all rows share.
fn activations() -> Vec<f32> {
    let number = |n: usize| ((n as f32 * 12.9898).sin() * 43_758.547).fract();
    (0..BATCH * D_IN).map(|n| number(n) + 0.5 * number(n % D_IN + 7)).collect()
}

fn reports(method: &Method, device: &str) -> Vec<StepReport> {
    let device = match device {
        "" => nanoscope_testing::test_device(),
        name => nanoscope_device::by_name(name).unwrap(),
    };
    // With a window of one step some features are dead, which covers the auxiliary loss and the
    // resampling too.
    let dead = DeadFeatures { window_steps: Some(1), resample_steps: Some(2) };
    let recipe = Recipe { batch: BATCH, dead, ..Recipe::new(D_SAE, method.clone(), STEPS) };
    let x = activations();
    let mut trainer = Trainer::new(&recipe, D_IN, &x, &device).unwrap();
    (0..STEPS).map(|_| trainer.step(&x).unwrap()).collect()
}

#[test]
fn every_architecture_trains_here_as_on_flex() {
    let aux_k = AuxK::default();
    let methods = [
        Method::TopK { k: 3, aux_k: aux_k.clone() },
        Method::BatchTopK { k: 3, aux_k: aux_k.clone() },
        Method::Matryoshka { k: 3, groups: vec![16, D_SAE], aux_k },
        Method::JumpRelu {
            target_l0: 3.0,
            coefficient: 1.0,
            bandwidth: 0.1,
            threshold: None,
            warmup_steps: None,
        },
        Method::Relu { l1: 0.1, warmup_steps: None },
        Method::Gated { l1: 0.1, warmup_steps: None },
    ];
    for method in &methods {
        for (found, expected) in reports(method, "").iter().zip(reports(method, "flex")) {
            let numbers = |report: &StepReport| {
                [report.loss, report.mse, report.sparsity, report.aux, report.grad_norm, report.l0]
            };
            for (found, expected) in numbers(found).into_iter().zip(numbers(&expected)) {
                let close = (found - expected).abs() <= RTOL * expected.abs().max(1e-3);
                assert!(close, "{method:?}: {found}, expected {expected}");
            }
        }
    }
}

#[test]
fn losses_fall() {
    let method = Method::TopK { k: 3, aux_k: AuxK::default() };

    let reports = reports(&method, "");

    assert!(reports.is_sorted_by(|a, b| a.mse > b.mse), "{reports:?}");
}
