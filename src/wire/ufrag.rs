//! The ICE user fragment as the address of a session.
//!
//! ```text
//! character   0        1–2      3–4      5–8             9–11         12–17
//! field       version  shard    node     restarts slot   generation   MAC
//! bits        6        12       12       4        20     18           36
//! ```
//!
//! A browser's first STUN request carries the ufrag, so the request names its session without any
//! table, on any shard, and a forged one dies after one short hash. Fields are whole characters of
//! the ICE alphabet (RFC 8839 §5.4), most significant first, so an eBPF program reads the shard at
//! a fixed offset. The layout is fixed: what changes it must change the version.
//!
//! The MAC is not what lets a peer in (MESSAGE-INTEGRITY does that, with the 128-bit password): it
//! keeps strangers from making the server look up sessions and from aiming at a chosen shard.

use std::fmt;

use siphasher::sip::SipHasher24;

use crate::id::{GENERATION_BITS, SessionKey};
use crate::limits::{MAX_NODES, MAX_SESSIONS_PER_SHARD, MAX_SHARDS};

/// Characters in a ufrag.
pub const LEN: usize = 18;

/// The first character of every ufrag: version 1 of the layout.
pub const VERSION_CHAR: u8 = ALPHABET[VERSION as usize];

/// Where the two characters of the shard begin.
pub const SHARD_AT: usize = 1;

/// The ice-chars of RFC 8839 §5.4 in the order of their values.
pub const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const VERSION: u64 = 1;
const NODE_AT: usize = 3;
const SLOT_AT: usize = 5;
const GENERATION_AT: usize = 9;
const MAC_AT: usize = 12;
/// Bits of a slot; the four that its characters have beyond them count ICE restarts.
const SLOT_BITS: u32 = 20;
const _: () = assert!(MAX_SESSIONS_PER_SHARD <= 1 << SLOT_BITS, "any slot fits its bits");
const MAC_BITS: u32 = 36;

/// Seals and recognises the ufrags of one run of the server.
#[derive(Clone)]
pub struct UfragKey(SipHasher24);

impl UfragKey {
    /// A fresh key from the operating system.
    ///
    /// # Panics
    ///
    /// When the operating system has no randomness to give: nothing a server could safely go on
    /// without.
    #[must_use]
    pub fn random() -> Self {
        let mut key = [0; 16];
        getrandom::fill(&mut key).expect("the operating system gives random bytes");
        Self::from_bytes(key)
    }

    /// A given key: for several processes that share sessions, and for tests.
    #[must_use]
    pub fn from_bytes(key: [u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// The key itself, for [`UfragKey::from_bytes`] in another process of this user.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 16] {
        self.0.key()
    }

    /// The ufrag that leads to `session`.
    ///
    /// # Panics
    ///
    /// When a field of the key is beyond its bound in [`crate::limits`]: no such session exists.
    #[must_use]
    pub fn encode(&self, session: SessionKey) -> Ufrag {
        self.encode_at(0, session, 0)
    }

    /// The ufrag that leads to `session` of the node with this number (0 where there are no others)
    /// after so many ICE restarts (RFC 8445 §9 wants another one each time): the last four bits of
    /// that stand above the slot's.
    ///
    /// # Panics
    ///
    /// As [`UfragKey::encode`].
    #[must_use]
    pub fn encode_at(&self, node: u16, session: SessionKey, restarts: u8) -> Ufrag {
        assert!(node <= MAX_NODES, "node {node} out of range");
        assert!(usize::from(session.shard) < MAX_SHARDS, "shard {} out of range", session.shard);
        assert!((session.slot as usize) < MAX_SESSIONS_PER_SHARD, "slot of {session} out of range");
        assert!(session.generation < 1 << GENERATION_BITS, "generation of {session} out of range");
        let mut chars = [0; LEN];
        put(&mut chars[..SHARD_AT], VERSION);
        put(&mut chars[SHARD_AT..NODE_AT], u64::from(session.shard));
        put(&mut chars[NODE_AT..SLOT_AT], u64::from(node));
        let slot = u64::from(restarts & 0xf) << SLOT_BITS | u64::from(session.slot);
        put(&mut chars[SLOT_AT..GENERATION_AT], slot);
        put(&mut chars[GENERATION_AT..MAC_AT], u64::from(session.generation));
        let mac = self.mac(&chars[..MAC_AT]);
        put(&mut chars[MAC_AT..], mac);
        Ufrag(chars)
    }

    /// The session a ufrag leads to, or `None` when this key did not make it.
    ///
    /// The hash comes first: nothing else about the characters is believed before it.
    #[must_use]
    #[inline]
    pub fn decode(&self, ufrag: &[u8]) -> Option<SessionKey> {
        let chars: &[u8; LEN] = ufrag.try_into().ok()?;
        // What has this key's MAC was made here, under whichever number this node had then.
        if take(&chars[MAC_AT..])? != self.mac(&chars[..MAC_AT]) || chars[0] != VERSION_CHAR {
            return None;
        }
        Some(SessionKey {
            shard: u16::try_from(take(&chars[SHARD_AT..NODE_AT])?).ok()?,
            slot: take(&chars[SLOT_AT..GENERATION_AT])? as u32 & ((1 << SLOT_BITS) - 1),
            generation: u32::try_from(take(&chars[GENERATION_AT..MAC_AT])?).ok()?,
        })
    }

    fn mac(&self, fields: &[u8]) -> u64 {
        self.0.hash(fields) & ((1 << MAC_BITS) - 1)
    }
}

impl fmt::Debug for UfragKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UfragKey(secret)")
    }
}

/// The characters of one ufrag.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ufrag([u8; LEN]);

impl Ufrag {
    /// The ufrag as it stands in SDP.
    #[must_use]
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("ice-chars are ASCII")
    }

    /// The ufrag as it stands in a STUN USERNAME.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl fmt::Debug for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Ufrag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The shard a ufrag claims, not authenticated: good for steering, where a lie costs the liar's
/// datagram one hand-over at most, and for nothing else.
#[must_use]
#[inline]
pub fn shard_of(ufrag: &[u8]) -> Option<u16> {
    let chars: &[u8; LEN] = ufrag.try_into().ok()?;
    if chars[0] != VERSION_CHAR {
        return None;
    }
    u16::try_from(take(&chars[SHARD_AT..NODE_AT])?).ok()
}

/// The number of the node a ufrag claims to lead to, not authenticated: good for what stands in
/// front of many nodes and passes datagrams on.
#[must_use]
pub fn node_of(ufrag: &[u8]) -> Option<u16> {
    let chars: &[u8; LEN] = ufrag.try_into().ok()?;
    if chars[0] != VERSION_CHAR {
        return None;
    }
    u16::try_from(take(&chars[NODE_AT..SLOT_AT])?).ok()
}

/// Each ice-char's value by its byte; [`NOT_ICE`] for every other byte.
const VALUES: [u8; 256] = {
    let mut values = [NOT_ICE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        value += 1;
    }
    values
};

const NOT_ICE: u8 = 0xff;

/// Writes `value` over all of `chars`, six bits each.
fn put(chars: &mut [u8], value: u64) {
    for (place, char) in chars.iter_mut().rev().enumerate() {
        *char = ALPHABET[(value >> (6 * place)) as usize & 63];
    }
}

/// Reads all of `chars`, at most ten, as one number; `None` when one is not an ice-char.
fn take(chars: &[u8]) -> Option<u64> {
    let mut value = 0;
    for &char in chars {
        let bits = VALUES[usize::from(char)];
        if bits == NOT_ICE {
            return None;
        }
        value = value << 6 | u64::from(bits);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sessions() -> impl Strategy<Value = SessionKey> {
        let slots = 0..MAX_SESSIONS_PER_SHARD as u32;
        (0..MAX_SHARDS as u16, slots, 0..1u32 << GENERATION_BITS)
            .prop_map(|(shard, slot, generation)| SessionKey { shard, slot, generation })
    }

    /// The layout is a promise to steering programs and to other nodes; this is its witness.
    #[test]
    fn layout_is_fixed() {
        let key = UfragKey::from_bytes([7; 16]);
        let ufrag = key.encode(SessionKey { shard: 65, slot: 0x01_02_03, generation: 5 });
        assert_eq!(&ufrag.as_str()[..12], "BBBAAAQIDAAF");
        assert_eq!(ufrag.as_str(), "BBBAAAQIDAAFcml4+F");
    }

    #[test]
    fn debug_output_hides_the_key() {
        assert_eq!(format!("{:?}", UfragKey::from_bytes([7; 16])), "UfragKey(secret)");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(session in sessions(), key: [u8; 16], node in 0..=MAX_NODES) {
            let key = UfragKey::from_bytes(key);
            let ufrag = key.encode(session);
            prop_assert_eq!(key.decode(ufrag.as_bytes()), Some(session));
            let restarted = key.encode_at(node, session, 15);
            prop_assert_eq!(node_of(restarted.as_bytes()), Some(node));
            prop_assert_ne!(restarted, ufrag);
            prop_assert_eq!(key.decode(restarted.as_bytes()), Some(session));
            prop_assert_eq!(shard_of(ufrag.as_bytes()), Some(session.shard));
            prop_assert!(ufrag.as_bytes().iter().all(|c| ALPHABET.contains(c)));
        }

        #[test]
        fn any_changed_character_is_refused(session in sessions(), at in 0..LEN, to: u8) {
            let key = UfragKey::from_bytes([1; 16]);
            let mut chars = *key.encode(session).as_bytes();
            prop_assume!(chars[at] != to);
            chars[at] = to;
            prop_assert_eq!(key.decode(&chars), None);
        }

        #[test]
        fn another_key_refuses(session in sessions()) {
            let ufrag = UfragKey::from_bytes([1; 16]).encode(session);
            prop_assert_eq!(UfragKey::from_bytes([2; 16]).decode(ufrag.as_bytes()), None);
        }

        #[test]
        fn arbitrary_bytes_are_refused(bytes: Vec<u8>) {
            prop_assert_eq!(UfragKey::from_bytes([1; 16]).decode(&bytes), None);
            let _ = (shard_of(&bytes), node_of(&bytes));
        }
    }
}
