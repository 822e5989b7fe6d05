//! The replay window: which packet indices were seen (RFC 3711 §3.3.2).

/// Bits of one word of the bitmap.
const WORD_BITS: u64 = 64;

/// Remembers the last packets of one SSRC: `64 × (WORDS - 1)` at least, in a ring of words that the
/// highest index walks around (the scheme of RFC 6479, which clears whole words instead of
/// shifting).
///
/// The default spans 1,984 packets. That is more than the 64 that RFC 3711 asks for because a
/// publisher such as OBS sends a packet again on its own SSRC a second late.
#[derive(Clone, Debug)]
pub struct ReplayWindow<const WORDS: usize = 32> {
    /// One more than the highest index accepted; 0 before the first.
    end: u64,
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Default for ReplayWindow<WORDS> {
    fn default() -> Self {
        const { assert!(WORDS >= 2, "one word is being filled, the others are the window") };
        Self { end: 0, seen: [0; WORDS] }
    }
}

impl<const WORDS: usize> ReplayWindow<WORDS> {
    /// How far behind the highest index a packet may be, in packets.
    pub const SPAN: u64 = WORD_BITS * (WORDS as u64 - 1);

    /// An empty window, which takes any index first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `index` is neither known nor older than the window. Changes nothing.
    #[inline]
    #[must_use]
    pub fn check(&self, index: u64) -> bool {
        if index >= self.end {
            return true;
        }
        let behind = self.end - 1 - index;
        behind < Self::SPAN && self.seen[Self::word(index)] & Self::bit(index) == 0
    }

    /// Whether `index` follows the highest one accepted.
    #[inline]
    #[must_use]
    pub const fn is_next(&self, index: u64) -> bool {
        index == self.end
    }

    /// Records `index`. Call it only for a packet that is authentic and passed
    /// [`ReplayWindow::check`].
    #[inline]
    pub fn accept(&mut self, index: u64) {
        if index >= self.end {
            // Words that the highest index enters hold bits of a full turn ago.
            let first = if self.end == 0 { index } else { self.end - 1 } / WORD_BITS;
            let entered = (index / WORD_BITS - first).min(WORDS as u64);
            for word in 0..entered {
                let word = (index / WORD_BITS - word) % WORDS as u64;
                self.seen[word as usize] = 0;
            }
            self.end = index + 1;
        }
        self.seen[Self::word(index)] |= Self::bit(index);
    }

    fn word(index: u64) -> usize {
        ((index / WORD_BITS) % WORDS as u64) as usize
    }

    fn bit(index: u64) -> u64 {
        1 << (index % WORD_BITS)
    }
}

const _: () = assert!(ReplayWindow::<32>::SPAN >= 1024, "publishers resend a second late");
const _: () = assert!(ReplayWindow::<2>::SPAN >= 64, "the least that RFC 3711 §3.3.2 allows");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn takes_each_index_once_within_the_span() {
        let mut window = ReplayWindow::<32>::new();
        window.accept(10_000);
        assert!(!window.check(10_000));
        let oldest = 10_000 - (ReplayWindow::<32>::SPAN - 1);
        assert!(window.check(oldest));
        assert!(!window.check(oldest - 1), "older than the window remembers");
        window.accept(oldest);
        assert!(!window.check(oldest));
        assert!(window.check(10_001));
    }

    #[test]
    fn a_jump_over_the_whole_ring_forgets_everything() {
        let mut window = ReplayWindow::<2>::new();
        for index in 0..128 {
            window.accept(index);
        }
        window.accept(1_000_000);
        for index in 1_000_000 - (ReplayWindow::<2>::SPAN - 1)..1_000_000 {
            assert!(window.check(index), "{index} was never seen");
        }
    }

    proptest! {
        /// Against a set: an index passes when it is new and not too old, and never otherwise.
        #[test]
        fn agrees_with_a_set(
            start in 0u64..200,
            steps in prop::collection::vec(-90i64..90, 1..400),
        ) {
            const SPAN: u64 = ReplayWindow::<2>::SPAN;
            let mut window = ReplayWindow::<2>::new();
            let mut seen = HashSet::new();
            let mut highest = None::<u64>;
            let mut index = start;
            for step in steps {
                index = index.saturating_add_signed(step);
                let old = highest.is_some_and(|h| h >= index && h - index >= SPAN);
                let expected = !old && !seen.contains(&index);
                prop_assert_eq!(window.check(index), expected, "index {}", index);
                if expected {
                    window.accept(index);
                    seen.insert(index);
                    highest = Some(highest.map_or(index, |h| h.max(index)));
                }
            }
        }
    }
}
