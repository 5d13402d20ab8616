//! The top-level command-line parser.

use clap::{Parser, Subcommand};

use crate::chat::ChatArgs;
use crate::commands::attribute::AttributeArgs;
use crate::commands::collect::CollectArgs;
use crate::commands::completions::CompletionsArgs;
use crate::commands::convert::ConvertArgs;
use crate::commands::dashboard::DashboardArgs;
use crate::commands::encode::EncodeArgs;
use crate::commands::eval::EvalArgs;
use crate::commands::features::FeaturesArgs;
use crate::commands::generate::GenerateArgs;
use crate::commands::hooks::HooksArgs;
use crate::commands::index::IndexArgs;
use crate::commands::inspect::InspectArgs;
use crate::commands::label::LabelArgs;
use crate::commands::man::ManArgs;
use crate::commands::run::RunArgs;
use crate::commands::serve::ServeArgs;
use crate::commands::site::SiteArgs;
use crate::commands::sweep::SweepArgs;
use crate::commands::train::TrainArgs;

/// A microscope for small language models: see which SAE features fire on each token, and steer the
/// model with them
#[derive(Debug, Parser)]
#[command(name = "nanoscope", version, arg_required_else_help = false)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Generate(GenerateArgs),
    Chat(ChatArgs),
    Run(RunArgs),
    Features(FeaturesArgs),
    Attribute(AttributeArgs),
    Sweep(SweepArgs),
    Dashboard(DashboardArgs),
    Index(IndexArgs),
    Label(LabelArgs),
    Hooks(HooksArgs),
    Inspect(InspectArgs),
    Convert(ConvertArgs),
    Encode(EncodeArgs),
    Collect(CollectArgs),
    Train(TrainArgs),
    Eval(EvalArgs),
    Serve(ServeArgs),
    Site(SiteArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}
