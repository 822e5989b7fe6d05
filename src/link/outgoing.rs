//! The end that sends media: each packet once, and again what was lost, as far as its share goes.

use std::time::{Duration, Instant};

use super::channel::Channel;
use super::frame::{self, Frame};
use super::{Figures, Keys, Peer};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId};
use crate::limits::{LINK_ALIVE, LINK_DESERTED, LINK_REPAIR_BURST, LINK_REPAIR_SHARE, LINK_REPORT};
use crate::media::{ClockReport, MediaPacket};

/// What the other end asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// A key frame of a layer.
    Keyframe(TrackId, u8),
    /// These packets again, by their positions.
    Again(Vec<u64>),
    /// No more.
    Ended,
}

/// The end of a link that sends media.
pub struct Outgoing {
    channel: Channel,
    /// The position of the next packet.
    next: u64,
    /// When something was sent last.
    sent: Instant,
    /// When it is to say again that it is there, whatever it sends.
    next_word: Instant,
    /// Packets that may be sent again, in parts of a [`LINK_REPAIR_SHARE`]th.
    repairs: u32,
    figures: Figures,
}

impl Outgoing {
    /// A link that begins at `now` with the packet at the position `next` of `stream`.
    #[must_use]
    pub fn new(now: Instant, stream: StreamKey, peer: Peer, keys: &Keys, next: u64) -> Outgoing {
        Outgoing {
            channel: Channel::new(now, stream, peer, keys),
            next,
            sent: now,
            next_word: now,
            repairs: LINK_REPAIR_BURST * LINK_REPAIR_SHARE,
            figures: Figures::default(),
        }
    }

    /// Makes a datagram of the packet at `position` in `slot`; returns its length.
    ///
    /// # Errors
    /// [`DropReason::TooLong`] where the slot has no room for it.
    pub fn media(
        &mut self,
        now: Instant,
        position: u64,
        packet: &MediaPacket,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        self.next = position + 1;
        let written = |slot: &mut [u8]| frame::write_media(slot, position, packet);
        let length = self.channel.seal(slot, written)?;
        self.sent = now;
        self.figures.packets += 1;
        let most = LINK_REPAIR_BURST * LINK_REPAIR_SHARE;
        self.repairs = (self.repairs + 1).min(most);
        Ok(length)
    }

    /// Whether one more packet may be sent again; it is counted.
    pub fn may_repair(&mut self) -> bool {
        let left = self.repairs.checked_sub(LINK_REPAIR_SHARE);
        self.repairs = left.unwrap_or(self.repairs);
        left.is_some()
    }

    /// The same packet again.
    ///
    /// # Errors
    /// See [`Outgoing::media`].
    pub fn again(
        &mut self,
        position: u64,
        packet: &MediaPacket,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let written = |slot: &mut [u8]| frame::write_media(slot, position, packet);
        let length = self.channel.seal(slot, written)?;
        self.figures.repaired += 1;
        Ok(length)
    }

    /// Says what time it is in a layer.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn clock(
        &mut self,
        now: Instant,
        report: &ClockReport,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        self.channel.seal(slot, |slot| frame::write_clock(slot, now, report))
    }

    /// Takes in a datagram that came at `arrived`.
    ///
    /// # Errors
    /// Why it is of no use.
    pub fn receive(&mut self, arrived: Instant, datagram: &mut [u8]) -> Result<Asked, DropReason> {
        match self.channel.open(arrived, datagram)? {
            Frame::Keyframe(track, layer) => Ok(Asked::Keyframe(track, layer)),
            Frame::Missing(positions) => Ok(Asked::Again(positions)),
            Frame::Alive(_) => Ok(Asked::Nothing),
            Frame::End => Ok(Asked::Ended),
            Frame::Media(_) | Frame::Clock(_) => Err(DropReason::MalformedLink),
        }
    }

    /// When there is something to say beside media.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.next_word.min(self.sent + LINK_ALIVE)
    }

    /// Says that this end is there, and how much it has sent.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn say(&mut self, now: Instant, slot: &mut [u8]) -> Result<usize, DropReason> {
        (self.sent, self.next_word) = (now, now + LINK_REPORT);
        self.channel.alive(now, self.next, slot)
    }

    /// Makes the last datagram of the link.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn end(&mut self, slot: &mut [u8]) -> Result<usize, DropReason> {
        self.channel.seal(slot, frame::write_end)
    }

    /// Whether the other end has been silent for too long.
    #[must_use]
    pub fn is_deserted(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.channel.heard) >= LINK_DESERTED
    }

    /// Nobody's silence is told from a time in which nobody listened.
    pub fn forgive(&mut self, paused: Duration) {
        self.channel.forgive(paused);
    }

    /// What it has counted.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let round_trip = self.channel.round_trip.unwrap_or_default();
        Figures { round_trip_us: round_trip.as_micros() as u64, ..self.figures }
    }
}
