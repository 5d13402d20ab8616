//! Each architecture recovers planted features, resumes from a snapshot bit for bit, and yields an
//! SAE that computes what was trained.

use burn::tensor::{Tensor, TensorData};
use nanoscope_corpus::InMemoryActivations;
use nanoscope_hooks::HookPoint;
use nanoscope_train::{DeadFeatures, Method, Mixer, Optimizer, Recipe, StepReport, Trainer};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

const D_IN: usize = 24;
const PLANTED: usize = 40;
/// Planted features per activation, on average.
const ACTIVE: f64 = 3.0;
const STEPS: u64 = 1500;
const BATCH: usize = 256;
/// Minimum mean cosine between planted directions and their nearest decoder rows.
const WANTED_COSINE: f32 = 0.9;

/// Returns unit directions, and activations that are sums of a few of them plus a bias.
fn planted() -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut direction = || -> Vec<f32> {
        let numbers: Vec<f32> = (0..D_IN).map(|_| StandardNormal.sample(&mut random)).collect();
        let norm = numbers.iter().map(|n| n * n).sum::<f32>().sqrt();
        numbers.iter().map(|n| n / norm).collect()
    };
    let directions: Vec<_> = (0..PLANTED).map(|_| direction()).collect();
    let bias = direction();
    let mut random = ChaCha8Rng::seed_from_u64(4);
    let rows = (0..BATCH * 60).flat_map(|_| {
        let mut row = bias.clone();
        for direction in &directions {
            if random.random_bool(ACTIVE / PLANTED as f64) {
                let strength = random.random_range(1.0..3.0);
                for (number, d) in row.iter_mut().zip(direction) {
                    *number += strength * d;
                }
            }
        }
        row
    });
    (directions.clone(), rows.collect())
}

fn mixer(next: u64) -> Mixer<InMemoryActivations> {
    let (_, rows) = planted();
    let segments = InMemoryActivations::new(HookPoint::ResidPost(0), D_IN, rows, BATCH * 10);
    Mixer::new(segments, BATCH, 0, next).unwrap()
}

fn recipe(method: Method) -> Recipe {
    Recipe {
        batch: BATCH,
        optimizer: Optimizer { lr: Some(3e-3), ..Optimizer::default() },
        dead: DeadFeatures { window_steps: Some(100), resample_steps: None },
        ..Recipe::new(PLANTED * 3 / 2, method, STEPS)
    }
}

fn methods() -> [(&'static str, Method); 6] {
    let aux_k = nanoscope_train::AuxK::default();
    [
        ("top-k", Method::TopK { k: 3, aux_k: aux_k.clone() }),
        ("batch-top-k", Method::BatchTopK { k: 3, aux_k: aux_k.clone() }),
        ("matryoshka", Method::Matryoshka { k: 3, groups: vec![50, 60], aux_k }),
        (
            "jump-relu",
            Method::JumpRelu {
                target_l0: 3.0,
                coefficient: 1.0,
                bandwidth: 0.05,
                threshold: None,
                warmup_steps: None,
            },
        ),
        ("relu", Method::Relu { l1: 1.0, warmup_steps: None }),
        ("gated", Method::Gated { l1: 2.0, warmup_steps: None }),
    ]
}

fn train(method: Method) -> (Trainer, StepReport) {
    let device = nanoscope_testing::test_device();
    let mut mixer = mixer(0);
    let first = mixer.first().unwrap();
    let mut trainer = Trainer::new(&recipe(method), D_IN, &first.at[0], &device).unwrap();
    let mut last = None;
    for _ in 0..STEPS {
        last = Some(trainer.step(&mixer.next_batch().unwrap()[0]).unwrap());
    }
    (trainer, last.unwrap())
}

/// The largest cosine with a decoder row, averaged over planted directions.
fn mean_max_cosine(trainer: &Trainer, directions: &[Vec<f32>]) -> f32 {
    let decoder = trainer.sae().weights().w_dec.into_data().try_to_vec::<f32>().unwrap();
    let largest = |direction: &Vec<f32>| {
        let cosines = decoder.chunks(D_IN).map(|row| {
            let norm = row.iter().map(|n| n * n).sum::<f32>().sqrt().max(1e-9);
            row.iter().zip(direction).map(|(a, b)| a * b).sum::<f32>() / norm
        });
        cosines.fold(f32::MIN, f32::max)
    };
    directions.iter().map(largest).sum::<f32>() / directions.len() as f32
}

#[test]
fn every_architecture_recovers_planted_features() {
    let (directions, rows) = planted();
    let device = nanoscope_testing::test_device();
    for (name, method) in methods() {
        let (trainer, report) = train(method);

        let cosine = mean_max_cosine(&trainer, &directions);
        println!("{name}: mean max cosine {cosine:.3}, {report:?}");
        assert!(cosine > WANTED_COSINE, "{name}: mean max cosine {cosine}, {report:?}");

        // The SAE for inference, on unscaled activations, matches the trained one.
        let x = TensorData::new(rows[..BATCH * D_IN].to_vec(), [BATCH, D_IN]);
        let x = Tensor::<2>::from_data(x, &device);
        let sae = trainer.sae();
        let features = sae.encode_sparse(x.clone()).unwrap();
        let l0 = features.nnz() as f64 / BATCH as f64;
        assert!((l0 / report.l0 - 1.0).abs() < 0.15, "{name}: L0 {l0}, trained {}", report.l0);
        let residual = (sae.decode_sparse(&features, x.clone()) - x.clone()).square().sum();
        let centred = x.clone() - x.mean_dim(0);
        let unexplained: f32 = (residual / centred.square().sum()).into_scalar();
        let explained = 1.0 - f64::from(unexplained);
        let close = (explained - report.explained_variance).abs() < 0.05;
        assert!(close, "{name}: {explained}, trained {}", report.explained_variance);
    }
}

#[test]
fn a_training_that_went_on_from_a_snapshot_ends_with_the_same_bits() {
    let device = nanoscope_testing::test_device();
    for (name, method) in methods() {
        let recipe = Recipe { steps: 60, ..recipe(method) };
        // Dead features and a resampling occur after the snapshot.
        let recipe = Recipe {
            dead: DeadFeatures { window_steps: Some(10), resample_steps: Some(25) },
            ..recipe
        };
        let mut source = mixer(0);
        let first = source.first().unwrap();
        let mut whole = Trainer::new(&recipe, D_IN, &first.at[0], &device).unwrap();
        let mut snapshot = None;
        for step in 0..60 {
            if step == 17 {
                snapshot = Some(whole.snapshot());
            }
            whole.step(&source.next_batch().unwrap()[0]).unwrap();
        }

        let snapshot = snapshot.unwrap();
        let mut resumed = Trainer::resume(&recipe, &snapshot, &device).unwrap();
        let mut source = mixer(snapshot.step);
        for _ in 17..60 {
            resumed.step(&source.next_batch().unwrap()[0]).unwrap();
        }

        let (whole, resumed) = (whole.snapshot(), resumed.snapshot());
        for (tensor, data) in &whole.tensors {
            assert_eq!(data, &resumed.tensors[tensor], "{name}: {tensor}");
        }
    }
}

#[test]
fn a_batch_of_not_a_number_changes_nothing() {
    let device = nanoscope_testing::test_device();
    for (name, method) in methods() {
        let mut source = mixer(0);
        let first = source.first().unwrap();
        let mut trainer = Trainer::new(&recipe(method), D_IN, &first.at[0], &device).unwrap();
        let before = trainer.snapshot();

        let error = trainer.step(&vec![f32::NAN; BATCH * D_IN]).unwrap_err();

        assert!(error.to_string().contains("training diverged at step"), "{name}: {error}");
        assert_eq!(trainer.snapshot().tensors["decoder"], before.tensors["decoder"], "{name}");
        assert_eq!(trainer.steps(), 0, "{name}");
    }
}
