//! Server-sent events for players: the extension `server-sent-events` of WHEP.
//!
//! A player POSTs the events it wants to the URL in the answer's `Link`, is given the URL of a
//! channel, and listens there by `EventSource`. The session's URL is the secret that lets it. The
//! stream is looked at once a second, and more often for who speaks; what has changed is told, and
//! nothing waits for a player that reads slowly: it is told how things are when it reads again.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{Method, Response, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::any;
use futures_util::stream::unfold;
use serde_json::{Value, json};

use super::Problem;
use super::prefix::Prefix;
use super::resource::has_type;
use crate::control::{Control, PictureNow, Sound, Speakers, StreamNow};
use crate::limits::{MAX_EVENTS_BODY_BYTES, SPEAKERS_LOOK, STREAM_LOOK};

/// Proxies cut connections on which nothing comes.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events there are, by the bits of a channel's set.
const EVENTS: [&str; 6] = ["active", "inactive", "layers", "reconnect", "viewercount", SPEAKERS];

/// The event that is looked at more often.
const SPEAKERS: &str = "speakers";

/// Why a layer does not come: its publisher sends none of it, or the way from another node has no
/// room for it.
const SILENT: &str = "silent";
const WITHHELD: &str = "withheld";

/// The extension's name in `Link`.
const RELATION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";

type Answer = Result<Response<Body>, Problem>;

/// The value of the `Link` header that leads there.
pub(super) fn link(prefix: &Prefix, id: &str) -> String {
    let events = EVENTS.join(",");
    format!("<{}/session/{id}/events>; rel=\"{RELATION}\"; events=\"{events}\"", prefix.0)
}

/// The channels of all sessions.
pub(super) fn router(control: Arc<Control>) -> Router {
    Router::new()
        .route("/session/{id}/events", any(channels))
        .route("/session/{id}/events/{channel}", any(channel))
        .with_state(control)
}

/// POST with a list of events makes a channel.
async fn channels(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    request: Request,
) -> Answer {
    match *request.method() {
        Method::OPTIONS => {
            return Ok((StatusCode::OK, [("accept-post", "application/json")]).into_response());
        }
        Method::POST => {}
        _ => return Err(Problem::method_not_allowed("OPTIONS, POST")),
    }
    if !has_type(request.headers(), "application/json") {
        return Err(Problem::unsupported_media_type("application/json"));
    }
    let prefix = request.extensions().get::<Prefix>().cloned().unwrap_or_default();
    let body = to_bytes(request.into_body(), MAX_EVENTS_BODY_BYTES).await;
    let body = body.map_err(|_error| Problem::too_large("the list of events is too long"))?;
    let channel = control.make_channel(&id, wanted(&body)?)?;
    let location = format!("{}/session/{id}/events/{channel}", prefix.0);
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

/// The set of events that a body asks for: a JSON array of their names.
///
/// # Errors
/// It is none, names none, or names one that there is not.
pub fn wanted(body: &[u8]) -> Result<u8, Problem> {
    let names: Vec<String> = serde_json::from_slice(body).map_err(|_error| {
        Problem::bad_request("the body is a JSON array with the names of events")
    })?;
    let mut set = 0;
    for name in &names {
        let known = EVENTS.iter().position(|event| event == name);
        let place = known.ok_or_else(|| {
            Problem::bad_request(format!("the events there are: {}", EVENTS.join(", ")))
        })?;
        set |= 1 << place;
    }
    if set == 0 { Err(Problem::bad_request("the list names no event")) } else { Ok(set) }
}

/// GET listens, DELETE closes.
async fn channel(
    State(control): State<Arc<Control>>,
    Path((id, channel)): Path<(String, u32)>,
    method: Method,
) -> Answer {
    match method {
        Method::OPTIONS => Ok(StatusCode::OK.into_response()),
        Method::DELETE => {
            control.close_channel(&id, channel)?;
            Ok(StatusCode::OK.into_response())
        }
        Method::GET => {
            let (events, opened) = control.open_channel(&id, channel)?;
            let (sound, waiting) = (control.sound_of(&id)?, VecDeque::new());
            let (last, speakers, due) = (None, None, Instant::now());
            let events = Wanted(events);
            let player = Player {
                control,
                id,
                channel,
                opened,
                events,
                sound,
                due,
                last,
                speakers,
                waiting,
            };
            let stream = unfold(player, |mut player| async {
                let event = player.next().await?;
                Some((Ok::<_, Infallible>(event), player))
            });
            let sse = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
            Ok(([(CACHE_CONTROL, "no-store")], sse).into_response())
        }
        _ => Err(Problem::method_not_allowed("OPTIONS, GET, DELETE")),
    }
}

/// The events that a player wants, a bit each.
struct Wanted(u8);

impl Wanted {
    fn has(&self, name: &str) -> bool {
        let place = EVENTS.iter().position(|event| *event == name);
        place.is_some_and(|place| self.0 >> place & 1 == 1)
    }
}

/// A player that listens.
struct Player {
    control: Arc<Control>,
    id: String,
    channel: u32,
    opened: u32,
    events: Wanted,
    sound: Sound,
    /// When the stream is looked at again.
    due: Instant,
    /// What it was told last.
    last: Option<StreamNow>,
    /// Who it was told speaks.
    speakers: Option<Speakers>,
    /// What it is yet to be told: one of each event at most.
    waiting: VecDeque<Event>,
}

impl Player {
    /// The next event; `None` when there is nothing more to tell.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            let wants_speakers = self.events.has(SPEAKERS);
            if self.last.is_some() {
                let look = if wants_speakers { SPEAKERS_LOOK } else { STREAM_LOOK };
                tokio::time::sleep(look).await;
            }
            if self.due <= Instant::now() {
                self.look()?;
            }
            if wants_speakers {
                self.listen();
            }
        }
    }

    /// Looks at the stream. `None` when the channel is no more.
    fn look(&mut self) -> Option<()> {
        self.due = Instant::now() + STREAM_LOOK;
        let now = self.control.look_at_channel(&self.id, self.channel, self.opened)?;
        for (name, data) in changes(self.last.as_ref(), &now) {
            if self.events.has(name) {
                self.tell(name, &data);
            }
        }
        self.last = Some(now);
        Some(())
    }

    /// Looks at who speaks.
    fn listen(&mut self) {
        let now = self.sound.speakers(Instant::now());
        if self.speakers.as_ref().is_none_or(|told| now.differ(told)) {
            let speaking = now.loudest.iter();
            let each: Vec<Value> = speaking
                .map(|speaker| json!({ "track": speaker.track, "level_dbov": speaker.level }))
                .collect();
            self.tell(SPEAKERS, &json!({ "speakers": each }));
            self.speakers = Some(now);
        }
    }

    fn tell(&mut self, name: &str, data: &Value) {
        self.waiting.push_back(Event::default().event(name).data(data.to_string()));
    }
}

/// What has changed, as events; at first everything.
fn changes(before: Option<&StreamNow>, now: &StreamNow) -> Vec<(&'static str, Value)> {
    let mut events = Vec::new();
    let changed =
        |same: fn(&StreamNow, &StreamNow) -> bool| before.is_none_or(|before| !same(before, now));
    if changed(|a, b| a.active == b.active) {
        events.push((if now.active { "active" } else { "inactive" }, json!({})));
    }
    if changed(|a, b| a.viewers == b.viewers) {
        events.push(("viewercount", json!({ "viewercount": now.viewers })));
    }
    // What they send goes up and down all the time.
    let each = |now: &StreamNow| -> Vec<_> {
        let one = |picture: &PictureNow| {
            let offer = &picture.offer;
            let comes = (offer.flows, offer.withheld);
            (offer.layer, offer.name, offer.size, comes, picture.active, picture.fewer.len())
        };
        now.pictures.iter().map(one).collect()
    };
    let same_layers = before.is_some_and(|before| each(before) == each(now));
    if !same_layers {
        events.push(("layers", layers(now)));
    }
    if now.draining && before.is_none_or(|before| !before.draining) {
        events.push(("reconnect", json!({})));
    }
    events
}

/// The layers by the section that carries one of them: what is told apart by its picture, the
/// smallest first, and with how many frames a smallest one can be had; and beside them those that
/// do not come, and why. A place counts both, as it does where one is chosen by it.
fn layers(now: &StreamNow) -> Value {
    let (mut come, mut inactive) = (Vec::new(), Vec::new());
    for (place, PictureNow { offer, active, fewer }) in now.pictures.iter().enumerate() {
        let mut layer = json!({
            "encodingId": offer.called(),
            "spatialLayerId": place,
            "width": offer.size.map(|size| size.width),
            "height": offer.size.map(|size| size.height),
        });
        if !offer.flows {
            // None has a bitrate, which by WHEP's text would say that it is active.
            layer["reason"] = if offer.withheld { WITHHELD } else { SILENT }.into();
            inactive.push(layer);
            continue;
        }
        let fewer = fewer.iter().map(|(temporal, offer)| {
            json!({
                "temporalLayerId": temporal,
                "bitrate": offer.bits_per_s,
                "framesPerSecond": offer.frames_per_s,
            })
        });
        layer["bitrate"] = offer.bits_per_s.into();
        layer["active"] = (*active).into();
        layer["temporalLayers"] = fewer.collect();
        come.push(layer);
    }
    let section = now.video_mid.as_deref().unwrap_or("video");
    json!({ section: { "layers": come, "inactive": inactive } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(before: &StreamNow, now: &StreamNow) -> Option<Value> {
        let mut events = changes(Some(before), now).into_iter();
        events.find(|(name, _)| *name == "layers").map(|(_, mut data)| data["video"].take())
    }

    #[test]
    fn a_layer_that_does_not_come_is_named_with_the_reason_and_keeps_its_place() {
        let (all, none) = (StreamNow::of_three(&[], &[]), StreamNow::of_three(&[0], &[2]));
        let now = told(&all, &none).expect("it is another list");
        assert_eq!(now["layers"].as_array().map(Vec::len), Some(1));
        assert_eq!(now["layers"][0]["spatialLayerId"], 1, "as it is chosen by its place");
        assert_eq!(
            now["inactive"],
            json!([
                { "encodingId": "0", "spatialLayerId": 0, "width": null, "height": null,
                  "reason": "silent" },
                { "encodingId": "2", "spatialLayerId": 2, "width": null, "height": null,
                  "reason": "withheld" },
            ])
        );
        let silent =
            told(&none, &StreamNow::of_three(&[0, 2], &[])).expect("another reason is told");
        assert_eq!(silent["inactive"][1]["reason"], "silent");
        assert_eq!(told(&none, &none), None);
        let back = told(&none, &all).expect("they have come back");
        assert_eq!(
            (back["layers"].as_array().map(Vec::len), &back["inactive"]),
            (Some(3), &json!([]))
        );
    }
}
