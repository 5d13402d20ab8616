//! Inspects a checkpoint written by nanochat's trainer and computes its loss on a text.
//!
//! `cargo run --release --example foreign_checkpoint [PATH]`; without a path it is the demo's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::tensor::activation::log_softmax;
use nanoscope_checkpoint::{ModelFiles, inspect, load_tokenizer};
use nanoscope_transformer::{Logits, TokenBatch};

const TEXT: &str = "Tim and his mom went to the park. They saw a big dog. The dog was happy.";

fn main() -> Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let path = std::env::args_os().nth(1).map_or(demo, PathBuf::from);
    for found in inspect(&path, None)? {
        println!("{}: {}, {} tensors", found.path.display(), found.what, found.tensors.len());
    }

    let device = nanoscope_device::by_name("auto")?;
    let files = ModelFiles::find(&path)?;
    let model = files.load(&device)?.gpt;
    let tokenizer = files.tokenizer.as_deref().context("the model has no tokenizer")?;
    let tokenizer = load_tokenizer(tokenizer)?;

    let mut ids: Vec<u32> = tokenizer.bos().into_iter().collect();
    ids.extend(tokenizer.encode(TEXT)?);
    let tokens = TokenBatch::new(std::slice::from_ref(&ids))?;
    let logits = model.forward(&tokens, Logits::All, &mut ())?;
    let [_, _, vocab] = logits.dims();
    let logprobs: Vec<f32> = log_softmax(logits, 2).into_data().iter::<f32>().collect();

    let next = ids[1..].iter().enumerate();
    let sum: f32 = next.map(|(position, &id)| logprobs[position * vocab + id as usize]).sum();
    println!("{TEXT}");
    println!("{:.3} nats per token over {} tokens", -sum / (ids.len() - 1) as f32, ids.len() - 1);
    Ok(())
}
