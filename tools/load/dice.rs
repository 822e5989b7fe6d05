//! Loss on purpose, the same in every run.

/// Decides which packets are lost.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
    /// Of 2^32 throws, how many lose.
    losing: u64,
}

impl Dice {
    /// Dice that lose the part `ratio` of all throws; `seed` tells one pair from another.
    #[must_use]
    pub fn new(ratio: f64, seed: u64) -> Self {
        // Any odd number keeps xorshift away from zero, where it would stay.
        Self { state: seed << 1 | 1, losing: (ratio.clamp(0.0, 1.0) * 4_294_967_296.0) as u64 }
    }

    /// Whether this one is lost. Without a ratio, nothing is and nothing is computed.
    #[inline]
    pub fn lose(&mut self) -> bool {
        if self.losing == 0 {
            return false;
        }
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state >> 32 < self.losing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loses_the_part_it_was_told_to() {
        for (ratio, range) in [(0.0, 0..1), (0.01, 800..1_200), (1.0, 100_000..100_001)] {
            let mut dice = Dice::new(ratio, 7);
            let lost = (0..100_000).filter(|_| dice.lose()).count();
            assert!(range.contains(&lost), "{ratio}: {lost}");
        }
    }
}
