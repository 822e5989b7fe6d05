//! What a session wants: its datagrams are sent, its keys make a viewer ready, its media enters
//! the stream, its end is carried out.

use std::time::Instant;

use super::EndReason;
use super::core::Core;
use super::sessions::ReadyViewer;
use crate::egress::{Control, Egress};
use crate::paths::Path;
use crate::session::{Gone, KeyingMaterial, Output};
use crate::srtp::split_keying_material;
use crate::telemetry::limited;

/// A STUN request that waits for its answer: where it came from, and its transaction id.
type Asked = (Path, [u8; 12]);

/// STUN binding success response (RFC 8489 §5).
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

fn is_stun(contents: &[u8]) -> bool {
    contents.first().is_some_and(|first| *first < 4)
}

impl Core {
    /// Carries out everything the session in `slot` wants. Returns whether it answered `asked` with
    /// success.
    pub fn drain(&mut self, now: Instant, slot: u32, asked: Option<Asked>) -> bool {
        let Some(entry) = self.sessions.at(slot) else { return false };
        let mut outputs = std::mem::take(&mut self.scratch.outputs);
        entry.rtc_deadline = entry.session.drain(now, &mut outputs);
        let mut answered = false;
        let mut heard = false;
        let mut gone = None;
        for output in outputs.drain(..) {
            match output {
                Output::Datagram { contents, .. } if is_stun(&contents) => {
                    let Some((path, id)) = &asked else { continue };
                    answered |= contents[..2] == BINDING_SUCCESS && contents.get(8..20) == Some(id);
                    self.send(path.destination(false), &contents);
                    self.post.counters().stun_responses_out.add(1);
                }
                Output::Datagram { contents, .. } => self.send_to_session(slot, &contents),
                Output::Keys(keys) => self.on_keys(now, slot, &keys),
                Output::Connected => self.on_connected(now, slot),
                Output::Media(mut packet) => {
                    heard = true;
                    packet.received = self.arriving.unwrap_or(now);
                    self.on_published(slot, packet);
                }
                Output::Unplaced(reason) => {
                    heard = true;
                    self.post.counters().publisher_packets.add(1);
                    self.post.dropped(reason);
                }
                Output::Clock(report) => self.on_clock(report),
                Output::Gone(how) => gone = Some(how),
            }
        }
        self.scratch.outputs = outputs;
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

    /// Tells str0m the time.
    pub fn on_rtc_timeout(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let alive = entry.session.timeout(now).is_ok();
        self.drain(now, slot, None);
        if !alive {
            self.end(slot, EndReason::Failed);
        }
    }

    fn send_to_session(&mut self, slot: u32, contents: &[u8]) {
        if let Some(path) = self.paths.path(slot) {
            self.send(path.destination(false), contents);
        }
    }

    fn on_connected(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.connected = true;
        entry.heard = now;
        let role = if entry.is_publisher { "publisher" } else { "viewer" };
        let millis = now.saturating_duration_since(entry.created).as_millis();
        limited!(DEBUG, session = %entry.key, role, "connected after {millis} ms");
        self.connected(now, slot);
        self.publisher_connected(slot);
    }

    fn on_keys(&mut self, now: Instant, slot: u32, keys: &KeyingMaterial) {
        let random = self.random();
        let Some(entry) = self.sessions.at(slot) else { return };
        if entry.viewer.is_some() {
            return;
        }
        let terms = &entry.session.takes;
        if terms.tracks.is_empty() {
            return;
        }
        let Some((client, server)) = split_keying_material(keys.profile, &keys.material) else {
            return;
        };
        let (local, remote) =
            if keys.local_is_client { (client, server) } else { (server, client) };
        let Some(to) = self.paths.destination(slot) else {
            limited!(WARN, session = %entry.key, "it has keys and no address");
            return;
        };
        let egress = Egress::new(terms, keys.profile, &local, random);
        let lanes = terms.tracks.len();
        let control = Box::new(Control::new(keys.profile, &local, &remote, lanes, now));
        let stream_key = entry.stream;
        let position = self.streams.add_viewer(stream_key, slot, egress, to);
        if let (Some(entry), Some(position)) = (self.sessions.at(slot), position) {
            entry.viewer = Some(ReadyViewer { control, position });
            let ready = &self.post.counters().viewers_ready;
            ready.set(ready.get() + 1);
        }
    }
}
