//! `nanoscope convert`.

use std::io::Write;

use anyhow::Result;
use nanoscope_checkpoint::{
    LoadOptions, LoadedSae, ModelFiles, SaePath, WeightDtype, check_output_folder, check_writable,
    is_saved_model, is_saved_sae, is_saved_saelens, load_sae_with, load_tokenizer,
    save_model_with_tokenizer, save_nanochat_sae_with_metadata, save_sae,
    save_saelens_with_metadata,
};

use crate::args::{DtypeArg, HooksArg, StatedArgs, output_path};
use crate::load::note_ambiguous_era;
use crate::preflight::output_folder;
use crate::terminal::messages::{Hint, note, report_to};
use crate::terminal::progress::with_spinner;
use clap::{Args, ValueEnum};
use nanoscope_transformer::Era;
use std::path::{Path, PathBuf};

/// Convert a model or an SAE to another format
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope convert ~/.cache/nanochat/base_checkpoints/d20 d20-nanoscope --to nanoscope
      a folder whose weights are mapped into memory instead of read, in the file's 32 or 16 bits
  nanoscope convert dictionary_learning/trainer_0 sae --to saelens
      cfg.json and sae_weights.safetensors, for SAE.load_from_disk
  nanoscope convert sae_outputs/layer_3/best_model.pt small.pt --to nanochat-sae --dtype f16

An SAE that the other tool would not read with the same numbers is refused, with the reason and a
form that can hold it. What the source's files say about the SAE's origin (model, text, training) is
kept.

A folder must be new, empty, or one that `convert` wrote in the same format. The files appear when
all of them are complete; on Ctrl-C or SIGTERM nothing changes, and the exit code is 130 or 143.")]
pub(crate) struct ConvertArgs {
    /// The file or folder of a model or an SAE, in any supported format
    pub(crate) src: PathBuf,
    /// The folder (nanoscope, nanoscope-sae, saelens) or file (nanochat-sae) to write
    #[arg(value_parser = output_path())]
    pub(crate) dst: PathBuf,
    /// The format to write
    #[arg(long, value_enum)]
    pub(crate) to: TargetFormat,
    /// The data type of the written matrices [default: the 16 bits of a model's file, otherwise f32]
    #[arg(long, value_enum)]
    pub(crate) dtype: Option<DtypeArg>,
    /// The hook point of the SAE, if its files do not name it; HOOK:HOOK for a transcoder
    #[arg(long, value_name = "HOOK")]
    pub(crate) hook: Option<HooksArg>,
    #[command(flatten)]
    pub(crate) stated: StatedArgs,
    /// The nanochat era of a checkpoint that fits several
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TargetFormat {
    /// A model as config.json and model.safetensors
    Nanoscope,
    /// An SAE as cfg.json and sae_weights.safetensors, which SAELens 6 reads
    #[value(name = "saelens")]
    SaeLens,
    /// An SAE as a .pt file that nanochat-SAE reads
    NanochatSae,
    /// An SAE of any kind as nanoscope_sae.json and nanoscope_sae.safetensors, which only nanoscope
    /// reads
    NanoscopeSae,
}

pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    with_spinner("converting", || match args.to {
        TargetFormat::Nanoscope => convert_model(args),
        TargetFormat::SaeLens | TargetFormat::NanochatSae | TargetFormat::NanoscopeSae => {
            convert_sae(args)
        }
    })?;
    writeln!(report_to(Some(&args.dst)), "written to {}", args.dst.display())?;
    Ok(())
}

/// Returns whether the folder of a file exists; `convert` creates it otherwise.
fn has_folder(path: &Path) -> bool {
    path.parent().is_some_and(|dir| dir.as_os_str().is_empty() || dir.is_dir())
}

fn convert_model(args: &ConvertArgs) -> Result<()> {
    if args.hook.is_some() {
        return Err(Hint::new("--hook is for SAEs", "a model has no hook point; omit it").into());
    }
    if args.stated.format.is_some() || args.stated.activation_scale.is_some() {
        let hint = "--to states the format to write; omit the flag";
        return Err(Hint::new("--format and --activation-scale are for SAEs", hint).into());
    }
    let dst = output_folder(&args.dst)?;
    check_output_folder(&dst, is_saved_model)?;
    let files = ModelFiles::find(&args.src)?;
    let device = nanoscope_device::by_name(device_name())?;
    let dtype = args.dtype.map(|dtype| WeightDtype::from(dtype).into());
    let options = LoadOptions { era: args.era, dtype, ..Default::default() };
    let model = files.load_with(&device, options)?;
    note_ambiguous_era(model.kind, &model.also_fits);
    let tokenizer = files.tokenizer.as_deref().map(load_tokenizer).transpose()?;
    save_model_with_tokenizer(&dst, &model.gpt, model.kind, tokenizer.as_ref())?;
    if tokenizer.is_none() {
        note("the model has no tokenizer, so none was written");
    }
    Ok(())
}

/// The name of a device on which matrices stay in the type of their file: a CPU's, if there is one.
fn device_name() -> &'static str {
    let available = nanoscope_device::available();
    ["flex", "ndarray"].into_iter().find(|name| available.contains(name)).unwrap_or("auto")
}

fn convert_sae(args: &ConvertArgs) -> Result<()> {
    if args.era.is_some() {
        return Err(Hint::new("--era is for models", "an SAE has no era; omit it").into());
    }
    let folder = |is_ours: fn(&Path) -> bool| -> Result<PathBuf> {
        let dst = output_folder(&args.dst)?;
        check_output_folder(&dst, is_ours)?;
        Ok(dst)
    };
    let dst = &match args.to {
        TargetFormat::NanochatSae => {
            if has_folder(&args.dst) {
                check_writable(&args.dst)?;
            }
            args.dst.clone()
        }
        TargetFormat::NanoscopeSae => folder(is_saved_sae)?,
        _ => folder(is_saved_saelens)?,
    };
    let device = nanoscope_device::by_name("auto")?;
    let at = args.hook.map(|HooksArg(hook, hook_out)| (hook, hook_out));
    let src = SaePath { path: args.src.clone(), at };
    let loaded = load_sae_with(src, &device, &args.stated.options(None))?;
    let dtype = args.dtype.map_or(WeightDtype::F32, Into::into);
    let LoadedSae { sae, .. } = &loaded;
    let (hook, hook_out) = (loaded.hook()?, loaded.hook_out()?);
    let mut metadata = loaded.metadata.clone();
    metadata.insert("nanoscope_version".to_owned(), env!("CARGO_PKG_VERSION").into());
    metadata.entry("converted_from").or_insert_with(|| loaded.format.into());
    match args.to {
        TargetFormat::NanochatSae => {
            save_nanochat_sae_with_metadata(dst, sae, hook, hook_out, dtype, &metadata)?;
        }
        TargetFormat::NanoscopeSae => save_sae(dst, sae, hook, hook_out, dtype, &metadata)?,
        _ => save_saelens_with_metadata(dst, sae, hook, hook_out, dtype, &metadata)?,
    }
    Ok(())
}
