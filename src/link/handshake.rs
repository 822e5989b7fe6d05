//! How two nodes come to keys: X25519 in two messages that the secret of the cluster has signed,
//! and HKDF over what both have made anew and that secret.
//!
//! A message that is sent again meets another key, so the keys that come of it are nobody's: what
//! is sealed with the old ones does not open.

use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk};
use ring::hmac;
use ring::rand::SystemRandom;

use super::seal::{KEY_BYTES, Key, SALT_BYTES};

/// Bytes of a public key.
pub const PUBLIC_BYTES: usize = 32;

/// Bytes of what each direction is given.
const DIRECTION_BYTES: usize = KEY_BYTES + SALT_BYTES;

/// One node's part, before it has the other's.
pub struct Exchange {
    private: EphemeralPrivateKey,
    /// What the other node is told.
    pub public: [u8; PUBLIC_BYTES],
}

/// The keys of a link, as one of its ends has them.
pub struct Keys {
    pub(super) seals: Key,
    pub(super) opens: Key,
}

/// Key material never reaches a log.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Default for Exchange {
    fn default() -> Exchange {
        Exchange::new()
    }
}

impl Exchange {
    /// A part that nobody has had before.
    ///
    /// # Panics
    /// When the operating system gives no random bytes: nothing would work then.
    #[must_use]
    pub fn new() -> Exchange {
        let random = SystemRandom::new();
        let private = EphemeralPrivateKey::generate(&X25519, &random).expect("random bytes");
        let computed = private.compute_public_key().expect("X25519 has a public key for each");
        let mut public = [0; PUBLIC_BYTES];
        public.copy_from_slice(computed.as_ref());
        Exchange { private, public }
    }

    /// The keys of the end that takes media, with the public key of the `other` node. `secret` is
    /// what the messages are signed with, `about` what else both of them say, the same at both
    /// ends. `None` where the other key is none.
    #[must_use]
    pub fn incoming(
        self,
        other: &[u8; PUBLIC_BYTES],
        secret: &hmac::Key,
        about: &[u8],
    ) -> Option<Keys> {
        let both = [self.public, *other];
        let [media, reports] = self.agree(other, secret, both, about)?;
        Some(Keys { seals: reports, opens: media })
    }

    /// The keys of the end that sends media, likewise.
    #[must_use]
    pub fn outgoing(
        self,
        other: &[u8; PUBLIC_BYTES],
        secret: &hmac::Key,
        about: &[u8],
    ) -> Option<Keys> {
        let both = [*other, self.public];
        let [media, reports] = self.agree(other, secret, both, about)?;
        Some(Keys { seals: media, opens: reports })
    }

    fn agree(
        self,
        other: &[u8; PUBLIC_BYTES],
        secret: &hmac::Key,
        both: [[u8; PUBLIC_BYTES]; 2],
        about: &[u8],
    ) -> Option<[Key; 2]> {
        let other = UnparsedPublicKey::new(&X25519, other);
        let derive = |point: &[u8]| {
            // HKDF-Extract (RFC 5869 §2.2) with the secret as salt is an HMAC under it.
            let extracted = hmac::sign(secret, point);
            let prk = Prk::new_less_safe(HKDF_SHA256, extracted.as_ref());
            [&b"media"[..], b"reports"].map(|direction| {
                let info: [&[u8]; 5] = [b"monoport link 1 ", direction, &both[0], &both[1], about];
                expand(&prk, &info)
            })
        };
        // Refuses keys of small order, which would make the point known to anybody.
        agree_ephemeral(self.private, &other, derive).ok()
    }
}

struct Length;

impl KeyType for Length {
    fn len(&self) -> usize {
        DIRECTION_BYTES
    }
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Key {
    let mut bytes = [0; DIRECTION_BYTES];
    let expanded = prk.expand(info, Length).and_then(|expanded| expanded.fill(&mut bytes));
    expanded.expect("28 bytes are far below the 8,160 that HKDF-SHA256 gives");
    let (mut key, mut salt) = ([0; KEY_BYTES], [0; SALT_BYTES]);
    key.copy_from_slice(&bytes[..KEY_BYTES]);
    salt.copy_from_slice(&bytes[KEY_BYTES..]);
    Key { key, salt }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())
    }

    #[test]
    fn two_ends_have_the_same_keys_where_all_is_the_same_and_others_each_time() {
        let same = |one: &Key, other: &Key| (one.key, one.salt) == (other.key, other.salt);
        let meet = |ours: &str, theirs: &str, about: [&[u8]; 2]| {
            let (edge, origin) = (Exchange::new(), Exchange::new());
            let (edge_public, origin_public) = (edge.public, origin.public);
            let taken = edge.incoming(&origin_public, &secret(ours), about[0]).expect("a key");
            let sent = origin.outgoing(&edge_public, &secret(theirs), about[1]).expect("a key");
            assert!(!same(&sent.seals, &sent.opens), "each direction has its own");
            let agree = same(&sent.seals, &taken.opens) && same(&sent.opens, &taken.seals);
            (agree, sent)
        };
        let (agree, first) = meet("s", "s", [b"a", b"a"]);
        let (_, second) = meet("s", "s", [b"a", b"a"]);
        assert!(agree);
        assert!(!same(&first.seals, &second.seals), "a link has keys of its own");
        assert!(!meet("s", "t", [b"a", b"a"]).0, "another secret");
        assert!(!meet("s", "s", [b"a", b"b"]).0, "another link");
    }

    #[test]
    fn a_hello_that_is_sent_again_opens_nothing() {
        let edge = Exchange::new();
        let hello = edge.public;
        let (first, second) = (Exchange::new(), Exchange::new());
        let first = first.outgoing(&hello, &secret("s"), b"").expect("a key");
        let second = second.outgoing(&hello, &secret("s"), b"").expect("a key");
        assert_ne!(first.seals.key, second.seals.key);
    }

    #[test]
    fn a_key_that_makes_the_point_known_is_refused() {
        assert!(Exchange::new().incoming(&[0; PUBLIC_BYTES], &secret("s"), b"").is_none());
    }
}
