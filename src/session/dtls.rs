//! The DTLS of sessions: one library, one validated configuration for all of them, and one key of
//! the server's certificate, loaded once.
//!
//! A `dimpl::Config` per session would run the crypto library's self-tests each time: 1.1 ms. A
//! loaded key per session costs 17 us and its memory.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{CryptoError as DtlsCryptoError, CryptoOperation};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
};
use str0m::crypto::{CryptoError, CryptoProvider};

/// Bytes of a DTLS flight's datagram: str0m's own default, safe on any path.
pub(super) const DTLS_MTU: usize = 1_150;

/// What makes the DTLS of sessions.
pub(super) static DTLS: Provider = Provider;

/// str0m's crypto, for an `Rtc` that negotiates and is never heard of again: its DTLS says nothing.
pub(super) fn crypto() -> Arc<CryptoProvider> {
    static SILENT: SilentProvider = SilentProvider;
    Arc::new(CryptoProvider { dtls_provider: &SILENT, ..str0m::crypto::from_feature_flags() })
}

#[derive(Debug)]
pub(super) struct Provider;

fn shared_config() -> Result<Arc<dimpl::Config>, CryptoError> {
    static CONFIG: OnceLock<Arc<dimpl::Config>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let provider = dimpl::crypto::CryptoProvider {
        key_provider: &LOADED_ONCE,
        ..dimpl::crypto::aws_lc_rs::default_provider()
    };
    // No cookie: ICE has proved the address before DTLS is answered.
    let config = dimpl::Config::builder().use_server_cookie(false).mtu(DTLS_MTU);
    let config = config.with_crypto_provider(provider).build();
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
        Ok(Box::new(Library(dtls)))
    }
}

/// Loads a private key the first time it is asked for, and gives out the same from then on.
#[derive(Debug)]
struct LoadedOnce;

static LOADED_ONCE: LoadedOnce = LoadedOnce;

impl KeyProvider for LoadedOnce {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, DtlsCryptoError> {
        static FIRST: OnceLock<(Vec<u8>, LoadedKey)> = OnceLock::new();
        if let Some((known, key)) = FIRST.get()
            && known == der
        {
            return Ok(Box::new(key.clone()));
        }
        let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) else {
            // None that was made here.
            let library = dimpl::crypto::aws_lc_rs::default_provider();
            return library.key_provider.load_private_key(der);
        };
        let key = LoadedKey(Arc::new(pair));
        let _first = FIRST.get_or_init(|| (der.to_vec(), key.clone()));
        Ok(Box::new(key))
    }
}

/// A P-256 key, as our certificate has one.
#[derive(Clone)]
struct LoadedKey(Arc<EcdsaKeyPair>);

impl std::fmt::Debug for LoadedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LoadedKey(secret)")
    }
}

impl SigningKey for LoadedKey {
    fn sign(
        &mut self,
        data: &[u8],
        hash: HashAlgorithm,
        out: &mut Buf,
    ) -> Result<(), DtlsCryptoError> {
        if hash != self.hash_algorithm() {
            let key_hash = self.hash_algorithm();
            return Err(DtlsCryptoError::SigningKeyHashMismatch { key_hash, requested: hash });
        }
        let signature = self.0.sign(&SystemRandom::new(), data);
        let failed = |_unspecified| DtlsCryptoError::OperationFailed(CryptoOperation::Sign);
        out.clear();
        out.extend_from_slice(signature.map_err(failed)?.as_ref());
        Ok(())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        HashAlgorithm::SHA256
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        &[HashAlgorithm::SHA256]
    }
}

/// The library's DTLS, by the names that str0m gave to what such a library does.
struct Library(dimpl::Dtls);

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Library").finish_non_exhaustive()
    }
}

impl DtlsInstance for Library {
    fn set_active(&mut self, active: bool) {
        self.0.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.0.handle_packet(packet)
    }

    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        self.0.poll_output(buffer)
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

#[derive(Debug)]
struct SilentProvider;

impl DtlsProvider for SilentProvider {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        DTLS.generate_certificate()
    }

    fn new_dtls(
        &self,
        _certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        _mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        Ok(Box::new(Silent { active: false, made: now }))
    }
}

/// DTLS that nothing comes of: which end begins is negotiated, and nothing begins.
#[derive(Debug)]
struct Silent {
    active: bool,
    made: Instant,
}

impl DtlsInstance for Silent {
    fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    fn handle_packet(&mut self, _packet: &[u8]) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn poll_output<'a>(&mut self, _buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        DtlsOutput::Timeout(self.made + crate::limits::SESSION_IDLE)
    }

    fn handle_timeout(&mut self, _now: Instant) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn send_application_data(&mut self, _data: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(0)
    }

    fn is_active(&self) -> bool {
        self.active
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        None
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        Ok(())
    }
}
