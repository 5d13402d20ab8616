//! `nanoscope convert`.

use std::io::Write;

use anyhow::Result;
use nanoscope_checkpoint::{
    ModelFiles, WeightDtype, load_sae, load_tokenizer, save_model, save_nanochat_sae,
    save_tokenizer,
};

use crate::args::{ConvertArgs, Form, Number};
use crate::load::note_ambiguous_era;
use crate::output::{Hint, note};

pub(crate) fn convert(args: &ConvertArgs) -> Result<()> {
    // Conversion computes nothing; any CPU backend will do.
    let device = nanoscope_device::by_name("auto")?;
    match args.to {
        Form::Nanoscope if args.dtype.is_some() => {
            let hint = "a model is written as float32, so that it can be mapped; leave --dtype out";
            return Err(Hint::new("--dtype is for SAEs", hint).into());
        }
        Form::NanochatSae if args.era.is_some() => {
            return Err(Hint::new("--era is for models", "an SAE has no era; leave it out").into());
        }
        Form::Nanoscope => {
            let files = ModelFiles::find(&args.src)?;
            let model = files.load(args.era, &device, &mut |_, _| {})?;
            note_ambiguous_era(&model);
            save_model(&args.dst, &model.gpt, model.era)?;
            match &files.tokenizer {
                Some(dir) => save_tokenizer(&args.dst, &load_tokenizer(dir)?)?,
                None => note("the model has no tokenizer beside it; none was written"),
            }
        }
        Form::NanochatSae => {
            let loaded = load_sae(&args.src, &device)?;
            let dtype = match args.dtype {
                None | Some(Number::F32) => WeightDtype::F32,
                Some(Number::F16) => WeightDtype::F16,
                Some(Number::Bf16) => WeightDtype::BF16,
            };
            save_nanochat_sae(&args.dst, &loaded.sae, loaded.hook()?, dtype)?;
        }
    }
    writeln!(anstream::stdout(), "written to {}", args.dst.display())?;
    Ok(())
}
