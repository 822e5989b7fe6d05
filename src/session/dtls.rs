//! str0m's DTLS with two changes: one validated configuration for all sessions, and a tap on the
//! keys it negotiates.
//!
//! str0m's own provider builds a `dimpl::Config` per session, and each build runs the crypto
//! library's self-tests: 1.1 ms. And str0m keeps the SRTP keys to itself, while the egress lane
//! needs them.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

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
}

/// The keys negotiated during the drain that has just ended, if that was when DTLS finished.
pub(super) fn take_keys() -> Option<KeyingMaterial> {
    TAPPED.with(|tapped| tapped.borrow_mut().take())
}

/// str0m's crypto with our DTLS provider in it.
pub(super) fn crypto_provider() -> Arc<CryptoProvider> {
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
        Ok(Box::new(Tap(dtls)))
    }
}

/// A DTLS instance whose keying material is copied to [`TAPPED`] as it passes.
struct Tap(dimpl::Dtls);

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tap")
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

impl DtlsInstance for Tap {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let local_is_client = self.0.is_active();
        let output = self.0.poll_output(buffer);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output
            && let Some(profile) = profile_of(*profile)
        {
            let keys = KeyingMaterial { profile, material: material.to_vec(), local_is_client };
            TAPPED.with(|tapped| *tapped.borrow_mut() = Some(keys));
        }
        output
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.0.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.0.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.0.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.0.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.0.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.0.close()
    }
}
