//! What of a layer ranks how ([`crate::media::Scalable::rank`]), measured: what it would be,
//! thinned.

use std::time::Instant;

use crate::limits::{MAX_THINNED, RATE_PERIOD};
use crate::media::{ALL_FRAMES, PictureSize, PictureSizes};

/// A layer without what ranks above one of its ranks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thinned {
    /// Payload that there must be room for, in thousands of bits a second; 0 where the layer has
    /// nothing of that rank, or nothing above it.
    pub needs_kilobits_per_s: u32,
    /// Frames a second.
    pub frames_per_s: u8,
    /// Of its pictures, where they are smaller than those of all of the layer, and it is known.
    pub size: Option<PictureSize>,
}

/// Ranks that are told apart: what a layer may be thinned to, and what is above.
const TOLD_APART: usize = MAX_THINNED + 1;

/// Counts what comes of one layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ranks {
    since: Option<Instant>,
    bytes: [u64; TOLD_APART],
    frames: [u32; TOLD_APART],
    timestamp: u32,
    /// What is left of the bytes, in thousandths, and the frames a second, in the last periods.
    left: [(u32, u32); MAX_THINNED],
    /// Those that came in the last period, and that come in this one, a bit each.
    came: u8,
    coming: u8,
}

impl Ranks {
    /// A packet of the picture at `timestamp` has come, of this rank.
    pub fn count(&mut self, now: Instant, rank: u8, (timestamp, bytes): (u32, usize)) {
        self.settle(now);
        let place = usize::from(rank).min(TOLD_APART - 1);
        self.bytes[place] += bytes as u64;
        if self.timestamp != timestamp {
            (self.timestamp, self.frames[place]) = (timestamp, self.frames[place] + 1);
        }
        self.coming |= 1 << place;
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
        (self.came, self.coming, self.since) = (self.coming, 0, Some(now));
        (self.bytes, self.frames) = Default::default();
    }

    /// The highest rank there is.
    pub fn top(&self) -> u8 {
        (self.came | self.coming).checked_ilog2().unwrap_or(0) as u8
    }

    /// Whether the layer is something else without what ranks above `limit`: has fewer frames of
    /// its smallest picture, or a smaller picture with all of them.
    fn has(&self, limit: u8) -> bool {
        let some = |ranks: std::ops::RangeInclusive<u8>| {
            ranks.into_iter().any(|rank| self.came >> rank & 1 == 1)
        };
        match limit {
            ..ALL_FRAMES => some(limit + 1..=ALL_FRAMES),
            ALL_FRAMES => some(limit + 1..=TOLD_APART as u8),
            _ => some(limit..=limit) && some(limit + 1..=TOLD_APART as u8),
        }
    }

    /// How large the pictures of all of it are, of `sizes`: those of the highest spatial layer that
    /// comes, which need not be the highest there is.
    pub fn size(&self, sizes: PictureSizes) -> Option<PictureSize> {
        let came = self.came.checked_ilog2().map(|top| spatial(top as u8));
        sizes.of(came.unwrap_or(sizes.highest()))
    }

    /// What the layer would be, thinned, where all of it needs so many bits a second, and its
    /// spatial layers have these `sizes`.
    pub fn thinned(&self, needed_bits_per_s: u64, sizes: PictureSizes) -> [Thinned; MAX_THINNED] {
        let has_smaller = self.has(ALL_FRAMES);
        let mut all = [Thinned::default(); MAX_THINNED];
        for (limit, (thinned, left)) in (0..).zip(all.iter_mut().zip(self.left)) {
            if self.has(limit) {
                let bits = needed_bits_per_s.saturating_mul(u64::from(left.0)) / 1_000;
                thinned.needs_kilobits_per_s = bits.div_ceil(1_000).min(1 << 23) as u32;
                thinned.frames_per_s = left.1.min(255) as u8;
                thinned.size = sizes.of(spatial(limit)).filter(|_| has_smaller);
            }
        }
        all
    }
}

/// The highest spatial layer of what ranks up to this.
fn spatial(rank: u8) -> u8 {
    rank.saturating_sub(ALL_FRAMES)
}

impl Thinned {
    /// In a word that other threads read.
    pub(crate) fn to_word(self) -> u64 {
        let sends = self.needs_kilobits_per_s << 8 | u32::from(self.frames_per_s);
        u64::from(sends) << 32 | u64::from(PictureSize::to_word(self.size))
    }

    pub(crate) fn from_word(word: u64) -> Thinned {
        let (sends, size) = ((word >> 32) as u32, PictureSize::from_word(word as u32));
        Thinned { needs_kilobits_per_s: sends >> 8, frames_per_s: sends as u8, size }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_layer_would_be_thinned_is_measured_and_ends_with_its_temporal_layers() {
        let start = Instant::now();
        let mut ranks = Ranks::default();
        let mut at = start;
        for frame in 0..120u32 {
            let id = [0, 2, 1, 2][frame as usize % 4];
            let bytes = [4_000, 2_000, 1_000][usize::from(id)];
            for _ in 0..2 {
                ranks.count(at, id, (frame * 3_000, bytes / 2));
            }
            at += Duration::from_millis(33);
        }
        assert_eq!(ranks.top(), 2);
        let sizes = sizes(1);
        let [lowest, middle, smaller @ ..] = ranks.thinned(1_000_000, sizes);
        assert_eq!(smaller, [Thinned::default(); 2], "all pictures are of one size");
        assert!((480..530).contains(&lowest.needs_kilobits_per_s), "{lowest:?}: half of it");
        assert!((720..780).contains(&middle.needs_kilobits_per_s), "{middle:?}");
        assert!((7..=8).contains(&lowest.frames_per_s), "{lowest:?}");
        assert!((14..=16).contains(&middle.frames_per_s), "{middle:?}");
        assert_eq!((middle.size, ranks.size(sizes)), (None, sizes.of(0)), "there is one");
        assert_eq!(Thinned::from_word(middle.to_word()), middle);
        for frame in 120..200u32 {
            ranks.count(at, 0, (frame * 3_000, 1_000));
            at += Duration::from_millis(33);
        }
        assert_eq!(ranks.thinned(1_000_000, sizes), [Thinned::default(); MAX_THINNED]);
    }

    /// Of so many spatial layers: 300 lines, 500, 700.
    fn sizes(spatial: u8) -> PictureSizes {
        (0..spatial).fold(PictureSizes::default(), |all, spatial| {
            let height = 300 + 200 * u16::from(spatial);
            all.with(spatial, Some(PictureSize { width: 65_535, height }))
        })
    }

    /// Pictures of `spatial` layers and `temporal` ones, of 1,000, 2,000 and 4,000 bytes.
    fn ranks(spatial: u8, temporal: u8) -> Ranks {
        let mut ranks = Ranks::default();
        let mut at = Instant::now();
        for frame in 0..120u32 {
            let time = [0, 2, 1, 2][frame as usize % 4].min(temporal - 1);
            for layer in 0..spatial {
                let rank =
                    crate::media::Scalable { temporal: time, spatial: layer, ..Default::default() };
                ranks.count(at, rank.rank(), (frame * 3_000, 1_000 << layer));
            }
            at += Duration::from_millis(33);
        }
        ranks
    }

    fn pictures(spatial: u8, temporal: u8) -> [u32; MAX_THINNED] {
        let thinned = ranks(spatial, temporal).thinned(7_000_000, sizes(spatial));
        thinned.map(|thinned| thinned.needs_kilobits_per_s)
    }

    #[test]
    fn pictures_are_as_large_as_the_highest_spatial_layer_that_comes() {
        let heights = |spatial: u8, told: u8| {
            let (ranks, sizes) = (ranks(spatial, 3), sizes(told));
            let thinned = ranks.thinned(7_000_000, sizes).map(|thinned| {
                assert_eq!(Thinned::from_word(thinned.to_word()), thinned);
                thinned.size.map_or(0, |size| size.height)
            });
            (thinned, ranks.size(sizes).map_or(0, |size| size.height))
        };
        assert_eq!(heights(3, 3), ([300, 300, 300, 500], 700));
        assert_eq!(heights(2, 3), ([300, 300, 300, 0], 500), "the highest is left out");
        assert_eq!(heights(1, 3), ([0; 4], 300));
        assert_eq!(heights(3, 1), ([300, 300, 300, 0], 0), "nothing is said of the others");
        assert_eq!(Ranks::default().size(sizes(3)), sizes(3).of(2), "before it is known");
    }

    #[test]
    fn what_there_is_to_be_thinned_follows_from_the_ranks_that_come() {
        let is_near = |kilobits: u32, expected: u32| kilobits.abs_diff(expected) <= expected / 50;
        let [0, 0, smallest, between] = pictures(3, 1) else { panic!("all pictures have all") };
        assert!(is_near(smallest, 1_000) && is_near(between, 3_000), "{smallest} {between}");
        let [0, 0, smallest, 0] = pictures(2, 1) else { panic!("there are two") };
        assert!(is_near(smallest, 2_333), "{smallest}");
        let [lowest, middle, smallest, between] = pictures(3, 3);
        assert!((240..270).contains(&lowest) && (490..520).contains(&middle));
        assert!(is_near(smallest, 1_000) && is_near(between, 3_000), "{smallest} {between}");
        let [half, rest @ ..] = pictures(1, 2);
        assert!(half > 1_000 && rest == [0; 3]);
    }
}
