//! A layer thinned: without what ranks above a limit, the frames of upper temporal layers, or the
//! larger pictures of spatial ones ([`crate::media::Scalable::rank`]). It is a layer of its own,
//! with numbers that have no holes where frames were left out, with a history for repair and key
//! frames to begin with: a viewer has it as it has any other, and costs nothing for it. Together
//! these and the layers are what can be taken of a track, its operating points.
//!
//! What the publisher's path has lost leaves a number free, since it may be of a frame that is
//! kept. Where it comes, and is not, an empty packet takes the number, or viewers would ask for it.

use std::time::{Duration, Instant};

use super::Layer;
use crate::id::TrackKind;
use crate::limits::{
    HISTORY_VIDEO_PACKETS, MAX_LAYERS, MAX_POINTS, THINNED_FRAMES, THINNED_HOLE_PACKETS,
    THINNED_KEPT,
};
use crate::media::{ALL_FRAMES, MediaPacket, Scalable, Shift, Shifted};

/// The first number of what is thinned to smaller pictures.
const SMALLER: usize = MAX_LAYERS * (1 + THINNED_FRAMES);

/// The number of a layer without what ranks above `limit`; `None` where none is thinned to that.
/// Smaller pictures there are of the first layer only.
#[must_use]
pub fn point(layer: u8, limit: u8) -> Option<u8> {
    let number = match usize::from(limit) {
        frames @ ..THINNED_FRAMES => MAX_LAYERS + usize::from(layer) * THINNED_FRAMES + frames,
        pictures if layer == 0 => SMALLER + pictures - THINNED_FRAMES,
        _ => return None,
    };
    let is_told_apart = usize::from(layer) < MAX_LAYERS && number < MAX_POINTS;
    is_told_apart.then_some(number as u8)
}

/// The layer that a number is of, thinned or not.
#[must_use]
pub fn layer_of(number: u8) -> u8 {
    match usize::from(number) {
        ..MAX_LAYERS => number,
        beyond if beyond < SMALLER => (beyond - MAX_LAYERS) as u8 / THINNED_FRAMES as u8,
        _ => 0,
    }
}

/// The highest rank of what a number is of; `None` where it is all of a layer.
#[must_use]
pub fn limit_of(number: u8) -> Option<u8> {
    match usize::from(number) {
        ..MAX_LAYERS | MAX_POINTS.. => None,
        beyond if beyond < SMALLER => Some((beyond - MAX_LAYERS) as u8 % THINNED_FRAMES as u8),
        beyond => Some((beyond - SMALLER + THINNED_FRAMES) as u8),
    }
}

/// The highest temporal layer of what a number is of, where it has fewer frames for it.
#[must_use]
pub fn frames_of(number: u8) -> Option<u8> {
    limit_of(number).filter(|limit| *limit < ALL_FRAMES)
}

/// What became of a number of the layer that did not come in its turn: the number that was left for
/// it, and how many frames had been left out before.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    number: u64,
    frames: u16,
}

/// One layer thinned, as one shard sees it.
#[derive(Debug)]
pub(super) struct Point {
    pub number: u8,
    limit: u8,
    /// What is kept, by numbers of its own.
    pub layer: Layer,
    /// Up to when it is kept though nobody takes it; `None` where nothing is.
    until: Option<Instant>,
    /// The number of the layer's first packet since it is thinned, and its own for it.
    pub first: (u64, u64),
    newest: Option<u64>,
    /// What its numbers are behind those of the layer; wraps.
    behind: u64,
    /// Frames that were left out; wraps, as VP8's numbers of pictures do.
    frames: u16,
    /// The time of the last one.
    left_out: Option<u32>,
    left: Box<[Left]>,
}

impl Point {
    fn new(number: u8) -> Point {
        Point {
            number,
            limit: limit_of(number).unwrap_or_default(),
            layer: Layer::new(TrackKind::Video),
            until: None,
            first: (0, 0),
            newest: None,
            behind: 0,
            frames: 0,
            left_out: None,
            left: vec![Left::default(); THINNED_HOLE_PACKETS as usize].into(),
        }
    }

    /// The one with this number among `points`, made where there is none.
    pub fn made(points: &mut Vec<Point>, number: u8) -> Option<&mut Point> {
        limit_of(number)?;
        let place = points.iter().position(|point| point.number == number).unwrap_or(points.len());
        if place == points.len() {
            points.push(Point::new(number));
        }
        points.get_mut(place)
    }

    /// Bytes of memory that it takes besides its layer.
    pub fn bytes(&self) -> usize {
        size_of::<Point>() - size_of::<Layer>() + size_of_val(&*self.left)
    }

    /// Whether the layer is thinned to it.
    pub fn is_awake(&self) -> bool {
        self.until.is_some()
    }

    /// Somebody takes it, or will. Where the layer was not thinned to it so far, it is from what is
    /// kept of it on: from the newest key frame, or the frame that comes just now.
    pub fn wake(&mut self, base: &Layer, now: Instant) {
        let was_awake = self.is_awake();
        self.until = Some(now + THINNED_KEPT);
        if was_awake {
            return;
        }
        self.newest = None;
        let Some(kept) = base.since_keyframe() else { return };
        for packet in kept.filter_map(|number| base.history.get(number)) {
            self.take(packet, base.scalable(packet), None);
        }
    }

    /// Nobody has taken it for a while: what is kept goes.
    fn sleep(&mut self) {
        self.until = None;
        self.layer.forget();
        // Nobody knows any more what was sent under its numbers: none is used again, though it may
        // begin anew with what the layer had before.
        self.behind = self.behind.wrapping_sub(2 * HISTORY_VIDEO_PACKETS as u64);
    }

    /// A packet of the layer has come. Where somebody takes any of that, it leaves, and may wait
    /// for the rest of its frame, `hold` at most. `is_taken`: that is the layer thinned so.
    pub fn feed(
        &mut self,
        packet: &MediaPacket,
        scalable: Scalable,
        is_taken: bool,
        hold: Option<Duration>,
    ) {
        let Some(until) = self.until else { return };
        if is_taken {
            self.until = Some(packet.received + THINNED_KEPT);
        } else if packet.received >= until {
            self.sleep();
            return;
        }
        self.take(packet, scalable, hold);
    }

    fn take(&mut self, packet: &MediaPacket, scalable: Scalable, hold: Option<Duration>) {
        let is_kept = scalable.rank() <= self.limit;
        let place = match self.newest {
            Some(newest) if packet.sequence <= newest => self.place_left(packet.sequence, newest),
            _ => self.place_next(packet, is_kept),
        };
        let Some(Left { number, frames }) = place else { return };
        let shift = match is_kept {
            true => Shift { picture: frames.wrapping_neg(), ..Shift::NONE },
            false => Shift::NONE,
        };
        let shift = if packet.codec == str0m::format::Codec::Vp8 { shift } else { Shift::NONE };
        let bytes = if is_kept { &packet.payload[..] } else { &[] };
        let extensions = if is_kept { packet.extensions.clone() } else { Default::default() };
        let own = MediaPacket {
            track: packet.track,
            codec: packet.codec,
            layer: self.number,
            origin: packet.origin,
            sequence: number,
            timestamp: packet.timestamp,
            marker: is_kept && (packet.marker || self.ends_picture(scalable)),
            keyframe: is_kept && packet.keyframe,
            extensions,
            padding: 0,
            received: packet.received,
            payload: Shifted { bytes, codec: packet.codec, shift },
        };
        let layer = &mut self.layer;
        layer.rate.count(own.received, own.timestamp, own.payload.len());
        if layer.is_too_old(number) || layer.history.get(number).is_some() {
            return;
        }
        let (kept, _) = layer.keep(own);
        if let Some(hold) = hold {
            let ends = kept.marker || !is_kept;
            layer.pending.push(kept, hold, ends);
        }
    }

    /// Whether the last packet of a frame is the last of its picture that is kept (RFC 9628 §4.1;
    /// AV1 RTP specification §4.3): the publisher's marker is on a larger one.
    fn ends_picture(&self, scalable: Scalable) -> bool {
        scalable.ends && scalable.spatial == self.limit.saturating_sub(ALL_FRAMES)
    }

    /// The place of the packet that comes next, if it has one. What is missing before it is left
    /// one each.
    fn place_next(&mut self, packet: &MediaPacket, is_kept: bool) -> Option<Left> {
        let full = packet.sequence;
        let own = |full: u64, behind: u64| full.wrapping_sub(behind);
        match self.newest.replace(full) {
            None => self.first = (full, own(full, self.behind)),
            Some(newest) => {
                let from = (newest + 1).max(full.saturating_sub(THINNED_HOLE_PACKETS));
                for missing in from..full {
                    let number = own(missing, self.behind);
                    self.left[Self::index(missing)] = Left { number, frames: self.frames };
                }
            }
        }
        if is_kept {
            return Some(Left { number: own(full, self.behind), frames: self.frames });
        }
        self.behind = self.behind.wrapping_add(1);
        let is_another = self.left_out.replace(packet.timestamp) != Some(packet.timestamp);
        self.frames = self.frames.wrapping_add(u16::from(is_another));
        None
    }

    /// The place that was left for a packet that comes late.
    fn place_left(&self, full: u64, newest: u64) -> Option<Left> {
        let is_known = newest - full < THINNED_HOLE_PACKETS && full > self.first.0;
        is_known.then(|| self.left[Self::index(full)])
    }

    fn index(full: u64) -> usize {
        (full % THINNED_HOLE_PACKETS) as usize
    }
}
