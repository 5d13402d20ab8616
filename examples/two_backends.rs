//! One program on two backends, and the largest difference between their numbers.
//!
//! A tensor carries its backend in its device, so only the device's name changes.
//!
//! `cargo run --release --example two_backends`, or with `--features wgpu` to compare all three.

use std::path::Path;

use anyhow::{Result, ensure};
use burn::tensor::Device;
use nanoscope::{Logits, ModelFiles, TokenBatch, available_devices, device};

/// The demo model's logits for one sentence, computed on `device`.
fn logits(device: &Device) -> Result<Vec<f32>> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let model = ModelFiles::find(&demo)?.load(device)?.gpt;
    let tokens = TokenBatch::new(&[vec![4087, 550, 468, 258, 429, 44, 454, 305, 258]])?;
    let logits = model.forward(&tokens, Logits::All, &mut ())?;
    Ok(logits.into_data().iter::<f32>().collect())
}

fn main() -> Result<()> {
    let names = available_devices();
    ensure!(names.len() > 1, "this build has only {}", names.join(", "));
    let first = logits(&device(names[0])?)?;
    for name in &names[1..] {
        let other = logits(&device(name)?)?;
        let differences = first.iter().zip(&other).map(|(a, b)| (a - b).abs());
        let largest = differences.fold(0.0_f32, f32::max);
        println!(
            "{} against {name}: {} logits, largest difference {largest:.2e}",
            names[0],
            first.len()
        );
        ensure!(largest < 1e-3, "the backends disagree");
    }
    Ok(())
}
