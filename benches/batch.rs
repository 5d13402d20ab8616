//! Throughput of generations that share their passes, relative to one alone.
//!
//! `cargo bench --bench batch`
//!
//! In each round every number of generations makes some tokens in turn, so that all run under the same
//! conditions. Prints the median over the rounds of all generations' tokens per second, and its ratio to
//! that of one alone.

use std::path::Path;
use std::time::Instant;

use nanoscope_checkpoint::{ModelFiles, load_sae};
use nanoscope_runtime::{Batch, InterpretableModel, Plan, Sampling, StepOutcome};
use nanoscope_transformer::{Era, Gpt, GptShape};

const TOGETHER: [usize; 6] = [1, 2, 4, 8, 16, 64];
const ROUNDS: usize = 5;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    nanoscope_cli::keep_freed_memory();
    let device = nanoscope_device::by_name("auto").expect("a backend is compiled in");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let files = ModelFiles::find(&demo).expect("the demo is in the repository");
    let gpt = files.load(&device).expect("the demo loads").gpt;
    let loaded = load_sae(&demo.join("saes/layer_3"), &device).expect("it loads");
    let hook = loaded.hook().expect("its file says where it belongs");
    let model = InterpretableModel::new(gpt).with_sae(hook, loaded.sae).expect("it fits");
    let steer = format!("{hook}:5:add:0.5").parse().expect("it is well formed");
    race("demo, empty plan", &model, &Plan::new(), 32);
    race("demo, one SAE tracked", &model, &Plan::new().track(hook), 32);
    race("demo, tracked and steered", &model, &Plan::new().track(hook).intervene(steer), 32);

    let shape = GptShape {
        sequence_len: 512,
        vocab_size: 32_768,
        n_layer: 12,
        n_head: 6,
        n_kv_head: 6,
        n_embd: 768,
    };
    let config = Era::E6.config(shape, Some("SSSL")).expect("the sizes make a model");
    let model = InterpretableModel::new(Gpt::random(config, 1, &device));
    race("d12, empty plan", &model, &Plan::new(), 4);
}

fn race(name: &str, model: &InterpretableModel, plan: &Plan, tokens: usize) {
    let mut speeds = vec![Vec::new(); TOGETHER.len()];
    for _ in 0..ROUNDS {
        for (speeds, n) in speeds.iter_mut().zip(TOGETHER) {
            let mut batch = Batch::new(model, 0);
            let mut all: Vec<_> = (0..n)
                .map(|row| {
                    // Each is at another position.
                    let prompt: Vec<u32> = (0..8 + row as u32).collect();
                    let sampling = Sampling { max_tokens: tokens + 1, ..Sampling::default() };
                    batch.begin(&prompt, plan, &sampling).expect("the plan is good")
                })
                .collect();
            let mut rows: Vec<_> = all.iter_mut().collect();
            while batch
                .step(&mut rows)
                .expect("the batch began them")
                .contains(&StepOutcome::Prompt)
            {}
            let started = Instant::now();
            let mut made = 0;
            for _ in 1..tokens {
                let progress = batch.step(&mut rows).expect("the batch began them");
                made += progress.iter().filter(|p| matches!(p, StepOutcome::Step(_))).count();
            }
            speeds.push(made as f64 / started.elapsed().as_secs_f64());
        }
    }
    println!("{name}");
    let alone = median(&mut speeds[0]);
    for (speeds, n) in speeds.iter_mut().zip(TOGETHER) {
        let speed = median(speeds);
        println!("  {n:>3} together: {speed:>8.0} tokens/s, {:.2} x one alone", speed / alone);
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
