//! Datagrams under the keys of one direction: AES-128-GCM, with the head as associated data and its
//! counter in the nonce. A counter is used once and taken once.

use crate::drop::DropReason;
use crate::limits::MAX_DATAGRAM_OUT;
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
    earlier: Option<Box<Earlier>>,
}

/// What opened the datagrams of the link that had this one's name before: the last of them may come
/// yet, and are nobody's forgery.
struct Earlier {
    gcm: Gcm,
    salt: [u8; SALT_BYTES],
    /// A datagram as it came: what does not open is changed by the attempt.
    datagram: Vec<u8>,
}

impl Earlier {
    /// Keeps a datagram that may be of the earlier link; no node makes a longer one.
    fn keep(&mut self, datagram: &[u8]) {
        self.datagram.clear();
        if datagram.len() <= self.datagram.capacity() {
            self.datagram.extend_from_slice(datagram);
        }
    }

    /// Whether what was kept is of it.
    fn opens(&mut self) -> bool {
        let Some(head) = Head::read(&self.datagram) else { return false };
        let (bytes, sealed) = self.datagram.split_at_mut(HEAD_BYTES);
        self.gcm.open(nonce(&self.salt, head.counter), bytes, sealed).is_ok()
    }
}

impl Opener {
    pub fn new(key: &Key) -> Opener {
        Opener { gcm: key.expand(), salt: key.salt, window: ReplayWindow::new(), earlier: None }
    }

    /// The other end sealed for `before` until now, under the same name.
    pub fn follows(&mut self, before: Opener) {
        let Opener { gcm, salt, .. } = before;
        let datagram = Vec::with_capacity(MAX_DATAGRAM_OUT);
        self.earlier = Some(Box::new(Earlier { gcm, salt, datagram }));
    }

    /// The frame in a datagram, opened where it lies. One that was taken before costs no more than
    /// a look.
    ///
    /// # Errors
    /// [`DropReason::MalformedLink`], [`DropReason::LinkReplay`], [`DropReason::LinkAuth`], and
    /// [`DropReason::UnknownLink`] for one of the link before.
    pub fn open<'a>(&mut self, datagram: &'a mut [u8]) -> Result<&'a [u8], DropReason> {
        let head = Head::read(datagram).ok_or(DropReason::MalformedLink)?;
        if !self.window.check(head.counter) {
            return Err(DropReason::LinkReplay);
        }
        // Nearly all come one after the other, and are not looked at twice.
        let mut earlier = self.earlier.as_mut().filter(|_| !self.window.is_next(head.counter));
        if let Some(earlier) = &mut earlier {
            earlier.keep(datagram);
        }
        let (bytes, sealed) = datagram.split_at_mut(HEAD_BYTES);
        if self.gcm.open(nonce(&self.salt, head.counter), bytes, sealed).is_err() {
            let is_late = earlier.is_some_and(|earlier| earlier.opens());
            return Err(if is_late { DropReason::UnknownLink } else { DropReason::LinkAuth });
        }
        self.window.accept(head.counter);
        let length = sealed.len() - TAG_BYTES;
        Ok(&sealed[..length])
    }
}
