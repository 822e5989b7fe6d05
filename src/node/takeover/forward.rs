//! Requests that are the earlier process's to answer: about its sessions, of viewers of the streams
//! it has, and what is asked under `/earlier/`. The later process takes them there as they came,
//! over a Unix socket, and brings the answers back.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::CONNECTION;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tower::Service;

use super::EarlierDoor;
use crate::access::{Access, Action, Asker, Denied};
use crate::control::{Control, ControlError};
use crate::limits::{HTTP_BODY_TIMEOUT, MAX_BODY_BYTES, TAKEOVER_LETTER};
use crate::whip::{Problem, Vouched};

/// Says who asked, on the way to the earlier process. What a client says by it is written over.
const PEER: &str = "monoport-peer";

/// Says that another node has let the client in, likewise.
const VOUCHED: &str = "monoport-vouched";

/// Answered where media comes from a stream's publisher, on the way to the earlier process alone.
const HEARD: &str = "/takeover/heard/";

/// What decides where a request goes.
#[derive(Clone)]
pub(in crate::node) struct Forwarding {
    pub control: Arc<Control>,
    pub access: Arc<Access>,
    pub earlier: Arc<EarlierDoor>,
    /// Whether a publisher that is heard keeps others out.
    pub refuses_conflicts: bool,
}

/// Stands before everything that is served over HTTP.
pub(in crate::node) async fn forward(
    State(to): State<Forwarding>,
    request: Request,
    next: Next,
) -> Response<Body> {
    if to.earlier.has_gone() {
        return next.run(request).await;
    }
    let path = request.uri().path().to_owned();
    let mut segments = path.split('/').skip(1);
    let (Some(kind), Some(name)) = (segments.next(), segments.next()) else {
        return next.run(request).await;
    };
    match (kind, request.method()) {
        ("earlier", _) => to.pass(without_first(request)).await,
        ("session", method) if method != Method::OPTIONS && to.is_unknown(name) => {
            to.pass(request).await
        }
        ("whep", &Method::POST) if to.may_have_viewers(name, &request) => {
            match whole(request).await {
                Ok((parts, body)) => match to.ask(parts.clone(), body.clone()).await {
                    Some(answer) if answer.status() != StatusCode::CONFLICT => answer,
                    // Nobody publishes it there, either.
                    _ => next.run(Request::from_parts(parts, body.into())).await,
                },
                Err(problem) => problem.into_response(),
            }
        }
        ("whip", &Method::POST) if to.is_heard(name).await => Problem::conflict(format!(
            "`{name}` is being published, by the process that was taken over; it is free again \
                 when its publisher ends or falls silent (--on-conflict refuse)"
        ))
        .into_response(),
        _ => next.run(request).await,
    }
}

impl Forwarding {
    /// Whether a session is none of this process's, nor was.
    fn is_unknown(&self, id: &str) -> bool {
        // Nor another node's.
        let is_ours =
            id.rsplit_once('-').is_none_or(|(node, _)| *node == *self.control.member().node);
        is_ours && matches!(self.control.whose(id), Err(ControlError::NotFound(_)))
    }

    /// Whether a viewer that may watch `stream` may find it in the earlier process alone.
    fn may_have_viewers(&self, stream: &str, request: &Request) -> bool {
        let admitted = self.access.admit(Action::Watch, Some(stream), &Asker::of(request));
        // What a service decides it is asked there.
        let may = matches!(admitted, Ok(_) | Err(Denied::Undecided)) || Vouched::is_for(request);
        may && !self.control.is_live(stream)
    }

    /// Whether media comes from the publisher that `stream` has in the earlier process, where that
    /// is a reason to refuse another.
    async fn is_heard(&self, stream: &str) -> bool {
        if !self.refuses_conflicts || self.control.is_live(stream) {
            return false;
        }
        let Ok(request) = Request::get(format!("{HEARD}{stream}")).body(()) else { return false };
        let answer = self.ask(request.into_parts().0, Bytes::new()).await;
        answer.is_some_and(|answer| answer.status() == StatusCode::OK)
    }

    async fn pass(&self, request: Request) -> Response<Body> {
        match whole(request).await {
            Ok((parts, body)) => self.ask(parts, body).await.unwrap_or_else(|| {
                let words = "the process that was taken over does not answer";
                Problem::overloaded(words).into_response()
            }),
            Err(problem) => problem.into_response(),
        }
    }

    /// The earlier process's answer, if it gives one in time.
    async fn ask(&self, mut parts: Parts, body: Bytes) -> Option<Response<Body>> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or_else(|| "0.0.0.0:0".into(), |ConnectInfo(peer)| peer.to_string());
        parts.headers.insert(PEER, HeaderValue::from_str(&peer).ok()?);
        parts.headers.remove(VOUCHED);
        if parts.extensions.get::<Vouched>().is_some() {
            parts.headers.insert(VOUCHED, HeaderValue::from_static("yes"));
        }
        parts.headers.remove(CONNECTION);
        let request = Request::from_parts(parts, Body::from(body));
        let asked = async {
            let stream = self.earlier.http()?;
            stream.set_nonblocking(true)?;
            let stream = TokioIo::new(tokio::net::UnixStream::from_std(stream)?);
            let (mut sender, connection) =
                client::handshake(stream).await.map_err(std::io::Error::other)?;
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(std::io::Error::other)
        };
        match tokio::time::timeout(TAKEOVER_LETTER, asked).await {
            Ok(Ok(answer)) => Some(answer.map(Body::new)),
            Ok(Err(error)) => {
                tracing::debug!("a request to the earlier process: {error}");
                None
            }
            Err(_elapsed) => None,
        }
    }
}

/// `/earlier/metrics` is the earlier process's `/metrics`, and so on.
fn without_first(mut request: Request) -> Request {
    let path_and_query = request.uri().path_and_query().map_or("/", |both| both.as_str());
    let rest = path_and_query.get(1..).and_then(|rest| Some(&rest[rest.find('/')?..]));
    if let Some(uri) = rest.and_then(|rest| rest.parse().ok()) {
        *request.uri_mut() = uri;
    }
    request
}

/// A request with its body, which is short.
async fn whole(request: Request) -> Result<(Parts, Bytes), Problem> {
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(HTTP_BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await;
    let body = body.map_err(|_elapsed| Problem::too_slow())?;
    let body = body.map_err(|_error| {
        Problem::too_large(format!("the body has more than {MAX_BODY_BYTES} bytes"))
    })?;
    Ok((parts, body))
}

/// Serves a connection that the later process has opened.
pub(in crate::node) async fn serve(stream: UnixStream, app: Router, control: Arc<Control>) {
    let stream = stream
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixStream::from_std(stream))
        .map(TokioIo::new);
    let Ok(stream) = stream else { return };
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let peer = request.headers_mut().remove(PEER);
        let peer = peer.and_then(|peer| peer.to_str().ok()?.parse::<SocketAddr>().ok());
        if request.headers_mut().remove(VOUCHED).is_some() {
            request.extensions_mut().insert(Vouched);
        }
        let heard = request.uri().path().strip_prefix(HEARD).map(|s| control.is_published(s));
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let answer = app.clone().call(request.map(Body::new));
        async move {
            let status = |heard| if heard { StatusCode::OK } else { StatusCode::NOT_FOUND };
            match heard {
                Some(heard) => Ok(status(heard).into_response()),
                None => answer.await as Result<Response<Body>, Infallible>,
            }
        }
    });
    if let Err(error) = server::Builder::new().serve_connection(stream, service).await {
        tracing::debug!("a request of the later process: {error}");
    }
}
