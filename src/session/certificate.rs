//! Whether the certificate that a peer shows in DTLS is the one its offer named, and why a
//! handshake fails.

use aws_lc_rs::digest;
use str0m::crypto::dtls::DtlsImplError;

use super::OfferError;
use crate::limits::MAX_FINGERPRINTS;
use crate::wire::dtls::alert_name;

/// Why a handshake is given up at once: what its peer would send again is no better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFault {
    /// It has no certificate of a kind that was asked for.
    Missing,
    /// Its key is on another curve than is taken.
    Curve,
    /// Its key is of another kind than is taken.
    KeyKind,
    /// Its key is of RSA, and shorter or longer than is taken.
    KeySize,
    /// Its certificate can't be parsed.
    Garbled,
    /// Its key has not signed the handshake.
    Signature,
    /// Its certificate is not the one that the offer named.
    Fingerprint,
    /// It does not bind keys to the handshake (RFC 7627).
    NoExtendedMasterSecret,
    /// It offers no profile of SRTP that is taken.
    NoSrtp,
    /// It gave up, with this alert (RFC 8446 §6).
    Alert(u8),
    /// Another, in OpenSSL's words.
    Given(&'static str),
}

/// What is taken, for whoever makes certificates.
const TAKEN: &str = "this server takes ECDSA on P-224, P-256, P-384 and P-521, and RSA of 2048 to \
    8192 bits";

impl HandshakeFault {
    /// What it was, and what to do, in words.
    #[must_use]
    pub fn words(self) -> String {
        let other_key = |is: &str| {
            format!("its DTLS certificate has a key {is}; {TAKEN}, so have it make one of these")
        };
        match self {
            HandshakeFault::Missing => format!(
                "its DTLS has no certificate of a kind that was asked for; {TAKEN}, so have it \
                 make one of these"
            ),
            HandshakeFault::Curve => other_key("on another curve"),
            HandshakeFault::KeyKind => other_key("of another kind"),
            HandshakeFault::KeySize => other_key("of another size"),
            HandshakeFault::Garbled => "its DTLS certificate can't be parsed".into(),
            HandshakeFault::Signature => {
                "its DTLS handshake is not signed with the key of its certificate".into()
            }
            HandshakeFault::Fingerprint => {
                "its DTLS certificate is not the one of a=fingerprint in its offer: somebody is \
                 between, or the offer is of another connection"
                    .into()
            }
            HandshakeFault::NoExtendedMasterSecret => {
                "its DTLS has no extended master secret (RFC 7627), without which its keys could \
                 be another session's: give it a newer library of TLS"
                    .into()
            }
            HandshakeFault::NoSrtp => {
                "its DTLS offers no SRTP profile that is taken: AEAD_AES_256_GCM, \
                 AEAD_AES_128_GCM or AES128_CM_HMAC_SHA1_80"
                    .into()
            }
            HandshakeFault::Alert(alert) => format!(
                "its DTLS gave up with alert {alert} {}: most likely its certificate is of no kind \
                 that was asked for; when it comes again, it is asked for every kind that is taken",
                alert_name(alert)
            ),
            HandshakeFault::Given(reason) => {
                format!("its DTLS handshake failed: {reason} (the words of OpenSSL)")
            }
        }
    }

    /// Whether it may have been that its certificate is of a kind that was not asked for, since its
    /// hello was that of one which has others.
    #[must_use]
    pub const fn is_of_kind(self) -> bool {
        use HandshakeFault::{Alert, Curve, KeyKind, Missing};
        matches!(self, Missing | Curve | KeyKind | Alert(_))
    }

    /// The fault behind an error of the DTLS library, if it is of certificates.
    pub(super) fn of(error: &DtlsImplError) -> Option<HandshakeFault> {
        use dimpl::CertificateError as Certificate;
        use dimpl::CryptoError as Crypto;
        match error {
            DtlsImplError::CertificateError(
                Certificate::NoClientCertificateReceived | Certificate::NoServerCertificateReceived,
            ) => Some(HandshakeFault::Missing),
            DtlsImplError::CertificateError(Certificate::UnsupportedEcCurve)
            | DtlsImplError::CryptoError(Crypto::UnsupportedEcCurve) => Some(HandshakeFault::Curve),
            DtlsImplError::CryptoError(
                Crypto::UnsupportedPublicKeyAlgorithm | Crypto::UnsupportedSignatureAlgorithm(_),
            ) => Some(HandshakeFault::KeyKind),
            DtlsImplError::CertificateError(_)
            | DtlsImplError::CryptoError(
                Crypto::CertificateParseFailed
                | Crypto::MissingEcCurveParameter
                | Crypto::InvalidEcCurveParameter
                | Crypto::InvalidSubjectPublicKey,
            ) => Some(HandshakeFault::Garbled),
            DtlsImplError::CryptoError(
                Crypto::SignatureVerificationFailed { .. } | Crypto::InvalidSignatureFormat,
            ) => Some(HandshakeFault::Signature),
            _ => None,
        }
    }
}

/// The fingerprints in an offer of the hash that its certificates are verified by: that of the
/// peer is one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprints {
    algorithm: &'static digest::Algorithm,
    /// Side by side, each as long as its hash.
    digests: Box<[u8]>,
}

impl Fingerprints {
    /// Whether a certificate is one of those that are meant.
    pub fn hold(&self, certificate: &[u8]) -> bool {
        let digest = digest::digest(self.algorithm, certificate);
        self.digests.chunks(self.algorithm.output_len()).any(|named| named == digest.as_ref())
    }

    /// Those of an offer with these attribute lines, of the first hash there is (RFC 8122 §5.1):
    /// SHA-256, which all have, then the longer ones, then SHA-1.
    ///
    /// # Errors
    /// [`OfferError::Malformed`] where none is understood, or one is not as long as its hash.
    pub fn of_offer<'a>(
        lines: impl Iterator<Item = &'a str> + Clone,
    ) -> Result<Fingerprints, OfferError> {
        let all = lines.filter_map(|line| line.strip_prefix("fingerprint:"));
        if all.clone().next().is_none() {
            return Err(OfferError::Malformed("it has no a=fingerprint".into()));
        }
        let hashes: [(&str, &'static digest::Algorithm); 4] = [
            ("sha-256", &digest::SHA256),
            ("sha-512", &digest::SHA512),
            ("sha-384", &digest::SHA384),
            ("sha-1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
        ];
        for (hash, algorithm) in hashes {
            let values = all.clone().filter_map(|line| line.split_once(' '));
            let of_hash = values.filter(|(name, _)| name.eq_ignore_ascii_case(hash));
            let mut digests: Vec<u8> = Vec::new();
            for (_, value) in of_hash.take(MAX_FINGERPRINTS) {
                let bytes = value.split(':').map(byte);
                let digest: Vec<u8> = bytes.collect::<Option<_>>().unwrap_or_default();
                if digest.len() != algorithm.output_len() {
                    let length = algorithm.output_len();
                    let words =
                        format!("a=fingerprint:{hash} has not the {length} bytes of that hash");
                    return Err(OfferError::Malformed(words));
                }
                digests.extend(digest);
            }
            if !digests.is_empty() {
                return Ok(Fingerprints { algorithm, digests: digests.into() });
            }
        }
        let words = "a=fingerprint is of no hash that is taken: sha-256, sha-384 or sha-512";
        Err(OfferError::Malformed(words.into()))
    }
}

/// The byte that two digits say (RFC 8122 §5).
fn byte(digits: &str) -> Option<u8> {
    let are_two = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    are_two.then(|| u8::from_str_radix(digits, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hash: &str, bytes: usize) -> String {
        format!("fingerprint:{hash} {}", vec!["0A"; bytes].join(":"))
    }

    fn of(lines: &[String]) -> Result<Fingerprints, OfferError> {
        Fingerprints::of_offer(lines.iter().map(String::as_str))
    }

    #[test]
    fn the_hash_that_all_have_is_verified_or_the_longest_there_is() {
        let all =
            [line("sha-1", 20), line("sha-384", 48), line("sha-512", 64), line("sha-256", 32)];
        for (lines, algorithm) in [
            (&all[..], &digest::SHA256),
            (&all[..3], &digest::SHA512),
            (&all[..2], &digest::SHA384),
            (&all[..1], &digest::SHA1_FOR_LEGACY_USE_ONLY),
        ] {
            let found = of(lines).expect("all are well formed");
            assert_eq!(found.algorithm, algorithm);
            assert_eq!(found.digests.len(), algorithm.output_len());
        }
        assert!(of(&[line("SHA-384", 48)]).is_ok(), "names of hashes have no case");
        for wrong in [[line("md5", 16)], [line("sha-384", 32)], [line("sha-512", 0)]] {
            assert!(of(&wrong).is_err(), "{wrong:?}");
        }
        assert!(of(&[]).is_err());
        for digits in ["A", "+A", "0A0", " 0A", ""] {
            let wrong = line("sha-256", 32).replacen("0A", digits, 1);
            assert!(of(&[wrong]).is_err(), "`{digits}` is no byte");
        }
    }

    #[test]
    fn a_certificate_is_one_of_those_that_are_named() {
        let hash = |certificate: &[u8]| {
            let digest = digest::digest(&digest::SHA256, certificate);
            let bytes: Vec<String> = digest.as_ref().iter().map(|b| format!("{b:02X}")).collect();
            format!("fingerprint:sha-256 {}", bytes.join(":"))
        };
        let named = of(&[hash(b"first"), hash(b"second")]).expect("both are well formed");
        assert!(named.hold(b"first") && named.hold(b"second") && !named.hold(b"third"));
        let many: Vec<String> = (0..=MAX_FINGERPRINTS).map(|n| hash(&[n as u8])).collect();
        let named = of(&many).expect("all are well formed");
        assert!(named.hold(&[0]) && !named.hold(&[MAX_FINGERPRINTS as u8]));
    }
}
