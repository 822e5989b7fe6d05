//! A publisher's packets go to every shard that has viewers, and into this shard's tracks.

use super::Mail;
use super::core::Core;
use crate::drop::DropReason;
use crate::media::{ClockReport, MediaPacket};
use crate::track::{Admission, Carry};

impl Core {
    /// A packet decrypted by the publisher in `slot`.
    pub fn on_published(&mut self, slot: u32, mut packet: MediaPacket) {
        self.counters().publisher_packets.add(1);
        packet.origin.publisher = self.take_over(slot);
        let key = packet.track;
        let Some(stream) = self.streams.get(key.stream) else { return };
        let interested = stream.shared.interested();
        let Some((carry, asks)) = stream.carry_published(&packet) else {
            return self.dropped(DropReason::UnknownTrack);
        };
        if asks {
            self.activate(key.stream);
        }
        if carry != Carry::Yes {
            return self.dropped(not_carried(carry));
        }
        let (mut here, mut elsewhere) = (false, false);
        for shard in interested {
            if shard == self.index {
                here = true;
                continue;
            }
            elsewhere = true;
            match self.post(shard, Mail::Media(packet.copy_for_other_shard())) {
                Ok(()) => self.counters().media_handed_over.add(1),
                Err(_full) => self.dropped(DropReason::MediaRingFull),
            }
        }
        match (here, elsewhere) {
            (true, _) => self.admit(packet),
            (false, true) => self.counters().media_relayed.add(1),
            (false, false) => self.dropped(DropReason::NoViewers),
        }
    }

    /// The publisher in `slot` is connected. Where the stream has none, it is the publisher from
    /// now on, and is asked for the key frame that viewers wait for; else with its first media.
    pub fn publisher_connected(&mut self, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let Some(publisher) = &entry.session.publishes else { return };
        let key = publisher.stream;
        let stream = self.streams.get(key);
        if stream.is_some_and(|stream| stream.shared.publisher().is_none()) {
            self.take_over(slot);
            self.activate(key);
        }
    }

    /// The number of the publisher in `slot`. With its first media it takes the place of the one
    /// before, and what that one sends is too late from here on.
    fn take_over(&mut self, slot: u32) -> u32 {
        let Some(entry) = self.sessions.at(slot) else { return 0 };
        let Some(publisher) = &mut entry.session.publishes else { return 0 };
        if publisher.number == 0
            && let Some(stream) = self.streams.get(publisher.stream)
        {
            publisher.number = stream.take_over(self.index, slot, publisher.tracks());
        }
        publisher.number
    }

    /// Takes a packet of a publisher on another shard.
    pub fn on_media(&mut self, packet: MediaPacket) {
        let (key, layer) = (packet.track, packet.layer);
        let Some(stream) = self.streams.get(key.stream).filter(|stream| stream.has_viewers())
        else {
            // The last viewer has left while the packet was on its way.
            return self.dropped(DropReason::NoViewers);
        };
        let best = stream.shared.best_layer(key.id);
        let Some(track) = stream.track(key.id) else {
            return self.dropped(DropReason::UnknownTrack);
        };
        let carry = track.carry(&packet, best);
        if let Some(known) = track.layer_mut(layer) {
            if packet.keyframe {
                known.keyframes.satisfied();
            } else if carry == Carry::OtherLayer && layer == best {
                // The publisher's shard has changed layers, and the key frame has not come here.
                known.keyframes.request();
                self.activate(key.stream);
            }
        }
        match carry {
            Carry::Yes => self.admit(packet),
            _ => self.dropped(not_carried(carry)),
        }
    }

    /// Takes a packet that is carried into this shard's track.
    fn admit(&mut self, packet: MediaPacket) {
        let hold = self.hold;
        let key = packet.track;
        let stream = self.streams.get(key.stream).filter(|stream| stream.has_viewers());
        let Some(stream) = stream else { return self.dropped(DropReason::NoViewers) };
        let Some(track) = stream.track(key.id) else {
            return self.dropped(DropReason::UnknownTrack);
        };
        match track.admit(packet, hold) {
            Admission::Admitted => {
                self.counters().media_admitted.add(1);
                self.activate(key.stream);
            }
            Admission::Duplicate | Admission::TooOld | Admission::Replaced => {
                self.dropped(DropReason::StaleMedia);
            }
        }
    }

    /// A publisher of this shard says what time it is in one of its layers.
    pub fn on_clock(&mut self, report: ClockReport) {
        if report.origin.publisher == 0 {
            // Its media has not come.
            return;
        }
        let Some(stream) = self.streams.get(report.track.stream) else { return };
        let interested = stream.shared.interested();
        self.set_clock(report);
        for shard in interested {
            if shard != self.index {
                self.note(shard, Mail::Clock(report));
            }
        }
    }

    /// What a publisher says of the time goes to this shard's track.
    pub fn set_clock(&mut self, report: ClockReport) {
        let stream = self.streams.get(report.track.stream);
        if let Some(track) = stream.and_then(|stream| stream.track(report.track.id)) {
            track.set_clock(report);
        }
    }
}

/// Why a packet is not carried.
fn not_carried(carry: Carry) -> DropReason {
    match carry {
        Carry::OtherLayer => DropReason::LayerNotCarried,
        Carry::TooManyLayers => DropReason::TooManyLayers,
        Carry::Yes | Carry::Replaced => DropReason::StaleMedia,
    }
}
