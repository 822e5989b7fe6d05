//! What the client of a session may know of its stream while it goes on: WHEP's event channels.

use std::time::{Duration, Instant};

use super::session::LiveSession;
use super::{Control, ControlError};
#[cfg(test)]
use crate::id::StreamKey;
use crate::id::{TrackId, TrackKind};
use crate::limits::MAX_CHANNELS_PER_SESSION;
#[cfg(test)]
use crate::track::LayerShown;
use crate::track::{Offered, StreamShared, frames_of, picture_in};

/// An event channel of a session.
#[derive(Debug)]
pub(super) struct Channel {
    id: u32,
    /// Which events, as its owner counts them.
    events: u8,
    /// Counts those who have opened it: the last one gets the events.
    opened: u32,
}

/// A picture that a viewer may have, or could if it came, at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureNow {
    /// What it is.
    pub offer: Offered,
    /// Whether viewers who choose nothing get it.
    pub active: bool,
    /// With how many frames it can be had, by the highest temporal layer, the fewest first.
    pub fewer: Vec<(u8, Offered)>,
}

/// Moments in which viewers are told that the server stops.
const SPREAD_PARTS: u32 = 100;

/// Those that are known of a stream's first video track, the smallest first.
fn pictures(shared: &StreamShared) -> Vec<PictureNow> {
    let video = TrackId::first(TrackKind::Video);
    let best = shared.best_layer(video);
    let (fewer, pictures): (Vec<Offered>, Vec<Offered>) =
        shared.points(video).into_iter().partition(|offer| frames_of(offer.layer).is_some());
    let picture = |(place, offer): (usize, &Offered)| {
        let own = fewer.iter().filter(|fewer| picture_in(&pictures, fewer.layer) == Some(place));
        let own = own.filter_map(|fewer| Some((frames_of(fewer.layer)?, *fewer)));
        PictureNow { offer: *offer, active: offer.layer == best, fewer: own.collect() }
    };
    pictures.iter().enumerate().map(picture).collect()
}

/// How a stream is at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamNow {
    /// Somebody publishes it, and media has come.
    pub active: bool,
    /// Viewers there are.
    pub viewers: usize,
    /// The pictures of its first video track, the smallest first, with those that do not come.
    pub pictures: Vec<PictureNow>,
    /// The server takes no more sessions, and ends those there are by and by; or the stream is
    /// published by a process that has taken over.
    pub draining: bool,
    /// The `a=mid` of the session's video section.
    pub video_mid: Option<Box<str>>,
}

#[cfg(test)]
impl StreamNow {
    /// Of three layers, of which those do not come that are named so.
    pub fn of_three(silent: &[u8], withheld: &[u8]) -> StreamNow {
        let shared = StreamShared::new(StreamKey { index: 0, generation: 0 });
        let video = TrackId::first(TrackKind::Video);
        for layer in 0..3 {
            let withheld = withheld.contains(&layer);
            let shown = LayerShown {
                kilobits_per_s: 100 * u32::from(layer + 1),
                silent: withheld || silent.contains(&layer),
                withheld,
                ..LayerShown::default()
            };
            shared.show_layer(video, layer, shown);
        }
        let pictures = pictures(&shared);
        StreamNow { active: true, viewers: 1, pictures, draining: false, video_mid: None }
    }
}

impl Control {
    /// Viewers are told that the server stops, and come to other nodes, by and by, over so long.
    pub fn spread_viewers(&self, over: Duration) {
        self.lock().spread = Some((Instant::now(), over));
    }

    /// Makes an event channel for the session with this id. `events` is kept for its owner. Of more
    /// than [`MAX_CHANNELS_PER_SESSION`] the oldest is closed.
    ///
    /// # Errors
    /// 404 or 410 when there is no such session.
    pub fn make_channel(&self, id: &str, events: u8) -> Result<u32, ControlError> {
        self.with_live(id, |live| {
            let number = live.channels.last().map_or(1, |last| last.id.wrapping_add(1));
            if live.channels.len() >= MAX_CHANNELS_PER_SESSION {
                live.channels.remove(0);
            }
            live.channels.push(Channel { id: number, events, opened: 0 });
            Some(number)
        })
    }

    /// Closes an event channel: whoever listens hears no more.
    ///
    /// # Errors
    /// 404 or 410 when there is no such session or channel.
    pub fn close_channel(&self, id: &str, channel: u32) -> Result<(), ControlError> {
        self.with_live(id, |live| {
            let place = live.channels.iter().position(|known| known.id == channel)?;
            live.channels.remove(place);
            Some(())
        })
    }

    /// Opens an event channel in the place of whoever has it open. Returns its events, and a number
    /// by which it can be looked at.
    ///
    /// # Errors
    /// 404 or 410 when there is no such session or channel.
    pub fn open_channel(&self, id: &str, channel: u32) -> Result<(u8, u32), ControlError> {
        self.with_live(id, |live| {
            let known = live.channels.iter_mut().find(|known| known.id == channel)?;
            known.opened = known.opened.wrapping_add(1);
            Some((known.events, known.opened))
        })
    }

    /// How the stream of a session is now; `None` once the channel is closed, opened by somebody
    /// else, or gone with its session.
    #[must_use]
    pub fn look_at_channel(&self, id: &str, channel: u32, opened: u32) -> Option<StreamNow> {
        let registry = self.lock();
        let live = registry.live.get(registry.sessions.get(id)?)?;
        let is_open = |known: &&Channel| (known.id, known.opened) == (channel, opened);
        live.channels.iter().find(is_open)?;
        let stream = registry.streams.get(&live.stream)?;
        Some(StreamNow {
            active: stream.publisher().is_some()
                || stream.brought.as_ref().is_some_and(|link| !link.is_over()),
            viewers: stream.viewers.keys().len(),
            pictures: pictures(&stream.shared),
            draining: registry.stopping && has_turn(registry.spread, id) || stream.moved_on,
            video_mid: live.video_mid.clone(),
        })
    }

    fn with_live<T>(
        &self,
        id: &str,
        change: impl FnOnce(&mut LiveSession) -> Option<T>,
    ) -> Result<T, ControlError> {
        let mut registry = self.lock();
        let key = registry.sessions.get(id).copied();
        match key.and_then(|key| registry.live.get_mut(&key)) {
            Some(live) => change(live)
                .ok_or_else(|| ControlError::not_found("there is no such event channel")),
            None => Err(registry.ended.gone(id)),
        }
    }
}

/// Whether it is a session's turn to be told that the server stops: each has a moment of its own.
fn has_turn(spread: Option<(Instant, Duration)>, id: &str) -> bool {
    let Some((since, over)) = spread else { return true };
    let part = id.bytes().fold(0u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    since.elapsed() >= over * (part % SPREAD_PARTS) / SPREAD_PARTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn viewers_have_their_turns_one_after_the_other_and_all_in_time() {
        let over = Duration::from_secs(30);
        let ids: Vec<String> =
            (0..1_000).map(|n: u64| format!("{:016x}", n * 0x9e37_79b9)).collect();
        let told = |ago: u64| {
            let since = Instant::now().checked_sub(Duration::from_secs(ago)).expect("it is up");
            ids.iter().filter(|id| has_turn(Some((since, over)), id)).count()
        };
        assert!(told(0) < 50 && (300..700).contains(&told(15)), "{} and {}", told(0), told(15));
        assert_eq!(told(30), 1_000);
        assert!(ids.iter().all(|id| has_turn(None, id)), "at once where there is nobody else");
    }
}
