//! DTLS of the clients: one configuration for all, and the keys can be had.
//!
//! A client that means ill seals its own RTCP, so it must know its keys; and a configuration per
//! client would run the self-tests of the crypto library each time, which is dear.

use std::cell::RefCell;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use monoport::srtp::{MasterKey, Profile, split_keying_material};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider, from_feature_flags};

/// The SRTP keys of a client.
pub struct Keys {
    pub profile: Profile,
    /// It writes with this one.
    pub local: MasterKey,
    /// The server writes with this one.
    pub remote: MasterKey,
}

thread_local! {
    /// Of the client that was drained last: a client is drained on one thread in one go.
    static TAKEN: RefCell<Option<Keys>> = const { RefCell::new(None) };
}

/// The keys that DTLS gave since the last call.
pub fn take_keys() -> Option<Keys> {
    TAKEN.take()
}

/// What all clients share.
pub fn crypto() -> Arc<CryptoProvider> {
    static CRYPTO: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    static PROVIDER: Provider = Provider;
    CRYPTO
        .get_or_init(|| {
            Arc::new(CryptoProvider { dtls_provider: &PROVIDER, ..from_feature_flags() })
        })
        .clone()
}

/// Certificates there are: more than clients in one run, of which no two have the same.
const CERTIFICATES: usize = 16;

/// The certificate of a client, by its number: that of another does not do in its place.
pub fn certificate(number: usize) -> DtlsCert {
    static ALL: [OnceLock<DtlsCert>; CERTIFICATES] = [const { OnceLock::new() }; CERTIFICATES];
    let make = || Provider.generate_certificate().expect("a certificate");
    ALL[number % CERTIFICATES].get_or_init(make).clone()
}

#[derive(Debug)]
struct Provider;

impl DtlsProvider for Provider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        static CONFIG: OnceLock<Arc<dimpl::Config>> = OnceLock::new();
        let make = || {
            Arc::new(
                dimpl::Config::builder()
                    .dangerously_set_rng_seed(1)
                    .build()
                    .expect("the default is valid"),
            )
        };
        let config = CONFIG.get_or_init(make).clone();
        Ok(Box::new(Session(dimpl::Dtls::new_12(config, certificate.clone(), now))))
    }
}

struct Session(dimpl::Dtls);

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

fn profile_of(profile: SrtpProfile) -> Profile {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmSha1_80,
        SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        other => panic!("a profile nobody offered: {other:?}"),
    }
}

impl DtlsInstance for Session {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let is_client = self.0.is_active();
        let output = self.0.poll_output(buffer);
        if let DtlsOutput::KeyingMaterial(material, profile) = &output {
            let profile = profile_of(*profile);
            let (client, server) =
                split_keying_material(profile, material).expect("as long as the profile says");
            let (local, remote) = if is_client { (client, server) } else { (server, client) };
            TAKEN.set(Some(Keys { profile, local, remote }));
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
