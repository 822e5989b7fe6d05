//! What a viewer sees: frames are put together in their order as a decoder would, so that layers,
//! switches and freezes are those of pictures, and not of packets.

use crate::layers::{MAX_LAYERS, RIDS};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Packets that wait for one before them; beyond, only a key frame helps.
const MAX_WAITING: usize = 2_048;
/// A missing packet is asked for again after this, so many times in all.
const ASK_AGAIN_NS: u64 = 100_000_000;
const ASKS: u32 = 10;
/// Numbers in one request.
const MAX_ASKED: usize = 64;
/// Without a picture for this long, with others waiting, a key frame is asked for.
const STUCK_NS: u64 = 300_000_000;
/// A freeze, as `freezeCount` of W3C's webrtc-stats has it: a frame that comes later than three
/// times the mean distance, and 150 ms more than it.
const FREEZE_FACTOR: u64 = 3;
const FREEZE_MORE_NS: u64 = 150_000_000;
/// Frames of which the mean distance is made.
const MEAN_OF: u64 = 30;

/// One packet of video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It carries nothing to see.
    Padding,
    Media {
        /// A decoder can begin here.
        starts: bool,
        /// The last of its frame.
        ends: bool,
        /// Known of packets with a stamp.
        layer: Option<u8>,
    },
}

/// What one viewer saw while it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Seen {
    pub viewers: u64,
    pub frames: u64,
    /// Changes of the layer from one frame to the next.
    pub switches: u64,
    pub freezes: u64,
    pub frozen_ns: u64,
    /// How long a picture of each layer was the newest.
    pub shown_ns: [u64; MAX_LAYERS],
    pub key_frames_asked: u64,
}

/// The frames of one viewer.
#[derive(Default)]
pub struct Screen {
    /// What came and is not part of a frame that was shown, by index.
    waiting: BTreeMap<u64, Part>,
    /// The packet that is needed next.
    next: Option<u64>,
    asked: BTreeMap<u64, (u32, u64)>,
    last_shown_ns: Option<u64>,
    layer: usize,
    mean_ns: u64,
    measuring: bool,
    asked_key_frame_ns: u64,
    seen: Seen,
}

impl Screen {
    /// A packet came; it may complete frames.
    pub fn packet(&mut self, index: u64, part: Part, now_ns: u64) {
        if self.next.is_some_and(|next| index < next) {
            return;
        }
        self.waiting.insert(index, part);
        self.show(now_ns);
        while self.waiting.len() > MAX_WAITING {
            self.waiting.pop_first();
        }
    }

    /// Whether what is seen is measured from now on; a picture that stands still when it ends has
    /// been seen until then.
    pub fn measure(&mut self, measuring: bool, now_ns: u64) {
        if self.measuring && !measuring {
            self.pass(now_ns);
        }
        if measuring && !self.measuring && self.last_shown_ns.is_some() {
            self.last_shown_ns = Some(now_ns);
        }
        self.measuring = measuring;
    }

    /// What it saw.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { viewers: 1, ..self.seen }
    }

    /// Whether packets wait for others, so that there may be something to ask for.
    #[must_use]
    pub fn lacks(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The numbers to ask for again now.
    pub fn missing(&mut self, now_ns: u64) -> Vec<u16> {
        let (Some(next), Some((&newest, _))) = (self.next, self.waiting.last_key_value()) else {
            return Vec::new();
        };
        self.asked = self.asked.split_off(&next);
        let oldest = next.max(newest.saturating_sub(MAX_WAITING as u64));
        let lacking = (oldest..newest).filter(|index| !self.waiting.contains_key(index));
        let lacking: Vec<u64> = lacking.collect();
        let mut numbers = Vec::new();
        for index in lacking {
            let (times, at_ns) = self.asked.entry(index).or_default();
            let is_due = *times == 0 || now_ns >= *at_ns + ASK_AGAIN_NS;
            if *times < ASKS && is_due && numbers.len() < MAX_ASKED {
                (*times, *at_ns) = (*times + 1, now_ns);
                numbers.push(index as u16);
            }
        }
        numbers
    }

    /// Whether a key frame must be asked for: packets wait, and no picture came of them.
    pub fn needs_key_frame(&mut self, now_ns: u64) -> bool {
        let since_ns = self.last_shown_ns.unwrap_or(0).max(self.asked_key_frame_ns);
        let stuck = !self.waiting.is_empty() && now_ns >= since_ns + STUCK_NS;
        if stuck {
            self.asked_key_frame_ns = now_ns;
            self.seen.key_frames_asked += u64::from(self.measuring);
        }
        stuck
    }

    /// Shows every frame that is whole and whose turn it is.
    fn show(&mut self, now_ns: u64) {
        loop {
            let frame = self.next.and_then(|next| self.whole_from(next));
            let Some((after, layer)) = frame.or_else(|| self.whole_key_frame()) else { return };
            self.waiting = self.waiting.split_off(&after);
            self.next = Some(after);
            if let Some(layer) = layer {
                self.shown(layer, now_ns);
            }
        }
    }

    /// The frame that begins at `index`, if all of it is there: the index behind it, and its layer
    /// if it is not padding alone.
    fn whole_from(&self, mut index: u64) -> Option<(u64, Option<usize>)> {
        let mut of = None;
        loop {
            match *self.waiting.get(&index)? {
                Part::Padding if of.is_none() => return Some((index + 1, None)),
                Part::Padding => {}
                Part::Media { ends, layer, .. } => {
                    let layer = layer.map_or(0, usize::from).min(MAX_LAYERS - 1);
                    let of = *of.get_or_insert(layer);
                    if ends {
                        return Some((index + 1, Some(of)));
                    }
                }
            }
            index += 1;
        }
    }

    /// The newest whole key frame, for who can go on in no other way.
    fn whole_key_frame(&self) -> Option<(u64, Option<usize>)> {
        let starts = |part: &Part| matches!(part, Part::Media { starts: true, .. });
        let mut starting = self.waiting.iter().rev().filter(|(_, part)| starts(part));
        starting.find_map(|(&index, _)| self.whole_from(index))
    }

    fn shown(&mut self, layer: usize, now_ns: u64) {
        if self.measuring {
            self.seen.frames += 1;
            let known = self.seen.frames > 1 || self.last_shown_ns.is_some();
            self.seen.switches += u64::from(known && layer != self.layer);
        }
        self.pass(now_ns);
        self.layer = layer;
    }

    /// The picture that is there has been seen until now.
    fn pass(&mut self, now_ns: u64) {
        let Some(last_ns) = self.last_shown_ns.replace(now_ns) else { return };
        let lasted_ns = now_ns.saturating_sub(last_ns);
        let late_ns = (self.mean_ns * FREEZE_FACTOR).max(self.mean_ns + FREEZE_MORE_NS);
        let frozen = self.mean_ns > 0 && lasted_ns > late_ns;
        if self.measuring {
            self.seen.shown_ns[self.layer] += lasted_ns;
            self.seen.freezes += u64::from(frozen);
            self.seen.frozen_ns += if frozen { lasted_ns } else { 0 };
        }
        if self.mean_ns == 0 {
            self.mean_ns = lasted_ns;
        } else if !frozen {
            self.mean_ns = (self.mean_ns * (MEAN_OF - 1) + lasted_ns) / MEAN_OF;
        }
    }
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.viewers += other.viewers;
        self.frames += other.frames;
        self.switches += other.switches;
        self.freezes += other.freezes;
        self.frozen_ns += other.frozen_ns;
        self.key_frames_asked += other.key_frames_asked;
        for (sum, more) in self.shown_ns.iter_mut().zip(other.shown_ns) {
            *sum += more;
        }
    }
}

/// What some viewers saw, for the report.
#[derive(Clone, Debug, Serialize)]
pub struct Pictures {
    pub viewers: u64,
    pub frames: u64,
    /// The part of the time in which a picture of each layer was the newest.
    pub layers: BTreeMap<&'static str, f64>,
    pub switches: u64,
    pub switches_per_viewer_minute: f64,
    pub freezes: u64,
    /// The part of the time in which the picture stood still.
    pub frozen_ratio: f64,
    pub key_frames_asked: u64,
}

impl Pictures {
    /// `None` where nobody's pictures were looked at.
    #[must_use]
    pub fn of(seen: &Seen) -> Option<Self> {
        let shown_ns: u64 = seen.shown_ns.iter().sum();
        let part = |ns: u64| (ns as f64 / shown_ns.max(1) as f64 * 1e4).round() / 1e4;
        let layers = RIDS.into_iter().zip(seen.shown_ns.map(part));
        let minutes = shown_ns as f64 / 60e9;
        (seen.viewers > 0).then(|| Self {
            viewers: seen.viewers,
            frames: seen.frames,
            layers: layers.collect(),
            switches: seen.switches,
            switches_per_viewer_minute: seen.switches as f64 / minutes.max(f64::MIN_POSITIVE),
            freezes: seen.freezes,
            frozen_ratio: part(seen.frozen_ns),
            key_frames_asked: seen.key_frames_asked,
        })
    }
}

impl fmt::Display for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} saw", self.viewers)?;
        for rid in RIDS {
            write!(f, " {rid} {:.0} %", self.layers[rid] * 100.0)?;
        }
        write!(
            f,
            ", {} frames; {:.1} switches a minute; {} freezes, {:.1} % of the time",
            self.frames,
            self.switches_per_viewer_minute,
            self.freezes,
            self.frozen_ratio * 100.0
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn media(starts: bool, ends: bool, layer: u8) -> Part {
        Part::Media { starts, ends, layer: Some(layer) }
    }

    /// Frames of two packets, 20 ms apart, the first of them a key frame.
    fn playing(frames: u64) -> Screen {
        let mut screen = Screen::default();
        screen.measure(true, 0);
        for frame in 0..frames {
            screen.packet(2 * frame, media(frame == 0, false, 0), frame * 20 * MS);
            screen.packet(2 * frame + 1, media(false, true, 0), frame * 20 * MS);
        }
        screen
    }

    #[test]
    fn frames_are_shown_in_their_order_when_they_are_whole() {
        let mut screen = playing(50);
        assert_eq!((screen.seen().frames, screen.seen().freezes), (50, 0));
        // Packet 100 is missing: what comes behind it waits.
        screen.packet(101, media(false, true, 0), 1_000 * MS);
        screen.packet(102, media(false, true, 0), 1_020 * MS);
        assert_eq!(screen.seen().frames, 50);
        assert_eq!(screen.missing(1_020 * MS), [100]);
        assert_eq!(screen.missing(1_021 * MS), [] as [u16; 0], "it was just asked for");
        assert_eq!(screen.missing(1_120 * MS), [100]);
        screen.packet(100, media(false, false, 0), 1_200 * MS);
        assert_eq!((screen.seen().frames, screen.seen().freezes), (52, 1), "after 220 ms");
        assert_eq!(screen.seen().frozen_ns, 220 * MS);
        assert_eq!(screen.missing(1_200 * MS), [] as [u16; 0]);
    }

    #[test]
    fn a_whole_key_frame_ends_the_wait_and_may_be_of_another_layer() {
        let mut screen = playing(10);
        screen.packet(21, media(false, true, 0), 200 * MS);
        assert!(!screen.needs_key_frame(400 * MS) && screen.needs_key_frame(500 * MS));
        assert!(!screen.needs_key_frame(501 * MS), "it was just asked for");
        screen.packet(22, media(true, false, 2), 600 * MS);
        assert_eq!(screen.seen().frames, 10, "the half of it");
        screen.packet(23, Part::Padding, 600 * MS);
        screen.packet(24, media(false, true, 2), 610 * MS);
        screen.measure(false, 1_000 * MS);
        let seen = screen.seen();
        assert_eq!((seen.frames, seen.switches, seen.key_frames_asked), (11, 1, 1));
        assert_eq!(seen.shown_ns, [610 * MS, 0, 390 * MS]);
        let pictures = Pictures::of(&seen).expect("there is a viewer");
        assert_eq!((pictures.layers["f"], pictures.layers["q"]), (0.61, 0.39));
        assert_eq!(pictures.switches_per_viewer_minute, 60.0);
    }

    #[test]
    fn what_came_before_the_measurement_is_not_counted() {
        let mut screen = Screen::default();
        screen.packet(0, media(true, true, 1), 0);
        screen.packet(1, media(false, true, 1), 20 * MS);
        screen.measure(true, 5_000 * MS);
        screen.packet(2, media(false, true, 1), 5_020 * MS);
        let seen = screen.seen();
        assert_eq!(
            (seen.frames, seen.switches, seen.freezes, seen.shown_ns[1]),
            (1, 0, 0, 20 * MS)
        );
        assert!(Pictures::of(&Seen::default()).is_none());
    }
}
