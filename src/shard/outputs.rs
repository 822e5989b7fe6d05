//! What a session wants: its datagrams are sent, its keys open its media and make it ready for that
//! of others, its end is carried out.

use std::time::Instant;

use super::EndReason;
use super::core::{Core, send};
use super::post::Post;
use super::sessions::{Entry, Keys};
use crate::ingest::Ingest;
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
struct Rest {
    /// It answered what was asked, with success.
    answered: bool,
    connected: bool,
    keys: Option<KeyingMaterial>,
    gone: Option<Gone>,
}

/// Sends the datagrams that the session of `entry` wants sent; the rest of what it wants is
/// returned.
fn pour(
    now: Instant,
    entry: &mut Entry,
    outputs: &mut Vec<Output>,
    asked: Option<Asked>,
    paths: &mut Paths,
    post: &Post,
) -> Rest {
    let mut rest = Rest::default();
    entry.rtc_deadline = entry.session.drain(now, outputs);
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
            Output::Gone(how) => rest.gone = Some(how),
        }
    }
    rest
}

impl Core {
    /// Carries out everything the session in `slot` wants. Returns whether it answered `asked` with
    /// success.
    pub fn drain(&mut self, now: Instant, slot: u32, asked: Option<Asked>) -> bool {
        let Core { sessions, paths, post, scratch, .. } = self;
        let Some(entry) = sessions.at(slot) else { return false };
        let rest = pour(now, entry, &mut scratch.outputs, asked, paths, post);
        let answered = rest.answered;
        self.carry_out(now, slot, rest);
        answered
    }

    /// Carries out the rare things that the session in `slot` wants.
    fn carry_out(&mut self, now: Instant, slot: u32, rest: Rest) {
        if rest.connected {
            self.on_connected(now, slot);
        }
        if let Some(keys) = &rest.keys {
            self.on_keys(now, slot, keys);
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
        if entry.keys.is_some() {
            // DTLS says them once.
            return;
        }
        if let Some(publishing) = &mut entry.publishes {
            let terms = std::mem::take(&mut publishing.terms);
            let ingest = Ingest::new(publishing.stream, terms, keys.profile, &remote, now);
            publishing.ingest = Some(ingest);
        }
        entry.keys = Some(Box::new(Keys::new(keys.profile, local, &remote)));
        self.start_taking(now, slot);
    }
}
