//! Which layer of a stream's video the client of a session wants.

use tokio::sync::oneshot;

use super::{Control, ControlError};
use crate::id::{SessionKey, TrackId, TrackKind};
use crate::shard::{Command, NotWished};
use crate::track::{Bounds, Offered, StreamShared, Wish, layer_of, point};

/// What a client wants; nothing is whatever is best for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerChoice {
    /// The `a=mid` of the section; without one its first of video.
    pub mid: Option<String>,
    /// A layer, by the publisher's name for it or by its number.
    pub name: Option<String>,
    /// A layer, by its place: 0 is the smallest.
    pub place: Option<u8>,
    /// The highest temporal layer of that.
    pub temporal: Option<u8>,
    /// The place of the largest it has use for.
    pub max_place: Option<u8>,
    /// The width of its picture.
    pub max_width: Option<u16>,
    /// The height of its picture.
    pub max_height: Option<u16>,
    /// The highest temporal layer it has use for.
    pub max_temporal: Option<u8>,
}

impl Control {
    /// What can be had of the video of the stream that a session watches: see
    /// [`StreamShared::points`]. None where there is no such session.
    #[must_use]
    pub fn points_of(&self, key: SessionKey) -> Vec<Offered> {
        let shared = {
            let registry = self.lock();
            let stream = registry.live.get(&key).and_then(|l| registry.streams.get(&l.stream));
            stream.map(|stream| stream.shared.clone())
        };
        let video = TrackId::first(TrackKind::Video);
        shared.map_or_else(Vec::new, |shared| shared.points(video).to_vec())
    }

    /// The session with this id gets the layer that is wanted, as soon as it can.
    ///
    /// # Errors
    /// 404 or 410 when there is no such session, 404 when there is no such section or layer, 409
    /// when the session publishes, or has not connected; 503 when its shard is too busy.
    pub async fn choose_layer(&self, id: &str, choice: LayerChoice) -> Result<(), ControlError> {
        let gone = || self.lock().ended.gone(id);
        let key = self.lock().sessions.get(id).copied();
        self.choose(key.ok_or_else(gone)?, choice, gone).await
    }

    /// The same for whoever administers the server, by its name there.
    ///
    /// # Errors
    /// Likewise; 404 also where it has ended.
    pub async fn choose_layer_of(
        &self,
        key: SessionKey,
        choice: LayerChoice,
    ) -> Result<(), ControlError> {
        self.choose(key, choice, || ControlError::not_found("there is no such session")).await
    }

    async fn choose(
        &self,
        key: SessionKey,
        choice: LayerChoice,
        gone: impl Fn() -> ControlError,
    ) -> Result<(), ControlError> {
        let shared = {
            let registry = self.lock();
            let live = registry.live.get(&key);
            if live.is_some_and(|live| live.publisher) {
                return Err(ControlError::conflict("the session publishes: it gets no layer"));
            }
            let stream = live.and_then(|live| registry.streams.get(&live.stream));
            stream.map(|stream| stream.shared.clone())
        };
        let shared = shared.ok_or_else(&gone)?;
        let wish = wish(&choice, &shared)?;
        let (done, answer) = oneshot::channel();
        let command = Command::Wish { key, mid: choice.mid, wish, done };
        let mailbox = &self.wiring.mailboxes[usize::from(key.shard)];
        mailbox.command(command).map_err(|_command| {
            ControlError::overloaded("the session's shard has too much to do")
        })?;
        let wished = answer.await.map_err(|_ended| gone())?;
        wished.map_err(|not| match not {
            NotWished::NotReady => ControlError::conflict(not.to_string()),
            NotWished::NoVideo => ControlError::not_found(not.to_string()),
        })
    }
}

fn wish(choice: &LayerChoice, shared: &StreamShared) -> Result<Wish, ControlError> {
    let video = TrackId::first(TrackKind::Video);
    let offered = shared.pictures(video);
    let LayerChoice { name, place, temporal, max_temporal, .. } = choice;
    let found = match (name, place) {
        (Some(name), _) => Some(offered.iter().find(|offer| offer.is_called(name))),
        (None, Some(place)) => Some(offered.get(usize::from(*place))),
        (None, None) => None,
    };
    if let Some(found) = found {
        let layer = found.ok_or_else(|| none(&offered))?.layer;
        // Frames are left out of the smallest picture of an encoding only.
        let smallest = offered.iter().find(|offer| layer_of(offer.layer) == layer_of(layer));
        let fewer = temporal.or(*max_temporal);
        let fewer = fewer.filter(|_| smallest.is_some_and(|offer| offer.layer == layer));
        let thinned = fewer.and_then(|limit| point(layer_of(layer), limit));
        // A layer without temporal layers above that one is what it is.
        let thinned = thinned.filter(|n| shared.points(video).iter().any(|o| o.layer == *n));
        return Ok(Wish::Layer(thinned.unwrap_or(layer)));
    }
    let bounds = Bounds {
        width: choice.max_width,
        height: choice.max_height,
        place: choice.max_place,
        temporal: temporal.or(*max_temporal),
    };
    Ok(if bounds == Bounds::default() { Wish::Automatic } else { Wish::Within(bounds) })
}

fn none(offered: &[Offered]) -> ControlError {
    let names: Vec<String> = offered.iter().map(Offered::called).collect();
    ControlError::not_found(if names.is_empty() {
        "the layers of the stream are not known yet: its publisher has not sent a second of them"
            .to_owned()
    } else {
        format!(
            "the stream has no such layer: those there are, the smallest first: {}",
            names.join(", ")
        )
    })
}
