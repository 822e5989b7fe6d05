//! Streams whose publisher is elsewhere: a relay brings their packets, and takes back the wish for
//! a key frame.
//!
//! A relay is to a stream what a publisher's session is, without a session. Its packets come by
//! mail and keep the numbers of the publisher; they go the way of any other publisher's.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use super::core::Core;
use super::publish::{publish, publish_clock};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKey};
use crate::limits::MAX_RELAYS_PER_SHARD;
use crate::media::{ClockReport, MediaPacket};
use crate::track::{Source, StreamShared};

/// Key frames that a relay is to ask the publisher for: the track and the layer. When it is full a
/// wish is lost and made again, as one whose datagram was lost would be.
pub type Wishes = ArrayQueue<(TrackKey, u8)>;

/// A relay, on the shard that its packets come to.
struct Relay {
    /// Its name on this shard.
    name: u32,
    stream: StreamKey,
    /// Its number among the publishers of the stream, once its first packet has come.
    number: u32,
    tracks: Vec<TrackId>,
    wishes: Arc<Wishes>,
}

/// The relays of one shard: a few, each with many packets.
#[derive(Default)]
pub(super) struct Relays(Vec<Relay>);

impl Relays {
    /// Passes a wish for a key frame on; false where the relay has ended or takes no more.
    pub fn ask(&self, name: u32, track: TrackKey, layer: u8) -> bool {
        let relay = self.0.iter().find(|relay| relay.name == name);
        relay.is_some_and(|relay| relay.wishes.push((track, layer)).is_ok())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&mut self, name: u32) -> Option<&mut Relay> {
        self.0.iter_mut().find(|relay| relay.name == name)
    }
}

impl Core {
    /// A relay begins to bring a stream with these tracks. Where there are
    /// [`MAX_RELAYS_PER_SHARD`] already, or one of this name, nothing happens.
    pub fn open_relay(
        &mut self,
        name: u32,
        stream: &Arc<StreamShared>,
        tracks: Vec<TrackId>,
        wishes: Arc<Wishes>,
    ) {
        if self.relays.get(name).is_some() || self.relays.0.len() >= MAX_RELAYS_PER_SHARD {
            return;
        }
        self.streams.join(stream);
        let key = stream.key;
        let number = self.streams.connected(key, Source::Relay(name), tracks.iter().copied());
        let number = number.unwrap_or(0);
        self.relays.0.push(Relay { name, stream: key, number, tracks, wishes });
    }

    /// A relay ends: its stream is without a publisher, unless it has another.
    pub fn close_relay(&mut self, name: u32) {
        let Some(index) = self.relays.0.iter().position(|relay| relay.name == name) else { return };
        let relay = self.relays.0.swap_remove(index);
        self.streams.leave(relay.stream, Source::Relay(name));
    }

    /// A packet that a relay brings. With its first one it takes the place of the publisher before.
    pub fn on_relayed(&mut self, name: u32, mut packet: MediaPacket) {
        let number = self.relay_number(name);
        if number == 0 || self.relays.get(name).is_none_or(|r| r.stream != packet.track.stream) {
            self.post.counters().publisher_packets.add(1);
            return self.post.dropped(DropReason::StaleMedia);
        }
        packet.origin.publisher = number;
        publish(packet, &mut self.streams, &mut self.post);
    }

    /// What time it is in a layer that a relay brings.
    pub fn on_relayed_clock(&mut self, name: u32, mut report: ClockReport) {
        let Some(relay) = self.relays.get(name) else { return };
        if relay.stream == report.track.stream {
            report.origin.publisher = relay.number;
            publish_clock(report, &mut self.streams, &mut self.post);
        }
    }

    fn relay_number(&mut self, name: u32) -> u32 {
        let Some(relay) = self.relays.get(name) else { return 0 };
        if relay.number == 0 {
            let tracks = relay.tracks.iter().copied();
            let number = self.streams.take_over(relay.stream, Source::Relay(name), tracks);
            relay.number = number.unwrap_or(0);
        }
        relay.number
    }
}
