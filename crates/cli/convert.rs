//! `nanoscope convert`.

use std::io::Write;

use anyhow::Result;
use nanoscope_checkpoint::{
    LoadOptions, LoadedSae, ModelFiles, SaeHooks, WeightDtype, load_sae, load_tokenizer,
    save_model, save_nanochat_sae, save_saelens, save_tokenizer,
};

use crate::args::{At, ConvertArgs, Form};
use crate::load::note_ambiguous_era;
use crate::output::{Hint, note};
use crate::progress::patiently;

pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    patiently("converting", || match args.to {
        Form::Nanoscope => convert_model(args),
        Form::SaeLens | Form::NanochatSae => convert_sae(args),
    })?;
    writeln!(anstream::stdout(), "written to {}", args.dst.display())?;
    Ok(())
}

fn convert_model(args: &ConvertArgs) -> Result<()> {
    if args.dtype.is_some() {
        let hint = "a model is written as float32, so that it can be mapped; leave --dtype out";
        return Err(Hint::new("--dtype is for SAEs", hint).into());
    }
    if args.at.is_some() {
        return Err(Hint::new("--at is for SAEs", "a model has no hook point; leave it out").into());
    }
    // Conversion computes nothing; any CPU backend will do.
    let device = nanoscope_device::by_name("auto")?;
    let files = ModelFiles::find(&args.src)?;
    let model = files.load_with(&device, LoadOptions { era: args.era, ..Default::default() })?;
    note_ambiguous_era(&model);
    save_model(&args.dst, &model.gpt, model.era)?;
    match &files.tokenizer {
        Some(dir) => save_tokenizer(&args.dst, &load_tokenizer(dir)?)?,
        None => note("the model has no tokenizer beside it; none was written"),
    }
    Ok(())
}

fn convert_sae(args: &ConvertArgs) -> Result<()> {
    if args.era.is_some() {
        return Err(Hint::new("--era is for models", "an SAE has no era; leave it out").into());
    }
    let device = nanoscope_device::by_name("auto")?;
    let mut loaded = load_sae(&args.src, &device)?;
    if let Some(At(hook, hook_out)) = args.at {
        loaded.hooks = SaeHooks::new(hook, hook_out);
    }
    let dtype = args.dtype.map_or(WeightDtype::F32, Into::into);
    let LoadedSae { sae, .. } = &loaded;
    let (hook, hook_out) = (loaded.hook()?, loaded.hook_out()?);
    match args.to {
        Form::NanochatSae => save_nanochat_sae(&args.dst, sae, hook, hook_out, dtype)?,
        _ => save_saelens(&args.dst, sae, hook, hook_out, dtype)?,
    }
    Ok(())
}
