//! The flags of `nanoscope serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use crate::args::ModelArgs;

/// Serve a model over HTTP: a page to play with, OpenAI's interface with live features
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope serve
      the built-in model; open the address that is printed
  nanoscope serve --model ~/.cache/nanochat --sae sae_outputs --port 9000
  NANOSCOPE_API_KEY=sesame nanoscope serve --host 0.0.0.0
      for other machines too, who need the key
  curl http://127.0.0.1:8765/v1/completions -d '{\"prompt\": \"Once upon a time\", \"stream\": true,
      \"nanoscope\": {\"track\": [\"blocks.3.hook_resid_post\"], \"steer\": [\"blocks.3.hook_resid_post:1909:add:27\"]}}'
      a story with one feature turned up, and what fires on each token

Ctrl-C or SIGTERM ends it: streams get their last chunk first. The second one ends it at once.")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// The name that clients call the model by [default: the name of its folder, or `demo`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The address to listen on; one that other machines can reach needs a key
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS", value_parser = host)]
    pub(crate) host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8765, value_name = "N")]
    pub(crate) port: u16,
    /// A name that a proxy before this server is asked for, with the port if browsers show one, such
    /// as lab.example; once for each
    #[arg(long, value_name = "HOST", value_parser = public_name)]
    pub(crate) public_name: Vec<String>,
    /// The key that clients must have; in the environment variable nobody else on the machine sees
    /// it
    #[arg(long, value_name = "KEY", env = "NANOSCOPE_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
    /// Serve other machines without a key
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Generations that run together; more wait
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub(crate) max_rows: u16,
    /// Generations that wait; more are told to come back later
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub(crate) queue: u16,
    /// Tokens that a request can ask for
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// Seconds that a request may take, its wait included
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..))]
    pub(crate) time_limit: u32,
    /// Megabytes for the cache of prompts' beginnings
    #[arg(long, default_value_t = 256, value_name = "MB")]
    pub(crate) prefix_cache: u32,
    /// Folders that `nanoscope dashboard` wrote, for what features do on a text; each goes to the SAE
    /// that it is of
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) dashboard: Vec<PathBuf>,
    /// The folder in which labels that people give are kept [default: in memory only]
    #[arg(long, value_name = "DIR")]
    pub(crate) labels: Option<PathBuf>,
    /// What is logged to standard error: error, warn, info, debug, or a filter as in RUST_LOG, which
    /// is used without it [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// The form of the log's lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORM")]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    /// One JSON object per line
    Json,
}

fn public_name(text: &str) -> Result<String, &'static str> {
    let stands_in_a_name = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if text.is_empty() || !text.chars().all(stands_in_a_name) {
        return Err("it is no name, such as lab.example or lab.example:8443");
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<IpAddr, &'static str> {
    if text == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.parse().map_err(|_| "it is no address, such as 127.0.0.1, ::1 or 0.0.0.0")
}
