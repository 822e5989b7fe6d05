//! What a session wants: its datagrams are sent, its keys open its media and make it ready for that
//! of others, its end is carried out.

use std::time::Instant;

use super::core::{Core, send};
use super::post::Post;
use super::sessions::{Entry, Keys};
use super::{EndReason, Report};
use crate::ingest::Ingest;
use crate::paths::Paths;
use crate::session::{Gone, KeyingMaterial, Output};
use crate::srtp::split_keying_material;
use crate::telemetry::limited;
use crate::track::Streams;

/// Where the outputs of one session flow, besides itself.
pub(super) struct Outlets<'a> {
    pub streams: &'a mut Streams,
    pub paths: &'a mut Paths,
    pub post: &'a mut Post,
}

/// Of what a session wanted, the rare things, which touch more than a packet does.
#[derive(Default)]
struct Rest {
    connected: bool,
    keys: Option<KeyingMaterial>,
    gone: Option<Gone>,
}

/// Sends the datagrams that the session of `entry` wants sent; the rest of what it wants is
/// returned.
fn pour(entry: &mut Entry, outputs: &mut Vec<Output>, paths: &mut Paths, post: &Post) -> Rest {
    let mut rest = Rest::default();
    entry.dtls_deadline = entry.session.drain(outputs);
    for output in outputs.drain(..) {
        match output {
            Output::Datagram(contents) => {
                if let Some(path) = paths.path(entry.key.slot) {
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
    /// Carries out everything the session in `slot` wants.
    pub fn drain(&mut self, now: Instant, slot: u32) {
        let Core { sessions, paths, post, scratch, .. } = self;
        let Some(entry) = sessions.at(slot) else { return };
        let rest = pour(entry, &mut scratch.outputs, paths, post);
        self.carry_out(now, slot, rest);
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
            Some(Gone::Closed) => self.close(slot, EndReason::ClosedByPeer),
            Some(Gone::Failed(fault)) => {
                if let Some(entry) = self.sessions.at(slot) {
                    let why = entry.session.failure();
                    limited!(DEBUG, session = %entry.key, why, "its DTLS failed");
                }
                self.end(slot, EndReason::Failed(fault));
            }
            None => {}
        }
    }

    /// Tells DTLS the time.
    pub fn on_dtls_timeout(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.session.timeout(now);
        self.drain(now, slot);
    }

    fn on_connected(&mut self, now: Instant, slot: u32) {
        let Some(entry) = self.sessions.at(slot) else { return };
        entry.connected = true;
        entry.heard = now;
        let role = if entry.publishes.is_some() { "publisher" } else { "viewer" };
        let millis = now.saturating_duration_since(entry.created).as_millis();
        limited!(DEBUG, session = %entry.key, role, "connected after {millis} ms");
        self.post.tell_control(Report::Connected(entry.key));
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
