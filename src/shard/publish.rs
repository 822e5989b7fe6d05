//! A publisher's packets go into this shard's tracks and to every other shard that has viewers.

use std::time::Instant;

use super::core::Core;
use super::outputs::Outlets;
use super::post::Post;
use super::sessions::{Entry, Publishing};
use super::{Mail, Report};
use crate::drop::DropReason;
use crate::id::{SessionKey, TrackKey};
use crate::ingest::Opened;
use crate::limits::{MAX_PAYLOAD_OUT, MEDIA_USELESS_AFTER};
use crate::media::{Bytes, ClockReport, MediaPacket, Payload};
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

    /// Viewers on another shard need a key frame of a layer that is published here. Those who have
    /// just come begin with what there was since the last one, if it can be had.
    pub fn on_keyframe_wanted(
        &mut self,
        now: Instant,
        (track, layer): (TrackKey, u8),
        newcomers: Option<u16>,
    ) {
        if let Some(shard) = newcomers {
            let past = self.streams.past(now, track, layer);
            if !past.is_empty() {
                return self.post.note(shard, Mail::Past(track, past));
            }
        }
        self.streams.want_keyframe(track, Some(layer));
    }

    /// The publisher in `slot` is connected: where its stream has none, it is the publisher now.
    pub fn publisher_connected(&mut self, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let Some(publishing) = &mut entry.publishes else { return };
        let (stream, tracks) = (publishing.stream, publishing.tracks.iter().copied());
        if let Some(number) = self.streams.connected(stream, Source::Session(slot), tracks) {
            publishing.number = number;
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

/// One SRTP datagram of the session `entry`, opened in the memory it is in; it came at `arrived`.
pub(super) fn hear_publisher(
    (now, arrived): (Instant, Instant),
    entry: &mut Entry,
    datagram: &mut [u8],
    outlets: Outlets<'_>,
) -> Result<(), DropReason> {
    let Outlets { streams, post, .. } = outlets;
    let publishing = entry.publishes.as_mut().ok_or(DropReason::ViewerRtp)?;
    let ingest = publishing.ingest.as_mut().ok_or(DropReason::BeforeKeys)?;
    match ingest.rtp(arrived, datagram)? {
        Opened::Media { mut packet, asks, sets } => {
            if let Some(payload_type) = ingest.switched_to.take() {
                post.tell_control(Report::Switched { key: entry.key, payload_type });
            }
            let (track, layer, bytes) = (packet.track, packet.layer, packet.payload.len());
            if waited_too_long(now, arrived) {
                post.counters().publisher_packets.add(1);
                post.dropped(DropReason::WaitedTooLong);
            } else {
                let named = std::mem::take(&mut ingest.named);
                packet.origin.publisher = publisher_number(entry.key, publishing, streams, post);
                streams.name_layers(packet.track.stream, packet.origin.publisher, named);
                if let Some(sets) = sets {
                    publish(before(&packet, sets), streams, post);
                }
                publish(packet, streams, post);
            }
            if bytes > MAX_PAYLOAD_OUT {
                is_oversized(entry, bytes);
            }
            // Also where the packet that began a source is of no use: what follows needs it.
            if asks {
                streams.want_keyframe(track, Some(layer));
            }
        }
        Opened::Unplaced(reason) => {
            post.counters().publisher_packets.add(1);
            post.dropped(reason);
        }
        Opened::Padding => {}
    }
    // Some publishers (ffmpeg's) send no checks once they are connected: media is life enough.
    entry.heard = now;
    Ok(())
}

/// The packet with `sets` that stands before the first one of a key frame.
fn before(first: &MediaPacket<&[u8]>, sets: Payload) -> MediaPacket {
    let packet = MediaPacket {
        sequence: first.sequence - 1,
        marker: false,
        keyframe: true,
        ..first.clone()
    };
    packet.with_payload(|_first| sets)
}

/// What a publisher reports, as a compound.
pub(super) fn hear_reports(
    now: Instant,
    publishing: &mut Publishing,
    compound: &[u8],
    streams: &mut Streams,
    post: &mut Post,
) -> Result<(), DropReason> {
    let number = publishing.number;
    let ingest = publishing.ingest.as_mut().ok_or(DropReason::BeforeKeys)?;
    ingest.rtcp(now, compound, |mut report| {
        report.origin.publisher = number;
        publish_clock(report, streams, post);
    })
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
pub(super) fn publish<P: Bytes + Clone>(
    packet: MediaPacket<P>,
    streams: &mut Streams,
    post: &mut Post,
) {
    post.counters().publisher_packets.add(1);
    let published = streams.publish(packet, |shard, packet| post.copy(shard, packet));
    while let Some((track, silent)) = streams.changed() {
        post.counters().layers_silent.add(u64::from(silent));
        // Who takes a layer that has fallen silent gets no packet that would say so.
        for shard in streams.others_interested(track.stream) {
            post.note(shard, Mail::LayersChanged(track));
        }
    }
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

/// The number of the publisher `key`. With its first media it takes the place of the one before.
fn publisher_number(
    key: SessionKey,
    publishing: &mut Publishing,
    streams: &mut Streams,
    post: &Post,
) -> u32 {
    if publishing.number == 0 {
        let (stream, tracks) = (publishing.stream, publishing.tracks.iter().copied());
        let Some(number) = streams.take_over(stream, Source::Session(key.slot), tracks) else {
            return 0;
        };
        publishing.number = number;
        post.tell_control(Report::Live { key, number });
    }
    publishing.number
}
