//! Sealing and opening of RTP packets.

use super::cm::{self, CounterMode};
use super::gcm::{self, Gcm};
use super::kdf::{Purpose, SessionKeys};
use super::{Library, MasterKey, Profile, Rejected, library};

/// Bytes of an RTP header without CSRCs and extension.
const MIN_HEADER: usize = 12;

/// Encrypts what one side of one session sends.
///
/// There is one per viewer. With `ring` it is the whole state of a seal, in one piece; the const
/// assertion below keeps it small, and `benches/srtp.rs` measures what ten thousand of them cost.
///
/// **A key never seals two different packets under the same SSRC and index**: that would give away
/// the key stream, and under AES-GCM the authentication key too. A packet that is sent again on its
/// SSRC must be the same bytes, header and extensions included; a changed one needs RTX.
pub struct RtpSealer(Keyed);

/// Decrypts what the peer sends.
pub struct RtpOpener(Keyed);

/// An expanded key and its salt.
struct Keyed {
    /// The salt of AES-GCM's nonces; AES-CM keeps its own, longer one.
    salt: [u8; 12],
    cipher: Cipher,
}

#[expect(clippy::large_enum_variant, reason = "AES-GCM is the common and hot case")]
enum Cipher {
    Gcm(Gcm),
    /// Boxed because it is three times as large and rare.
    CounterMode(Box<CounterMode>),
}

const _: () = assert!(
    size_of::<RtpSealer>() <= 640,
    "ten cache lines: 244 B of AES schedule, 256 B of GHASH table, and little else"
);

impl RtpSealer {
    /// Derives and expands the keys, with the library this process has chosen.
    #[must_use]
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self::with_library(profile, master, library::choice().library)
    }

    /// As [`RtpSealer::new`], with a library of the caller's choice.
    #[must_use]
    pub fn with_library(profile: Profile, master: &MasterKey, library: Library) -> Self {
        Self(Keyed::new(&SessionKeys::derive(profile, master, Purpose::Rtp), library))
    }

    /// Bytes that [`RtpSealer::seal`] adds to a packet.
    #[inline]
    #[must_use]
    pub fn overhead(&self) -> usize {
        self.0.tag_len()
    }

    /// Seals the packet in `packet[..len]` in place and returns its length with the tag.
    ///
    /// The first `header_len` bytes stay clear: fixed header, CSRCs and extension. `index` is
    /// `ROC << 16 | seq`, 48 bits (RFC 3711 §3.3.1).
    ///
    /// # Panics
    /// When `header_len > len`, or when `packet` is shorter than `len` plus
    /// [`RtpSealer::overhead`].
    #[inline]
    pub fn seal(
        &self,
        packet: &mut [u8],
        header_len: usize,
        len: usize,
        ssrc: u32,
        index: u64,
    ) -> usize {
        match &self.0.cipher {
            Cipher::Gcm(gcm) => {
                let (clear, tail) = packet[..len + gcm::TAG_LEN].split_at_mut(header_len);
                let (text, tag) = tail.split_at_mut(len - header_len);
                tag.copy_from_slice(&gcm.seal(self.0.nonce(ssrc, index), clear, text));
                len + gcm::TAG_LEN
            }
            Cipher::CounterMode(mode) => {
                mode.apply(ssrc, index, &mut packet[header_len..len]);
                let tag = mode.tag(&packet[..len], &rollover_counter(index));
                packet[len..len + cm::TAG_LEN].copy_from_slice(&tag);
                len + cm::TAG_LEN
            }
        }
    }

    #[cfg(test)]
    pub(super) fn known(keys: &SessionKeys, library: Library) -> Self {
        Self(Keyed::new(keys, library))
    }
}

impl RtpOpener {
    /// Derives and expands the keys, with the library this process has chosen.
    #[must_use]
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self::with_library(profile, master, library::choice().library)
    }

    /// As [`RtpOpener::new`], with a library of the caller's choice.
    #[must_use]
    pub fn with_library(profile: Profile, master: &MasterKey, library: Library) -> Self {
        Self(Keyed::new(&SessionKeys::derive(profile, master, Purpose::Rtp), library))
    }

    /// Checks and decrypts the whole of `packet` in place; returns the length without the tag.
    ///
    /// `header_len` and `ssrc` come from the clear header, `index` from [`super::Rollover::guess`].
    /// Replay is the caller's to check, with a [`super::ReplayWindow`] per SSRC.
    ///
    /// # Errors
    /// [`Rejected::Malformed`] when header and tag do not fit into the packet, [`Rejected::Auth`]
    /// when the tag does not match. The contents are unspecified after the latter.
    #[inline]
    pub fn open(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        index: u64,
    ) -> Result<usize, Rejected> {
        let plain_len = packet.len().checked_sub(self.0.tag_len()).ok_or(Rejected::Malformed)?;
        if header_len < MIN_HEADER || header_len > plain_len {
            return Err(Rejected::Malformed);
        }
        match &self.0.cipher {
            Cipher::Gcm(gcm) => {
                let (clear, text_and_tag) = packet.split_at_mut(header_len);
                gcm.open(self.0.nonce(ssrc, index), clear, text_and_tag)?;
            }
            Cipher::CounterMode(mode) => {
                let (plain, tag) = packet.split_at_mut(plain_len);
                if !mode.verify(plain, &rollover_counter(index), tag) {
                    return Err(Rejected::Auth);
                }
                mode.apply(ssrc, index, &mut plain[header_len..]);
            }
        }
        Ok(plain_len)
    }

    #[cfg(test)]
    pub(super) fn known(keys: &SessionKeys, library: Library) -> Self {
        Self(Keyed::new(keys, library))
    }
}

impl Keyed {
    fn new(keys: &SessionKeys, library: Library) -> Self {
        let mut salt = [0; 12];
        salt.copy_from_slice(&keys.salt[..12]);
        let cipher = match keys.profile {
            Profile::Aes128CmSha1_80 => Cipher::CounterMode(Box::new(CounterMode::new(keys))),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                Cipher::Gcm(Gcm::new(keys.profile, keys.cipher(), library))
            }
        };
        Self { salt, cipher }
    }

    #[inline]
    fn tag_len(&self) -> usize {
        match self.cipher {
            Cipher::Gcm(_) => gcm::TAG_LEN,
            Cipher::CounterMode(_) => cm::TAG_LEN,
        }
    }

    /// `00 00 | SSRC | ROC | SEQ`, XOR the salt (RFC 7714 §8.1).
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> [u8; 12] {
        // By words: byte by byte it takes 58 instructions more a packet.
        let [a, b, c, d, tail @ ..] = self.salt;
        let head = u32::from_be_bytes([a, b, c, d]) ^ ssrc >> 16;
        let tail = u64::from_be_bytes(tail) ^ u64::from(ssrc) << 48 ^ (index & ((1 << 48) - 1));
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&head.to_be_bytes());
        nonce[4..].copy_from_slice(&tail.to_be_bytes());
        nonce
    }
}

/// The rollover counter of a packet index, as HMAC-SHA1 covers it (RFC 3711 §4.2).
#[inline]
fn rollover_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}
