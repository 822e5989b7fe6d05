//! What of a layer is of which temporal layer, measured: what it would be, thinned.

use std::time::Instant;

use crate::limits::{MAX_THINNED, RATE_PERIOD};

/// A layer without the temporal layers above one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thinned {
    /// Payload that there must be room for, in thousands of bits a second; 0 where the layer has no
    /// such temporal layer, or none above it.
    pub needs_kilobits_per_s: u32,
    /// Frames a second.
    pub frames_per_s: u8,
}

/// Those that are told apart: what a layer may be thinned to, and what is above.
const TOLD_APART: usize = MAX_THINNED + 1;

/// Counts what comes of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Temporals {
    since: Option<Instant>,
    bytes: [u64; TOLD_APART],
    frames: [u32; TOLD_APART],
    timestamp: u32,
    /// What is left of the bytes, in thousandths, and the frames a second, in the last periods.
    left: [(u32, u32); MAX_THINNED],
    /// The highest that came in the last period.
    top: u8,
    coming: u8,
}

impl Temporals {
    /// A packet of the frame at `timestamp` has come, of the temporal layer `id`.
    pub fn count(&mut self, now: Instant, id: u8, (timestamp, bytes): (u32, usize)) {
        self.settle(now);
        let place = usize::from(id).min(TOLD_APART - 1);
        self.bytes[place] += bytes as u64;
        if self.timestamp != timestamp {
            (self.timestamp, self.frames[place]) = (timestamp, self.frames[place] + 1);
        }
        self.coming = self.coming.max(id);
    }

    fn settle(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let elapsed = now.saturating_duration_since(since);
        if elapsed < RATE_PERIOD {
            return;
        }
        let total: u64 = self.bytes.iter().sum();
        let millis = elapsed.as_millis() as u64;
        let (mut bytes, mut frames) = (0, 0);
        for (place, left) in self.left.iter_mut().enumerate() {
            bytes += self.bytes[place];
            frames += u64::from(self.frames[place]);
            let now = ((bytes * 1_000 / total.max(1)) as u32, (frames * 1_000 / millis) as u32);
            // Key frames are of the lowest: one does not make it what it is.
            *left = match *left {
                (0, _) => now,
                before => ((3 * before.0 + now.0) / 4, now.1),
            };
        }
        (self.top, self.coming, self.since) = (self.coming, 0, Some(now));
        (self.bytes, self.frames) = Default::default();
    }

    /// The highest temporal layer there is.
    pub fn top(&self) -> u8 {
        self.top.max(self.coming)
    }

    /// What the layer would be, thinned, where all of it needs so many bits a second.
    pub fn thinned(&self, needed_bits_per_s: u64) -> [Thinned; MAX_THINNED] {
        let mut all = [Thinned::default(); MAX_THINNED];
        for (limit, (thinned, left)) in all.iter_mut().zip(self.left).enumerate() {
            if limit < usize::from(self.top) {
                let bits = needed_bits_per_s.saturating_mul(u64::from(left.0)) / 1_000;
                thinned.needs_kilobits_per_s = bits.div_ceil(1_000).min(1 << 23) as u32;
                thinned.frames_per_s = left.1.min(255) as u8;
            }
        }
        all
    }
}

impl Thinned {
    /// In a word that other threads read.
    pub(crate) fn to_word(self) -> u32 {
        self.needs_kilobits_per_s << 8 | u32::from(self.frames_per_s)
    }

    pub(crate) fn from_word(word: u32) -> Thinned {
        Thinned { needs_kilobits_per_s: word >> 8, frames_per_s: word as u8 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_layer_would_be_thinned_is_measured_and_ends_with_its_temporal_layers() {
        let start = Instant::now();
        let mut temporals = Temporals::default();
        let mut at = start;
        for frame in 0..120u32 {
            let id = [0, 2, 1, 2][frame as usize % 4];
            let bytes = [4_000, 2_000, 1_000][usize::from(id)];
            for _ in 0..2 {
                temporals.count(at, id, (frame * 3_000, bytes / 2));
            }
            at += Duration::from_millis(33);
        }
        assert_eq!(temporals.top(), 2);
        let [lowest, middle] = temporals.thinned(1_000_000);
        assert!((480..530).contains(&lowest.needs_kilobits_per_s), "{lowest:?}: half of it");
        assert!((720..780).contains(&middle.needs_kilobits_per_s), "{middle:?}");
        assert!((7..=8).contains(&lowest.frames_per_s), "{lowest:?}");
        assert!((14..=16).contains(&middle.frames_per_s), "{middle:?}");
        assert_eq!(Thinned::from_word(middle.to_word()), middle);
        for frame in 120..200u32 {
            temporals.count(at, 0, (frame * 3_000, 1_000));
            at += Duration::from_millis(33);
        }
        assert_eq!(temporals.thinned(1_000_000), [Thinned::default(); 2]);
    }
}
