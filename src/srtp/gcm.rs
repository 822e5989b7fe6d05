//! AES-GCM of either library behind one pair of calls.

use super::{Library, Profile, Rejected};

/// Bytes of an AES-GCM tag.
pub const TAG_LEN: usize = 16;

/// One expanded AES-GCM key.
///
/// `ring` keeps the key schedule and the GHASH table in the value, `aws-lc` behind a pointer. The
/// value is not boxed: the table is what a seal reads, so a pointer to it would only add a miss.
#[expect(clippy::large_enum_variant, reason = "the large variant is the common and hot one")]
pub enum Gcm {
    /// `ring`'s.
    Ring(ring::aead::LessSafeKey),
    /// `aws-lc`'s.
    AwsLc(aws_lc_rs::aead::LessSafeKey),
}

impl Gcm {
    /// Expands `key`, which is 16 or 32 bytes long.
    ///
    /// # Panics
    /// When it has not the length of the profile's.
    #[must_use]
    pub fn new(profile: Profile, key: &[u8], library: Library) -> Self {
        const LENGTH: &str = "the profile fixes the key's length";
        let is_256 = matches!(profile, Profile::AeadAes256Gcm);
        match library {
            Library::Ring => {
                use ring::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
                let algorithm = if is_256 { &AES_256_GCM } else { &AES_128_GCM };
                Self::Ring(LessSafeKey::new(UnboundKey::new(algorithm, key).expect(LENGTH)))
            }
            Library::AwsLc => {
                use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, LessSafeKey, UnboundKey};
                let algorithm = if is_256 { &AES_256_GCM } else { &AES_128_GCM };
                Self::AwsLc(LessSafeKey::new(UnboundKey::new(algorithm, key).expect(LENGTH)))
            }
        }
    }

    /// Encrypts `text` in place and returns the tag over it and `aad`.
    ///
    /// # Panics
    /// When `text` is longer than AES-GCM can seal: no datagram is.
    #[inline]
    #[must_use]
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; TAG_LEN] {
        const LENGTH: &str = "a datagram is far below the 64 GiB that AES-GCM can seal";
        let mut bytes = [0; TAG_LEN];
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
                bytes.copy_from_slice(tag.expect(LENGTH).as_ref());
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text);
                bytes.copy_from_slice(tag.expect(LENGTH).as_ref());
            }
        }
        bytes
    }

    /// Checks the tag at the end of `text_and_tag` and decrypts what is before it in place. After a
    /// rejection the contents are unspecified.
    ///
    /// # Errors
    /// [`Rejected::Auth`].
    #[inline]
    pub fn open(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        text_and_tag: &mut [u8],
    ) -> Result<(), Rejected> {
        match self {
            Self::Ring(key) => {
                use ring::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(aad), text_and_tag)
                    .map(|_| ())
                    .map_err(|_| Rejected::Auth)
            }
            Self::AwsLc(key) => {
                use aws_lc_rs::aead::{Aad, Nonce};
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.open_in_place(nonce, Aad::from(aad), text_and_tag)
                    .map(|_| ())
                    .map_err(|_| Rejected::Auth)
            }
        }
    }
}
