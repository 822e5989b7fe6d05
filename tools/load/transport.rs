//! The transport of a synthetic peer, without I/O: one ICE check at a time, a DTLS handshake, and
//! keep-alive checks from then on. It is a fraction of a real peer's state, so that ten thousand
//! fit.

use crate::sdp::Answer;
use aws_lc_rs::hmac;
use dimpl::{Dtls, DtlsCertificate, Output, SrtpProfile};
use is::stun::{StunMessage, TransId};
use monoport::srtp::{MasterKey, Profile, split_keying_material};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First interval between checks; it doubles up to [`MAX_RETRY`] while none is answered.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const MAX_RETRY: Duration = Duration::from_millis(1_600);
/// Chromium checks consent every 2.5 s; a jitter of a tenth keeps ten thousand peers from marching
/// in step.
const CONSENT_INTERVAL: Duration = Duration::from_millis(2_375);
const CONSENT_JITTER_MS: u64 = 250;
/// RFC 7675 §5.1: consent is gone after 30 s without an answer, which is 12 checks.
const MAX_UNANSWERED: u32 = 12;
/// Host candidate, IPv4, component 1 (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = 126 << 24 | 65_535 << 8 | 255;

/// What all peers of the process share: one certificate and one validated DTLS configuration.
pub struct Identity {
    certificate: DtlsCertificate,
    config: Arc<dimpl::Config>,
    /// SHA-256 of the certificate as SDP has it.
    pub fingerprint: String,
}

/// Why the process has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("no certificate could be made")]
    Certificate,
    #[error("DTLS cannot be configured: {0}")]
    Config(#[from] dimpl::Error),
}

impl Identity {
    /// Makes a certificate.
    ///
    /// # Errors
    /// When the cryptographic library cannot make one or fails its self-test.
    pub fn new() -> Result<Self, IdentityError> {
        let provider = str0m::crypto::from_feature_flags();
        let certificate =
            provider.dtls_provider.generate_certificate().ok_or(IdentityError::Certificate)?;
        let config = Arc::new(dimpl::Config::builder().mtu(1_150).build()?);
        let fingerprint = sha256(&certificate.certificate)
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<Vec<_>>()
            .join(":");
        Ok(Self { certificate, config, fingerprint })
    }
}

/// The ICE credentials of one peer.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub ufrag: String,
    pub password: String,
}

/// The keys a finished handshake gave.
pub struct Keys {
    pub profile: Profile,
    pub ours: MasterKey,
    pub theirs: MasterKey,
}

/// What an input led to.
pub enum Progress {
    Nothing,
    /// The handshake is done; sent once.
    Connected(Box<Keys>),
    /// The session is over: a reason for the report.
    Failed(&'static str),
}

/// Takes datagrams to send.
pub trait Wire {
    /// Queues one datagram, which `fill` writes and measures.
    fn datagram(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize);
}

/// ICE and DTLS of one peer.
pub struct Transport {
    local: Credentials,
    username: String,
    remote_password: String,
    fingerprint: [u8; 32],
    /// Whether we send the ClientHello.
    client: bool,
    tie_breaker: u64,
    transaction: TransId,
    next_check: Instant,
    unanswered: u32,
    stage: Stage,
}

enum Stage {
    /// No check was answered yet.
    Checking,
    Handshaking {
        dtls: Box<Dtls>,
        deadline: Option<Instant>,
        keys: Option<Box<Keys>>,
    },
    /// The handshake's state is dropped: the server has our last flight, or we had not its last.
    Connected,
    Failed,
}

impl Transport {
    #[must_use]
    pub fn new(local: Credentials, answer: &Answer, tie_breaker: u64, now: Instant) -> Self {
        Self {
            username: format!("{}:{}", answer.ufrag, local.ufrag),
            local,
            remote_password: answer.password.clone(),
            fingerprint: answer.fingerprint,
            client: answer.server_is_passive,
            tie_breaker,
            transaction: TransId::new(),
            next_check: now,
            unanswered: 0,
            stage: Stage::Checking,
        }
    }

    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self.stage, Stage::Failed)
    }

    /// When [`Transport::on_timer`] has something to do next.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        match &self.stage {
            Stage::Handshaking { deadline: Some(deadline), .. } => self.next_check.min(*deadline),
            _ => self.next_check,
        }
    }

    /// Sends what is due at `now`.
    pub fn on_timer(&mut self, now: Instant, out: &mut dyn Wire) -> Progress {
        if self.is_failed() {
            self.next_check = now + Duration::from_secs(3_600);
            return Progress::Nothing;
        }
        if now >= self.next_check {
            if self.unanswered >= MAX_UNANSWERED {
                return self.fail("no answer to connectivity checks");
            }
            self.check(now, out);
        }
        if let Stage::Handshaking { dtls, deadline, .. } = &mut self.stage
            && deadline.is_some_and(|deadline| now >= deadline)
        {
            if dtls.handle_timeout(now).is_err() {
                return self.fail("DTLS timed out");
            }
            return self.drive(out);
        }
        Progress::Nothing
    }

    /// Takes a STUN message.
    pub fn on_stun(
        &mut self,
        bytes: &[u8],
        from: std::net::SocketAddr,
        identity: &Identity,
        now: Instant,
        out: &mut dyn Wire,
    ) -> Progress {
        let Ok(message) = StunMessage::parse(bytes) else { return Progress::Nothing };
        if message.is_binding_request() {
            if message.verify(self.local.password.as_bytes(), hmac_sha1) {
                let password = self.local.password.as_bytes();
                let transaction = message.trans_id();
                out.datagram(&mut |slot| {
                    let reply = StunMessage::binding_reply(transaction, from);
                    reply.to_bytes(Some(password), slot, hmac_sha1).unwrap_or(0)
                });
            }
            return Progress::Nothing;
        }
        let ours = message.trans_id() == self.transaction;
        if !ours || !message.verify(self.remote_password.as_bytes(), hmac_sha1) {
            return Progress::Nothing;
        }
        if message.is_failed_binding_response() {
            return self.fail("the server refused a connectivity check");
        }
        self.unanswered = 0;
        self.next_check = now + CONSENT_INTERVAL + jitter();
        if !matches!(self.stage, Stage::Checking) {
            return Progress::Nothing;
        }
        let (config, certificate) = (identity.config.clone(), identity.certificate.clone());
        let mut dtls = Box::new(Dtls::new_12(config, certificate, now));
        dtls.set_active(self.client);
        if dtls.handle_timeout(now).is_err() {
            return self.fail("DTLS did not start");
        }
        self.stage = Stage::Handshaking { dtls, deadline: None, keys: None };
        self.drive(out)
    }

    /// Takes a DTLS record.
    pub fn on_dtls(&mut self, bytes: &[u8], out: &mut dyn Wire) -> Progress {
        let Stage::Handshaking { dtls, .. } = &mut self.stage else { return Progress::Nothing };
        if dtls.handle_packet(bytes).is_err() {
            return self.fail("DTLS failed");
        }
        self.drive(out)
    }

    /// Lets the handshake say all it has to say.
    fn drive(&mut self, out: &mut dyn Wire) -> Progress {
        let Stage::Handshaking { dtls, deadline, keys } = &mut self.stage else {
            return Progress::Nothing;
        };
        let mut buffer = [0; 2_048];
        let mut connected = false;
        let mut failure = None;
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out.datagram(&mut |slot| {
                    slot[..packet.len()].copy_from_slice(packet);
                    packet.len()
                }),
                Output::Timeout(at) => {
                    *deadline = Some(at);
                    break;
                }
                Output::Connected => connected = true,
                Output::PeerCert(der) if sha256(der) != self.fingerprint => {
                    failure = Some("the certificate is not that of the answer");
                }
                Output::KeyingMaterial(material, profile) => {
                    *keys = split(profile, material.as_ref(), self.client);
                    if keys.is_none() {
                        failure = Some("an SRTP profile nobody offered");
                    }
                }
                Output::BufferTooSmall { .. } => {
                    failure = Some("a DTLS record above 2 KiB");
                    break;
                }
                Output::CloseNotify => failure = Some("closed by the server"),
                _ => {}
            }
        }
        if let Some(reason) = failure {
            return self.fail(reason);
        }
        if connected && let Some(keys) = keys.take() {
            self.stage = Stage::Connected;
            return Progress::Connected(keys);
        }
        Progress::Nothing
    }

    fn fail(&mut self, reason: &'static str) -> Progress {
        self.stage = Stage::Failed;
        Progress::Failed(reason)
    }

    /// Sends a check that nominates the pair, as a browser does towards a server with one address.
    fn check(&mut self, now: Instant, out: &mut dyn Wire) {
        // A retransmission is a new transaction here: a late answer to an older one is only
        // ignored.
        self.transaction = TransId::new();
        let (username, password) = (&self.username, self.remote_password.as_bytes());
        let (transaction, tie_breaker) = (self.transaction, self.tie_breaker);
        out.datagram(&mut |slot| {
            StunMessage::binding_request(username, transaction, true, tie_breaker, PRIORITY, true)
                .to_bytes(Some(password), slot, hmac_sha1)
                .unwrap_or(0)
        });
        let retry = FIRST_RETRY.saturating_mul(1 << self.unanswered.min(6)).min(MAX_RETRY);
        let connected = matches!(self.stage, Stage::Connected);
        self.next_check = now + if connected { CONSENT_INTERVAL + jitter() } else { retry };
        self.unanswered += 1;
    }
}

/// Our key and theirs.
fn split(profile: SrtpProfile, material: &[u8], client: bool) -> Option<Box<Keys>> {
    let profile = match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        _ => return None,
    };
    let (clients, servers) = split_keying_material(profile, material)?;
    let (ours, theirs) = if client { (clients, servers) } else { (servers, clients) };
    Some(Box::new(Keys { profile, ours, theirs }))
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    let mut tag = [0; 20];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    let mut hash = [0; 32];
    hash.copy_from_slice(digest.as_ref());
    hash
}

/// Up to [`CONSENT_JITTER_MS`], from the operating system; none where that has nothing.
fn jitter() -> Duration {
    let mut byte = [0; 2];
    if getrandom::fill(&mut byte).is_err() {
        return Duration::ZERO;
    }
    Duration::from_millis(u64::from(u16::from_ne_bytes(byte)) % CONSENT_JITTER_MS)
}
