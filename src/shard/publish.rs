//! A publisher's packets go into this shard's tracks and to every other shard that has viewers.

use super::core::Core;
use super::{Mail, Report};
use crate::media::{ClockReport, MediaPacket};
use crate::track::{Published, Source};

impl Core {
    /// A packet decrypted by the publisher in `slot`.
    pub fn on_published(&mut self, slot: u32, mut packet: MediaPacket) {
        packet.origin.publisher = self.publisher_number(slot);
        self.publish(packet);
    }

    /// A packet whose publisher's packets come to this shard first.
    pub fn publish(&mut self, packet: MediaPacket) {
        let Core { streams, post, .. } = self;
        post.counters().publisher_packets.add(1);
        let published = streams.publish(packet, |shard, packet| post.copy(shard, packet));
        let counters = post.counters();
        match published {
            Ok(Published::Here) => counters.media_admitted.add(1),
            Ok(Published::Elsewhere) => counters.media_relayed.add(1),
            Err(reason) => counters.dropped(reason),
        }
    }

    /// Takes a packet of a publisher on another shard.
    pub fn on_media(&mut self, packet: MediaPacket) {
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

    /// The number of the publisher in `slot`. With its first media it takes the place of the one
    /// before.
    fn publisher_number(&mut self, slot: u32) -> u32 {
        let Some(entry) = self.sessions.at(slot) else { return 0 };
        let Some(publisher) = &mut entry.session.publishes else { return 0 };
        if publisher.number == 0 {
            let number =
                self.streams.take_over(publisher.stream, Source::Session(slot), publisher.tracks());
            let Some(number) = number else { return 0 };
            publisher.number = number;
            let key = entry.key;
            self.post.tell_control(Report::Live { key, number });
            return number;
        }
        publisher.number
    }

    /// A publisher of this shard says what time it is in one of its layers.
    pub fn on_clock(&mut self, report: ClockReport) {
        if report.origin.publisher == 0 {
            // Its media has not come.
            return;
        }
        self.streams.set_clock(report);
        for shard in self.streams.others_interested(report.track.stream) {
            self.post.note(shard, Mail::Clock(report));
        }
    }
}
