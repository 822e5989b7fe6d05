//! The rollover counter: 48-bit packet indices from 16-bit sequence numbers (RFC 3711 §3.3.1 and
//! appendix A).

/// Guesses the index of a packet from its sequence number, for one SSRC of one receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rollover {
    /// The highest authentic index; `None` before the first packet.
    highest: Option<u64>,
}

impl Rollover {
    /// Starts with a rollover counter of zero, as a session's first packet has.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index `ROC << 16 | seq` nearest to the highest one that was authentic.
    ///
    /// A guess below zero, a packet from before the first, is taken as of the first turn:
    /// authentication then decides.
    #[inline]
    #[must_use]
    pub fn guess(&self, seq: u16) -> u64 {
        let Some(highest) = self.highest else { return u64::from(seq) };
        // The signed distance on the 16-bit circle, from the highest to this one.
        let distance = seq.wrapping_sub(highest as u16) as i16;
        highest.checked_add_signed(i64::from(distance)).unwrap_or(u64::from(seq))
    }

    /// Records an index whose packet was authentic.
    #[inline]
    pub fn update(&mut self, index: u64) {
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn counts_a_turn_and_places_a_late_packet_before_it() {
        let mut rollover = Rollover::new();
        for (seq, index) in [(65_534, 65_534), (65_535, 65_535), (0, 65_536), (1, 65_537)] {
            assert_eq!(rollover.guess(seq), index);
            rollover.update(index);
        }
        assert_eq!(rollover.guess(65_533), 65_533, "late, of the turn before");
        rollover.update(65_533);
        assert_eq!(rollover.guess(2), 65_538, "a late packet does not take the highest back");
    }

    #[test]
    fn an_unauthenticated_guess_changes_nothing() {
        let mut rollover = Rollover::new();
        rollover.update(10);
        let before = rollover;
        let _ = rollover.guess(40_000);
        assert_eq!(rollover, before);
    }

    #[test]
    fn before_the_first_packet_there_is_no_negative_turn() {
        let mut rollover = Rollover::new();
        rollover.update(3);
        assert_eq!(rollover.guess(65_530), 65_530);
    }

    proptest! {
        /// Reordering below half a circle never misplaces a packet, over many turns.
        #[test]
        fn follows_a_stream_with_losses_and_reordering(
            start in 0u64..65_536,
            steps in prop::collection::vec((0u64..20_000, 0u64..2_000), 1..300),
        ) {
            let mut rollover = Rollover::new();
            let mut head = start + 2_000;
            rollover.update(head);
            for (ahead, late) in steps {
                head += ahead;
                prop_assert_eq!(rollover.guess(head as u16), head);
                rollover.update(head);
                prop_assert_eq!(rollover.guess((head - late) as u16), head - late);
                rollover.update(head - late);
            }
        }
    }
}
