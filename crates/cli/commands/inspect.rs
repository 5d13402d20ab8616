//! `nanoscope inspect`.

use std::io::Write;

use anstyle::Style;
use anyhow::Result;
use indicatif::HumanBytes;
use nanoscope_checkpoint::{InspectOptions, Inspection, SaeFormatName};

use crate::terminal::display::sanitized;
use crate::terminal::progress::with_spinner;
use clap::Args;
use nanoscope_transformer::Era;
use std::path::PathBuf;

/// Describe a file: its format, configuration, tensors and memory use
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nanoscope inspect sae_outputs/layer_3/best_model.pt")]
pub(crate) struct InspectArgs {
    /// A file, or a folder with a model or SAEs
    pub(crate) path: PathBuf,
    /// The nanochat era of a checkpoint that fits several
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
    /// The format of an SAE file that nothing identifies, or that two formats claim: goodfire,
    /// dictionary-learning, … (any of docs/formats.md) [default: by evidence only]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<SaeFormatName>,
    /// Print one JSON object per file
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn inspect(args: &InspectArgs) -> Result<()> {
    let options = InspectOptions { era: args.era, format: args.format };
    let inspect = || nanoscope_checkpoint::inspect_with(&args.path, &options);
    let inspections = with_spinner("reading the weights", inspect)?;
    let mut out = anstream::stdout().lock();
    for inspection in inspections {
        if args.json {
            writeln!(out, "{}", serde_json::to_string(&inspection)?)?;
        } else {
            print(&mut out, &inspection)?;
        }
    }
    Ok(())
}

fn print(out: &mut impl Write, inspection: &Inspection) -> Result<()> {
    const BOLD: Style = Style::new().bold();

    let Inspection { path, what, format, config, facts, tensors, memory_bytes, .. } = inspection;
    writeln!(out, "{BOLD}{}{BOLD:#}", path.display())?;
    writeln!(out, "  {what}, {format}, {} in memory", HumanBytes(*memory_bytes))?;
    for (name, value) in facts {
        writeln!(out, "  {name}: {value}")?;
    }
    if let Some(serde_json::Value::Object(config)) = config {
        let entries: Vec<String> =
            config.iter().map(|(key, value)| sanitized(&format!("{key} {value}"))).collect();
        writeln!(out, "  config: {}", entries.join(", "))?;
    }
    writeln!(out, "  {} tensors:", tensors.len())?;
    for tensor in tensors {
        let name = sanitized(&tensor.name);
        writeln!(out, "    {name:<48} {:<5} {:?}", tensor.dtype, tensor.shape)?;
    }
    Ok(())
}
