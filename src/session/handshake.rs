//! The DTLS of one session, from its first flight to its last word.
//!
//! It begins once the peer has proved a path: until then there is nobody to speak to, and a
//! stranger who offers and never comes has cost no keys. What comes of it is SRTP's keys, which are
//! believed only if the peer has shown a certificate that its offer named.

use std::sync::Arc;
use std::time::Instant;

use str0m::crypto::dtls::{DtlsCert, DtlsOutput, SrtpProfile};

use super::certificate::{Fingerprints, HandshakeFault};
use super::dtls::{DTLS_MTU, Dtls, Fault};
use super::{Gone, Output, Refused};
use crate::limits::MAX_DTLS_OUTPUT;
use crate::srtp::Profile;

/// SRTP keys as DTLS exports them (RFC 5764 §4.2), with the profile they are for.
pub struct KeyingMaterial {
    /// The negotiated profile.
    pub profile: Profile,
    /// `client_key | server_key | client_salt | server_salt`.
    pub material: Vec<u8>,
    /// Whether this end was the DTLS client.
    pub local_is_client: bool,
}

impl std::fmt::Debug for KeyingMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyingMaterial").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// The DTLS of one session.
pub(super) struct Handshake {
    certificate: Arc<DtlsCert>,
    expected: Fingerprints,
    /// Whether the peer may have any kind of certificate, whatever its hello speaks for.
    any_kind: bool,
    /// Whether this end sends the first flight.
    is_client: bool,
    stage: Stage,
    /// Whether the peer has shown a certificate that is expected.
    verified: bool,
    fault: Option<Fault>,
}

enum Stage {
    /// The peer has proved no path yet.
    Waiting,
    Begun(Dtls),
    /// Nothing is taken or said any more.
    GivenUp,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("verified", &self.verified).finish_non_exhaustive()
    }
}

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        _ => None,
    }
}

impl Handshake {
    /// A handshake that is to come: this end shows `certificate`, the other one that is `expected`.
    pub fn new(certificate: Arc<DtlsCert>, expected: Fingerprints, is_client: bool) -> Handshake {
        let (stage, verified, fault) = (Stage::Waiting, false, None);
        let any_kind = false;
        Handshake { certificate, expected, any_kind, is_client, stage, verified, fault }
    }

    /// The peer may have any kind of certificate that is taken, whatever its hello speaks for.
    pub fn expect_any_kind(&mut self) {
        self.any_kind = true;
    }

    /// The peer has proved a path. Once DTLS has begun it goes on.
    pub fn begin(&mut self, now: Instant) {
        if !matches!(self.stage, Stage::Waiting) {
            return;
        }
        let dtls = match self.is_client {
            true => Dtls::client(&self.certificate, now),
            false if self.any_kind => Dtls::careful_server(&self.certificate, now),
            false => Ok(Dtls::server(self.certificate.clone(), now)),
        };
        match dtls {
            Ok(dtls) => self.stage = Stage::Begun(dtls),
            Err(fault) => self.fault = Some(fault),
        }
    }

    /// Takes in a datagram of the peer's.
    ///
    /// # Errors
    /// When the library does not take it. Where the fault can be told, it is the end, too.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) -> Result<(), Refused> {
        let Stage::Begun(dtls) = &mut self.stage else { return Err(Refused) };
        // Its timers run from the time it knows.
        let timed = dtls.handle_timeout(now);
        let taken = dtls.handle_packet(bytes);
        if let Err(fault) = timed {
            self.fault = Some(fault);
            return Err(Refused);
        }
        let Err(fault) = taken else { return Ok(()) };
        if fault.told.is_some() {
            self.fault = Some(fault);
        }
        Err(Refused)
    }

    /// Lets time pass.
    pub fn timeout(&mut self, now: Instant) {
        if let Stage::Begun(dtls) = &mut self.stage
            && let Err(fault) = dtls.handle_timeout(now)
        {
            self.fault = Some(fault);
        }
    }

    /// Has the next drain say goodbye.
    pub fn close(&mut self) {
        if let Stage::Begun(dtls) = &mut self.stage {
            dtls.close();
        }
    }

    /// Why DTLS was given up, if it was.
    pub fn failure(&self) -> Option<&str> {
        self.fault.as_ref().map(|fault| &*fault.words)
    }

    /// Moves all that it wants into `outputs`, and says when it wants to hear of time.
    pub fn drain(&mut self, outputs: &mut Vec<Output>) -> Option<Instant> {
        let deadline = self.pour(outputs);
        if let Some(fault) = &self.fault
            && matches!(self.stage, Stage::Begun(_) | Stage::Waiting)
        {
            outputs.push(Output::Gone(Gone::Failed(fault.told)));
            self.stage = Stage::GivenUp;
            return None;
        }
        deadline
    }

    fn pour(&mut self, outputs: &mut Vec<Output>) -> Option<Instant> {
        let Stage::Begun(dtls) = &mut self.stage else { return None };
        let mut small = [0; 2 * DTLS_MTU];
        let mut large = Vec::new();
        loop {
            let buffer = if large.is_empty() { &mut small[..] } else { &mut large[..] };
            match dtls.poll_output(buffer) {
                DtlsOutput::Packet(bytes) => outputs.push(Output::Datagram(bytes.to_vec())),
                DtlsOutput::PeerCert(shown) => {
                    self.verified = self.expected.hold(shown);
                    if !self.verified {
                        self.fault = Some(HandshakeFault::Fingerprint.into());
                        return None;
                    }
                }
                DtlsOutput::KeyingMaterial(material, profile) if self.verified => {
                    let (material, local_is_client) = (material.to_vec(), self.is_client);
                    let keys = profile_of(profile).map(|profile| KeyingMaterial {
                        profile,
                        material,
                        local_is_client,
                    });
                    outputs.extend(keys.map(Output::Keys));
                }
                DtlsOutput::Connected if self.verified => outputs.push(Output::Connected),
                DtlsOutput::Timeout(at) => return Some(at),
                DtlsOutput::CloseNotify => outputs.push(Output::Gone(Gone::Closed)),
                DtlsOutput::BufferTooSmall { needed } if needed <= MAX_DTLS_OUTPUT => {
                    large.resize(needed, 0);
                }
                // Nothing of ours is spoken over DTLS itself.
                DtlsOutput::ApplicationData(_) => {}
                unexpected => {
                    let words = format!("DTLS said {unexpected:?}");
                    self.fault = Some(Fault { told: None, words });
                    return None;
                }
            }
        }
    }
}
