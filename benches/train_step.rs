//! Speed of a training step: `cargo bench --bench train_step -- ACTIVATIONS KEY`.
//!
//! `benches/python/train_step.py` runs it beside the same step in PyTorch and prints the ratio. One
//! line of JSON per method goes to standard output; nothing is asserted.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use nanoscope_checkpoint::ActivationFile;
use nanoscope_corpus::InMemoryActivations;
use nanoscope_hooks::HookPoint;
use nanoscope_train::{AuxK, Method, Mixer, Recipe, Trainer};

const D_IN: usize = 256;
const D_SAE: usize = 2048;
const K: usize = 32;
const BATCH: usize = 4096;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    nanoscope_cli::keep_freed_memory();
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let path: PathBuf = args.next().context("ACTIVATIONS KEY [STEPS [METHOD]]")?.into();
    let key = args.next();
    let steps: u64 = args.next().map_or(Ok(10), |steps| steps.parse())?;
    let only = args.next();

    let mut file = ActivationFile::open(&path, key.as_deref(), D_IN)?;
    let mut rows = Vec::new();
    while rows.len() < file.rows() * D_IN {
        let from = rows.len() / D_IN;
        let to = (from + (1 << 16)).min(file.rows());
        rows.extend(file.read(from, to)?);
    }
    let device = nanoscope_device::by_name("flex")?;
    for (name, method) in methods() {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        let segments =
            InMemoryActivations::new(HookPoint::ResidPost(0), D_IN, rows.clone(), BATCH * 16);
        let mut mixer = Mixer::new(segments, BATCH, 0, 0)?;
        let recipe = Recipe { batch: BATCH, ..Recipe::new(D_SAE, method, steps + 1) };
        let mut trainer = Trainer::new(&recipe, D_IN, &mixer.first()?.at[0], &device)?;
        let mut fastest = f64::INFINITY;
        let mut report = None;
        for _ in 0..=steps {
            let batch = mixer.next_batch()?;
            let since = Instant::now();
            report = Some(trainer.step(&batch[0])?);
            fastest = fastest.min(since.elapsed().as_secs_f64());
        }
        let report = report.context("no steps")?;
        println!(
            "{}",
            serde_json::json!({
                "method": name,
                "steps": trainer.steps(),
                "fastest_step_s": fastest,
                "tokens_per_s": BATCH as f64 / fastest,
                "mse": report.mse,
                "explained_variance": report.explained_variance,
            })
        );
    }
    Ok(())
}

fn methods() -> [(&'static str, Method); 6] {
    let aux_k = AuxK::default();
    [
        ("top-k", Method::TopK { k: K, aux_k: aux_k.clone() }),
        ("batch-top-k", Method::BatchTopK { k: K, aux_k: aux_k.clone() }),
        ("matryoshka", Method::Matryoshka { k: K, groups: vec![], aux_k }),
        (
            "jump-relu",
            Method::JumpRelu {
                target_l0: K as f64,
                coefficient: 1.0,
                bandwidth: 0.05,
                threshold: None,
                warmup_steps: None,
            },
        ),
        ("relu", Method::Relu { l1: 1.0, warmup_steps: None }),
        ("gated", Method::Gated { l1: 1.0, warmup_steps: None }),
    ]
}
