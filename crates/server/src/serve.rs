//! Serves connections until shutdown.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::app::app;
use crate::clients::{ClientId, Held, Ledger, Resource};
use crate::config::{Config, Limits};
use crate::error::ServeError;
use crate::http::auth::Peer;
use crate::http::connection::TimeoutStream;
use crate::http::open_files;
use crate::http::origin::AllowedHosts;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Maximum size in bytes of a request's head: its first line and its headers.
const MAX_HEAD_BYTES: usize = 32 << 10;
/// Maximum number of headers of a request.
const MAX_HEADERS: usize = 64;
/// The response to a connection beyond [`Limits::connections`].
const TOO_MANY_CONNECTIONS: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 0\r\n\r\n";

/// Serves a model over HTTP on `listener` until `shutdown` completes.
///
/// On shutdown, running generations end, and connections that are still open after
/// [`Limits::shutdown_grace`] are closed.
///
/// # Errors
/// [`ServeError`] if the model has no tokenizer, the edited labels cannot be read, or the system
/// refuses a thread or the listener's address.
pub async fn serve(
    listener: TcpListener,
    served: ServedModel,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let io = |source| ServeError::Io { source };
    let hosts =
        AllowedHosts::for_address(listener.local_addr().map_err(io)?.ip(), &config.public_names);
    let limits = config.limits.clone();
    let state = AppState::new(served, config, open_files::for_connections(limits.connections))?;
    let app = app(state.clone(), hosts);
    let mut connections = Connections::new(app, limits.clone(), state.ledger.clone());

    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connections.accept(stream, peer.ip()),
                // Usually too many open files. Existing connections continue, and will close some.
                Err(error) => pause(&error).await,
            },
        }
    }
    drop(listener);
    state.close();
    tracing::info!("shutting down");
    connections.close().await;
    let _ = tokio::time::timeout(limits.shutdown_grace, state.scheduler.closed()).await;
    Ok(())
}

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "could not accept a connection");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// The open connections and their common settings.
struct Connections {
    app: Router,
    limits: Limits,
    builder: Builder<TokioExecutor>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    ledger: Ledger,
}

impl Connections {
    fn new(app: Router, limits: Limits, ledger: Ledger) -> Self {
        let mut builder = Builder::new(TokioExecutor::new()).http1_only();
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read_timeout)
            .half_close(true)
            .max_buf_size(MAX_HEAD_BYTES)
            .max_headers(MAX_HEADERS);
        let (graceful, tasks) = (GracefulShutdown::new(), JoinSet::new());
        Self { app, limits, builder, graceful, tasks, ledger }
    }

    /// Serves `stream`, or rejects it if there are too many connections, of all clients or of the one at `peer`.
    fn accept(&mut self, stream: TcpStream, peer: IpAddr) {
        while self.tasks.try_join_next().is_some() {}
        match self.ledger.take(ClientId::of_address(peer), Resource::Connections, 1) {
            Ok(place) => self.serve_connection(stream, peer, place),
            Err(_) => drop(self.tasks.spawn(reject(stream))),
        }
    }

    /// Serves a connection, and holds its `place` until it is closed.
    fn serve_connection(&mut self, stream: TcpStream, peer: IpAddr, place: Held) {
        // Each token is a small packet that must not wait for the next one.
        let _ = stream.set_nodelay(true);
        let (stream, watched) = TimeoutStream::new(stream, self.limits.write_timeout);
        let io = TokioIo::new(stream);
        let (app, client) = (self.app.clone(), Arc::clone(&watched));
        let service = TowerToHyperService::new(tower::service_fn(
            move |mut request: Request<_>| {
                request.extensions_mut().insert(Peer(peer));
                client.set_has_interim(request.version() >= Version::HTTP_11);
                let answer = app.clone().oneshot(request.map(Body::new));
                async move { Ok::<_, Infallible>(answer.await.unwrap_or_else(|never| match never {})) }
            },
        ));
        let connection = self.builder.serve_connection(io, service).into_owned();
        let connection = self.graceful.watch(connection);
        self.tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(error, "a connection failed");
                },
                () = watched.peer_closed() => tracing::debug!("a client disconnected"),
            }
        });
    }

    /// Lets connections finish their current response, and closes those that take too long.
    async fn close(mut self) {
        let ended =
            tokio::time::timeout(self.limits.shutdown_grace, self.graceful.shutdown()).await;
        if ended.is_err() {
            tracing::warn!("closed connections that had not finished");
        }
        self.tasks.shutdown().await;
    }
}

/// Answers 503 to a connection beyond the limit.
async fn reject(mut stream: TcpStream) {
    let _ =
        tokio::time::timeout(Duration::from_secs(1), stream.write_all(TOO_MANY_CONNECTIONS)).await;
}
