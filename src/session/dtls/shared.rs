//! What all sessions of dimpl share: one validated configuration, and one key of the server's
//! certificate, loaded once.
//!
//! A `dimpl::Config` per session would run the crypto library's self-tests each time: 1.1 ms. A
//! loaded key per session costs 17 us and its memory.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use dimpl::crypto::{Buf, HashAlgorithm, KeyProvider, SignatureAlgorithm, SigningKey};
use dimpl::{CryptoError as DtlsCryptoError, CryptoOperation};
use str0m::crypto::CryptoError;

use super::DTLS_MTU;

/// The configuration.
///
/// # Errors
/// When the crypto library does not pass its tests.
pub(super) fn config() -> Result<Arc<dimpl::Config>, CryptoError> {
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
