//! One peer, sans-IO: the only owner of a str0m [`Rtc`].
//!
//! SDP and the construction of an `Rtc` happen on control threads ([`Negotiator`]); the finished
//! [`Session`] then moves to its shard, which feeds it datagrams and time and carries out what
//! [`Session::drain`] asks for. No clock is read and no socket is touched in here.

mod certificate;
mod codecs;
mod descriptors;
#[expect(clippy::disallowed_types, reason = "str0m counts its crypto, once a session")]
mod dtls;
mod ice;
#[expect(clippy::disallowed_types, reason = "str0m counts its crypto, once a session")]
mod negotiate;
mod offer;
mod publisher;
mod renegotiate;
mod sdp;

use std::net::SocketAddr;
use std::time::Instant;

use str0m::media::Mid;
use str0m::net::{DatagramSend, Protocol, Receive};
use str0m::rtp::Ssrc;
use str0m::{Event, IceConnectionState, Input, Output as RtcOutput, Rtc};

pub use certificate::CertificateFault;
pub use codecs::{CodecMatch, StreamCodecs};
pub use dtls::KeyingMaterial;
pub use negotiate::{LocalIce, Negotiated, Negotiator};
pub use offer::{Offer, OfferError};
pub use publisher::Publisher;
pub use renegotiate::Renegotiated;
pub use sdp::{host_candidates, ice_password, ice_ufrag};

use crate::id::Transport;
use crate::media::ViewerTerms;
use crate::srtp::Profile;
use ice::Ice;

/// One peer's session.
#[derive(Debug)]
pub struct Session {
    rtc: Box<Rtc>,
    ice: Ice,
    /// What the peer sends, if it does: the `Rtc` keeps ICE and DTLS, media comes in by an ingest.
    pub publishes: Option<Box<Publisher>>,
    /// What the peer takes, if anything: its media goes by egress lanes.
    pub takes: ViewerTerms,
    /// The sections that lanes send by.
    sections: Vec<ViewerSection>,
    /// What str0m said when it gave up.
    failure: Option<Box<str>>,
    /// When its answer was ready.
    pub answered: Instant,
    /// The same by the time of day, in milliseconds of Unix time.
    pub answered_ms: u64,
    /// How media is encrypted, once DTLS has said.
    pub profile: Option<Profile>,
}

/// A section whose media leaves by a lane, as str0m must know it when the peer makes a later offer.
#[derive(Debug)]
struct ViewerSection {
    mid: Mid,
    ssrc: Ssrc,
    rtx_ssrc: Option<Ssrc>,
}

/// What a session asks of its shard.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram. STUN goes where it says, everything else to the session's address.
    Datagram {
        /// Where str0m would send it.
        to: SocketAddr,
        /// The bytes.
        contents: DatagramSend,
    },
    /// DTLS has finished: these are the keys of SRTP.
    Keys(KeyingMaterial),
    /// ICE and DTLS are up.
    Connected,
    /// The peer is gone: it closed DTLS, or its consent ran out.
    Gone(Gone),
}

/// How a session came to its end on the peer's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// The peer closed the DTLS connection.
    Closed,
    /// No connectivity check for 15 s.
    ConsentLost,
    /// str0m gave up on the session, or its peer's certificate will not do.
    Failed(Option<CertificateFault>),
}

/// The session's protocol machine refused a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Session {
    /// A session whose answer is ready at `answered`, which is `answered_ms` by the time of day.
    fn new(
        rtc: Rtc,
        ice: Ice,
        publishes: Option<Box<Publisher>>,
        takes: ViewerTerms,
        (answered, answered_ms): (Instant, u64),
    ) -> Session {
        let rtc = Box::new(rtc);
        let (sections, profile, failure) = (Vec::new(), None, None);
        Session { rtc, ice, publishes, takes, sections, answered, answered_ms, profile, failure }
    }

    /// Takes in one STUN or DTLS datagram. `local` must be one of
    /// the candidates the session announced, or str0m drops the datagram silently.
    ///
    /// # Errors
    /// When the bytes do not parse or str0m refuses them.
    pub fn receive(
        &mut self,
        now: Instant,
        transport: Transport,
        local: SocketAddr,
        remote: SocketAddr,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let protocol = match transport {
            Transport::Udp => Protocol::Udp,
            Transport::Tcp => Protocol::Tcp,
        };
        let remote = self.ice.seen_as(transport, remote);
        let local = self.ice.reached_at(transport, local);
        let receive = Receive::new(protocol, remote, local, bytes).map_err(|_error| Refused)?;
        self.rtc.handle_input(Input::Receive(now, receive)).map_err(|_error| Refused)
    }

    /// Lets time pass.
    ///
    /// # Errors
    /// When str0m refuses.
    pub fn timeout(&mut self, now: Instant) -> Result<(), Refused> {
        self.rtc.handle_input(Input::Timeout(now)).map_err(|_error| Refused)
    }

    /// Why str0m gave up on the session, in its words, when it did ([`Gone::Failed`]).
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Starts an orderly end: DTLS close_notify comes out of the next drain.
    pub fn close(&mut self) {
        // A session that cannot say goodbye any more is dropped all the same.
        let _ = self.rtc.close();
    }

    /// Moves everything the session wants into `outputs` and says when it wants to hear of time.
    pub fn drain(&mut self, now: Instant, outputs: &mut Vec<Output>) -> Instant {
        let next = loop {
            match self.rtc.poll_output() {
                Ok(RtcOutput::Timeout(at)) => break at,
                Ok(RtcOutput::Transmit(transmit)) => outputs.push(Output::Datagram {
                    to: transmit.destination,
                    contents: transmit.contents,
                }),
                Ok(RtcOutput::Event(event)) => on_event(&event, outputs),
                Err(error) => {
                    self.failure = Some(error.to_string().into());
                    let fault = dtls::take_fault().or(CertificateFault::of_session(&error));
                    outputs.push(Output::Gone(Gone::Failed(fault)));
                    break now + crate::limits::SESSION_IDLE;
                }
            }
        };
        if let Some(fault) = dtls::take_fault() {
            outputs.push(Output::Gone(Gone::Failed(Some(fault))));
        }
        if let Some(keys) = dtls::take_keys() {
            self.profile = Some(keys.profile);
            outputs.push(Output::Keys(keys));
        }
        next
    }
}

fn on_event(event: &Event, outputs: &mut Vec<Output>) {
    match event {
        Event::Connected => outputs.push(Output::Connected),
        Event::Closed => outputs.push(Output::Gone(Gone::Closed)),
        Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
            outputs.push(Output::Gone(Gone::ConsentLost));
        }
        _ => {}
    }
}
