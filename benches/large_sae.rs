//! Time and memory to load a large SAE: memory-mapped, copied, and in 16 bits.
//!
//! `cargo bench --bench large_sae` makes an SAE of `d_in` 2304 and `d_sae` 65,536 (1.2 GB, noise) in
//! a temporary folder and loads it in one process per way, so that each has its own peak. It needs 2.5 GB
//! of disk and prints ratios, not times.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use burn::tensor::{DType, Device, Distribution, Tensor, TensorData};
use nanoscope_checkpoint::{WeightDtype, load_sae, load_sae_as, save_saelens};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};

const D_IN: usize = 2304;
const D_SAE: usize = 65_536;
/// Rows on which the unrounded and the rounded SAE are compared.
const ROWS: usize = 64;

fn main() {
    let device = nanoscope_device::by_name("flex").expect("flex is a default feature");
    let args: Vec<String> = std::env::args().collect();
    // A child process measures one way of loading.
    if let [_, way, path] = args.as_slice()
        && let Some(way) = WAYS.iter().find(|(name, _)| name == way)
    {
        measure(way.1, Path::new(path), &device);
        return;
    }
    let dir = tempfile::tempdir().expect("there is a temporary folder");
    let path = dir.path().to_owned();
    make(&path, &device);
    let size = fs::metadata(path.join("sae_weights.safetensors")).expect("it was written").len();
    println!("W_enc [{D_IN}, {D_SAE}], W_dec [{D_SAE}, {D_IN}], float32: {:.2} GB", gb(size));
    let [copied, mapped, half] = WAYS.map(|(name, _)| child(name, &path));
    println!(
        "{:<26} {:>10} {:>22} {:>20}",
        "", "load", "peak / size of file", "used / size of file"
    );
    for ((name, _), found) in WAYS.iter().zip([&copied, &mapped, &half]) {
        let of_size = |bytes: u64| bytes as f64 / size as f64;
        println!(
            "{name:<26} {:>9.3}x {:>22.3} {:>20.3}",
            found.seconds / copied.seconds,
            of_size(found.peak),
            of_size(found.held),
        );
    }
    println!("(load: in times of read and copy; used: after every weight was read once)");
    agreement(&path, &device);
}

const WAYS: [(&str, Way); 3] =
    [("read and copy", Way::Copy), ("as nanoscope loads it", Way::Map), ("as bf16", Way::Half)];

#[derive(Clone, Copy)]
enum Way {
    Copy,
    Map,
    Half,
}

struct Found {
    seconds: f64,
    peak: u64,
    held: u64,
}

/// Makes an SAE of noise, of whose features a few hundred fire.
fn make(path: &Path, device: &Device) {
    let uniform =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Uniform(-0.03, 0.03), device);
    let config = SaeConfig::new(D_IN, D_SAE, Architecture::JumpRelu).expect("the sizes are good");
    let weights = SaeWeights {
        threshold: Some(Tensor::full([D_SAE], 2.2, device)),
        ..SaeWeights::new(
            uniform([D_IN, D_SAE]),
            Tensor::zeros([D_SAE], device),
            uniform([D_SAE, D_IN]),
            Tensor::zeros([D_IN], device),
        )
    };
    let sae = Sae::new(config, weights).expect("the shapes are good");
    save_saelens(path, &sae, HookPoint::ResidPost(12), None, WeightDtype::F32).expect("it fits");
}

fn child(way: &str, path: &PathBuf) -> Found {
    let program = std::env::current_exe().expect("a program knows where it is");
    let output = Command::new(program).arg(way).arg(path).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("numbers are text");
    let numbers: Vec<f64> = text.split_whitespace().map(|n| n.parse().expect("a number")).collect();
    Found { seconds: numbers[0], peak: numbers[1] as u64, held: numbers[2] as u64 }
}

/// Times loading from the page cache, then loads once more and runs the SAE.
fn measure(way: Way, path: &Path, device: &Device) {
    let before = status("VmRSS:");
    let mut seconds = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        let loaded = load(way, path, device);
        seconds = seconds.min(start.elapsed().as_secs_f64());
        drop(loaded);
    }
    let sae = load(way, path, device);
    let x = Tensor::<2>::ones([1, D_IN], device);
    // Mapped weights are paged in as they are read.
    let read = sae.encode(x.clone()).expect("activations and weights are finite").sum()
        + sae.decode(Tensor::ones([1, D_SAE], device), x).sum();
    assert!(read.into_scalar::<f32>().is_finite());
    let held = status("VmRSS:").saturating_sub(before);
    let peak = status("VmHWM:").saturating_sub(before);
    drop(sae);
    println!("{seconds} {peak} {held}");
}

fn load(way: Way, path: &Path, device: &Device) -> Sae {
    let dtype = if matches!(way, Way::Half) { WeightDtype::BF16 } else { WeightDtype::F32 };
    let sae = load_sae_as(path, device, dtype).expect("it loads").sae;
    if !matches!(way, Way::Copy) {
        return sae;
    }
    let copy = |matrix: Tensor<2>| {
        let shape = matrix.dims();
        let values: Vec<f32> = matrix.into_data().iter::<f32>().collect();
        Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
    };
    let (config, weights) = (sae.config().clone(), sae.weights());
    drop(sae);
    let weights = SaeWeights { w_enc: copy(weights.w_enc), w_dec: copy(weights.w_dec), ..weights };
    Sae::new(config, weights).expect("the shapes are the same")
}

/// A size in this process's status, in bytes; Linux only.
fn status(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("Linux says it there");
    let line = text.lines().find(|line| line.starts_with(key)).expect("the key is known");
    let kilobytes = line.split_whitespace().nth(1).expect("a number follows");
    kilobytes.parse::<u64>().expect("it is a number") << 10
}

fn agreement(path: &Path, device: &Device) {
    let x = Tensor::<2>::random([ROWS, D_IN], Distribution::Normal(0.0, 1.0), device);
    let full = load_sae(path, device)
        .expect("it loads")
        .sae
        .encode_sparse(x.clone())
        .expect("activations and weights are finite");
    let half = load_sae_as(path, device, WeightDtype::BF16)
        .expect("it loads")
        .sae
        .encode_sparse(x)
        .expect("activations and weights are finite");
    let both: usize = (0..ROWS)
        .map(|row| full.row(row).filter(|&(index, _)| half.get(row, index) != 0.0).count())
        .sum();
    let either = full.nnz() + half.nnz() - both;
    println!(
        "of the features active in either, {:.2} % are active in both ({both} of {either}, L0 {:.0})",
        100.0 * both as f64 / either as f64,
        full.nnz() as f64 / ROWS as f64,
    );
}

fn gb(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}
