//! The few words of a stream that several threads read: who publishes it, which shards watch it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::id::StreamKey;
use crate::limits::MAX_SHARDS;

const NO_SHARD: u32 = u32::MAX;

/// Shared by the shards that take part in a stream. Written when a first viewer comes to a shard or
/// a last one leaves, and when a publisher comes or goes; read per packet, which costs nothing
/// while nobody writes.
#[derive(Debug)]
pub struct StreamShared {
    /// The stream's name to the shards.
    pub key: StreamKey,
    interest: [AtomicU64; MAX_SHARDS / 64],
    publisher_shard: AtomicU32,
}

impl StreamShared {
    /// A stream nobody publishes or watches yet.
    #[must_use]
    pub fn new(key: StreamKey) -> StreamShared {
        StreamShared {
            key,
            interest: Default::default(),
            publisher_shard: AtomicU32::new(NO_SHARD),
        }
    }

    /// Says whether `shard` has viewers.
    pub fn set_interest(&self, shard: u16, interested: bool) {
        let (word, bit) = (usize::from(shard) / 64, 1u64 << (shard % 64));
        if interested {
            self.interest[word].fetch_or(bit, Ordering::Relaxed);
        } else {
            self.interest[word].fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// The shards with viewers now, ascending. The iterator holds a copy, so that nobody needs a
    /// reference of their own to walk it, which would be a count shared between shards per packet.
    pub fn interested(&self) -> impl Iterator<Item = u16> + use<> {
        let interest = self.interest.each_ref().map(|bits| bits.load(Ordering::Relaxed));
        interest.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                (bits != 0).then(|| {
                    let bit = bits.trailing_zeros();
                    bits &= bits - 1;
                    (word * 64) as u16 + bit as u16
                })
            })
        })
    }

    /// Says which shard the publisher is on.
    pub fn set_publisher(&self, shard: u16) {
        self.publisher_shard.store(u32::from(shard), Ordering::Relaxed);
    }

    /// The shard of the last publisher.
    #[must_use]
    pub fn publisher(&self) -> Option<u16> {
        match self.publisher_shard.load(Ordering::Relaxed) {
            NO_SHARD => None,
            shard => Some(shard as u16),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interest_lists_the_shards_that_have_viewers() {
        let shared = StreamShared::new(StreamKey { index: 0, generation: 0 });
        for shard in [0, 63, 64, 200, 255] {
            shared.set_interest(shard, true);
        }
        shared.set_interest(63, false);
        assert_eq!(shared.interested().collect::<Vec<_>>(), [0, 64, 200, 255]);
    }
}
