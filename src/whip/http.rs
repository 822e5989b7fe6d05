//! The routes, and what every response has in common.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_TYPE, ETAG, LINK, LOCATION, USER_AGENT,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{any, get};

use super::cors::cross_origin;
use super::elsewhere::{self, Vouched};
use super::events;
use super::fragment::SDPFRAG;
use super::layer;
use super::live::live;
use super::metrics::Metrics;
use super::posts::Posts;
use super::prefix::Prefix;
use super::resource::{has_type, patch};
use super::{Admission, IceServers, PostRates, Problem, port_metrics};
use crate::access::{Action, Asker};
use crate::cluster::{Carried, Neighbours};
use crate::control::{Caller, Control, ControlError, Placement};
use crate::hooks::Webhooks;
use crate::limits::{
    HTTP_BODY_TIMEOUT, MAX_BODY_BYTES, MAX_OFFER_BYTES, MAX_STREAM_NAME_BYTES, MAX_USER_AGENT_CHARS,
};
use crate::telemetry::{self, limited};

/// What every request may need.
#[derive(Clone)]
pub(super) struct App {
    pub control: Arc<Control>,
    pub admission: Admission,
    /// The other nodes, where there are some that share a secret.
    pub cluster: Option<Arc<Neighbours>>,
    webhooks: Arc<Webhooks>,
    ice_servers: Arc<IceServers>,
    /// Whether the log says who asks.
    log_addresses: bool,
    posts: Arc<Posts>,
    /// Of the metrics.
    texts: Arc<Metrics>,
}

/// What a server is put together from.
pub struct Whip {
    /// What requests are turned into.
    pub control: Arc<Control>,
    /// Who may.
    pub admission: Admission,
    /// The other nodes, where there are some that share a secret.
    pub cluster: Option<Arc<Neighbours>>,
    /// Who is told.
    pub webhooks: Arc<Webhooks>,
    /// What clients are told of.
    pub ice_servers: IceServers,
    /// Whether the log says who asks.
    pub log_addresses: bool,
    /// How often somebody may.
    pub rates: PostRates,
}

pub(super) type Answer = Result<Response<Body>, Problem>;

const SDP: &str = "application/sdp";
const JSON: &str = "application/json";

/// Everything the server serves over HTTP: WHIP, WHEP, the list of what is live, the metrics,
/// and `more`.
pub fn router(whip: Whip, more: Router) -> Router {
    let Whip { control, admission, cluster, webhooks, log_addresses, .. } = whip;
    let channels = events::router(control.clone());
    let (ice_servers, posts) = (Arc::new(whip.ice_servers), Arc::new(Posts::new(whip.rates)));
    let texts = Arc::default();
    let app =
        App { control, admission, cluster, webhooks, ice_servers, log_addresses, posts, texts };
    let sessions = Router::new()
        .route("/session/{id}", any(session))
        .route("/session/{id}/layer", any(layer_wanted))
        .route("/session/{id}/whose", any(elsewhere::whose))
        .with_state(app.clone())
        .merge(channels)
        .route_layer(from_fn_with_state(app.clone(), elsewhere::sessions));
    let router = Router::new()
        .route("/whip/{stream}", any(whip_endpoint))
        .route("/whep/{stream}", any(whep_endpoint))
        .route("/live", get(list).options(async || StatusCode::NO_CONTENT))
        .route("/metrics", get(metrics));
    router
        .with_state(app)
        .merge(sessions)
        .merge(more)
        .method_not_allowed_fallback(async || Problem::other_method())
        .fallback(|| async { Problem::not_found("there is nothing at this path") })
        .layer(from_fn(cross_origin))
}

async fn whip_endpoint(
    State(app): State<App>,
    Path(stream): Path<String>,
    request: Request,
) -> Answer {
    endpoint(app, stream, request, Action::Publish).await
}

async fn whep_endpoint(
    State(app): State<App>,
    Path(stream): Path<String>,
    request: Request,
) -> Answer {
    endpoint(app, stream, request, Action::Watch).await
}

/// A WHIP or WHEP endpoint (RFC 9725 §4.2): they differ in what a POST sets up.
async fn endpoint(app: App, stream: String, request: Request, action: Action) -> Answer {
    match *request.method() {
        Method::POST => {}
        Method::OPTIONS => return Ok(options(&app, action, &stream, request).await),
        Method::GET => return Ok(accept_post(StatusCode::NO_CONTENT)),
        Method::HEAD => return Ok(([(CONTENT_TYPE, SDP)], ()).into_response()),
        _ => return Err(Problem::method_not_allowed("OPTIONS, GET, HEAD, POST")),
    }
    let prefix = request.extensions().get::<Prefix>().cloned().unwrap_or_default();
    let placed = place(&app, &stream, request, action).await;
    let placed = placed.inspect_err(|refused| {
        if refused.is_told() {
            return;
        }
        // As fields, both are escaped: neither was written by anybody who is trusted.
        let known = check_stream_name(&stream).map_or("(none that can be)", |()| &stream);
        limited!(INFO, stream = known, why = refused.detail(), "offer refused");
    })?;
    let Placement { id, answer, etag } = match placed {
        Placed::Here(placement) => placement,
        Placed::Elsewhere(answer) => return Ok(answer),
    };
    let mut response = answer.into_response();
    *response.status_mut() = StatusCode::CREATED;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    set(headers, LOCATION, &format!("{}/session/{id}", prefix.0));
    set(headers, ETAG, &format!("\"{etag}\""));
    headers.insert(HeaderName::from_static("accept-patch"), HeaderValue::from_static(SDPFRAG));
    if action == Action::Watch
        && let Ok(link) = HeaderValue::from_str(&events::link(&prefix, &id))
    {
        headers.append(LINK, link);
        if let Ok(link) = HeaderValue::from_str(&layer::link(&prefix, &id)) {
            headers.append(LINK, link);
        }
    }
    add_ice_servers(&app, headers);
    Ok(response)
}

/// What became of a POST.
enum Placed {
    /// A session of this node.
    Here(Placement),
    /// What another node has answered.
    Elsewhere(Response<Body>),
}

/// Takes the offer of a POST, or takes it to the node that is to have the session.
async fn place(
    app: &App,
    stream: &str,
    request: Request,
    action: Action,
) -> Result<Placed, Problem> {
    let asker = Asker::of(&request);
    let is_vouched = Vouched::is_for(&request);
    if !is_vouched {
        app.posts.admit(&asker)?;
        app.admission.admit(action, Some(stream), &asker).await?;
    }
    check_stream_name(stream)?;
    if !has_type(request.headers(), SDP) {
        return Err(Problem::unsupported_media_type(SDP));
    }
    let caller = caller(&request, asker.from(), app.log_addresses);
    let cluster = app.cluster.as_ref().filter(|_| !is_vouched);
    let carried = cluster.map(|_| elsewhere::carry(&request)).unwrap_or_default();
    let better = elsewhere::for_publisher(app, &request).filter(|_| action == Action::Publish);
    let offer = text(request).await?;
    let asks = async |cluster: &Neighbours, node: &str, offer: &str| {
        let carried = Carried { body: offer.to_owned(), ..carried.clone() };
        Ok(Placed::Elsewhere(elsewhere::passed_on(cluster.ask(node, carried).await?)))
    };
    if let (Some(cluster), Some(node)) = (cluster, better) {
        return asks(cluster, &node.name, &offer).await;
    }
    let placed = match action {
        Action::Publish => app.control.publish(stream, &offer, &caller).await,
        _ => app.control.subscribe(stream, &offer, &caller).await,
    };
    match (placed, cluster) {
        (Err(ControlError::Elsewhere { node, .. }), Some(cluster)) if action == Action::Watch => {
            if elsewhere::brings(cluster, stream, &node).await {
                match app.control.subscribe(stream, &offer, &caller).await {
                    // It has gone again, or others have taken the room.
                    Err(ControlError::Elsewhere { .. } | ControlError::NoRoom(_)) => {}
                    placed => return Ok(Placed::Here(placed?)),
                }
            }
            asks(cluster, &node, &offer).await
        }
        (placed, _) => Ok(Placed::Here(placed.inspect_err(|error| app.posts.count(error))?)),
    }
}

/// Who asks.
fn caller(request: &Request, ip: Option<IpAddr>, is_told: bool) -> Caller {
    let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok());
    let agent = agent.unwrap_or("no user agent").chars().take(MAX_USER_AGENT_CHARS);
    Caller { ip, agent: agent.collect::<String>().into(), is_told }
}

/// The methods' answer, with STUN and TURN servers for a client that wants them before it offers
/// (RFC 9725 §4.6). A browser's own question whether it may ask gets none, nor does a stranger:
/// credentials are worth a relay.
async fn options(app: &App, action: Action, stream: &str, request: Request) -> Response<Body> {
    let mut response = accept_post(StatusCode::OK);
    let preflight = request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let asker = Asker::of(&request);
    if !preflight && app.admission.admit(action, Some(stream), &asker).await.is_ok() {
        add_ice_servers(app, response.headers_mut());
    }
    response
}

fn add_ice_servers(app: &App, headers: &mut HeaderMap) {
    for link in app.ice_servers.links(SystemTime::now()) {
        headers.append(LINK, link);
    }
}

async fn session(State(app): State<App>, Path(id): Path<String>, request: Request) -> Answer {
    let asker = asker(&request);
    match *request.method() {
        Method::OPTIONS => return Ok(StatusCode::OK.into_response()),
        Method::GET | Method::HEAD => {
            app.control.ice_session(&id)?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        Method::DELETE => {
            admit_to_session(&app, &id, asker).await?;
            app.control.leave(&id)?;
        }
        Method::PATCH => {
            admit_to_session(&app, &id, asker).await?;
            let headers = request.headers().clone();
            return patch(&app.control, &id, &headers, &text(request).await?).await;
        }
        _ => return Err(Problem::method_not_allowed("OPTIONS, GET, HEAD, PATCH, DELETE")),
    }
    Ok(StatusCode::OK.into_response())
}

/// The extension `layer` of WHEP: see [`layer`].
async fn layer_wanted(State(app): State<App>, Path(id): Path<String>, request: Request) -> Answer {
    match *request.method() {
        Method::OPTIONS => {
            return Ok((StatusCode::OK, [("accept-post", JSON)]).into_response());
        }
        Method::POST => {}
        _ => return Err(Problem::method_not_allowed("OPTIONS, POST")),
    }
    let asker = asker(&request);
    admit_to_session(&app, &id, asker).await?;
    if !has_type(request.headers(), JSON) {
        return Err(Problem::unsupported_media_type(JSON));
    }
    layer::choose(&app.control, &id, &text(request).await?).await
}

/// Who asks; nobody whom another node has let in.
fn asker(request: &Request) -> Option<Asker> {
    (!Vouched::is_for(request)).then(|| Asker::of(request))
}

/// What setting a session up asks for, ending or changing it asks for too.
async fn admit_to_session(app: &App, id: &str, asker: Option<Asker>) -> Result<(), Problem> {
    let Some(asker) = asker.map(Asker::with_session) else { return Ok(()) };
    let (action, stream) = match app.control.whose(id) {
        Ok((true, stream)) => (Action::Publish, stream),
        Ok((false, stream)) => (Action::Watch, stream),
        // Only those who may do something learn that there is no such session.
        Err(none) => {
            let may = async |action| app.admission.admit(action, None, &asker).await;
            if may(Action::Publish).await.is_err() {
                may(Action::Watch).await?;
            }
            return Err(none.into());
        }
    };
    app.admission.admit(action, Some(&stream), &asker).await?;
    Ok(())
}

async fn list(State(app): State<App>, request: Request) -> Answer {
    let admitted = app.admission.admit(Action::Watch, None, &Asker::of(&request)).await?;
    live(&app.control, &admitted, request.uri())
}

async fn metrics(State(app): State<App>, request: Request) -> Answer {
    app.admission.admit(Action::Measure, None, &Asker::of(&request)).await?;
    let accept =
        request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = telemetry::Format::wanted(accept);
    let text = app.texts.text(format, || exposition(&app).render(format)).await?;
    Ok(([(CONTENT_TYPE, format.content_type())], text).into_response())
}

fn exposition(app: &App) -> telemetry::Exposition {
    let wiring = &app.control.wiring;
    let mut exposition = wiring.exposition();
    telemetry::tcp_refused(&mut exposition, &wiring.tcp_refusals);
    telemetry::failed_sessions(&mut exposition, app.control.failures());
    telemetry::answers(&mut exposition, app.control.negotiator.answers());
    telemetry::room(&mut exposition, app.control.room());
    telemetry::process(&mut exposition);
    telemetry::memory(&mut exposition, &app.control.memory_terms());
    port_metrics::add(&mut exposition, &app.control);
    app.admission.authority.expose(&mut exposition);
    app.webhooks.expose(&mut exposition);
    app.control.expose_directory(&mut exposition);
    app.control.expose_load(&mut exposition);
    app.cluster.iter().for_each(|cluster| cluster.expose(&mut exposition));
    app.posts.expose(&mut exposition, app.control.connecting());
    exposition
}

fn accept_post(status: StatusCode) -> Response<Body> {
    (status, [("accept-post", SDP)]).into_response()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Hexadecimal and ice-chars: always a valid header value.
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The body as text, no longer than an offer may be.
pub(super) async fn text(request: Request) -> Result<String, Problem> {
    let too_large =
        || Problem::too_large(format!("the body has more than {MAX_OFFER_BYTES} bytes"));
    let body = to_bytes(request.into_body(), MAX_BODY_BYTES);
    let read: Result<Result<Bytes, _>, _> = tokio::time::timeout(HTTP_BODY_TIMEOUT, body).await;
    let bytes = read.map_err(|_elapsed| Problem::too_slow())?.map_err(|_error| too_large())?;
    if bytes.len() > MAX_OFFER_BYTES {
        return Err(too_large());
    }
    String::from_utf8(bytes.into())
        .map_err(|_error| Problem::bad_request("the body is not UTF-8 text"))
}

/// Stream names stand in URLs, logs and metrics.
fn check_stream_name(name: &str) -> Result<(), Problem> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    // The two mean other places wherever a name is part of a path.
    let means_another = [".", ".."].contains(&name);
    let has_length = (1..=MAX_STREAM_NAME_BYTES).contains(&name.len());
    if has_length && name.bytes().all(allowed) && !means_another {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "a stream's name has 1 to {MAX_STREAM_NAME_BYTES} characters of A-Z a-z 0-9 - _ . ~ and is \
         neither . nor .."
    )))
}
