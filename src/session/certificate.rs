//! Whether the certificate that a peer shows in DTLS is the one its offer named, and why a
//! handshake over certificates fails.

use aws_lc_rs::digest;
use str0m::RtcError;
use str0m::crypto::dtls::DtlsImplError;

use super::OfferError;

/// Why a handshake is given up at once: what its peer would send again is no better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// It has none of a kind that was asked for.
    Missing,
    /// Its key is on another curve than P-256 and P-384.
    Curve,
    /// Its key is of another kind than ECDSA.
    KeyKind,
    /// It can't be parsed.
    Garbled,
    /// Its key has not signed the handshake.
    Signature,
    /// It is not the one that the offer named.
    Fingerprint,
}

/// What is taken, for whoever makes certificates.
const TAKEN: &str = "this server takes ECDSA P-256 and P-384";

impl CertificateFault {
    /// What it was, and what to do, in words.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            CertificateFault::Missing => format!(
                "its DTLS has no certificate of a kind that was asked for: most likely it is an \
                 RSA one; {TAKEN}, so have it make one of these"
            ),
            CertificateFault::Curve => format!(
                "its DTLS certificate has a key on another curve than P-256 and P-384; {TAKEN}, so \
                 have it make one of these"
            ),
            CertificateFault::KeyKind => format!(
                "its DTLS certificate has a key that is not ECDSA (RSA, most likely); {TAKEN}, so \
                 have it make one of these"
            ),
            CertificateFault::Garbled => "its DTLS certificate can't be parsed".into(),
            CertificateFault::Signature => {
                "its DTLS handshake is not signed with the key of its certificate".into()
            }
            CertificateFault::Fingerprint => {
                "its DTLS certificate is not the one of a=fingerprint in its offer: somebody is \
                 between, or the offer is of another connection"
                    .into()
            }
        }
    }

    /// The same of str0m, which compares the fingerprints of SHA-256 and SHA-1.
    pub(super) fn of_session(error: &RtcError) -> Option<CertificateFault> {
        let is_other = |words: &str| words.contains("fingerprint no match");
        let is_other = matches!(error, RtcError::RemoteSdp(words) if is_other(words));
        is_other.then_some(CertificateFault::Fingerprint)
    }

    /// The fault behind an error of the DTLS library, if it is of certificates.
    pub(super) fn of(error: &DtlsImplError) -> Option<CertificateFault> {
        use dimpl::CertificateError as Certificate;
        use dimpl::CryptoError as Crypto;
        match error {
            DtlsImplError::CertificateError(
                Certificate::NoClientCertificateReceived | Certificate::NoServerCertificateReceived,
            ) => Some(CertificateFault::Missing),
            DtlsImplError::CertificateError(Certificate::UnsupportedEcCurve)
            | DtlsImplError::CryptoError(Crypto::UnsupportedEcCurve) => {
                Some(CertificateFault::Curve)
            }
            DtlsImplError::CryptoError(
                Crypto::UnsupportedPublicKeyAlgorithm | Crypto::UnsupportedSignatureAlgorithm(_),
            ) => Some(CertificateFault::KeyKind),
            DtlsImplError::CertificateError(_)
            | DtlsImplError::CryptoError(
                Crypto::CertificateParseFailed
                | Crypto::MissingEcCurveParameter
                | Crypto::InvalidEcCurveParameter
                | Crypto::InvalidSubjectPublicKey,
            ) => Some(CertificateFault::Garbled),
            DtlsImplError::CryptoError(
                Crypto::SignatureVerificationFailed { .. } | Crypto::InvalidSignatureFormat,
            ) => Some(CertificateFault::Signature),
            _ => None,
        }
    }
}

/// A fingerprint that is verified here: str0m verifies those of SHA-256 and SHA-1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint {
    algorithm: &'static digest::Algorithm,
    digest: Vec<u8>,
}

impl Fingerprint {
    /// Whether a certificate is the one that is meant.
    pub fn is_of(&self, certificate: &[u8]) -> bool {
        digest::digest(self.algorithm, certificate).as_ref() == self.digest
    }

    /// The fingerprint to verify of an offer with these attribute lines; `None` where str0m
    /// verifies one (RFC 8122 §5.1: any one that is understood).
    ///
    /// # Errors
    /// [`OfferError::Malformed`] where none is understood, or one is not as long as its hash.
    pub fn of_offer<'a>(
        lines: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Option<Fingerprint>, OfferError> {
        let all = lines.filter_map(|line| line.strip_prefix("fingerprint:"));
        let named = |hash: &str| {
            let mut values = all.clone().filter_map(|line| line.split_once(' '));
            values.find(|(name, _)| name.eq_ignore_ascii_case(hash)).map(|(_, value)| value)
        };
        let parsed = |hash: &str, algorithm: &'static digest::Algorithm| {
            let Some(value) = named(hash) else { return Ok(None) };
            let bytes = value.trim().split(':').map(|byte| u8::from_str_radix(byte, 16));
            let digest: Vec<u8> = bytes.collect::<Result<_, _>>().unwrap_or_default();
            if digest.len() != algorithm.output_len() {
                let words = format!(
                    "a=fingerprint:{hash} has not the {} bytes of that hash",
                    algorithm.output_len()
                );
                return Err(OfferError::Malformed(words));
            }
            Ok(Some(Fingerprint { algorithm, digest }))
        };
        if parsed("sha-256", &digest::SHA256)?.is_some() {
            return Ok(None);
        }
        for (hash, algorithm) in [("sha-512", &digest::SHA512), ("sha-384", &digest::SHA384)] {
            if let Some(fingerprint) = parsed(hash, algorithm)? {
                return Ok(Some(fingerprint));
            }
        }
        if named("sha-1").is_some() || all.clone().next().is_none() {
            // str0m verifies the one, and says that there is none.
            return Ok(None);
        }
        let words = "a=fingerprint is of no hash that is taken: sha-256, sha-384 or sha-512";
        Err(OfferError::Malformed(words.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: &str, bytes: usize) -> String {
        format!("fingerprint:{hash} {}", vec!["0A"; bytes].join(":"))
    }

    fn of(lines: &[String]) -> Result<Option<Fingerprint>, OfferError> {
        Fingerprint::of_offer(lines.iter().map(String::as_str))
    }

    #[test]
    fn the_strongest_that_str0m_lacks_is_verified_where_it_has_none() {
        let all = [line("sha-512", 64), line("sha-384", 48), line("sha-256", 32)];
        assert_eq!(of(&all), Ok(None), "str0m verifies SHA-256");
        let found = of(&all[..2]).expect("both are well formed").expect("ours");
        assert_eq!((found.algorithm, found.digest.len()), (&digest::SHA512, 64));
        let found = of(&[line("SHA-384", 48)]).expect("it is well formed").expect("ours");
        assert_eq!(found.digest.len(), 48);
        assert_eq!(of(&[line("sha-1", 20)]), Ok(None));
        for unknown in [[line("md5", 16)], [line("sha-384", 32)], [line("sha-512", 0)]] {
            assert!(of(&unknown).is_err(), "{unknown:?}");
        }
    }

    #[test]
    fn a_certificate_is_its_own_fingerprints() {
        let certificate = b"a certificate";
        let digest = digest::digest(&digest::SHA384, certificate).as_ref().to_vec();
        let fingerprint = Fingerprint { algorithm: &digest::SHA384, digest };
        assert!(fingerprint.is_of(certificate) && !fingerprint.is_of(b"another one"));
    }
}
