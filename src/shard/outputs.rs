//! What a session wants: its datagrams are sent, its keys make a viewer ready, its media enters
//! the stream, its end is carried out.

use std::time::Instant;

use super::core::Core;
use super::inbound::Inbound;
use super::sessions::{Address, ReadyViewer};
use super::streams::Viewer;
use super::{EndReason, Mail};
use crate::drop::DropReason;
use crate::egress::{Control, Egress};
use crate::media::{ClockReport, MediaPacket};
use crate::session::{Gone, KeyingMaterial, Output};
use crate::srtp::split_keying_material;
use crate::stream::Admission;
use crate::telemetry::limited;

/// A STUN request that waits for its answer: the request, and its transaction id.
type Asked<'a> = (&'a Inbound<'a>, [u8; 12]);

/// STUN binding success response (RFC 8489 §5).
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

fn is_stun(contents: &[u8]) -> bool {
    contents.first().is_some_and(|first| *first < 4)
}

impl Core {
    /// Carries out everything the session in `slot` wants. Returns whether it answered `asked` with
    /// success.
    pub fn drain(&mut self, now: Instant, slot: u32, asked: Option<Asked<'_>>) -> bool {
        let Some(entry) = self.sessions.at(slot) else { return false };
        let mut outputs = std::mem::take(&mut self.outputs);
        entry.rtc_deadline = entry.session.drain(now, &mut outputs);
        let mut answered = false;
        let mut heard = false;
        let mut gone = None;
        for output in outputs.drain(..) {
            match output {
                Output::Datagram { contents, .. } if is_stun(&contents) => {
                    let Some((request, id)) = &asked else { continue };
                    answered |= contents[..2] == BINDING_SUCCESS && contents.get(8..20) == Some(id);
                    let Inbound { via, local, remote, .. } = **request;
                    self.send(&Address { via, local, remote }, &contents);
                    self.counters().stun_responses_out.add(1);
                }
                Output::Datagram { contents, .. } => self.send_to_session(slot, &contents),
                Output::Keys(keys) => self.on_keys(now, slot, &keys),
                Output::Connected => self.on_connected(now, slot),
                Output::Media(mut packet) => {
                    heard = true;
                    packet.received = self.arriving.unwrap_or(now);
                    self.on_published(packet);
                }
                Output::Clock(report) => self.on_clock(report),
                Output::Gone(how) => gone = Some(how),
            }
        }
        self.outputs = outputs;
        // Some publishers (ffmpeg's) send no checks once they are connected: media is life enough.
        if heard && let Some(entry) = self.sessions.at(slot) {
            entry.heard = now;
            if entry.watch.first_media.is_none() {
                self.first_media(now, slot);
            }
        }
        match gone {
            Some(Gone::Closed) => self.close(now, slot, EndReason::ClosedByPeer),
            Some(Gone::Failed) => {
                if let Some(entry) = self.sessions.at(slot) {
                    let why = entry.session.failure();
                    limited!(DEBUG, session = %entry.key, why, "the session's protocols failed");
                }
                self.end(slot, EndReason::Failed);
            }
            // str0m hears checks only. A peer that sends media or reports is there, whatever its
            // checks do; the idle timer judges.
            Some(Gone::ConsentLost) | None => {}
        }
        answered
    }

    fn send_to_session(&mut self, slot: u32, contents: &[u8]) {
        if let Some(address) = self.sessions.at(slot).and_then(|entry| entry.address) {
            self.send(&address, contents);
        }
    }

    fn on_connected(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.connected = true;
        entry.heard = now;
        let role = if entry.is_publisher { "publisher" } else { "viewer" };
        let millis = now.saturating_duration_since(entry.created).as_millis();
        limited!(DEBUG, session = %entry.key, role, "connected after {millis} ms");
        let (stream, is_publisher) = (entry.stream, entry.is_publisher);
        self.connected(now, slot);
        if is_publisher {
            // Whoever watches already needs a key frame of the new publisher.
            if let Some(stream) = self.streams.get(stream) {
                stream.shared.set_publisher(self.index);
                stream.keyframes.request();
            }
            self.activate(stream);
        }
    }

    fn on_keys(&mut self, now: Instant, slot: u32, keys: &KeyingMaterial) {
        let random = self.random();
        let Some(entry) = self.sessions.at(slot) else { return };
        if entry.viewer.is_some() {
            return;
        }
        let Some(terms) = Core::terms(&entry.session) else { return };
        let Some((client, server)) = split_keying_material(keys.profile, &keys.material) else {
            return;
        };
        let (local, remote) =
            if keys.local_is_client { (client, server) } else { (server, client) };
        let Some(address) = entry.address else {
            limited!(WARN, session = %entry.key, "it has keys and no address");
            return;
        };
        let egress = Egress::new(terms, keys.profile, &local, random);
        let control = Box::new(Control::new(keys.profile, &local, &remote, now));
        let stream_key = entry.stream;
        let to = address.destination(entry.trains);
        let Some(stream) = self.streams.get(stream_key) else { return };
        let position = stream.viewers.len();
        stream.viewers.push(Viewer { egress, to, slot, started: false });
        stream.shared.set_interest(self.index, true);
        if let Some(entry) = self.sessions.at(slot) {
            entry.viewer = Some(ReadyViewer { control, position });
        }
        let ready = &self.counters().viewers_ready;
        ready.set(ready.get() + 1);
        self.want_keyframe(stream_key);
    }

    /// A packet decrypted by a publisher of this shard: to every shard that has viewers.
    fn on_published(&mut self, packet: MediaPacket) {
        self.counters().publisher_packets.add(1);
        let Some(stream) = self.streams.get(packet.stream) else { return };
        let interested = stream.shared.interested();
        if packet.keyframe && packet.kind == crate::media::TrackKind::Video {
            stream.keyframes.satisfied();
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

    /// Takes a packet of the publisher, wherever that is, into this shard's stream.
    pub fn admit(&mut self, packet: MediaPacket) {
        let hold = self.hold;
        let key = packet.stream;
        let stream = self.streams.get(key).filter(|stream| !stream.viewers.is_empty());
        // The last viewer may have left while the packet was on its way from another shard.
        let Some(stream) = stream else { return self.dropped(DropReason::NoViewers) };
        match stream.track(packet.kind).admit(packet, hold) {
            Admission::Admitted => {
                self.counters().media_admitted.add(1);
                self.activate(key);
            }
            Admission::Duplicate | Admission::TooOld | Admission::Replaced => {
                self.dropped(DropReason::StaleMedia);
            }
        }
    }

    fn on_clock(&mut self, report: ClockReport) {
        let Some(stream) = self.streams.get(report.stream) else { return };
        stream.track(report.kind).set_clock(report);
        let interested = stream.shared.interested();
        for shard in interested {
            if shard != self.index {
                self.note(shard, Mail::Clock(report));
            }
        }
    }
}
