//! Requests that are another node's to answer, and those that other nodes send here.
//!
//! Who may is decided where a client has come; what is sent on is [`Vouched`] for. What another
//! node has sent is answered here, whatever the answer is, and sent on to nobody.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE, IF_MATCH, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::routing::any;
use serde::{Deserialize, Serialize};
use tower::ServiceExt;

use super::Problem;
use super::http::{Answer, App, text};
use super::prefix::Prefix;
use crate::access::{Action, Asker};
use crate::cluster::{Answered, Carried, Head, Heard, Neighbours, PATH, SIGNATURE, Unasked};
use crate::control::NodeRecord;
use crate::limits::{
    HTTP_BODY_TIMEOUT, MAX_FORWARDED_ANSWER_BYTES, MAX_FORWARDED_BYTES, MAX_USER_AGENT_CHARS,
};
use crate::telemetry::limited;

/// Marks a request whose client was let in by another node, or by a later process of this one.
#[derive(Clone, Copy, Debug)]
pub struct Vouched;

impl Vouched {
    /// Whether a request has the mark.
    #[must_use]
    pub fn is_for<B>(request: &axum::http::Request<B>) -> bool {
        request.extensions().get::<Vouched>().is_some()
    }
}

/// Headers that are sent on.
const SENT_ON: [HeaderName; 5] =
    [ACCEPT, CONTENT_TYPE, IF_MATCH, USER_AGENT, HeaderName::from_static("last-event-id")];

/// Whose a session is.
#[derive(Serialize, Deserialize)]
struct Whose {
    publisher: bool,
    stream: String,
}

impl From<Unasked> for Problem {
    fn from(unasked: Unasked) -> Problem {
        let words = unasked.to_string();
        match unasked {
            Unasked::NotAlive(_) | Unasked::Silent { .. } | Unasked::Busy(_) => {
                Problem::overloaded(words)
            }
            Unasked::Stranger { .. } => Problem::bad_gateway(words),
        }
    }
}

/// Stands before the routes of sessions: those of another node are asked for there.
pub(super) async fn sessions(
    State(app): State<App>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let id = path.split('/').nth(2).unwrap_or_default();
    let asks = *request.method() != Method::OPTIONS && !Vouched::is_for(&request);
    let cluster = app.cluster.clone().filter(|_| asks);
    match cluster.as_deref().and_then(|cluster| Some((cluster, cluster.other_node_of(id)?))) {
        None => next.run(request).await,
        Some((cluster, node)) => {
            let answer = session_at(&app, cluster, node, id, request).await;
            answer.unwrap_or_else(IntoResponse::into_response)
        }
    }
}

async fn session_at(
    app: &App,
    cluster: &Neighbours,
    node: &str,
    id: &str,
    request: Request,
) -> Answer {
    let is_layer = request.uri().path().ends_with("/layer");
    let changes = match *request.method() {
        Method::PATCH => true,
        Method::DELETE => !request.uri().path().contains("/events/"),
        Method::POST => is_layer,
        _ => false,
    };
    if changes {
        let asker = Asker::of(&request).with_session();
        if let Some(refusal) = admit_at(app, cluster, node, id, &asker).await? {
            return Ok(refusal);
        }
    }
    let carried = carry(&request);
    let body = text(request).await?;
    let answered = cluster.ask(node, Carried { body, ..carried }).await;
    Ok(passed_on(answered.map_err(|unasked| gone(id, unasked))?))
}

/// A session whose node is no more is no more.
fn gone(id: &str, unasked: Unasked) -> Problem {
    match unasked {
        Unasked::NotAlive(_) => Problem::not_found(format!("no session {id}: {unasked}")),
        other => other.into(),
    }
}

/// Lets somebody change the session `id` of another node, by what the session is of. Returns what
/// to answer instead, where there is no such session.
async fn admit_at(
    app: &App,
    cluster: &Neighbours,
    node: &str,
    id: &str,
    asker: &Asker,
) -> Result<Option<Response<Body>>, Problem> {
    let path = format!("/session/{id}/whose");
    let asked = Carried { method: "GET".into(), path, ..Carried::default() };
    let answered = cluster.ask(node, asked).await;
    let is_there = answered.as_ref().is_ok_and(|answer| answer.head.status == 200);
    if !is_there {
        // Only those who may do something learn that there is no such session.
        let may = async |action| app.admission.admit(action, None, asker).await;
        if may(Action::Publish).await.is_err() {
            may(Action::Watch).await?;
        }
        return Ok(Some(passed_on(answered.map_err(|unasked| gone(id, unasked))?)));
    }
    let body = answered.map_err(Problem::from)?.body;
    let body = to_bytes(body, MAX_FORWARDED_ANSWER_BYTES).await;
    let whose = body.ok().and_then(|body| serde_json::from_slice::<Whose>(&body).ok());
    let Whose { publisher, stream } =
        whose.ok_or_else(|| Problem::bad_gateway(format!("the node `{node}` makes no sense")))?;
    let action = if publisher { Action::Publish } else { Action::Watch };
    app.admission.admit(action, Some(&stream), asker).await?;
    Ok(None)
}

/// Whose a session is: for other nodes, and nothing to anybody else.
pub(super) async fn whose(
    State(app): State<App>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    if !Vouched::is_for(&request) {
        return Err(Problem::not_found("there is nothing at this path"));
    }
    let (publisher, stream) = app.control.whose(&id)?;
    let whose = Whose { publisher, stream: stream.to_string() };
    let text = serde_json::to_string(&whose).unwrap_or_default();
    Ok(([(CONTENT_TYPE, "application/json")], text).into_response())
}

/// Takes a stream from the node that has it, where a viewer of it is to be served here. Whether it
/// comes.
pub(super) async fn brings(cluster: &Neighbours, stream: &str, node: &str) -> bool {
    let owner = cluster.known(node).await;
    let is_right = owner.is_some_and(|owner| cluster.is_to_be_served_here(&owner));
    is_right && cluster.bring(stream, node).await.is_ok()
}

/// The node that is to take a publisher instead of this one.
pub(super) fn for_publisher(app: &App, request: &Request) -> Option<NodeRecord> {
    app.cluster.as_ref().filter(|_| !Vouched::is_for(request))?.better_for_publisher()
}

/// What is sent on of a request; its body is yet to be read.
pub(super) fn carry(request: &Request) -> Carried {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let header = |name: HeaderName| {
        let value = request.headers().get(&name)?.to_str().ok()?;
        Some((name.to_string(), value.chars().take(MAX_USER_AGENT_CHARS).collect()))
    };
    Carried {
        method: request.method().to_string(),
        path: request.uri().path().to_owned(),
        prefix: request.extensions().get::<Prefix>().cloned().unwrap_or_default().0,
        client: from.map(|ConnectInfo(from)| from.ip()),
        headers: SENT_ON.into_iter().filter_map(header).collect(),
        body: String::new(),
    }
}

/// Another node's answer, as the client gets it.
pub(super) fn passed_on(Answered { head, body }: Answered) -> Response<Body> {
    with_head(&head, body)
}

fn with_head(head: &Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// `app`, and beside it what other nodes ask, which `app` answers.
pub fn with_neighbours(cluster: Arc<Neighbours>, app: Router) -> Router {
    let heard = any(hear).with_state((cluster, app.clone()));
    Router::new().route(PATH, heard).fallback_service(app)
}

async fn hear(
    State((cluster, app)): State<(Arc<Neighbours>, Router)>,
    request: Request,
) -> Response<Body> {
    if *request.method() != Method::POST {
        return Problem::method_not_allowed("POST").into_response();
    }
    let (parts, body) = request.into_parts();
    let body = tokio::time::timeout(HTTP_BODY_TIMEOUT, to_bytes(body, MAX_FORWARDED_BYTES)).await;
    let body = match body {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Problem::too_large("the request is too long").into_response(),
        Err(_elapsed) => return Problem::too_slow().into_response(),
    };
    let signature = parts.headers.get(SIGNATURE).and_then(|tag| tag.to_str().ok());
    let heard = match cluster.hear(&body, signature) {
        Ok(heard) => heard,
        Err(unsigned) => {
            let from = parts.extensions.get::<ConnectInfo<SocketAddr>>();
            let from = from.map(|ConnectInfo(from)| from.ip().to_string()).unwrap_or_default();
            let why = unsigned.to_string();
            limited!(WARN, from, why, "a request in the name of another node is refused");
            return Problem::forbidden(why).into_response();
        }
    };
    answer(&cluster, &heard, app).await
}

/// Has `app` answer, and signs what comes of it.
async fn answer(cluster: &Neighbours, heard: &Heard, app: Router) -> Response<Body> {
    let own = match cluster.welcome(heard) {
        None => match cluster.tell_place(heard) {
            None => cluster.try_who_asks(heard).await,
            place => place,
        },
        welcome => welcome,
    };
    let answered = match (own, as_of_client(&heard.request)) {
        (Some(Ok(text)), _) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        (Some(Err(error)), _) => Problem::from(error).into_response(),
        (None, Some(request)) => app.oneshot(request).await.unwrap_or_else(|never| match never {}),
        (None, None) => {
            Problem::bad_request("nodes do not ask one another for that").into_response()
        }
    };
    let head = Head::of(answered.status().as_u16(), answered.headers());
    let (body, tag) = if head.is_stream() {
        (answered.into_body(), cluster.sign(heard, &head, None))
    } else {
        let body = to_bytes(answered.into_body(), MAX_FORWARDED_ANSWER_BYTES).await;
        let body = body.unwrap_or_default();
        let tag = cluster.sign(heard, &head, Some(&body));
        (Body::from(body), tag)
    };
    let mut response = with_head(&head, body);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(SIGNATURE, tag);
    }
    response
}

/// The request as the client would have sent it here, vouched for; nothing where it asks for what
/// nodes do not vouch for.
fn as_of_client(carried: &Carried) -> Option<Request> {
    let kinds = ["/whip/", "/whep/", "/session/"];
    if !kinds.iter().any(|kind| carried.path.starts_with(kind)) {
        return None;
    }
    let mut request = Request::builder()
        .method(Method::from_bytes(carried.method.as_bytes()).ok()?)
        .uri(&carried.path)
        .body(Body::from(carried.body.clone()))
        .ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in &carried.headers {
        let name = SENT_ON.into_iter().find(|known| *known == **name)?;
        headers.insert(name, HeaderValue::from_str(value).ok()?);
    }
    *request.headers_mut() = headers;
    let extensions = request.extensions_mut();
    extensions.insert(Vouched);
    extensions.insert(Prefix(carried.prefix.clone()));
    if let Some(client) = carried.client {
        extensions.insert(ConnectInfo(SocketAddr::new(client, 0)));
    }
    Some(request)
}
