//! Whether str0m could decrypt a datagram, which it does not say.
//!
//! A forged, replayed or unknown SRTP packet vanishes inside str0m, and every datagram is to have
//! one counted outcome. So publishers' sessions get str0m's own SRTP ciphers in a thin coat that
//! notes how the last decryption ended. That decryption was never tried says the rest: the packet
//! was seen before, or is of nobody.

use std::cell::Cell;
use std::sync::OnceLock;

use str0m::crypto::{
    AeadAes128GcmCipher, AeadAes256GcmCipher, Aes128CmSha1_80Cipher, CryptoError, CryptoProvider,
    Sha1HmacProvider, SrtpProvider, SupportedAeadAes128Gcm, SupportedAeadAes256Gcm,
    SupportedAes128CmSha1_80,
};

use crate::drop::DropReason;
use crate::limits::MAX_SOURCES;
use crate::wire::rtp;

/// How the decryption of a datagram went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decryption {
    /// str0m did not get that far.
    Untried,
    /// The tag did not match.
    Failed,
    /// It authenticated.
    Done,
}

thread_local! {
    /// How the last decryption on this thread went. A datagram is handled on one thread in one go.
    static LAST: Cell<Decryption> = const { Cell::new(Decryption::Untried) };
}

/// A datagram is about to be given to str0m.
pub(super) fn begin() {
    LAST.set(Decryption::Untried);
}

/// What became of it.
pub(super) fn result() -> Decryption {
    LAST.get()
}

/// The SRTP ciphers and the HMAC of `crypto`, which must be the same at every call, in their coats.
pub(super) fn watched(
    crypto: &CryptoProvider,
) -> (&'static dyn SrtpProvider, &'static dyn Sha1HmacProvider) {
    static WATCHED: OnceLock<(Watched<dyn SrtpProvider>, Watched<dyn Sha1HmacProvider>)> =
        OnceLock::new();
    let (srtp, hmac) =
        WATCHED.get_or_init(|| (Watched(crypto.srtp_provider), Watched(crypto.sha1_hmac_provider)));
    (srtp, hmac)
}

/// A part of str0m's crypto whose results are noted.
#[derive(Debug)]
struct Watched<T: ?Sized + 'static>(&'static T);

impl Sha1HmacProvider for Watched<dyn Sha1HmacProvider> {
    fn sha1_hmac(&self, key: &[u8], payloads: &[&[u8]]) -> [u8; 20] {
        // With AES-CM the tag is compared before anything is decrypted; where it matches,
        // decryption follows and says so.
        LAST.set(Decryption::Failed);
        self.0.sha1_hmac(key, payloads)
    }
}

impl SrtpProvider for Watched<dyn SrtpProvider> {
    fn aes_128_cm_sha1_80(&self) -> &'static dyn SupportedAes128CmSha1_80 {
        static COAT: OnceLock<Watched<dyn SupportedAes128CmSha1_80>> = OnceLock::new();
        COAT.get_or_init(|| Watched(self.0.aes_128_cm_sha1_80()))
    }

    fn aead_aes_128_gcm(&self) -> &'static dyn SupportedAeadAes128Gcm {
        static COAT: OnceLock<Watched<dyn SupportedAeadAes128Gcm>> = OnceLock::new();
        COAT.get_or_init(|| Watched(self.0.aead_aes_128_gcm()))
    }

    fn aead_aes_256_gcm(&self) -> &'static dyn SupportedAeadAes256Gcm {
        static COAT: OnceLock<Watched<dyn SupportedAeadAes256Gcm>> = OnceLock::new();
        COAT.get_or_init(|| Watched(self.0.aead_aes_256_gcm()))
    }

    fn srtp_aes_128_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        self.0.srtp_aes_128_ecb_round(key, input, output);
    }

    fn srtp_aes_256_ecb_round(&self, key: &[u8], input: &[u8], output: &mut [u8]) {
        self.0.srtp_aes_256_ecb_round(key, input, output);
    }
}

impl SupportedAes128CmSha1_80 for Watched<dyn SupportedAes128CmSha1_80> {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn Aes128CmSha1_80Cipher> {
        let cipher = self.0.create_cipher(key, encrypt);
        if encrypt { cipher } else { Box::new(Cipher(cipher)) }
    }
}

impl SupportedAeadAes128Gcm for Watched<dyn SupportedAeadAes128Gcm> {
    fn create_cipher(&self, key: [u8; 16], encrypt: bool) -> Box<dyn AeadAes128GcmCipher> {
        let cipher = self.0.create_cipher(key, encrypt);
        if encrypt { cipher } else { Box::new(Cipher(cipher)) }
    }
}

impl SupportedAeadAes256Gcm for Watched<dyn SupportedAeadAes256Gcm> {
    fn create_cipher(&self, key: [u8; 32], encrypt: bool) -> Box<dyn AeadAes256GcmCipher> {
        let cipher = self.0.create_cipher(key, encrypt);
        if encrypt { cipher } else { Box::new(Cipher(cipher)) }
    }
}

/// A cipher that decrypts, and notes how that went.
#[derive(Debug)]
struct Cipher<T: ?Sized>(Box<T>);

fn note<T>(result: Result<T, CryptoError>) -> Result<T, CryptoError> {
    LAST.set(if result.is_ok() { Decryption::Done } else { Decryption::Failed });
    result
}

impl Aes128CmSha1_80Cipher for Cipher<dyn Aes128CmSha1_80Cipher> {
    fn encrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        self.0.encrypt(iv, input, output)
    }

    fn decrypt(
        &mut self,
        iv: &[u8; 16],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), CryptoError> {
        note(self.0.decrypt(iv, input, output))
    }
}

/// The same for both lengths of key, which are two traits.
macro_rules! watch_gcm {
    ($cipher:ident) => {
        impl $cipher for Cipher<dyn $cipher> {
            fn encrypt(
                &mut self,
                iv: &[u8; 12],
                aad: &[u8],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<(), CryptoError> {
                self.0.encrypt(iv, aad, input, output)
            }

            fn decrypt(
                &mut self,
                iv: &[u8; 12],
                aads: &[&[u8]],
                input: &[u8],
                output: &mut [u8],
            ) -> Result<usize, CryptoError> {
                note(self.0.decrypt(iv, aads, input, output))
            }
        }
    };
}

watch_gcm!(AeadAes128GcmCipher);
watch_gcm!(AeadAes256GcmCipher);

/// Media and RTX of each source.
const MAX_SEEN: usize = 2 * MAX_SOURCES;

/// The shortest tag of a profile: AES-CM's (RFC 5764 §4.1.2).
const MIN_TAG_BYTES: usize = 10;

/// The SSRCs a publisher has sent from: the least that tells a replay from a stranger's packet.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<u32>);

impl Seen {
    /// The datagram authenticated: its sender is one of the publisher's.
    pub fn add(&mut self, datagram: &[u8]) {
        if let Some(ssrc) = rtp::ssrc_of(datagram)
            && !self.0.contains(&ssrc)
            && self.0.len() < MAX_SEEN
        {
            self.0.push(ssrc);
        }
    }

    /// Why str0m did not try to decrypt the datagram.
    pub fn why_untried(&self, datagram: &[u8]) -> DropReason {
        match rtp::parse(datagram) {
            Ok(header) if datagram.len() >= header.header_len + MIN_TAG_BYTES => {
                if self.0.contains(&header.ssrc) {
                    DropReason::SrtpReplay
                } else {
                    DropReason::UnknownSource
                }
            }
            _ => DropReason::MalformedRtp,
        }
    }
}
