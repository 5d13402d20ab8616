//! A checkpoint that nanochat's own trainer wrote: its files, and how well it predicts a text.
//!
//! `cargo run --release --example foreign_checkpoint [PATH]`, by default the demo.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::activation::log_softmax;
use nanoscope::{Microscope, Plan, device};
use nanoscope_checkpoint::inspect;

const TEXT: &str = "Tim and his mom went to the park. They saw a big dog. The dog was happy.";

fn main() -> Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let path = std::env::args_os().nth(1).map_or(demo, PathBuf::from);
    for found in inspect(&path, None)? {
        println!("{}: {}, {} tensors", found.path.display(), found.what, found.tensors.len());
    }

    let scope = Microscope::open(&path, &device("auto")?)?;
    let ids = scope.encode(TEXT)?;
    let logits = scope.run(TEXT, &Plan::new())?.logits;
    let [_, _, vocab] = logits.dims();
    let logprobs: Vec<f32> = log_softmax(logits, 2).into_data().iter::<f32>().collect();

    let next = ids[1..].iter().enumerate();
    let sum: f32 = next.map(|(position, &id)| logprobs[position * vocab + id as usize]).sum();
    println!("{TEXT}");
    println!("{:.3} nats per token over {} tokens", -sum / (ids.len() - 1) as f32, ids.len() - 1);
    Ok(())
}
