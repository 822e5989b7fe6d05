//! Pure bytes: what arrives from the network becomes a type here or is refused, and what the server
//! writes is laid out here.
//!
//! Nothing in this module keeps state, allocates or panics on what a stranger sends. Every parser
//! has a fuzz target in `tools/fuzz`, whose corpus replays in `src/wire/corpus.rs`.

pub mod attributes;
pub mod binding;
#[cfg(test)]
mod corpus;
pub mod dtls;
pub mod framing;
pub mod hello;
pub mod kind;
pub mod link;
pub mod mapped;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod ufrag;

/// Why bytes are not the message they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end before the fixed part of the message does.
    #[error("shorter than its fixed header")]
    Short,
    /// The version bits, the magic cookie or another constant is not what the protocol demands.
    #[error("a constant of the protocol is missing")]
    Constant,
    /// A length field points outside the message or contradicts another.
    #[error("lengths contradict each other")]
    Length,
    /// More elements than [`crate::limits`] allows.
    #[error("too many elements")]
    TooMany,
}

/// Reads a big-endian `u16` at `at`, or nothing when the bytes end before it.
fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

/// Reads a big-endian number of three bytes at `at`, or nothing when the bytes end before it.
fn be24(bytes: &[u8], at: usize) -> Option<usize> {
    let [a, b, c] = *bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes([0, a, b, c]) as usize)
}

/// Reads a big-endian `u32` at `at`, or nothing when the bytes end before it.
fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*field))
}
