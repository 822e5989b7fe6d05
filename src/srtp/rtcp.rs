//! Sealing and opening of RTCP packets, single or compound (RFC 3711 §3.4, RFC 7714 §9).
//!
//! ```text
//! AES-GCM   header+SSRC | encrypted | tag | E+index
//! AES-CM    header+SSRC | encrypted | E+index | tag
//! ```

use super::cm::{self, CounterMode};
use super::gcm::{self, Gcm};
use super::kdf::{Purpose, SessionKeys};
use super::{Library, MasterKey, Profile, Rejected, ReplayWindow, library};
use crate::limits::MAX_RTCP_SENDERS;

/// What stays clear: the first packet's header and its sender's SSRC.
const CLEAR: usize = 8;
/// The word that holds the E bit and the index.
const WORD: usize = 4;
/// Set in the word when the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// Packets one key may seal: the index has 31 bits and must not repeat (RFC 3711 §9.2).
const MAX_PACKETS: u32 = 1 << 31;

/// Encrypts the RTCP that one side of one session sends, and counts it.
pub struct RtcpSealer {
    keys: Keyed,
    next_index: u32,
}

/// Decrypts the RTCP of the peer and refuses what it has seen before.
pub struct RtcpOpener {
    keys: Keyed,
    seen: SeenBySender,
}

/// A replay list for each sender SSRC (RFC 3711 §3.2.3): peers that report on each track from an
/// SSRC of its own number the packets of each apart. Whoever was heard last stands first.
#[derive(Default)]
struct SeenBySender(Vec<(u32, Window)>);

/// RTCP is sparse, so a window of 64 packets is minutes of it (RFC 3711 §3.3.2 asks for 64).
type Window = ReplayWindow<2>;

impl SeenBySender {
    /// Whether packet `index` of `ssrc` is neither known nor too old. Changes nothing.
    fn check(&self, ssrc: u32, index: u64) -> bool {
        let known = self.0.iter().find(|(sender, _)| *sender == ssrc);
        known.is_none_or(|(_, window)| window.check(index))
    }

    /// Records an authentic packet. Of more than [`MAX_RTCP_SENDERS`] the one that was silent
    /// longest is forgotten; only the peer itself, who has the key, can bring it to that.
    fn accept(&mut self, ssrc: u32, index: u64) {
        let known = self.0.iter().position(|(sender, _)| *sender == ssrc);
        let place = known.unwrap_or_else(|| {
            self.0.truncate(MAX_RTCP_SENDERS - 1);
            // Most peers report under one SSRC, and a list grows to four at once.
            if self.0.is_empty() {
                self.0.reserve_exact(1);
            }
            self.0.push((ssrc, Window::default()));
            self.0.len() - 1
        });
        self.0[..=place].rotate_right(1);
        self.0[0].1.accept(index);
    }
}

/// Boxed in both: a session reads it a few times a second, and it would push apart what is hot.
enum Keyed {
    Gcm(Box<Gcm>, [u8; 12]),
    CounterMode(Box<CounterMode>),
}

impl RtcpSealer {
    /// Derives and expands the keys.
    #[must_use]
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self::known(&SessionKeys::derive(profile, master, Purpose::Rtcp), library::choice().library)
    }

    pub(super) fn known(keys: &SessionKeys, library: Library) -> Self {
        Self { keys: Keyed::new(keys, library), next_index: 0 }
    }

    /// Bytes that [`RtcpSealer::seal`] adds to a packet.
    #[must_use]
    pub fn overhead(&self) -> usize {
        WORD + self.keys.tag_len()
    }

    /// Seals the packet in `packet[..len]` in place and returns its length with index and tag; 0
    /// when `2^31` packets were sealed and the key is spent, which takes three years at 20 a
    /// second.
    ///
    /// # Panics
    /// When `len` is below 8, or `packet` shorter than `len` plus [`RtcpSealer::overhead`].
    pub fn seal(&mut self, packet: &mut [u8], len: usize) -> usize {
        if self.next_index == MAX_PACKETS {
            return 0;
        }
        let index = self.next_index;
        self.next_index += 1;
        let word = (ENCRYPTED | index).to_be_bytes();
        let ssrc = sender_ssrc(packet);
        match &self.keys {
            Keyed::Gcm(gcm, salt) => {
                let aad = associated_data(packet, word);
                let tag = gcm.seal(nonce(salt, ssrc, index), &aad, &mut packet[CLEAR..len]);
                packet[len..len + gcm::TAG_LEN].copy_from_slice(&tag);
                packet[len + gcm::TAG_LEN..len + gcm::TAG_LEN + WORD].copy_from_slice(&word);
            }
            Keyed::CounterMode(mode) => {
                mode.apply(ssrc, u64::from(index), &mut packet[CLEAR..len]);
                packet[len..len + WORD].copy_from_slice(&word);
                let tag = mode.tag(&packet[..len + WORD], &[]);
                packet[len + WORD..len + WORD + cm::TAG_LEN].copy_from_slice(&tag);
            }
        }
        len + self.overhead()
    }

    #[cfg(test)]
    pub(super) fn start_at(&mut self, index: u32) {
        self.next_index = index;
    }
}

impl RtcpOpener {
    /// Derives and expands the keys.
    #[must_use]
    pub fn new(profile: Profile, master: &MasterKey) -> Self {
        Self::known(&SessionKeys::derive(profile, master, Purpose::Rtcp), library::choice().library)
    }

    pub(super) fn known(keys: &SessionKeys, library: Library) -> Self {
        Self { keys: Keyed::new(keys, library), seen: SeenBySender::default() }
    }

    /// Checks and decrypts the whole of `packet` in place; returns the length of the RTCP in it.
    ///
    /// A packet that is authenticated but not encrypted (E bit clear) is taken too, as RFC 3711
    /// §3.4 allows the sender either.
    ///
    /// # Errors
    /// [`Rejected::Malformed`] when index and tag do not fit, [`Rejected::Replay`] for an index of
    /// its sender seen before or too old, [`Rejected::Auth`] when the tag does not match. Only an
    /// authentic packet moves its sender's replay window. The contents are unspecified after a
    /// rejection.
    pub fn open(&mut self, packet: &mut [u8]) -> Result<usize, Rejected> {
        let overhead = WORD + self.keys.tag_len();
        let len = packet.len().checked_sub(overhead).ok_or(Rejected::Malformed)?;
        if len < CLEAR {
            return Err(Rejected::Malformed);
        }
        let word_at = match self.keys {
            Keyed::Gcm(..) => len + gcm::TAG_LEN,
            Keyed::CounterMode(_) => len,
        };
        let word = [packet[word_at], packet[word_at + 1], packet[word_at + 2], packet[word_at + 3]];
        let encrypted = u32::from_be_bytes(word) & ENCRYPTED != 0;
        let index = u32::from_be_bytes(word) & !ENCRYPTED;
        let ssrc = sender_ssrc(packet);
        if !self.seen.check(ssrc, u64::from(index)) {
            return Err(Rejected::Replay);
        }
        match &self.keys {
            Keyed::Gcm(gcm, salt) if encrypted => {
                let aad = associated_data(packet, word);
                gcm.open(nonce(salt, ssrc, index), &aad, &mut packet[CLEAR..word_at])?;
            }
            Keyed::Gcm(gcm, salt) => {
                // All of the packet and the word are associated data (RFC 7714 §9.3): the word
                // moves up to the packet, over the tag, which moves aside.
                let mut tag = [0; gcm::TAG_LEN];
                tag.copy_from_slice(&packet[len..word_at]);
                packet[len..len + WORD].copy_from_slice(&word);
                gcm.open(nonce(salt, ssrc, index), &packet[..len + WORD], &mut tag)?;
            }
            Keyed::CounterMode(mode) => {
                let (covered, tag) = packet.split_at_mut(len + WORD);
                if !mode.verify(covered, &[], tag) {
                    return Err(Rejected::Auth);
                }
                if encrypted {
                    mode.apply(ssrc, u64::from(index), &mut covered[CLEAR..len]);
                }
            }
        }
        self.seen.accept(ssrc, u64::from(index));
        Ok(len)
    }
}

impl Keyed {
    fn new(keys: &SessionKeys, library: Library) -> Self {
        match keys.profile {
            Profile::Aes128CmSha1_80 => Self::CounterMode(Box::new(CounterMode::new(keys))),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                let mut salt = [0; 12];
                salt.copy_from_slice(&keys.salt[..12]);
                Self::Gcm(Box::new(Gcm::new(keys.profile, keys.cipher(), library)), salt)
            }
        }
    }

    fn tag_len(&self) -> usize {
        match self {
            Self::Gcm(..) => gcm::TAG_LEN,
            Self::CounterMode(_) => cm::TAG_LEN,
        }
    }
}

/// The SSRC of the first packet's sender; the caller has checked that eight bytes are there.
fn sender_ssrc(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}

/// The clear bytes and the word (RFC 7714 §9.2).
fn associated_data(packet: &[u8], word: [u8; WORD]) -> [u8; CLEAR + WORD] {
    let mut aad = [0; CLEAR + WORD];
    aad[..CLEAR].copy_from_slice(&packet[..CLEAR]);
    aad[CLEAR..].copy_from_slice(&word);
    aad
}

/// `00 00 | SSRC | 00 00 | index`, XOR the salt (RFC 7714 §9.1).
fn nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    for (byte, salt) in nonce.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    nonce
}
