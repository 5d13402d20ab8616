//! `nanoscope serve`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use nanoscope_checkpoint::UserLabels;
use nanoscope_server::{Config, Limits};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use super::args::{LogFormat, ServeArgs};
use super::browser;
use crate::demo;
use crate::load::{are_saes_kept, note_indexes, open_without_user_labels, sae_files, tokenizer};
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::with_spinner;
use crate::terminal::signals::InterruptFlag;

pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let config = config(args)?;
    start_log(args)?;
    let runtime = tokio::runtime::Runtime::new().context("could not start the server's threads")?;
    // Before the model is loaded, so that a port in use is reported at once.
    let listener = runtime.block_on(listen((args.host, args.port).into()))?;
    let address = listener.local_addr().context("could not determine the address")?;
    let scope = scope(args)?;
    let signal = InterruptFlag::watch();
    if args.insecure && config.api_keys.is_empty() && !args.host.to_canonical().is_loopback() {
        note("without a key, everyone who can reach this machine can use the server");
    }
    let page = format!("http://{}/", page(address));
    writeln!(std::io::stdout(), "nanoscope serves {} at {page}", scope.name)?;
    if args.open {
        browser::open(page);
    }
    let served = runtime.block_on(nanoscope_server::serve(listener, scope, config, until(signal)));
    // Passes that are still running have no client left, so they are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

fn config(args: &ServeArgs) -> Result<Config> {
    if args.api_key.iter().any(String::is_empty) {
        return Err(Hint::new("the API key is empty", "omit it to serve without one").into());
    }
    let is_sendable = |key: &String| key.bytes().all(|byte| byte.is_ascii_graphic());
    if !args.api_key.iter().all(is_sendable) {
        let hint = "use letters, digits and punctuation of ASCII";
        return Err(Hint::new("the API key has a character that no header can have", hint).into());
    }
    if !args.host.to_canonical().is_loopback() && args.api_key.is_empty() && !args.insecure {
        let hint = "set NANOSCOPE_API_KEY or --api-key, or pass --insecure";
        return Err(
            Hint::new("other machines can reach this address, which requires a key", hint).into()
        );
    }
    let limits = Limits {
        rows: args.max_rows.into(),
        queue: args.queue.into(),
        max_tokens: args.max_tokens as usize,
        request_timeout: Duration::from_secs(args.time_limit.into()),
        write_timeout: Duration::from_secs(args.stall_limit.into()),
        unread: (args.unread as usize) << 20,
        client_share: args.client_share,
        prefix_cache: (args.prefix_cache as usize) << 20,
        ..Limits::default()
    };
    Ok(Config {
        api_keys: args.api_key.clone(),
        trust_forwarded_for: args.trust_forwarded_for,
        labels: args.labels.clone(),
        public_names: args.public_name.clone(),
        limits,
    })
}

fn start_log(args: &ServeArgs) -> Result<()> {
    let from_environment = || EnvFilter::try_from_default_env().ok();
    let filter = match &args.log {
        Some(filter) => EnvFilter::try_new(filter).with_context(|| {
            format!("--log {filter} is not a valid filter; expected for example info or debug")
        })?,
        None => from_environment().unwrap_or_else(|| EnvFilter::new("info")),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let context = format!("could not listen on {address}");
        let hint = match error.kind() {
            ErrorKind::AddrInUse => Hint::new(
                "the port is in use",
                "another nanoscope may be running; choose another port with --port, or any free one \
                 with --port 0",
            ),
            ErrorKind::AddrNotAvailable => Hint::new(
                "this machine has no such address",
                "127.0.0.1 is reachable from this machine only, 0.0.0.0 from all its networks",
            ),
            ErrorKind::PermissionDenied => {
                Hint::new("the port is reserved", "choose a port of at least 1024 with --port")
            }
            _ => return anyhow::Error::new(error).context(context),
        };
        anyhow::Error::new(hint).context(context)
    })
}

/// Loads the model, its labels and its dashboards.
fn scope(args: &ServeArgs) -> Result<nanoscope_server::ServedModel> {
    let scope = open_without_user_labels(&args.model)?;
    tokenizer(&scope, "clients send text; name the folder of the tokenizer with --tokenizer")?;
    let name = args.name.clone().filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| args.model.gpt.name());
    // Now, so that no request waits for them, and a damaged one is named here.
    with_spinner("reading the indexes", || scope.names().read_all());
    note_indexes(&scope);
    let files = sae_files(&scope);
    let mut served = nanoscope_server::ServedModel::new(scope, name);
    for (hook, file) in files.into_iter().filter(|_| args.labels.is_none()) {
        let d_sae = served.model.sae(hook)?.config().d_sae();
        let labels = UserLabels::of_sae(&file, d_sae, are_saes_kept(&args.model))?;
        served.sae_info.entry(hook).or_default().user_labels = Some(labels);
    }
    if args.model.gpt.model.is_none() && args.model.sae.is_empty() {
        served.topics = demo::topics()?;
    }
    for dir in &args.dashboard {
        let read = served.with_dashboard(dir);
        served = read.with_context(|| format!("could not load the dashboard {}", dir.display()))?;
    }
    Ok(served)
}

/// The address of the page for a browser on this machine.
fn page(address: SocketAddr) -> SocketAddr {
    let mut page = address;
    if address.ip().is_unspecified() {
        let v4 = address.is_ipv4();
        page.set_ip(if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    page
}

/// Waits for the first Ctrl-C or SIGTERM.
async fn until(signal: InterruptFlag) {
    while !signal.is_set() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
