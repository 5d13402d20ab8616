//! Times of a model and its SAEs, asked for line by line, beside another program's.
//!
//! `benches/python/beside_nanochat.py` starts it as `cargo bench --bench beside_nanochat -- MODEL [DTYPE]`, lets
//! nanochat's own engine do the same work in turn, and prints the ratios. A line of standard input names the
//! work, and the answer is a line with its seconds:
//!
//! - `decode ROWS TOKENS`, `track ROWS TOKENS`: greedy generations that share their passes, without and with an
//!   SAE tracked (eight features per dimension, of which 32 fire; the demo's own if the model is the demo)
//! - `prefill TOKENS`: a prompt up to the logits of its last token
//! - `first TOKENS`: a generation up to the logits of its first token, whose prompt is run in pieces
//! - `forward ROWS TOKENS`: the logits of all positions
//! - `encode ROWS D_SAE`: the 32 strongest features of one SAE as wide as the model, without a decoder
//! - `load`: the model, from its file
//! - `stream BYTES`: reading memory, larger than the caches, with all threads
//!
//! `weights` is answered with the bytes of the matrices that a generated token is multiplied by.

use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use burn::tensor::{DType, Tensor, TensorData};
use nanoscope_checkpoint::{LoadOptions, MatrixDtype, ModelFiles, load_sae};
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_runtime::{Batch, InterpretableModel, Plan, Sampling, StepOutcome};
use nanoscope_sae::Sae;
use nanoscope_testing::{noise, noisy_sae};
use nanoscope_transformer::{Logits, TokenBatch};
use rayon::prelude::*;

/// The program's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    nanoscope_cli::keep_freed_memory();
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let path: PathBuf = args.next().context("MODEL [DTYPE]")?.into();
    let name = args.next().unwrap_or_else(|| "f32".to_owned());
    let (dtype, sae_dtype) = dtype_of(&name)?;
    let device = nanoscope_device::by_name("flex")?;
    let files = ModelFiles::find(&path)?;
    let load = || -> Result<_> {
        Ok(files
            .load_with(&device, LoadOptions { dtype: Some(dtype), ..LoadOptions::default() })?
            .gpt)
    };
    let gpt = load()?;
    let shape = gpt.config().shape;
    let own = load_sae(&path.join("saes/layer_2"), &device).ok();
    let (hook, sae) = match own.and_then(|sae| Some((sae.hook().ok()?, sae.sae))) {
        Some(own) => own,
        None => {
            let hook = HookPoint::ResidPost(shape.n_layer / 2);
            (
                hook,
                noisy_sae(shape.n_embd, 8 * shape.n_embd, 32, &device).with_matrices_as(sae_dtype),
            )
        }
    };
    let model = InterpretableModel::new(gpt).with_sae(hook, sae)?;
    let mut wide: Option<Sae> = None;
    let mut memory = Vec::new();

    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let work = words.next().context("an empty line")?;
        let numbers = words.map(str::parse).collect::<Result<Vec<usize>, _>>()?;
        let seconds = match (work, numbers.as_slice()) {
            ("decode", &[rows, tokens]) => generate(&model, &Plan::new(), rows, tokens)?,
            ("track", &[rows, tokens]) => generate(&model, &Plan::new().track(hook), rows, tokens)?,
            ("prefill", &[tokens]) => prefill(&model, tokens)?,
            ("first", &[tokens]) => first(&model, tokens)?,
            ("forward", &[rows, tokens]) => forward(&model, rows, tokens)?,
            ("encode", &[rows, d_sae]) => {
                if wide.as_ref().is_none_or(|sae| sae.config().d_sae() != d_sae) {
                    let sae = noisy_sae(shape.n_embd, d_sae, 32, &device);
                    wide = Some(sae.with_matrices_as(sae_dtype));
                }
                encode(wide.as_ref().context("it was made")?, rows)?
            }
            ("stream", &[bytes]) => stream(&mut memory, bytes),
            ("weights", []) => weights(&model, dtype) as f64,
            ("load", []) => {
                let since = Instant::now();
                drop(load()?);
                since.elapsed().as_secs_f64()
            }
            _ => bail!("unknown work `{line}`"),
        };
        println!("{seconds}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// The types of the model's matrices and of an SAE's.
fn dtype_of(name: &str) -> Result<(MatrixDtype, DType)> {
    use nanoscope_checkpoint::WeightDtype::{BF16, F16, F32};
    Ok(match name {
        "f32" => (MatrixDtype::Float(F32), DType::F32),
        "bf16" => (MatrixDtype::Float(BF16), DType::BF16),
        "f16" => (MatrixDtype::Float(F16), DType::F16),
        "int8" => (MatrixDtype::Int8, DType::I8),
        _ => bail!("unknown type `{name}`: f32, bf16, f16 or int8"),
    })
}

/// Times `tokens` steps of `rows` greedy generations after a prompt of eight tokens.
fn generate(model: &InterpretableModel, plan: &Plan, rows: usize, tokens: usize) -> Result<f64> {
    let sampling = Sampling { temperature: 0.0, max_tokens: tokens + 1, ..Sampling::default() };
    let mut batch = Batch::new(model, 0);
    let mut all = (0..rows)
        .map(|_| batch.begin(&prompt(8), plan, &sampling))
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows: Vec<_> = all.iter_mut().collect();
    while batch.step(&mut rows)?.contains(&StepOutcome::Prompt) {}
    let since = Instant::now();
    for _ in 0..tokens {
        let outcomes = batch.step(&mut rows)?;
        if !outcomes.iter().all(|outcome| matches!(outcome, StepOutcome::Step(_))) {
            bail!("a generation ended early");
        }
    }
    Ok(since.elapsed().as_secs_f64())
}

fn prefill(model: &InterpretableModel, tokens: usize) -> Result<f64> {
    let batch = TokenBatch::new(&[prompt(tokens)])?;
    let since = Instant::now();
    let mut cache = model.gpt().cache(1, model.context_len());
    to_host(model.gpt().forward_cached(&batch, &mut cache, Logits::Last, &mut ())?);
    Ok(since.elapsed().as_secs_f64())
}

/// Times the prompt of a generation.
fn first(model: &InterpretableModel, tokens: usize) -> Result<f64> {
    let since = Instant::now();
    let mut batch = Batch::new(model, 0);
    let mut all = [batch.begin(&prompt(tokens), &Plan::new(), &Sampling::default())?];
    let mut rows: Vec<_> = all.iter_mut().collect();
    while batch.step(&mut rows)?.contains(&StepOutcome::Prompt) {}
    Ok(since.elapsed().as_secs_f64())
}

fn forward(model: &InterpretableModel, rows: usize, tokens: usize) -> Result<f64> {
    let batch = TokenBatch::new(&vec![prompt(tokens); rows])?;
    let since = Instant::now();
    to_host(model.gpt().forward(&batch, Logits::All, &mut ())?);
    Ok(since.elapsed().as_secs_f64())
}

fn encode(sae: &Sae, rows: usize) -> Result<f64> {
    let width = sae.config().d_in();
    let x = TensorData::new(noise(3, rows * width), [rows, width]);
    let x = Tensor::<2>::from_data(x, &sae.device());
    let since = Instant::now();
    drop(sae.encode_sparse(x)?);
    Ok(since.elapsed().as_secs_f64())
}

/// Times the sum of `bytes` of memory, which is made at the first call.
fn stream(memory: &mut Vec<u64>, bytes: usize) -> f64 {
    memory.resize(bytes / size_of::<u64>(), 1);
    let since = Instant::now();
    let part = memory.len().div_ceil(rayon::current_num_threads());
    let sum: u64 = memory.par_chunks(part).map(|part| part.iter().sum::<u64>()).sum();
    black_box(sum);
    since.elapsed().as_secs_f64()
}

/// The bytes of all matrices but the tables of embeddings, of which a token reads one row each.
fn weights(model: &InterpretableModel, dtype: MatrixDtype) -> usize {
    let params = model.gpt().config().params();
    let read = params.iter().filter(|spec| spec.is_matrix() && !spec.is_table());
    read.map(|spec| spec.shape.iter().product::<usize>() * dtype.bytes()).sum()
}

/// The same tokens as in Python.
fn prompt(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|at| 1 + at * 7 % 1000).collect()
}
