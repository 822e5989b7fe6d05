//! What a session wants: its datagrams are sent, its keys make a viewer ready, its media enters
//! the stream, its end is carried out.

use std::time::Instant;

use super::EndReason;
use super::core::{Core, send};
use super::post::Post;
use super::publish::{publish_clock, publish_from, waited_too_long};
use super::sessions::{Entry, Keys};
use crate::drop::DropReason;
use crate::paths::{Path, Paths};
use crate::session::{Gone, KeyingMaterial, Output};
use crate::srtp::split_keying_material;
use crate::telemetry::limited;
use crate::track::Streams;

/// A STUN request that waits for its answer: where it came from, and its transaction id.
pub(super) type Asked = (Path, [u8; 12]);

/// STUN binding success response (RFC 8489 §5).
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];

fn is_stun(contents: &[u8]) -> bool {
    contents.first().is_some_and(|first| *first < 4)
}

/// Where the outputs of one session flow, besides itself.
pub(super) struct Outlets<'a> {
    pub streams: &'a mut Streams,
    pub paths: &'a mut Paths,
    pub post: &'a mut Post,
}

/// Of what a session wanted, the rare things, which touch more than a packet does.
#[derive(Default)]
pub(super) struct Rest {
    /// It answered what was asked, with success.
    answered: bool,
    connected: bool,
    keys: Option<KeyingMaterial>,
    first_media: bool,
    gone: Option<Gone>,
}

impl Rest {
    pub fn is_nothing(&self) -> bool {
        let Rest { connected, keys, first_media, gone, .. } = self;
        !connected && keys.is_none() && !first_media && gone.is_none()
    }
}

/// Carries out what the session of `entry` wants and a packet may ask for: its datagrams are sent,
/// its media is published. `arrived` is when what it answers came. The rest is returned.
pub(super) fn pour(
    (now, arrived): (Instant, Instant),
    entry: &mut Entry,
    outputs: &mut Vec<Output>,
    asked: Option<Asked>,
    outlets: Outlets<'_>,
) -> Rest {
    let Outlets { streams, paths, post } = outlets;
    let mut rest = Rest::default();
    entry.rtc_deadline = entry.session.drain(now, outputs);
    let mut heard = false;
    for output in outputs.drain(..) {
        match output {
            Output::Datagram { contents, .. } if is_stun(&contents) => {
                let Some((path, id)) = &asked else { continue };
                let success = contents[..2] == BINDING_SUCCESS;
                rest.answered |= success && contents.get(8..20) == Some(id);
                // str0m knows one address of the peer; the answer names the one the check has.
                let answer = success.then(|| entry.session.binding_response(*id, path.remote));
                let answer = answer.as_deref().unwrap_or(&contents);
                send(paths, post, path.destination(false), answer);
                post.counters().stun_responses_out.add(1);
            }
            Output::Datagram { contents, .. } => {
                // The first flight of a DTLS client follows the check that gives it an address,
                // which is not the session's before that check is through.
                let proving = asked.as_ref().filter(|_| rest.answered).map(|(path, _id)| *path);
                if let Some(path) = paths.path(entry.key.slot).or(proving) {
                    send(paths, post, path.destination(false), &contents);
                }
            }
            Output::Keys(keys) => rest.keys = Some(keys),
            Output::Connected => rest.connected = true,
            Output::Media(mut packet) => {
                heard = true;
                packet.received = arrived;
                if waited_too_long(now, arrived) {
                    post.counters().publisher_packets.add(1);
                    post.dropped(DropReason::WaitedTooLong);
                    continue;
                }
                publish_from(entry, packet, streams, post);
            }
            Output::Unplaced(reason) => {
                heard = true;
                post.counters().publisher_packets.add(1);
                post.dropped(reason);
            }
            Output::Clock(report) => publish_clock(report, streams, post),
            Output::Gone(how) => rest.gone = Some(how),
        }
    }
    // Some publishers (ffmpeg's) send no checks once they are connected: media is life enough.
    if heard {
        entry.heard = now;
        rest.first_media = entry.watch.first_media.is_none();
    }
    rest
}

impl Core {
    /// Carries out everything the session in `slot` wants. Returns whether it answered `asked` with
    /// success.
    pub fn drain(&mut self, now: Instant, slot: u32, asked: Option<Asked>) -> bool {
        let Core { sessions, streams, paths, post, scratch, .. } = self;
        let Some(entry) = sessions.at(slot) else { return false };
        let outlets = Outlets { streams, paths, post };
        let rest = pour((now, now), entry, &mut scratch.outputs, asked, outlets);
        let answered = rest.answered;
        self.carry_out(now, slot, rest);
        answered
    }

    /// Carries out the rare things that the session in `slot` wants.
    pub fn carry_out(&mut self, now: Instant, slot: u32, rest: Rest) {
        if rest.connected {
            self.on_connected(now, slot);
        }
        if let Some(keys) = &rest.keys {
            self.on_keys(now, slot, keys);
        }
        if rest.first_media {
            self.first_media(now, slot);
        }
        match rest.gone {
            Some(Gone::Closed) => self.close(now, slot, EndReason::ClosedByPeer),
            Some(Gone::Failed(fault)) => {
                if let Some(entry) = self.sessions.at(slot) {
                    let why = entry.session.failure();
                    limited!(DEBUG, session = %entry.key, why, "the session's protocols failed");
                }
                self.end(slot, EndReason::Failed(fault));
            }
            // str0m hears checks only. A peer that sends media or reports is there, whatever its
            // checks do; the idle timer judges.
            Some(Gone::ConsentLost) | None => {}
        }
    }

    /// Tells str0m the time.
    pub fn on_rtc_timeout(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let alive = entry.session.timeout(now).is_ok();
        self.drain(now, slot, None);
        if !alive {
            self.end(slot, EndReason::Failed(None));
        }
    }

    fn on_connected(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.connected = true;
        entry.heard = now;
        let role = if entry.publishes.is_some() { "publisher" } else { "viewer" };
        let millis = now.saturating_duration_since(entry.created).as_millis();
        limited!(DEBUG, session = %entry.key, role, "connected after {millis} ms");
        self.connected(now, slot);
        self.publisher_connected(slot);
    }

    fn on_keys(&mut self, now: Instant, slot: u32, keys: &KeyingMaterial) {
        let Some(entry) = self.sessions.at(slot) else { return };
        let Some((client, server)) = split_keying_material(keys.profile, &keys.material) else {
            return;
        };
        let (local, remote) =
            if keys.local_is_client { (client, server) } else { (server, client) };
        // DTLS says them once.
        let profile = keys.profile;
        entry.keys.get_or_insert_with(|| Box::new(Keys { profile, local, remote }));
        self.start_taking(now, slot);
    }
}
