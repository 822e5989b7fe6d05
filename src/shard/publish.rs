//! A publisher's packets go into this shard's tracks and to every other shard that has viewers.

use std::time::Instant;

use super::core::Core;
use super::post::Post;
use super::sessions::Entry;
use super::{Mail, Report};
use crate::drop::DropReason;
use crate::limits::{MAX_PAYLOAD_OUT, MEDIA_USELESS_AFTER};
use crate::media::{ClockReport, MediaPacket};
use crate::telemetry::limited;
use crate::track::{Published, Source, Streams};

impl Core {
    /// Takes a packet of a publisher on another shard.
    pub fn on_media(&mut self, now: Instant, packet: MediaPacket) {
        if waited_too_long(now, packet.received) {
            return self.post.dropped(DropReason::WaitedTooLong);
        }
        match self.streams.receive(packet) {
            Ok(()) => self.post.counters().media_admitted.add(1),
            Err(reason) => self.post.dropped(reason),
        }
    }

    /// The publisher in `slot` is connected: where its stream has none, it is the publisher now.
    pub fn publisher_connected(&mut self, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let Some(publisher) = &mut entry.session.publishes else { return };
        let number =
            self.streams.connected(publisher.stream, Source::Session(slot), publisher.tracks());
        if let Some(number) = number {
            publisher.number = number;
            let key = entry.key;
            self.post.tell_control(Report::Live { key, number });
        }
    }
}

/// Whether media that came at `arrived` is of no use by now: the process was stopped, or had no
/// core to run on, and viewers are better served with what comes next than with what they have
/// missed. Asked once it is decrypted, which keeps count of the sequence numbers.
pub(super) fn waited_too_long(now: Instant, arrived: Instant) -> bool {
    now.saturating_duration_since(arrived) >= MEDIA_USELESS_AFTER
}

/// A packet decrypted by the publisher whose session `entry` is.
pub(super) fn publish_from(
    entry: &mut Entry,
    mut packet: MediaPacket,
    streams: &mut Streams,
    post: &mut Post,
) {
    if let Some(publisher) = &mut entry.session.publishes
        && let Some(payload_type) = publisher.switched_to.take()
    {
        post.tell_control(Report::Switched { key: entry.key, payload_type });
    }
    packet.origin.publisher = publisher_number(entry, streams, post);
    if packet.payload.len() > MAX_PAYLOAD_OUT {
        is_oversized(entry, packet.payload.len());
    }
    publish(packet, streams, post);
}

/// A publisher sends packets that no datagram to a viewer has room for: said once.
#[cold]
fn is_oversized(entry: &mut Entry, payload: usize) {
    if std::mem::replace(&mut entry.watch.oversized, true) {
        return;
    }
    limited!(
        WARN,
        session = %entry.key,
        "its publisher sends packets with {payload} bytes of payload; those above \
         {MAX_PAYLOAD_OUT} reach no viewer: set its packet size (MTU) to 1,200 bytes"
    );
}

/// A packet whose publisher's packets come to this shard first.
pub(super) fn publish(packet: MediaPacket, streams: &mut Streams, post: &mut Post) {
    post.counters().publisher_packets.add(1);
    let published = streams.publish(packet, |shard, packet| post.copy(shard, packet));
    let counters = post.counters();
    match published {
        Ok(Published::Here) => counters.media_admitted.add(1),
        Ok(Published::Elsewhere) => counters.media_relayed.add(1),
        Err(reason) => counters.dropped(reason),
    }
}

/// A publisher of this shard says what time it is in one of its layers.
pub(super) fn publish_clock(report: ClockReport, streams: &mut Streams, post: &mut Post) {
    if report.origin.publisher == 0 {
        // Its media has not come.
        return;
    }
    streams.set_clock(report);
    for shard in streams.others_interested(report.track.stream) {
        post.note(shard, Mail::Clock(report));
    }
}

/// The number of a publisher. With its first media it takes the place of the one before.
fn publisher_number(entry: &mut Entry, streams: &mut Streams, post: &Post) -> u32 {
    let Some(publisher) = &mut entry.session.publishes else { return 0 };
    if publisher.number == 0 {
        let source = Source::Session(entry.key.slot);
        let number = streams.take_over(publisher.stream, source, publisher.tracks());
        let Some(number) = number else { return 0 };
        publisher.number = number;
        post.tell_control(Report::Live { key: entry.key, number });
    }
    publisher.number
}
