//! The cards of one shard's sessions, by slot.
//!
//! A card is 128 bytes of atomics with one writer, the shard. Readers take no lock: the first word
//! says whose card it is and how often it was written, and a reader that finds it odd, or changed
//! once it has read the rest, reads again. So nobody ever sees half of one card and half of
//! another, or one tenant of a slot for the next.
//!
//! Cards come in lots, made when a slot of theirs is first used: 128 bytes for each session there
//! has been at a time, and nothing for those there might be.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::card::{SessionCard, WORDS};
use crate::limits::{CARDS_PER_LOT, MAX_SESSIONS_PER_SHARD};

/// No tenant.
const VACANT: u64 = u32::MAX as u64;

/// Times a reader tries: the writer is at a card for some 20 ns every two seconds.
const TRIES: usize = 64;

/// One card: the stamp, and the words.
#[repr(align(128))]
#[derive(Debug)]
struct CardSlot {
    /// Generation of the tenant in the upper half, how often it was written in the lower: odd while
    /// the writer is at it.
    stamp: AtomicU64,
    words: [AtomicU64; WORDS],
}

const _: () = assert!(size_of::<CardSlot>() == 128, "a card is two cache lines");

impl CardSlot {
    fn vacant() -> CardSlot {
        let words = [const { AtomicU64::new(0) }; WORDS];
        CardSlot { stamp: AtomicU64::new(VACANT << 32), words }
    }

    /// Only the owning thread may call this.
    fn write(&self, generation: u64, card: Option<&SessionCard>) {
        let version = self.stamp.load(Ordering::Relaxed) as u32;
        let stamp = |version: u32| generation << 32 | u64::from(version);
        self.stamp.store(stamp(version.wrapping_add(1)), Ordering::Relaxed);
        // The odd stamp is seen before any word is.
        fence(Ordering::Release);
        if let Some(card) = card {
            for (place, word) in self.words.iter().zip(card.to_words()) {
                place.store(word, Ordering::Relaxed);
            }
        }
        self.stamp.store(stamp(version.wrapping_add(2)), Ordering::Release);
    }

    fn read(&self) -> Option<(u32, SessionCard)> {
        for _ in 0..TRIES {
            let stamp = self.stamp.load(Ordering::Acquire);
            if stamp >> 32 == VACANT {
                return None;
            }
            let words = self.words.each_ref().map(|word| word.load(Ordering::Relaxed));
            // No word is read after the stamp is looked at again.
            fence(Ordering::Acquire);
            if stamp.is_multiple_of(2) && self.stamp.load(Ordering::Relaxed) == stamp {
                return Some(((stamp >> 32) as u32, SessionCard::from_words(&words)));
            }
            std::hint::spin_loop();
        }
        None
    }
}

type Lot = Box<[CardSlot]>;

/// The cards of one shard.
#[derive(Debug)]
pub struct Cards {
    lots: Box<[OnceLock<Lot>]>,
}

impl Cards {
    /// Room for `sessions` sessions; memory comes with them.
    #[must_use]
    pub fn new(sessions: usize) -> Cards {
        let lots = sessions.min(MAX_SESSIONS_PER_SHARD).div_ceil(CARDS_PER_LOT);
        Cards { lots: (0..lots).map(|_| OnceLock::new()).collect() }
    }

    /// Writes the card of `generation`'s tenant of `slot`. Only the owning thread may call this.
    /// The first use of a lot of slots allocates; a slot beyond the room has no card.
    pub fn write(&self, slot: u32, generation: u32, card: &SessionCard) {
        let (lot, index) = (slot as usize / CARDS_PER_LOT, slot as usize % CARDS_PER_LOT);
        let Some(lot) = self.lots.get(lot) else { return };
        let lot = lot.get_or_init(|| (0..CARDS_PER_LOT).map(|_| CardSlot::vacant()).collect());
        lot[index].write(u64::from(generation), Some(card));
    }

    /// The session in `slot` has ended. Only the owning thread may call this.
    pub fn clear(&self, slot: u32) {
        if let Some(place) = self.place(slot) {
            place.write(VACANT, None);
        }
    }

    /// The generation of the tenant of `slot`, and its card. `None` when there is no tenant.
    #[must_use]
    pub fn read(&self, slot: u32) -> Option<(u32, SessionCard)> {
        self.place(slot)?.read()
    }

    /// Every session: slot, generation and card. Sessions that come and go meanwhile may be in or
    /// out. Reads 128 bytes a session and allocates nothing.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, SessionCard)> {
        let lots = self.lots.iter().enumerate().filter_map(|(at, lot)| Some((at, lot.get()?)));
        lots.flat_map(|(at, lot)| {
            lot.iter().enumerate().filter_map(move |(index, place)| {
                let (generation, card) = place.read()?;
                Some(((at * CARDS_PER_LOT + index) as u32, generation, card))
            })
        })
    }

    /// Bytes the cards take now, and when every slot has been used.
    #[must_use]
    pub fn bytes(&self) -> (usize, usize) {
        let lot = CARDS_PER_LOT * size_of::<CardSlot>();
        (self.lots.iter().filter(|lot| lot.get().is_some()).count() * lot, self.lots.len() * lot)
    }

    fn place(&self, slot: u32) -> Option<&CardSlot> {
        let slot = slot as usize;
        self.lots.get(slot / CARDS_PER_LOT)?.get()?.get(slot % CARDS_PER_LOT)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::telemetry::{
        CardRole, LayerGot, LayerReason, PathShown, PathState, RateReason, Stage,
    };

    fn full() -> SessionCard {
        SessionCard {
            stage: Stage::Connected,
            role: CardRole::Viewer,
            profile: 3,
            dtls_flight: 5,
            score: Some(87.25),
            created_ms: 1_795_000_000_123,
            first_stun_ms: Some(12),
            dtls_ms: Some(30),
            first_media_ms: None,
            moves: 2,
            remote: Some("192.0.2.7:5004".parse().unwrap()),
            local: Some("[2001:db8::1]:7882".parse().unwrap()),
            over_tcp: true,
            packets: 1 << 40,
            bytes: 1 << 50,
            lost: 3,
            nacked: 4,
            repaired: 5,
            keyframe_requests: 6,
            loss_ratio: 1.0,
            jitter_us: 7,
            rtt_us: Some(0),
            bits_per_s: 2_500_000,
            expected_bits_per_s: 2_600_000,
            layer: Some(LayerGot {
                wanted: 2,
                got: Some(0),
                why: LayerReason::Silent,
                asked: true,
                below_largest: 2,
            }),
            oversized: true,
            path: Some(PathShown {
                bits_per_s: 1_230_000,
                ceiling_bits_per_s: Some(17_300_000),
                queue_ms: 999,
                state: PathState::Occupied,
                reason: RateReason::Told,
            }),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let cards = Cards::new(10);
        for card in [full(), SessionCard::default()] {
            cards.write(7, 9, &card);
            assert_eq!(cards.read(7), Some((9, card)));
        }
        assert_eq!(cards.iter().collect::<Vec<_>>(), [(7, 9, SessionCard::default())]);
        cards.clear(7);
        assert_eq!(cards.read(7), None);
        assert_eq!(cards.iter().count(), 0);
    }

    #[test]
    fn memory_comes_with_the_sessions_and_slots_beyond_the_room_have_none() {
        let cards = Cards::new(2 * CARDS_PER_LOT);
        assert_eq!(cards.bytes().0, 0);
        cards.write(0, 0, &full());
        assert_eq!(cards.bytes(), (CARDS_PER_LOT * 128, 2 * CARDS_PER_LOT * 128));
        cards.write(u32::MAX, 0, &full());
        cards.clear(u32::MAX);
        assert_eq!(cards.read(u32::MAX), None);
        assert_eq!(cards.iter().count(), 1);
    }

    #[test]
    fn a_reader_never_mixes_two_tenants() {
        let cards = Cards::new(1);
        let done = AtomicBool::new(false);
        let tenant = |generation: u32| SessionCard {
            created_ms: u64::from(generation),
            packets: u64::from(generation),
            bits_per_s: generation,
            ..SessionCard::default()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for generation in 0..20_000 {
                    cards.write(0, generation, &tenant(generation));
                    if generation % 3 == 0 {
                        cards.clear(0);
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            while !done.load(Ordering::Relaxed) {
                if let Some((generation, card)) = cards.read(0) {
                    assert_eq!(card, tenant(generation));
                }
            }
        });
        assert_eq!(cards.read(0), Some((19_999, tenant(19_999))));
    }
}
