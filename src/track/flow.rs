//! Which layers of a track are sent at present, as its publisher's shard sees it.
//!
//! A layer that nothing comes of, while another one of the track flows, is silent: its publisher's
//! uplink, or its processor, has no room for it. Whoever has it goes to another one. Where nothing
//! comes of any layer, the publisher is away or its picture stands still: that says nothing of one
//! of them, so a pause between two packets of the track counts for [`FLOW_PAUSE`] at most.

use std::time::{Duration, Instant};

use super::{StreamShared, Streams, Track};
use crate::id::TrackKey;
use crate::limits::{
    FLOW_BACK_AFTER, FLOW_CHECK, FLOW_PAUSE, FLOW_SILENT_AFTER, FLOW_SILENT_MOST, FLOW_WANES_AFTER,
    MAX_LAYERS,
};
use crate::media::MediaPacket;

/// Frames that say how far apart those of a layer are, and as many that it may miss.
const FRAMES: usize = 4;

/// How the packets of one layer come.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// When its newest packet came, later by what pauses of the track do not count.
    last: Option<Instant>,
    timestamp: u32,
    /// How long before its last frames nothing of it had come.
    gaps: [Duration; FRAMES],
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Flows,
    /// Nothing has come for a while: it may be about to fall silent.
    Wanes,
    Silent,
    /// It was silent, and flows again since then.
    Returns(Instant),
}

/// How the packets of a track come, of whichever layer.
#[derive(Debug, Default)]
pub(super) struct Flows {
    last: Option<Instant>,
    checked: Option<Instant>,
    /// A layer that may be about to fall silent.
    wanes: Option<u8>,
    /// How many have fallen silent, until somebody has counted them.
    fallen: u8,
}

impl Flow {
    /// Whether it is sent, or was not noticed to be silent yet.
    pub fn flows(&self) -> bool {
        matches!(self.state, State::Flows | State::Wanes)
    }

    fn come(&mut self, now: Instant, timestamp: u32) {
        let gap = self.last.map(|last| now.saturating_duration_since(last));
        let before = std::mem::replace(&mut self.timestamp, timestamp);
        self.last = Some(now);
        match self.state {
            State::Silent => {
                (self.state, self.gaps) = (State::Returns(now), Default::default());
                return;
            }
            State::Wanes => self.state = State::Flows,
            _ => {}
        }
        if let Some(gap) = gap.filter(|_| before != timestamp) {
            self.gaps.rotate_left(1);
            self.gaps[FRAMES - 1] = gap.min(FLOW_SILENT_MOST);
        }
    }

    /// What it is at `now`, when a packet of another layer has come; where it has come itself, it
    /// was told so before.
    fn look(&mut self, now: Instant) {
        let Some(last) = self.last else { return };
        let quiet = now.saturating_duration_since(last);
        let gap = self.gaps.into_iter().max().unwrap_or_default();
        let usual = (gap * FRAMES as u32).min(FLOW_SILENT_MOST);
        self.state = match self.state {
            State::Silent => State::Silent,
            _ if quiet >= usual.max(FLOW_SILENT_AFTER) => State::Silent,
            State::Returns(since) if now.saturating_duration_since(since) < FLOW_BACK_AFTER => {
                State::Returns(since)
            }
            State::Flows if quiet >= (usual / 2).max(FLOW_WANES_AFTER) => State::Wanes,
            State::Wanes => State::Wanes,
            _ => State::Flows,
        };
    }
}

impl Track {
    /// A packet of its publisher has come. True where a layer has fallen silent, or is back.
    pub(super) fn flow<P>(&mut self, packet: &MediaPacket<P>) -> bool {
        let now = packet.received;
        let before = self.flows.last.replace(now);
        if let Some(layer) = self.layer_mut(packet.layer) {
            layer.flow.come(now, packet.timestamp);
        }
        if self.layers().len() < 2 {
            return false;
        }
        let pause = before.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if let Some(beyond) = pause.checked_sub(FLOW_PAUSE) {
            let others = (0..).zip(self.layers_mut()).filter(|(other, _)| *other != packet.layer);
            for last in others.filter_map(|(_, layer)| layer.flow.last.as_mut()) {
                *last = (*last + beyond).min(now);
            }
        }
        let is_time = |last: Instant| now.saturating_duration_since(last) >= FLOW_CHECK;
        if !self.flows.checked.is_none_or(is_time) {
            return false;
        }
        self.flows.checked = Some(now);
        self.look_at_flows(now)
    }

    fn look_at_flows(&mut self, now: Instant) -> bool {
        let (mut changed, mut wanes, mut fallen) = (false, None, 0u8);
        for (number, layer) in (0..).zip(self.layers_mut()) {
            let before = layer.flow.state;
            let flowed = layer.flow.flows();
            layer.flow.look(now);
            changed |= layer.flow.flows() != flowed;
            fallen += u8::from(flowed && !layer.flow.flows());
            if layer.flow.state == State::Wanes && before != State::Wanes {
                wanes = Some(number);
            }
        }
        if !self.layers().iter().any(|layer| layer.flow.last.is_some() && layer.flow.flows()) {
            // What is back is better than nothing.
            for layer in self.layers_mut() {
                if let State::Returns(_) = layer.flow.state {
                    (layer.flow.state, changed) = (State::Flows, true);
                }
            }
        }
        self.flows.wanes = wanes.or(self.flows.wanes);
        self.flows.fallen = fallen;
        changed
    }

    /// How many layers have fallen silent since this was asked last.
    pub(super) fn take_fallen(&mut self) -> u8 {
        std::mem::take(&mut self.flows.fallen)
    }

    /// A layer that somebody takes may be about to fall silent: there is to be something that they
    /// can go to at once. True where a key frame is asked for.
    pub(super) fn prepare(&mut self, shared: &StreamShared, now: Instant) -> bool {
        let Some(wanes) = self.flows.wanes.take() else { return false };
        if shared.takers(self.id(), wanes, self.best_layer()).next().is_none() {
            return false;
        }
        let offered = shared.offered(self.id());
        let Some(place) = offered.iter().position(|offer| offer.layer == wanes) else {
            return false;
        };
        let (below, above) = (offered[..place].iter().rev(), &offered[place + 1..]);
        let next = below.chain(above).find(|offer| offer.flows).map(|offer| offer.layer);
        let Some((next, publisher)) = next.zip(shared.live_publisher()) else { return false };
        // One that does not come here is asked for when it is needed.
        let away = self.layer(next).is_some_and(|layer| !layer.comes());
        if away || self.past(next, now, publisher).is_some() {
            return false;
        }
        if let Some(layer) = self.layer_mut(next) {
            layer.keyframes.request();
        }
        true
    }
}

impl Streams {
    /// A track published here whose layers have changed, and how many of them have fallen silent:
    /// other shards that take part are told.
    pub fn changed(&mut self) -> Option<(TrackKey, u8)> {
        let key = self.changed.pop()?;
        let track = self.get_mut(key.stream).and_then(|stream| stream.track_mut(key.id));
        Some((key, track.map_or(0, Track::take_fallen)))
    }

    /// The layers of a track that is published on another shard have changed.
    pub fn layers_changed(&mut self, now: Instant, key: TrackKey) {
        let adapts = self.adapts;
        let Some(stream) = self.get_mut(key.stream).filter(|stream| stream.has_viewers()) else {
            return;
        };
        let standing = stream.shared.standing(key.id);
        if let Some(track) = stream.track_mut(key.id) {
            track.is_told(standing);
        }
        stream.layers_changed(key.id);
        stream.weigh_all(now, adapts);
        self.activate(key.stream);
    }
}

const _: () = assert!(MAX_LAYERS <= u8::MAX as usize, "layers are numbered by a byte");
