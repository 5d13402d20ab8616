use clap::Args;

use crate::args::{ModelArgs, PlanArgs, SamplingArgs, prompt};

/// Write with the model: features of each token as it appears, steering, two texts side by side
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope chat
      stories with the built-in model; type how one begins
  nanoscope chat --prompt 'Once upon a time, there was a' --steer blocks.3.hook_resid_post:1909:add:27 --compare
      the text as it is and as steered, side by side
  nanoscope chat --model ~/.cache/nanochat/chatsft_checkpoints/d20 --sae sae_outputs --track all
      a conversation with your own model
  printf 'Once upon a time\\n/save run.json\\n' | nanoscope chat
      without a terminal: lines from standard input, texts to standard output

/help lists the commands, the arrow keys go from token to token, Esc stops a text, /quit leaves.
A model in nanochat's mid, chatsft or chatrl checkpoints is talked with; any other goes on with a
text. /mode changes that.")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,

    /// Begin with this
    #[arg(long, value_name = "TEXT", value_parser = prompt)]
    pub(crate) prompt: Option<String>,
    /// Talk with the model, whatever it was trained on
    #[arg(long, conflicts_with = "story")]
    pub(crate) chat: bool,
    /// Let the model go on with a text, whatever it was trained on
    #[arg(long)]
    pub(crate) story: bool,
    /// Show the text without steering beside the steered one
    #[arg(long)]
    pub(crate) compare: bool,
    /// Tokens to generate at most, for each text
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub(crate) max_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}
