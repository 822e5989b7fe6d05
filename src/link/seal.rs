//! Datagrams under the keys of one direction: AES-128-GCM, with the head as associated data and its
//! counter in the nonce. A counter is used once and taken once.

use crate::drop::DropReason;
use crate::srtp::{Gcm, Profile, ReplayWindow, library};
use crate::wire::link::{HEAD_BYTES, Head, TAG_BYTES};

/// Bytes of a key, and of the salt that makes its nonces.
pub(super) const KEY_BYTES: usize = 16;
pub(super) const SALT_BYTES: usize = 12;

/// The key and salt of one direction.
#[derive(Clone)]
pub(super) struct Key {
    pub key: [u8; KEY_BYTES],
    pub salt: [u8; SALT_BYTES],
}

impl Key {
    fn expand(&self) -> Gcm {
        Gcm::new(Profile::AeadAes128Gcm, &self.key, library::choice().library)
    }
}

fn nonce(salt: &[u8; SALT_BYTES], counter: u64) -> [u8; SALT_BYTES] {
    let mut nonce = *salt;
    for (byte, counter) in nonce[4..].iter_mut().zip(counter.to_be_bytes()) {
        *byte ^= counter;
    }
    nonce
}

/// Seals what leaves.
pub(super) struct Sealer {
    gcm: Gcm,
    salt: [u8; SALT_BYTES],
    /// The next head.
    head: Head,
}

impl Sealer {
    /// One for the link that is named `link` on the other end's `shard`.
    pub fn new(key: &Key, (shard, link): (u8, u32)) -> Sealer {
        Sealer { gcm: key.expand(), salt: key.salt, head: Head { shard, link, counter: 0 } }
    }

    /// Makes a datagram at the front of `slot`, with the frame that `write` puts there. Returns its
    /// length.
    ///
    /// # Errors
    /// [`DropReason::TooLong`], and what `write` says.
    pub fn seal(
        &mut self,
        slot: &mut [u8],
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<usize, DropReason> {
        let (head, body) = slot.split_at_mut_checked(HEAD_BYTES).ok_or(DropReason::TooLong)?;
        let room = body.len().checked_sub(TAG_BYTES).ok_or(DropReason::TooLong)?;
        let length = write(&mut body[..room])?;
        head.copy_from_slice(&self.head.bytes());
        let (text, rest) = body.split_at_mut(length);
        let tag = self.gcm.seal(nonce(&self.salt, self.head.counter), head, text);
        rest[..TAG_BYTES].copy_from_slice(&tag);
        // 2^64 are more than any link sends.
        self.head.counter += 1;
        Ok(HEAD_BYTES + length + TAG_BYTES)
    }
}

/// Opens what comes.
pub(super) struct Opener {
    gcm: Gcm,
    salt: [u8; SALT_BYTES],
    window: ReplayWindow,
}

impl Opener {
    pub fn new(key: &Key) -> Opener {
        Opener { gcm: key.expand(), salt: key.salt, window: ReplayWindow::new() }
    }

    /// The frame in a datagram, opened where it lies. One that was taken before costs no more than
    /// a look.
    ///
    /// # Errors
    /// [`DropReason::MalformedLink`], [`DropReason::LinkReplay`] and [`DropReason::LinkAuth`].
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], DropReason> {
        let head = Head::read(datagram).ok_or(DropReason::MalformedLink)?;
        if !self.window.check(head.counter) {
            return Err(DropReason::LinkReplay);
        }
        let (bytes, sealed) = datagram.split_at_mut(HEAD_BYTES);
        let nonce = nonce(&self.salt, head.counter);
        self.gcm.open(nonce, bytes, sealed).map_err(|_rejected| DropReason::LinkAuth)?;
        self.window.accept(head.counter);
        let length = sealed.len() - TAG_BYTES;
        Ok(&sealed[..length])
    }
}
