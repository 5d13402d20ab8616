//! The cost of tracking and steering during generation, relative to the bare model.
//!
//! `RAYON_NUM_THREADS=1 cargo bench --bench cost`
//!
//! Every lane computes one token in turn, in rotating order, so that all run under the same conditions.
//! Prints medians over the tokens; differences are medians of differences at the same token, because
//! times alone mean little on a shared machine.

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use burn::tensor::{DType, Tensor};
use nanoscope_checkpoint::{ModelFiles, load_sae};
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::multiply;
use nanoscope_runtime::{InterpretableModel, Plan, Sampling};
use nanoscope_sae::Sae;
use nanoscope_testing::noisy_sae;
use nanoscope_transformer::{Era, Gpt, GptShape, Logits, TokenBatch};

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    nanoscope_cli::keep_freed_memory();
    let device = nanoscope_device::by_name("auto").expect("a backend is compiled in");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let files = ModelFiles::find(&demo).expect("the demo is in the repository");
    let gpt = files.load(&device).expect("the demo loads").gpt;
    let loaded = load_sae(&demo.join("saes/layer_2"), &device).expect("it loads");
    race("demo", gpt, loaded.hook().unwrap(), loaded.sae, 240, 12);

    let shape = GptShape {
        sequence_len: 2048,
        vocab_size: 32_768,
        n_layer: 12,
        n_head: 6,
        n_kv_head: 6,
        n_embd: 768,
    };
    let config = Era::E6.config(shape, Some("SSSL")).expect("the sizes make a model");
    let gpt = Gpt::random(config, 1, &device);
    race("d12", gpt, HookPoint::ResidPost(6), noisy_sae(768, 8 * 768, 32, &device), 60, 3);
}

const BARE: usize = 0;
const NOTHING: usize = 1;
const TRACK: usize = 2;
const STEER: usize = 3;
const MATMUL: usize = 4;
const READ: usize = 5;
const NAMES: [&str; 6] = [
    "bare model",
    "empty plan",
    "one SAE tracked",
    "and one feature steered",
    "x · W_enc alone",
    "reading W_enc once",
];

fn race(name: &str, gpt: Gpt, hook: HookPoint, sae: Sae, tokens: usize, rounds: usize) {
    // The file's 16 bits would be read twice as fast as the sum below reads float32.
    let sae = sae.with_matrices_as(DType::F32);
    let w_enc = sae.weights().w_enc;
    let [d_in, d_sae] = w_enc.dims();
    let host: Vec<f32> = w_enc.to_data().iter::<f32>().collect();
    let x = Tensor::<2>::ones([1, d_in], &w_enc.device());
    let model = InterpretableModel::new(gpt).with_sae(hook, sae).expect("the SAE fits the model");
    let gpt = model.gpt();
    let prompt = [1, 2, 3, 4, 5, 6, 7, 8];
    let steer = format!("{hook}:5:add:0.5").parse().expect("it is well formed");
    let plans = [Plan::new(), Plan::new().track(hook), Plan::new().track(hook).intervene(steer)];

    let mut times: Vec<Vec<f64>> = vec![Vec::new(); NAMES.len()];
    for _ in 0..rounds {
        let mut cache = gpt.cache(1, model.context_len());
        let batch = TokenBatch::new(&[prompt.to_vec()]).expect("the prompt is a batch");
        let mut logits = forward(gpt, &batch, &mut cache);
        let sampling = Sampling { temperature: 0.0, max_tokens: tokens + 1, ..Sampling::default() };
        let mut generations: Vec<_> = plans
            .iter()
            .map(|plan| model.generate(&prompt, plan, &sampling).expect("the plan is good"))
            .collect();
        for token in 0..tokens {
            for lane in 0..NAMES.len() {
                let lane = (lane + token) % NAMES.len();
                let started = Instant::now();
                match lane {
                    BARE => {
                        let next = argmax(&logits);
                        let batch = TokenBatch::new(&[vec![next]]).expect("one token");
                        logits = forward(gpt, &batch, &mut cache);
                    }
                    NOTHING | TRACK | STEER => {
                        black_box(generations[lane - NOTHING].next().expect("there is room"));
                    }
                    MATMUL => drop(black_box(multiply(x.clone(), &w_enc))),
                    READ => drop(black_box(sum(&host))),
                    _ => unreachable!("each lane has an arm"),
                }
                times[lane].push(started.elapsed().as_secs_f64() * 1e6);
            }
        }
    }

    println!("{name}: W_enc [{d_in}, {d_sae}], {} tokens", tokens * rounds);
    for (name, times) in NAMES.iter().zip(&times) {
        println!("  {name:<24} {:>9.1} µs per token", median(times.clone()));
    }
    let extra = |of: usize, over: usize| {
        median(times[of].iter().zip(&times[over]).map(|(a, b)| a - b).collect())
    };
    let matmul = median(times[MATMUL].clone());
    println!(
        "  an empty plan adds {:+.2}% to the bare model",
        100.0 * extra(NOTHING, BARE) / median(times[BARE].clone())
    );
    println!(
        "  tracking adds {:.2} x the time of x · W_enc alone, {:.2} x that of reading W_enc",
        extra(TRACK, NOTHING) / matmul,
        extra(TRACK, NOTHING) / median(times[READ].clone())
    );
    println!(
        "  steering one feature adds {:+.2}% to tracking\n",
        100.0 * extra(STEER, TRACK) / median(times[TRACK].clone())
    );
}

fn forward(gpt: &Gpt, tokens: &TokenBatch, cache: &mut nanoscope_transformer::KvCache) -> Vec<f32> {
    let logits = gpt.forward_cached(tokens, cache, Logits::Last, &mut ());
    logits.expect("there is room").into_data().iter::<f32>().collect()
}

fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    best.expect("there are logits") as u32
}

/// A memory-bound sum: sixteen partial sums, so that no addition waits for another.
fn sum(values: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (chunks, _) = values.as_chunks::<16>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    sums.iter().sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
