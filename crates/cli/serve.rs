//! `nanoscope serve`.

use std::io::{ErrorKind, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use nanoscope_server::{Config, Limits, SaeInfo};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use crate::args::ModelArgs;
use crate::demo;
use crate::load::{Scope, tokenizer};
use crate::output::{Hint, note};
use crate::serve_args::{LogFormat, ServeArgs};
use crate::signals::watch_for_signals;

pub(crate) fn serve(args: &ServeArgs) -> Result<()> {
    let config = config(args)?;
    start_log(args)?;
    let runtime = tokio::runtime::Runtime::new().context("could not start the server's threads")?;
    // Before the model: a port that is taken is known at once.
    let listener = runtime.block_on(listen((args.host, args.port).into()))?;
    let address = listener.local_addr().context("could not tell the address")?;
    let scope = scope(args)?;
    let signal = watch_for_signals()?;
    if args.insecure && config.api_key.is_none() && !args.host.to_canonical().is_loopback() {
        note("whoever reaches this machine can use the server: there is no key");
    }
    writeln!(std::io::stdout(), "nanoscope serves {} at http://{}/", scope.name, page(address))?;
    let served = runtime.block_on(nanoscope_server::serve(listener, scope, config, until(signal)));
    // Passes that nobody waits for any more are not waited for here either.
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(served?)
}

fn config(args: &ServeArgs) -> Result<Config> {
    if args.api_key.as_ref().is_some_and(String::is_empty) {
        return Err(Hint::new("the API key is empty", "leave it out to serve without one").into());
    }
    if !args.host.to_canonical().is_loopback() && args.api_key.is_none() && !args.insecure {
        let hint = "set NANOSCOPE_API_KEY or --api-key, or say --insecure";
        return Err(
            Hint::new("other machines can reach this address, and there is no key", hint).into()
        );
    }
    let limits = Limits {
        rows: args.max_rows.into(),
        queue: args.queue.into(),
        max_tokens: args.max_tokens as usize,
        request_timeout: Duration::from_secs(args.time_limit.into()),
        prefix_cache: (args.prefix_cache as usize) << 20,
        ..Limits::default()
    };
    Ok(Config {
        api_key: args.api_key.clone(),
        labels: args.labels.clone(),
        public_names: args.public_name.clone(),
        limits,
    })
}

fn start_log(args: &ServeArgs) -> Result<()> {
    let from_environment = || EnvFilter::try_from_default_env().ok();
    let filter = match &args.log {
        Some(filter) => EnvFilter::try_new(filter)
            .with_context(|| format!("--log {filter} is no filter, such as info or debug"))?,
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
                "the port is taken",
                "another nanoscope may be running; take another port with --port, or any with \
                 --port 0",
            ),
            ErrorKind::AddrNotAvailable => Hint::new(
                "this machine has no such address",
                "127.0.0.1 is for this machine alone, 0.0.0.0 for all of its networks",
            ),
            ErrorKind::PermissionDenied => {
                Hint::new("the port is not for everybody", "take one from 1024 on with --port")
            }
            _ => return anyhow::Error::new(error).context(context),
        };
        anyhow::Error::new(hint).context(context)
    })
}

/// What is served.
fn scope(args: &ServeArgs) -> Result<nanoscope_server::ServedModel> {
    let Scope { model, labels, .. } = Scope::load(&args.model)?;
    tokenizer(&model, "clients send text; give the tokenizer's folder with --tokenizer")?;
    let sae_info = labels
        .into_iter()
        .map(|(hook, labels)| (hook, SaeInfo { labels, ..SaeInfo::default() }))
        .collect();
    let folder = args.model.gpt.model.as_ref().map(|path| {
        // As the file system knows it: `.` has no name of its own.
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    });
    let name = args.name.clone().or(folder).filter(|name| !name.is_empty());
    let name = name.unwrap_or_else(|| "demo".to_owned());
    let mut scope = nanoscope_server::ServedModel { model, name, sae_info };
    for dir in dashboards(args)? {
        let read = scope.with_dashboard(&dir);
        scope = read.with_context(|| format!("{} cannot be shown", dir.display()))?;
    }
    Ok(scope)
}

/// The folders of the dashboards: those that are given, over those that the demo comes with.
fn dashboards(args: &ServeArgs) -> Result<Vec<PathBuf>> {
    let ModelArgs { gpt, sae, .. } = &args.model;
    let mut dirs = Vec::new();
    if gpt.model.is_none() && sae.is_empty() {
        dirs.extend(demo::dashboards(&demo::unpack()?));
    }
    dirs.extend(args.dashboard.iter().cloned());
    Ok(dirs)
}

/// Where a browser on this machine finds the page.
fn page(address: SocketAddr) -> SocketAddr {
    let mut page = address;
    if address.ip().is_unspecified() {
        let v4 = address.is_ipv4();
        page.set_ip(if v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    page
}

/// Ready after the first Ctrl-C or SIGTERM.
async fn until(signal: Arc<AtomicBool>) {
    while !signal.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
