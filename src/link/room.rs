//! What a link has no room for: where the way between two nodes loses more than a little for some
//! time, or is not to carry so much (`--link-mbps`), the layers that ask most of it are left out,
//! one after the other, and tried again later. A pure rule: time is an argument.

use std::time::{Duration, Instant};

use super::Coming;
use crate::limits::{
    LINK_AUDIO_BITS, LINK_LOOK_AT_LOSS, LINK_LOSS_PERMILLE, LINK_LOSSY_FOR, LINK_TRIED,
    LINK_TRY_AGAIN, LINK_TRY_AGAIN_MOST, MAX_LAYERS, MAX_TRACKS_OF_A_KIND,
};

/// How often loss is looked at before it counts.
const LOOKS: usize = (LINK_LOSSY_FOR.as_millis() / LINK_LOOK_AT_LOSS.as_millis()) as usize;
/// Packets in such a time that say something of loss.
const FEW_PACKETS: u64 = 20;

/// A layer that a link may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The number of its track.
    pub track: u8,
    /// The layer.
    pub layer: u8,
    /// What it needs.
    pub bits_per_s: u64,
    /// Whether it is the smallest of its track, which comes always.
    pub is_lowest: bool,
    /// Whether the other end wants it.
    pub is_wanted: bool,
}

/// Layers of each video track, a bit each.
type Layers = [u8; MAX_TRACKS_OF_A_KIND];

/// What a link has no room for.
#[derive(Debug)]
pub struct Room {
    /// What it may carry.
    cap: Option<u64>,
    loses: Layers,
    capped: Layers,
    /// Since when the layers above the cap are what they are.
    capped_at: Option<Instant>,
    /// What had been sent and missed at the last look, and which of the last looks saw loss.
    looked: Option<(Instant, u64, u64)>,
    lossy: u8,
    /// When the smallest of what was left out is tried again, and how long it waits next time.
    again: Option<Instant>,
    pause: Duration,
    tried: Option<Instant>,
}

const _: () = assert!(LOOKS > 1 && LOOKS <= 8, "a bit each");
const _: () = assert!(MAX_LAYERS <= 8, "a bit each");

impl Room {
    /// A link that may carry so many bits a second.
    #[must_use]
    pub fn new(cap: Option<u64>) -> Room {
        Room {
            cap,
            loses: Layers::default(),
            capped: Layers::default(),
            capped_at: None,
            looked: None,
            lossy: 0,
            again: None,
            pause: LINK_TRY_AGAIN,
            tried: None,
        }
    }

    /// Whether there is anything to decide at `now`, when so many packets have been missed.
    #[must_use]
    pub fn is_to_look(&self, now: Instant, missed: u64) -> bool {
        let is_time =
            |(at, ..): (Instant, u64, u64)| now.saturating_duration_since(at) >= LINK_LOOK_AT_LOSS;
        let had = self.looked.map_or(0, |(_, _, missed)| missed);
        let decides = self.cap.is_some() || missed > 0 || self.again.is_some();
        self.looked.is_none_or(is_time) && (decides || had != missed || self.looked.is_none())
    }

    /// Looks at what was sent and missed so far, and at what the link may carry, the smallest
    /// first. True where something else has no room than before.
    pub fn look(&mut self, now: Instant, sent: u64, missed: u64, loads: &[Load]) -> bool {
        let (_, before_sent, before_missed) =
            self.looked.replace((now, sent, missed)).unwrap_or((now, sent, missed));
        let (sent, missed) = (sent - before_sent, missed - before_missed);
        let loses = sent >= FEW_PACKETS && missed * 1_000 > sent * LINK_LOSS_PERMILLE;
        self.lossy = self.lossy << 1 | u8::from(loses);
        let before = (self.loses, self.capped);
        self.look_at_loss(now, loads);
        self.look_at_cap(now, loads);
        (self.loses, self.capped) != before
    }

    fn look_at_loss(&mut self, now: Instant, loads: &[Load]) {
        let all = ((1u16 << LOOKS) - 1) as u8;
        if self.lossy & all == all {
            self.lossy = 0;
            let may = |load: &&Load| !load.is_lowest && load.is_wanted && !self.is_held(load);
            let top = loads.iter().filter(may).max_by_key(|load| load.bits_per_s);
            let Some(Load { track, layer, .. }) = top.copied() else { return };
            self.loses[usize::from(track)] |= 1 << layer;
            let is_soon = |at: Instant| now.saturating_duration_since(at) < LINK_TRIED;
            let is_again = self.tried.take().is_some_and(is_soon);
            self.pause = match is_again {
                true => (self.pause * 2).min(LINK_TRY_AGAIN_MOST),
                false => LINK_TRY_AGAIN,
            };
            self.again = Some(now + self.pause);
        } else if self.again.is_some_and(|at| at <= now) {
            let held = loads.iter().filter(|load| self.loses(load));
            match held.min_by_key(|load| load.bits_per_s).copied() {
                Some(Load { track, layer, .. }) => {
                    self.loses[usize::from(track)] &= !(1 << layer);
                }
                None => self.loses = Layers::default(),
            }
            self.tried = Some(now);
            let has_more = self.loses != Layers::default();
            self.again = has_more.then(|| now + self.pause.max(LINK_TRIED));
        }
    }

    /// What does not fit is left out from the largest on, and comes back where it fits easily.
    fn look_at_cap(&mut self, now: Instant, loads: &[Load]) {
        let Some(cap) = self.cap else { return };
        let recent = |at: Instant| now.saturating_duration_since(at) < LINK_TRY_AGAIN;
        let keeps = self.capped_at.is_some_and(recent);
        let always = loads.iter().filter(|load| load.is_lowest).map(|load| load.bits_per_s);
        let mut total = LINK_AUDIO_BITS + always.sum::<u64>();
        let mut capped = Layers::default();
        let mut bound = |load: &Load, total: u64| {
            let was = self.capped[usize::from(load.track)] & 1 << load.layer != 0;
            let fits = total + load.bits_per_s <= if was { cap / 10 * 9 } else { cap };
            let fits = fits && !(was && keeps);
            if !fits {
                capped[usize::from(load.track)] |= 1 << load.layer;
            }
            fits
        };
        // What nobody wants takes no room, and is offered where it would have some.
        for load in loads.iter().filter(|load| !load.is_lowest) {
            let fits = bound(load, total);
            total += if fits && load.is_wanted { load.bits_per_s } else { 0 };
        }
        let grows = capped.iter().zip(&self.capped).any(|(now, before)| now & !before != 0);
        if grows {
            self.capped_at = Some(now);
        }
        self.capped = capped;
    }

    fn loses(&self, load: &Load) -> bool {
        self.loses[usize::from(load.track)] & 1 << load.layer != 0
    }

    fn is_held(&self, load: &Load) -> bool {
        self.held(load.track) & 1 << load.layer != 0
    }

    /// Which layers of a track have no room, a bit each.
    #[must_use]
    pub fn held(&self, track: u8) -> u8 {
        let of = |layers: &Layers| layers.get(usize::from(track)).copied().unwrap_or(0);
        of(&self.loses) | of(&self.capped)
    }

    /// Why a layer has no room; nothing where it has.
    #[must_use]
    pub fn why(&self, track: u8, layer: u8) -> Option<Coming> {
        let has = |layers: &Layers| {
            layers.get(usize::from(track)).is_some_and(|bits| bits & 1 << layer != 0)
        };
        let capped = has(&self.capped).then_some(Coming::Capped);
        capped.or_else(|| has(&self.loses).then_some(Coming::Loses))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(layer: u8, kilobits: u64) -> Load {
        let is_lowest = layer == 0;
        Load { track: 0, layer, bits_per_s: kilobits * 1_000, is_lowest, is_wanted: true }
    }

    fn three() -> [Load; 3] {
        [load(0, 150), load(1, 500), load(2, 1_500)]
    }

    /// A link of which 200 packets a second lose so many of a thousand.
    struct Run {
        room: Room,
        start: Instant,
        seconds: u64,
        sent: u64,
        missed: u64,
    }

    impl Run {
        fn new(cap: Option<u64>) -> Run {
            let start = Instant::now();
            Run { room: Room::new(cap), start, seconds: 0, sent: 0, missed: 0 }
        }

        fn second(&mut self, permille: u64, loads: &[Load]) -> u8 {
            let now = self.start + Duration::from_secs(self.seconds);
            self.room.look(now, self.sent, self.missed, loads);
            self.seconds += 1;
            (self.sent, self.missed) = (self.sent + 200, self.missed + 200 * permille / 1_000);
            self.room.held(0)
        }

        fn seconds(&mut self, count: u64, permille: u64) -> u8 {
            (0..count).map(|_| self.second(permille, &three())).last().unwrap_or(0)
        }
    }

    #[test]
    fn five_seconds_of_loss_end_the_top_layer_and_a_burst_ends_none() {
        let mut run = Run::new(None);
        assert_eq!(run.seconds(20, 20), 0, "2 % is no more than that");
        assert_eq!(run.seconds(5, 50), 0);
        assert_eq!(run.seconds(1, 50), 0b100);
        assert_eq!(run.room.why(0, 2), Some(Coming::Loses));
        assert_eq!(run.seconds(4, 50), 0b100);
        assert_eq!(run.seconds(1, 50), 0b110, "and then the next");
        assert_eq!(run.seconds(9, 50), 0b110, "and never the smallest");
        let mut run = Run::new(None);
        for _ in 0..20 {
            assert_eq!(run.seconds(3, 300), 0);
            assert_eq!(run.seconds(2, 0), 0);
        }
    }

    #[test]
    fn what_was_left_out_is_tried_again_ever_more_rarely() {
        let mut run = Run::new(None);
        run.seconds(6, 50);
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(run.room.held(0), 0b100);
            let from = run.seconds;
            while run.seconds(1, 0) != 0 {}
            waits.push(run.seconds - from);
            run.seconds(1, 50);
            run.seconds(5, 50);
        }
        let most = LINK_TRY_AGAIN_MOST.as_secs();
        let least = LINK_TRY_AGAIN.as_secs();
        assert_eq!(waits[..3], [least, least * 2, least * 4]);
        assert_eq!(waits[5..], [most, most]);
        while run.seconds(1, 0) != 0 {}
        run.seconds(LINK_TRIED.as_secs() + 5, 0);
        run.seconds(6, 50);
        let from = run.seconds;
        while run.seconds(1, 0) != 0 {}
        assert_eq!(run.seconds - from, least, "what went well for long is forgotten");
    }

    #[test]
    fn above_a_cap_the_top_layers_have_no_room_and_the_smallest_always_has() {
        let held = |cap: u64, loads: &[Load]| {
            let mut run = Run::new(Some(cap * 1_000));
            run.second(0, loads)
        };
        assert_eq!(held(3_000, &three()), 0);
        assert_eq!(held(2_000, &three()), 0b100);
        assert_eq!(held(700, &three()), 0b100, "150 + 500 + 50 of sound");
        assert_eq!(held(600, &three()), 0b110);
        assert_eq!(held(10, &three()), 0b110);
        // What nobody wants takes no room, and is not offered where it would have none.
        let mut loads = three();
        loads[1].is_wanted = false;
        assert_eq!(held(1_600, &loads), 0b100);
        assert_eq!(held(1_800, &loads), 0);
        // It comes back where it fits with a tenth to spare, and not at once.
        let mut run = Run::new(Some(2_000_000));
        assert_eq!(run.second(0, &three()), 0b100);
        let smaller = [load(0, 150), load(1, 500), load(2, 1_200)];
        assert_eq!(run.second(0, &smaller), 0b100);
        let smallest = [load(0, 150), load(1, 500), load(2, 1_000)];
        (0..9).for_each(|_| assert_eq!(run.second(0, &smaller), 0b100));
        assert_eq!(run.second(0, &smallest), 0);
        assert_eq!(run.second(0, &smaller), 0);
    }

    proptest! {
        #[test]
        fn whatever_comes_the_smallest_has_room_and_all_has_again_once_nothing_is_lost(
            losses in prop::collection::vec(0u64..200, 1..200),
        ) {
            let mut run = Run::new(None);
            for permille in losses {
                prop_assert_eq!(run.seconds(1, permille) & 1, 0);
            }
            let most = LINK_TRY_AGAIN_MOST.as_secs();
            prop_assert_eq!(run.seconds(most * 2 + 5, 0), 0);
        }
    }
}
