//! One peer, sans-IO: a lite ICE agent and the DTLS that follows it.
//!
//! An offer is read and answered on control threads ([`Negotiator`]), by an `Rtc` of str0m's that
//! is gone once its answer is written. What the answer promised moves to the peer's shard as a
//! [`Session`], which is fed datagrams and time there; the shard carries out what
//! [`Session::drain`] asks for. No clock is read and no socket is touched in here.

#[expect(clippy::disallowed_types, reason = "control threads share what sessions have alike")]
mod alike;
#[expect(clippy::disallowed_types, reason = "str0m counts its crypto, once an offer")]
mod answering;
mod certificate;
mod codecs;
mod descriptors;
#[expect(clippy::disallowed_types, reason = "a key and a configuration are shared, once a session")]
mod dtls;
#[expect(clippy::disallowed_types, reason = "control threads share what they have answered")]
mod filling;
#[expect(clippy::disallowed_types, reason = "the server's certificate is shared by all sessions")]
mod handshake;
mod ice;
#[expect(clippy::disallowed_types, reason = "all sessions share what makes them")]
mod negotiate;
mod offer;
mod publisher;
mod publishing;
mod renegotiate;
mod sdp;
#[expect(clippy::disallowed_types, reason = "control threads share what they have answered")]
mod template;
mod watching;

use std::time::Instant;

pub use answering::LocalIce;
pub use certificate::HandshakeFault;
pub use codecs::{CodecMatch, StreamCodecs};
pub use handshake::KeyingMaterial;
pub use ice::CheckAnswer;
pub use negotiate::{Negotiated, Negotiator};
pub use offer::{Offer, OfferError};
pub use publisher::Publisher;
pub use publishing::PublisherOffer;
pub use renegotiate::{Negotiation, Renegotiated};
pub use sdp::{host_candidates, ice_password, ice_ufrag};
pub use template::Template;
pub use watching::ViewerOffer;

use crate::media::ViewerTerms;
use crate::srtp::Profile;
use handshake::Handshake;
use ice::Ice;

/// One peer's session.
#[derive(Debug)]
pub struct Session {
    ice: Ice,
    handshake: Handshake,
    /// What the peer sends, if it does.
    pub publishes: Option<Box<Publisher>>,
    /// What the peer takes, if anything: its media goes by egress lanes.
    pub takes: ViewerTerms,
    /// When its answer was ready.
    pub answered: Instant,
    /// The same by the time of day, in milliseconds of Unix time.
    pub answered_ms: u64,
    /// How media is encrypted, once DTLS has said.
    pub profile: Option<Profile>,
}

/// What a session asks of its shard.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram of DTLS to the peer.
    Datagram(Vec<u8>),
    /// DTLS has finished: these are the keys of SRTP.
    Keys(KeyingMaterial),
    /// DTLS is up.
    Connected,
    /// The peer is gone.
    Gone(Gone),
}

/// How a session came to its end on the peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The peer closed the DTLS connection.
    Closed,
    /// DTLS was given up, or its peer's certificate will not do.
    Failed(Option<HandshakeFault>),
}

/// DTLS refused a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Session {
    /// The peer has proved a path: DTLS begins, unless it has. What it says first comes out of the
    /// next drain.
    pub fn begin(&mut self, now: Instant) {
        self.handshake.begin(now);
    }

    /// The peer may have any kind of certificate that is taken, whatever its hello speaks for: one
    /// came to nothing before.
    pub fn expect_any_certificate(&mut self) {
        self.handshake.expect_any_kind();
    }

    /// Takes in one datagram of DTLS.
    ///
    /// # Errors
    /// When DTLS has not begun, is over, or can't make sense of it.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Refused> {
        self.handshake.receive(now, bytes)
    }

    /// Lets time pass.
    pub fn timeout(&mut self, now: Instant) {
        self.handshake.timeout(now);
    }

    /// Why DTLS was given up, in the words of whoever found it, when it was ([`Gone::Failed`]).
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.handshake.failure()
    }

    /// Starts an orderly end: DTLS close_notify comes out of the next drain.
    pub fn close(&mut self) {
        self.handshake.close();
    }

    /// Moves everything the session wants into `outputs` and says when it wants to hear of time, if
    /// it does.
    pub fn drain(&mut self, outputs: &mut Vec<Output>) -> Option<Instant> {
        let first = outputs.len();
        let deadline = self.handshake.drain(outputs);
        for output in &outputs[first..] {
            if let Output::Keys(keys) = output {
                self.profile = Some(keys.profile);
            }
        }
        deadline
    }
}
