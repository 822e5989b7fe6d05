//! What both ends have in common: whether the other is there, how far away it is, and datagrams
//! under their keys.

use std::time::{Duration, Instant};

use super::Keys;
use super::frame::{self, Alive, Frame};
use super::seal::{Opener, Sealer};
use crate::drop::DropReason;
use crate::id::StreamKey;

/// The other end, by the names it has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its shard.
    pub shard: u8,
    /// The link there.
    pub link: u32,
}

pub(super) struct Channel {
    stream: StreamKey,
    sealer: Sealer,
    opener: Opener,
    opened: Instant,
    /// When something of the other end came that is authentic.
    pub heard: Instant,
    /// What the other end's last word of its time was, and when it came.
    told: Option<(u64, Instant)>,
    pub round_trip: Option<Duration>,
}

impl Channel {
    pub fn new(now: Instant, stream: StreamKey, peer: Peer, keys: &Keys) -> Channel {
        Channel {
            stream,
            sealer: Sealer::new(&keys.seals, (peer.shard, peer.link)),
            opener: Opener::new(&keys.opens),
            opened: now,
            heard: now,
            told: None,
            round_trip: None,
        }
    }

    /// It has the name of `before`, of which something may come yet.
    pub fn follows(&mut self, before: Channel) {
        self.opener.follows(before.opener);
    }

    /// Makes a datagram of what `write` puts into `slot`.
    pub fn seal(
        &mut self,
        slot: &mut [u8],
        write: impl FnOnce(&mut [u8]) -> Result<usize, DropReason>,
    ) -> Result<usize, DropReason> {
        self.sealer.seal(slot, write)
    }

    /// The frame in a datagram that came at `arrived`; what it says of times is noted.
    pub fn open<'a>(
        &mut self,
        arrived: Instant,
        datagram: &'a mut [u8],
    ) -> Result<Frame<'a>, DropReason> {
        let bytes = self.opener.open(datagram)?;
        self.heard = self.heard.max(arrived);
        let frame = Frame::read(bytes, self.stream, arrived);
        let frame = frame.ok_or(DropReason::MalformedLink)?;
        if let Frame::Alive(alive) = &frame {
            self.note(arrived, alive);
        }
        Ok(frame)
    }

    /// Says that this end is there, and which position is next.
    pub fn alive(&mut self, now: Instant, next: u64, slot: &mut [u8]) -> Result<usize, DropReason> {
        let time_us = self.time_us(now);
        let (heard_us, at) = self.told.unwrap_or((0, now));
        let held = now.saturating_duration_since(at).as_micros();
        let held_us = u32::try_from(held).unwrap_or(u32::MAX);
        let alive = Alive { next, time_us, heard_us, held_us };
        self.sealer.seal(slot, |slot| frame::write_alive(slot, &alive))
    }

    /// The shard did not run for so long: nobody's silence is told from that.
    pub fn forgive(&mut self, paused: Duration) {
        self.heard += paused;
    }

    /// Microseconds since the link is there, from 1 on.
    fn time_us(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.opened).as_micros() as u64 + 1
    }

    fn note(&mut self, arrived: Instant, alive: &Alive) {
        if self.told.is_none_or(|(newest, _)| alive.time_us > newest) {
            self.told = Some((alive.time_us, arrived));
        }
        if alive.heard_us > 0 {
            let since = self.time_us(arrived).checked_sub(alive.heard_us);
            let way = since.and_then(|since| since.checked_sub(u64::from(alive.held_us)));
            self.round_trip = way.map(Duration::from_micros).or(self.round_trip);
        }
    }
}
