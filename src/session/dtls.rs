//! str0m's DTLS with two changes: one validated configuration for all sessions, and the keys come
//! to us instead of to str0m.
//!
//! str0m's own provider builds a `dimpl::Config` per session, and each build runs the crypto
//! library's self-tests: 1.1 ms. And it is ingest and egress that need the SRTP keys: str0m would
//! expand them four times, 9 KB a session, and never use one.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

use super::certificate::{CertificateFault, Fingerprint};
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

thread_local! {
    /// Keys that came out of a DTLS instance since the last [`take_keys`]. A session is drained on
    /// one thread in one go, so what is here belongs to the session that was drained last.
    static TAPPED: RefCell<Option<KeyingMaterial>> = const { RefCell::new(None) };
    /// What the peer of the next instance must show, where str0m can't verify it: [`expecting`].
    static EXPECTED: RefCell<Option<Fingerprint>> = const { RefCell::new(None) };
    /// What was wrong with a peer's certificate since the last [`take_fault`].
    static FAULT: Cell<Option<CertificateFault>> = const { Cell::new(None) };
}

/// Runs `build`, which makes one instance of DTLS: its peer must show the certificate with this
/// `fingerprint`.
pub(super) fn expecting<T>(fingerprint: Option<Fingerprint>, build: impl FnOnce() -> T) -> T {
    EXPECTED.set(fingerprint);
    let built = build();
    EXPECTED.set(None);
    built
}

/// Why DTLS was given up since the last call, if it was over a certificate.
pub(super) fn take_fault() -> Option<CertificateFault> {
    FAULT.take()
}

/// The keys negotiated during the drain that has just ended, if that was when DTLS finished.
pub(super) fn take_keys() -> Option<KeyingMaterial> {
    TAPPED.with(|tapped| tapped.borrow_mut().take())
}

/// str0m's crypto with our DTLS in it.
pub(super) fn crypto() -> Arc<CryptoProvider> {
    static PROVIDER: Provider = Provider;
    Arc::new(CryptoProvider { dtls_provider: &PROVIDER, ..str0m::crypto::from_feature_flags() })
}

#[derive(Debug)]
struct Provider;

/// Bytes of a DTLS flight's datagram: str0m's own default, safe on any path.
const DTLS_MTU: usize = 1_150;

fn shared_config() -> Result<Arc<dimpl::Config>, CryptoError> {
    static CONFIG: OnceLock<Arc<dimpl::Config>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    // No cookie: ICE has proved the address before DTLS is answered.
    let config = dimpl::Config::builder().use_server_cookie(false).mtu(DTLS_MTU).build();
    let config = config.map_err(|error| CryptoError::Other(error.to_string()))?;
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let (config, certificate) = (shared_config()?, certificate.clone());
        let dtls = match version {
            DtlsVersion::Dtls12 => dimpl::Dtls::new_12(config, certificate, now),
            DtlsVersion::Dtls13 => dimpl::Dtls::new_13(config, certificate, now),
            _ => dimpl::Dtls::new_auto(config, certificate, now),
        };
        let expected = EXPECTED.take();
        Ok(Box::new(TappedDtls { dtls, tap: true, expected, refused: false, made: now }))
    }
}

/// A DTLS session whose keying material goes to [`TAPPED`].
struct TappedDtls {
    dtls: dimpl::Dtls,
    /// Whether the keys are still to come.
    tap: bool,
    /// What the peer's certificate must be, where str0m can't tell.
    expected: Option<Fingerprint>,
    /// The peer has shown another one: nothing of it is taken any more.
    refused: bool,
    made: Instant,
}

impl std::fmt::Debug for TappedDtls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TappedDtls").field("tap", &self.tap).finish_non_exhaustive()
    }
}

/// Makes an output of bytes.
type Shown<'a> = fn(&'a [u8]) -> DtlsOutput<'a>;

fn profile_of(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        _ => None,
    }
}

impl TappedDtls {
    /// Puts the keys where [`take_keys`] finds them; there are no more to come.
    fn keep(&mut self, material: &[u8], profile: SrtpProfile) {
        self.tap = false;
        if let Some(profile) = profile_of(profile) {
            let local_is_client = self.dtls.is_active();
            let keys = KeyingMaterial { profile, material: material.to_vec(), local_is_client };
            TAPPED.with(|tapped| *tapped.borrow_mut() = Some(keys));
        }
    }

    /// The next output, with the keys kept where they are ours.
    fn poll_tapped<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if self.tap {
            // The few outputs of a handshake pass through a buffer of our own, so that the keys can
            // be kept and the next output shown in their place.
            let mut own = [0; 2 * DTLS_MTU];
            let (copy, output): (&[u8], Shown<'a>) = match self.dtls.poll_output(&mut own) {
                DtlsOutput::Packet(bytes) => (bytes, DtlsOutput::Packet),
                DtlsOutput::PeerCert(bytes) => (bytes, DtlsOutput::PeerCert),
                DtlsOutput::ApplicationData(bytes) => (bytes, DtlsOutput::ApplicationData),
                DtlsOutput::Timeout(at) => return DtlsOutput::Timeout(at),
                DtlsOutput::Connected => return DtlsOutput::Connected,
                DtlsOutput::CloseNotify => return DtlsOutput::CloseNotify,
                DtlsOutput::KeyingMaterial(material, profile) => {
                    self.keep(&material, profile);
                    return self.dtls.poll_output(buffer);
                }
                // Too long for ours, as a chain of certificates may be, and never the keys.
                _ => return self.dtls.poll_output(buffer),
            };
            return match buffer.get_mut(..copy.len()) {
                Some(place) => {
                    place.copy_from_slice(copy);
                    output(place)
                }
                None => DtlsOutput::BufferTooSmall { needed: copy.len() },
            };
        }
        self.dtls.poll_output(buffer)
    }

    /// The next output of a peer whose certificate is verified here: nothing comes of what follows
    /// another one.
    fn poll_verified<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        /// Long after the session's end.
        const NEVER: Duration = Duration::from_secs(3_600);
        if !self.refused {
            let output = self.poll_tapped(buffer);
            let DtlsOutput::PeerCert(certificate) = &output else { return output };
            if self.expected.as_ref().is_none_or(|expected| expected.is_of(certificate)) {
                return output;
            }
            self.refused = true;
            FAULT.set(Some(CertificateFault::Fingerprint));
        }
        DtlsOutput::Timeout(self.made + NEVER)
    }
}

impl DtlsInstance for TappedDtls {
    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if self.refused {
            return Ok(());
        }
        let handled = self.dtls.handle_packet(packet);
        if let Some(fault) = handled.as_ref().err().and_then(CertificateFault::of) {
            FAULT.set(Some(fault));
        }
        handled
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        if self.expected.is_some() {
            return self.poll_verified(buffer);
        }
        self.poll_tapped(buffer)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}
