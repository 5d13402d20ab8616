//! `nanoscope hooks`.

use std::io::Write;

use anyhow::Result;
use serde_json::json;

use crate::args::ModelArgs;
use crate::load::open;
use crate::terminal::display::counted;
use clap::Args;

/// List the hook points of the model, with their shapes and SAEs
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  nanoscope hooks --model ~/.cache/nanochat --sae sae_outputs")]
pub(crate) struct HooksArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    /// Print one JSON object per hook point
    #[arg(long, short)]
    pub(crate) json: bool,
}

pub(crate) fn hooks(args: &HooksArgs) -> Result<()> {
    let scope = open(&args.model)?;
    let config = scope.model().gpt().config();
    let mut out = anstream::stdout().lock();
    for hook in config.hook_points() {
        let shape = config.hook_shape(hook).to_string();
        let sae = scope.model().saes().get(&hook).map(nanoscope_sae::Sae::config);
        let labels = scope.labels().get(&hook).map_or(0, nanoscope_checkpoint::Labels::len);
        if args.json {
            let sae = sae.map(|config| {
                json!({
                    "architecture": config.architecture().name(),
                    "d_in": config.d_in(),
                    "d_sae": config.d_sae(),
                    "labels": labels,
                })
            });
            let line = json!({
                "hook": hook.to_string(),
                "aliases": hook.aliases(),
                "shape": shape,
                "sae": sae,
            });
            writeln!(out, "{line}")?;
        } else {
            let sae = sae.map_or(String::new(), |config| {
                let name = config.architecture().name();
                let features = counted(config.d_sae() as u64, "feature", "features");
                format!("SAE: {name}, {features}, {labels} labelled")
            });
            let line = format!("{:<32} {shape:<24} {sae}", hook.to_string());
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}
