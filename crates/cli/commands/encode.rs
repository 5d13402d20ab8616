//! `nanoscope encode`.

use std::io::Write;

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use nanoscope_checkpoint::{ActivationFile, FeatureWriter, LoadedSae, load_sae_with};
use nanoscope_sae::{Sae, SparseFeatures};
use serde_json::json;

use crate::args::{MatrixDtypeArg, StatedArgs, output_path};
use crate::file_key::split;
use crate::preflight::{Inputs, check_outputs};
use crate::terminal::display::counted;
use crate::terminal::messages::{check_json, note, report_to};
use crate::terminal::progress::{DelayedBar, with_spinner};
use crate::terminal::signals::{InterruptFlag, exit_code};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Encode activations from another tool as SAE features
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope encode --sae gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71 \\
      --activations acts.safetensors --out features.safetensors
  nanoscope encode --sae sae --activations acts.safetensors:resid_post.3 --dtype bf16 \\
      --out features.safetensors

The activations are a tensor [..., d_in] in a safetensors, .npz, .npy or .pt file; for an SAE of
hook_z, or with --flatten-heads, also [..., heads, d_head]. They are read in chunks, so the file may
be larger than memory (except for .pt). --out is a safetensors file in compressed sparse row format:
`indptr` [rows + 1], `indices` and `values` [active], `shape` [2]. In Python:
scipy.sparse.csr_matrix((values, indices, indptr), shape).

On Ctrl-C or SIGTERM nothing is written and the exit code is 130 or 143.")]
pub(crate) struct EncodeArgs {
    /// The file or folder of the SAE, in any supported format
    #[arg(long, value_name = "PATH")]
    pub(crate) sae: PathBuf,
    /// The file with the activations, and after a colon the name of the tensor if there are several
    #[arg(long, value_name = "FILE[:KEY]")]
    pub(crate) activations: String,
    /// Concatenate the heads of activations [..., heads, d_head]
    #[arg(long)]
    pub(crate) flatten_heads: bool,
    /// The safetensors file to write; `-` is stdout
    #[arg(long, short, value_name = "FILE", value_parser = output_path())]
    pub(crate) out: PathBuf,
    /// The data type of the SAE's matrices in memory; the command reports how many active features
    /// stay the same [default: the 16 bits of their file, otherwise and on GPUs f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<MatrixDtypeArg>,
    #[command(flatten)]
    pub(crate) stated: StatedArgs,
    /// The backend: auto, flex, ndarray, wgpu, cuda
    #[arg(long, short, default_value = "auto", value_name = "NAME")]
    pub(crate) device: String,
    /// Print one JSON object
    #[arg(long, short)]
    pub(crate) json: bool,
}

/// The number of pre-activations computed at a time: 64 MB of float32.
const CHUNK_VALUES: usize = 16 << 20;
/// The number of leading rows on which a rounded SAE is compared with the unrounded one.
const COMPARED_ROWS: usize = 256;

pub(crate) fn encode(args: &EncodeArgs) -> Result<ExitCode> {
    check_json(args.json, Some(&args.out))?;
    let (file, key) = split(&args.activations);
    let inputs = Inputs::default().and("--sae", [&args.sae]).and("--activations", [&file]);
    check_outputs(&[("--out", Some(&args.out))], &inputs)?;
    let device = nanoscope_device::by_name(&args.device)?;
    let rounded = args.dtype.is_some_and(|dtype| dtype != MatrixDtypeArg::F32);

    // The unrounded SAE is dropped before the rounded one is loaded, so only one is in memory.
    let full = if rounded { sample(args, &file, key, &device)? } else { None };
    let loaded = load(args, &device, args.dtype)?;
    let mut activations = open(args, &file, key, &loaded)?;
    let sae = loaded.sae;
    let rows = activations.rows();
    let interrupted = InterruptFlag::watch();

    let mut writer = FeatureWriter::create(&args.out, rows, sae.config().d_sae())?;
    let rows_at_once = (CHUNK_VALUES / sae.config().d_sae()).clamp(1, 4096);
    let bar = DelayedBar::new("encoding", rows as u64, "rows");
    let (mut active, mut compared) = (0, None);
    for from in (0..rows).step_by(rows_at_once) {
        if interrupted.is_set() {
            return Ok(interrupted_after(from, rows, bar));
        }
        let to = (from + rows_at_once).min(rows);
        let features = sae.encode_sparse(read(&mut activations, from, to, &device)?)?;
        if let (0, Some(full)) = (from, &full) {
            let same_rows = features.slice(0, full.rows().min(features.rows()));
            compared = Some(agreement(full, &same_rows));
        }
        active += features.nnz();
        writer.push(&features)?;
        bar.set(to as u64);
    }
    if interrupted.is_set() {
        return Ok(interrupted_after(rows, rows, bar));
    }
    // A FIFO may have no reader yet, and nothing polls the flag while it waits for one.
    drop(interrupted);
    writer.finish()?;
    drop(bar);
    report(args, &activations, &sae, active, compared)?;
    Ok(ExitCode::SUCCESS)
}

/// Reports an interruption. Returns the exit code.
fn interrupted_after(done: usize, rows: usize, bar: DelayedBar) -> ExitCode {
    drop(bar);
    let rows = counted(rows as u64, "row", "rows");
    note(&format!("interrupted after {done} of {rows}; nothing was written"));
    exit_code()
}

fn load(args: &EncodeArgs, device: &Device, dtype: Option<MatrixDtypeArg>) -> Result<LoadedSae> {
    let options = args.stated.options(dtype.map(Into::into));
    let load = || load_sae_with(args.sae.as_path(), device, &options);
    Ok(with_spinner("loading the SAE", load)?)
}

/// Opens the activations. The files of an SAE of `hook_z` say that it reads concatenated heads.
fn open(
    args: &EncodeArgs,
    file: &Path,
    key: Option<&str>,
    loaded: &LoadedSae,
) -> Result<ActivationFile> {
    let d_in = loaded.sae.config().d_in();
    let reads_heads = loaded.hooks.hook.as_deref().is_some_and(|hook| hook.ends_with("hook_z"));
    Ok(if args.flatten_heads || reads_heads {
        ActivationFile::open_flattening_heads(file, key, d_in)?
    } else {
        ActivationFile::open(file, key, d_in)?
    })
}

/// Encodes the first rows with the unrounded SAE.
fn sample(
    args: &EncodeArgs,
    file: &Path,
    key: Option<&str>,
    device: &Device,
) -> Result<Option<SparseFeatures>> {
    let loaded = load(args, device, None)?;
    let mut activations = open(args, file, key, &loaded)?;
    let sae = loaded.sae;
    let rows =
        (CHUNK_VALUES / sae.config().d_sae()).clamp(1, COMPARED_ROWS).min(activations.rows());
    if rows == 0 {
        return Ok(None);
    }
    Ok(Some(sae.encode_sparse(read(&mut activations, 0, rows, device)?)?))
}

fn read(
    activations: &mut ActivationFile,
    from: usize,
    to: usize,
    device: &Device,
) -> Result<Tensor<2>> {
    let values = activations.read(from, to)?;
    let d_in = values.len() / (to - from);
    Ok(Tensor::from_data(TensorData::new(values, [to - from, d_in]), device))
}

/// Counts the features that are active in both, and those that are active in either.
fn agreement(a: &SparseFeatures, b: &SparseFeatures) -> (usize, usize) {
    let rows = a.rows().min(b.rows());
    let both = |row| a.row(row).filter(|&(index, _)| b.get(row, index) != 0.0).count();
    let both: usize = (0..rows).map(both).sum();
    let active = |f: &SparseFeatures| (0..rows).map(|row| f.row(row).count()).sum::<usize>();
    (both, active(a) + active(b) - both)
}

fn report(
    args: &EncodeArgs,
    activations: &ActivationFile,
    sae: &Sae,
    active: usize,
    compared: Option<(usize, usize)>,
) -> Result<()> {
    let rows = activations.rows();
    let l0 = active as f64 / rows.max(1) as f64;
    let share = compared.map(|(both, either)| both as f64 / either.max(1) as f64);
    let mut out = report_to(Some(&args.out));
    if args.json {
        let line = json!({
            "rows": rows,
            "d_sae": sae.config().d_sae(),
            "active": active,
            "l0": l0,
            "agreement": share,
            "out": args.out,
        });
        writeln!(out, "{line}")?;
        return Ok(());
    }
    writeln!(
        out,
        "{} {:?}: {}, {l0:.1} of {} active on average",
        activations.key(),
        activations.shape(),
        counted(rows as u64, "row", "rows"),
        counted(sae.config().d_sae() as u64, "feature", "features"),
    )?;
    if let (Some((both, either)), Some(share)) = (compared, share) {
        writeln!(
            out,
            "same as unrounded: {:.2} % of active features ({both} of {either}, in the first rows)",
            share * 100.0
        )?;
    }
    writeln!(out, "written to {}", args.out.display())?;
    Ok(())
}
