//! The flags of `nanoscope chat`.

use clap::Args;

use crate::args::{ModelArgs, PlanArgs, SamplingArgs, prompt};
use crate::prompt::SpecialTokensArg;

/// Write or chat with the model interactively: features of each token, steering, comparisons
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope chat
      stories by the built-in model; type the beginning of one
  nanoscope chat --prompt 'Once upon a time, there was a' --steer 1909:add:30% --compare
      the unsteered and the steered text side by side
  nanoscope chat --model ~/.cache/nanochat/chatsft_checkpoints/d20 --sae sae_outputs --track all
      a conversation with your own model
  printf 'Once upon a time\\n/save run.json\\n' | nanoscope chat
      without a terminal: lines from stdin, texts to stdout

/help lists the commands, the arrow keys select a token, Esc stops a text, /quit exits. A model in
nanochat's mid, chatsft or chatrl checkpoints, or with a chat template, starts in chat mode, any other
in story mode; --chat, --story and /mode change that. With --special-tokens, special tokens in the
text of a story are read as tokens; a message of a conversation is always plain text.")]
pub(crate) struct ChatArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,

    /// The first prompt
    #[arg(long, short, value_name = "TEXT", value_parser = prompt)]
    pub(crate) prompt: Option<String>,
    /// Start in chat mode: lines are user messages
    #[arg(long, conflicts_with = "story")]
    pub(crate) chat: bool,
    /// Start in story mode: the model continues the lines
    #[arg(long)]
    pub(crate) story: bool,
    #[command(flatten)]
    pub(crate) special: SpecialTokensArg,
    /// Show the unsteered text beside the steered one, as is the default; `/compare off` leaves it out
    #[arg(long)]
    pub(crate) compare: bool,
    /// The maximum number of tokens to generate for each text
    #[arg(long, short = 'n', default_value_t = 128, value_name = "N")]
    pub(crate) max_tokens: usize,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
}
