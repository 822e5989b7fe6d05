//! The head of a datagram between nodes: which link of which shard it is for.
//!
//! ```text
//!  0      1      2      3      4                    8                                  16
//! ┌──────┬──────┬──────┬──────┬────────────────────┬──────────────────────────────────┐
//! │ 0x4F │shard │ 0x01 │  0   │ link               │ counter                          │
//! └──────┴──────┴──────┴──────┴────────────────────┴──────────────────────────────────┘
//! ```
//!
//! What follows is sealed, with the head as associated data (`src/link`). The first byte is in the
//! range of TURN's channels (RFC 7983), which nobody sends to a server that is no TURN server; the
//! second is where the kernel finds the shard (`net/steer`).

/// The first byte.
pub const FIRST_BYTE: u8 = 0x4F;

/// Where the receiving shard stands.
pub const SHARD_AT: usize = 1;

/// The version of what is sealed.
const VERSION: u8 = 1;

/// Bytes of a head.
pub const HEAD_BYTES: usize = 16;

/// Bytes of the tag that a sealed datagram ends with.
pub const TAG_BYTES: usize = 16;

/// A head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The shard it is for.
    pub shard: u8,
    /// The name of the link there.
    pub link: u32,
    /// Counts the datagrams of one direction of a link.
    pub counter: u64,
}

impl Head {
    /// The head of a datagram that is long enough to be sealed; `None` for any other.
    #[must_use]
    pub fn read(datagram: &[u8]) -> Option<Head> {
        let (head, sealed) = datagram.split_first_chunk::<HEAD_BYTES>()?;
        let [FIRST_BYTE, shard, VERSION, 0, rest @ ..] = *head else { return None };
        let (link, counter) = rest.split_first_chunk::<4>()?;
        let counter = counter.first_chunk::<8>()?;
        let (link, counter) = (u32::from_be_bytes(*link), u64::from_be_bytes(*counter));
        // A frame has one byte at least.
        (sealed.len() > TAG_BYTES).then_some(Head { shard, link, counter })
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..4].copy_from_slice(&[FIRST_BYTE, self.shard, VERSION, 0]);
        bytes[4..8].copy_from_slice(&self.link.to_be_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kind::{self, Kind};

    #[test]
    fn a_head_reads_as_it_was_written_and_nothing_shorter_or_of_another_version_does() {
        let head = Head { shard: 200, link: 0x0102_0304, counter: 1 << 50 | 7 };
        let datagram = [&head.bytes()[..], &[0; TAG_BYTES + 1]].concat();
        assert_eq!(Head::read(&datagram), Some(head));
        assert_eq!(kind::of(&datagram), Some(Kind::Link));
        assert_eq!(datagram[SHARD_AT], 200);
        for short in 0..datagram.len() {
            assert_eq!(Head::read(&datagram[..short]), None);
        }
        for place in [0, 2, 3] {
            let mut other = datagram.clone();
            other[place] ^= 1;
            assert_eq!(Head::read(&other), None, "byte {place}");
        }
    }
}
