//! The flags of `nanoscope serve`.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use crate::args::ModelArgs;

/// Serve a model over HTTP: a web page, and an OpenAI-compatible API with live features
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope serve
      the built-in model; open the printed address in a browser
  nanoscope serve --open
      the same, and opens it
  nanoscope serve --model ~/.cache/nanochat --sae sae_outputs --port 9000
  NANOSCOPE_API_KEY=sesame nanoscope serve --host 0.0.0.0
      for other machines too, which need the key
  curl http://127.0.0.1:8765/v1/completions -d '{\"prompt\": \"Once upon a time\", \"stream\": true,
      \"nanoscope\": {\"track\": [\"blocks.3.hook_resid_post\"], \"steer\": [\"1909:add:30%\"]}}'
      a story steered with one feature, with the features of each token

Ctrl-C or SIGTERM shuts the server down; open streams get a last chunk. A second one exits at once.")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Open the page in a browser
    #[arg(long)]
    pub(crate) open: bool,
    /// The name of the model for clients [default: the name of its folder, or `demo`]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The address to listen on; an address that other machines can reach requires a key
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS", value_parser = host)]
    pub(crate) host: IpAddr,
    /// The port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8765, value_name = "N")]
    pub(crate) port: u16,
    /// A public host name of a proxy in front of this server, for example lab.example, with the
    /// port if browsers show one; may be repeated
    #[arg(long, value_name = "HOST", value_parser = public_name)]
    pub(crate) public_name: Vec<String>,
    /// The key that clients must send; unlike the flag, the environment variable is hidden from
    /// other users of the machine
    /// [several keys are separated by spaces, or the flag is repeated; each is then a client of its own]
    #[arg(
        long,
        value_name = "KEY",
        env = "NANOSCOPE_API_KEY",
        hide_env_values = true,
        value_delimiter = ' '
    )]
    pub(crate) api_key: Vec<String>,
    /// Allow other machines without a key
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The maximum number of generations that run at the same time
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    pub(crate) max_rows: u16,
    /// The maximum number of waiting generations; further requests are rejected
    #[arg(long, default_value_t = 128, value_name = "N")]
    pub(crate) queue: u16,
    /// The largest share of rows, queue, unread answers and connections that one client may hold, in
    /// percent. A client is an address or, if there are several keys, a key
    #[arg(long, default_value_t = 75, value_name = "PERCENT", value_parser = value_parser!(u8).range(1..=100))]
    pub(crate) client_share: u8,
    /// The maximum size of answers that clients have not read, in megabytes; beyond it the texts of
    /// those who read least end
    #[arg(long, default_value_t = 512, value_name = "MB", value_parser = value_parser!(u32).range(1..))]
    pub(crate) unread: u32,
    /// The time in seconds after which a client that reads nothing of its answer is disconnected
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..))]
    pub(crate) stall_limit: u32,
    /// Identify clients by the last address in X-Forwarded-For; only behind a proxy that sets it
    #[arg(long)]
    pub(crate) trust_forwarded_for: bool,
    /// The maximum number of tokens of a request
    #[arg(long, default_value_t = 4096, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    pub(crate) max_tokens: u32,
    /// The maximum duration of a request in seconds, including its wait
    #[arg(long, default_value_t = 300, value_name = "SECONDS", value_parser = value_parser!(u32).range(1..))]
    pub(crate) time_limit: u32,
    /// The size of the cache of prompt prefixes in megabytes
    #[arg(long, default_value_t = 256, value_name = "MB")]
    pub(crate) prefix_cache: u32,
    /// Folders written by `nanoscope dashboard`, each shown with the features of its SAE
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub(crate) dashboard: Vec<PathBuf>,
    /// The folder in which labels given by users are stored [default: the folder of each SAE or, if
    /// it cannot be written, the user's data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) labels: Option<PathBuf>,
    /// The level of the log on stderr: error, warn, info, debug, or a filter as in RUST_LOG
    /// [default: RUST_LOG, or info]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// The format of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Plain text
    Text,
    /// One JSON object per line
    Json,
}

fn public_name(text: &str) -> Result<String, &'static str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if text.is_empty() || !text.chars().all(is_allowed) {
        return Err("expected a host name, for example lab.example or lab.example:8443");
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<IpAddr, &'static str> {
    if text == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    text.parse().map_err(|_| "expected an IP address, for example 127.0.0.1, ::1 or 0.0.0.0")
}
