//! `nanoscope inspect`.

use std::io::Write;

use anstyle::Style;
use anyhow::Result;
use indicatif::HumanBytes;
use nanoscope_checkpoint::{Fit, InspectOptions, Inspection, SaeFormatName, SaePath, fits};

use crate::args::sae_path;
use crate::terminal::display::{counted, sanitized};
use crate::terminal::progress::with_spinner;
use clap::Args;
use nanoscope_transformer::Era;
use std::path::PathBuf;

/// Describe a file: its format, configuration, tensors and memory use
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  nanoscope inspect sae_outputs/layer_3/best_model.pt\n  \
                       nanoscope inspect models--google--gemma-2-2b models--google--gemma-scope-2b-pt-res")]
pub(crate) struct InspectArgs {
    /// A file, or a folder with a model or SAEs
    pub(crate) path: PathBuf,
    /// SAEs to compare with the model: whether they fit, and what would be tracked
    #[arg(value_name = "[HOOK=]SAE", value_parser = sae_path)]
    pub(crate) saes: Vec<SaePath>,
    /// The nanochat era of a checkpoint that fits several
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
    /// The format of an SAE file that nothing identifies, or that two formats claim: goodfire,
    /// dictionary-learning, … (any of docs/formats.md) [default: by evidence only]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<SaeFormatName>,
    /// Print one JSON object per file
    #[arg(long, short)]
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
    if !args.saes.is_empty() {
        for fit in fits(&args.path, args.saes.iter().cloned(), &options)? {
            if args.json {
                writeln!(out, "{}", serde_json::to_string(&fit)?)?;
            } else {
                print_fit(&mut out, &fit)?;
            }
        }
    }
    Ok(())
}

fn print_fit(out: &mut impl Write, fit: &Fit) -> Result<()> {
    const BOLD: Style = Style::new().bold();

    let Fit { path, hook, hook_out, centred, problems, warnings } = fit;
    writeln!(out, "{BOLD}{}{BOLD:#}", path.display())?;
    for problem in problems {
        writeln!(out, "  does not fit the model: {}", sanitized(problem))?;
    }
    if let (Some(hook), true) = (hook, problems.is_empty()) {
        let writes = hook_out.map_or(String::new(), |hook| format!(", written to {hook}"));
        writeln!(out, "  fits the model; tracked at {hook}{writes}")?;
        if *centred {
            writeln!(out, "  the residual stream is centred for it (center_writing_weights)")?;
        }
    }
    for warning in warnings {
        writeln!(out, "  warning: {}", sanitized(warning))?;
    }
    Ok(())
}

fn print(out: &mut impl Write, inspection: &Inspection) -> Result<()> {
    const BOLD: Style = Style::new().bold();

    let Inspection { path, what, format, config, facts, tensors, memory_bytes, .. } = inspection;
    writeln!(out, "{BOLD}{}{BOLD:#}", path.display())?;
    writeln!(out, "  {what}, {format}, {} in memory", HumanBytes(*memory_bytes))?;
    if !inspection.memory_by_dtype.is_empty() {
        let of = |(dtype, bytes): (&String, &u64)| format!("{} as {dtype}", HumanBytes(*bytes));
        let sizes: Vec<String> = inspection.memory_by_dtype.iter().map(of).collect();
        writeln!(out, "  memory by --dtype: {}", sizes.join(", "))?;
    }
    for (name, value) in facts {
        writeln!(out, "  {name}: {value}")?;
    }
    if let Some(serde_json::Value::Object(config)) = config {
        let entries: Vec<String> =
            config.iter().map(|(key, value)| sanitized(&format!("{key} {value}"))).collect();
        writeln!(out, "  config: {}", entries.join(", "))?;
    }
    writeln!(out, "  {}:", counted(tensors.len() as u64, "tensor", "tensors"))?;
    for tensor in tensors {
        let name = sanitized(&tensor.name);
        writeln!(out, "    {name:<48} {:<5} {:?}", tensor.dtype, tensor.shape)?;
    }
    Ok(())
}
