//! HTTP connections: taken in within bounds, over TLS where there is a certificate, and served.
//!
//! A stranger costs a descriptor and a task for [`HTTP_HEADER_TIMEOUT`] at most, and so does a
//! client that keeps its connection without asking for anything, or asks and does not read.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tower::Service;

use super::stalled::NoStall;
use super::tls::Tls;
use crate::access::{Access, Shares};
use crate::limits::{HTTP_HEADER_TIMEOUT, MAX_HTTP_BUFFER, MAX_HTTP_CONNECTIONS, OTHER_FILES};
use crate::net::raise_open_files;
use crate::telemetry::limited;
use crate::whip::Problem;

/// How long accepting pauses when the kernel has no descriptor or memory left: what is freed
/// meanwhile serves those that wait.
const PAUSE: Duration = Duration::from_millis(100);

/// What is served.
#[derive(Clone)]
pub(super) struct Served {
    pub app: Router,
    /// Knows whose word about a client's address is taken.
    pub access: Arc<Access>,
    /// The certificate, where it is HTTPS.
    pub tls: Option<Arc<Tls>>,
}

/// Serves until `stop` is notified, and then what is under way.
pub(super) async fn serve(listener: TcpListener, served: Served, stop: Arc<Notify>) {
    let connections = bounded();
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.notified() => break,
        };
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
            // The peer has changed its mind (accept(2)).
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                limited!(WARN, "no HTTP connection can be accepted: {error}; see `ulimit -n`");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let permit = match connections.admit(remote.ip()) {
            Ok(permit) => permit,
            Err(full) => {
                limited!(WARN, "an HTTP connection is closed at once: too many ({full:?})");
                continue;
            }
        };
        let (served, watcher) = (served.clone(), graceful.watcher());
        tokio::spawn(async move {
            if let Err(error) = connection(stream, remote, served, watcher).await {
                tracing::debug!("HTTP connection: {error}");
            }
            drop(permit);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

/// As many connections as there are descriptors for, with as many left for all else.
fn bounded() -> Arc<Shares> {
    let wanted = (2 * MAX_HTTP_CONNECTIONS + OTHER_FILES) as u64;
    let files = raise_open_files(wanted).map_or(1024, |files| files as usize);
    let most = (files / 2).clamp(2, MAX_HTTP_CONNECTIONS);
    Shares::new(most, most / 2)
}

async fn connection(
    stream: TcpStream,
    remote: SocketAddr,
    served: Served,
    watcher: Watcher,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Answers and events are short, and none is to wait for the next.
    stream.set_nodelay(true)?;
    let stream = NoStall::new(stream);
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    match served.tls.clone() {
        None => requests(stream, remote, served, watcher).await?,
        Some(tls) => {
            let handshake = tls.acceptor().accept(stream);
            let stream = tokio::time::timeout(HTTP_HEADER_TIMEOUT, handshake).await??;
            requests(stream, remote, served, watcher).await?;
        }
    }
    Ok(())
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    remote: SocketAddr,
    served: Served,
    watcher: Watcher,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |mut request: Request<Incoming>| {
        let client = served.access.client(remote.ip(), request.headers());
        let answer = client.map(|client| {
            // Behind a proxy the port is the proxy's; nobody asks for it.
            let from = SocketAddr::new(client, remote.port());
            request.extensions_mut().insert(ConnectInfo(from));
            served.app.clone().call(request)
        });
        async move {
            match answer {
                Ok(answer) => answer.await as Result<Response<Body>, Infallible>,
                Err(two) => Ok(Problem::bad_request(two.to_string()).into_response()),
            }
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEADER_TIMEOUT)
        .max_buf_size(MAX_HTTP_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    watcher.watch(connection).await
}
