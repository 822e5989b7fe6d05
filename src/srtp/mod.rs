//! SRTP and SRTCP: framing and key schedule (RFC 3711, RFC 7714) on top of library ciphers.
//!
//! ```text
//! DTLS exporter ── split_keying_material ──► MasterKey (client writes), MasterKey (server writes)
//!                                                │ kdf: AES-CM of the label
//!                      ┌─────────────────────────┴───────────────────────┐
//!            RtpSealer / RtpOpener                             RtcpSealer / RtcpOpener
//!            index = ROC<<16 | seq, kept by the caller         own 31-bit index, own replay window
//!            (Rollover, ReplayWindow)
//! ```
//!
//! Nothing here allocates per packet and nothing reads a clock. Keys are expanded once: a sealer is
//! the expanded key plus a salt, small enough that ten thousand of them do not fight for the cache.
//!
//! AES-GCM comes from `ring` or `aws-lc`, whichever this processor runs faster: see [`library`].

mod cm;
mod gcm;
mod kdf;
pub mod library;
mod replay;
mod rollover;
mod rtcp;
mod rtp;

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "str0m counts its crypto, once a session")]
pub(crate) mod interop;
#[cfg(test)]
mod tests;

pub use gcm::Gcm;
pub use library::{Library, cipher_library};
pub use replay::ReplayWindow;
pub use rollover::Rollover;
pub use rtcp::{RtcpOpener, RtcpSealer};
pub use rtp::{RtpOpener, RtpSealer};

/// The longest master key of any profile, in bytes: AES-256.
const MAX_KEY_LEN: usize = 32;
/// The longest master salt of any profile, in bytes: 112 bits of AES-CM (RFC 3711 §8.2).
const MAX_SALT_LEN: usize = 14;

/// An SRTP protection profile that DTLS-SRTP negotiates (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AES128_CM_HMAC_SHA1_80`: what every WebRTC peer must speak (RFC 8827 §6.5).
    Aes128CmSha1_80,
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`: what browsers get from a DTLS 1.2 server that prefers it.
    AeadAes256Gcm,
}

impl Profile {
    /// Every profile, for tests and benches.
    pub const ALL: [Self; 3] = [Self::Aes128CmSha1_80, Self::AeadAes128Gcm, Self::AeadAes256Gcm];

    /// Bytes of the master key, which is also the length of the session's cipher key.
    #[must_use]
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt: 112 bits for AES-CM, 96 for AES-GCM (RFC 7714 §12).
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    /// Bytes of the authentication tag of one packet.
    #[must_use]
    pub const fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 10,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
        }
    }

    /// Bytes the DTLS exporter must give: keys and salts of both directions (RFC 5764 §4.2).
    #[must_use]
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// Why a packet was not opened. Each is expected from a network; none is a fault of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// Too short to hold what the profile puts into every packet.
    Malformed,
    /// The authentication tag does not match: forged, damaged, or sealed with another key.
    Auth,
    /// Authentic once, but seen before or older than the window remembers.
    Replay,
}

/// The master key and salt of one direction of one session.
#[derive(Clone)]
pub struct MasterKey {
    key: [u8; MAX_KEY_LEN],
    key_len: u8,
    salt: [u8; MAX_SALT_LEN],
    salt_len: u8,
}

impl MasterKey {
    /// A master key from its bytes; `None` when a length is not that of the profile.
    #[must_use]
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        let mut master = Self {
            key: [0; MAX_KEY_LEN],
            key_len: key.len() as u8,
            salt: [0; MAX_SALT_LEN],
            salt_len: salt.len() as u8,
        };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Some(master)
    }

    fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_len)]
    }

    fn salt(&self) -> &[u8] {
        &self.salt[..usize::from(self.salt_len)]
    }
}

/// Key material never reaches a log.
impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(..)")
    }
}

/// Splits what the DTLS exporter gave, `client_key | server_key | client_salt | server_salt`
/// (RFC 5764 §4.2), into the key the client writes with and the key the server writes with.
///
/// `None` when `material` is not exactly [`Profile::keying_material_len`] bytes.
#[must_use]
pub fn split_keying_material(profile: Profile, material: &[u8]) -> Option<(MasterKey, MasterKey)> {
    if material.len() != profile.keying_material_len() {
        return None;
    }
    let (keys, salts) = material.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    Some((
        MasterKey::new(profile, client_key, client_salt)?,
        MasterKey::new(profile, server_key, server_salt)?,
    ))
}
