//! The end that sends media: each packet once, and again what was lost, as far as its share goes.

use std::time::{Duration, Instant};

use super::channel::Channel;
use super::frame::{self, Frame};
use super::layers::{SaidLayers, Wants, write_layers};
use super::lineage::{Had, Lineage, write_lineage};
use super::{Figures, Keys, Peer};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId};
use crate::limits::{LINK_ALIVE, LINK_DESERTED, LINK_REPAIR_BURST, LINK_REPAIR_SHARE, LINK_REPORT};
use crate::media::{ClockReport, LayerName, MediaPacket};

/// What the other end asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Nothing.
    Nothing,
    /// It is there: the link begins, from behind what it has already.
    Begins(Option<Had>),
    /// A key frame of a layer.
    Keyframe(TrackId, u8),
    /// These packets again, by their positions.
    Again(Vec<u64>),
    /// Other layers than before.
    Layers,
    /// No more.
    Ended,
}

/// The end of a link that sends media.
pub struct Outgoing {
    channel: Channel,
    /// Whether the other end has been heard: what is sent before would find nobody.
    has_begun: bool,
    /// The position of the next packet.
    next: u64,
    /// When something was sent last.
    sent: Instant,
    /// When it is to say again that it is there, whatever it sends.
    next_word: Instant,
    /// Packets that may be sent again, in parts of a [`LINK_REPAIR_SHARE`]th.
    repairs: u32,
    /// What was said of the stream last.
    said: Option<Lineage>,
    /// Which layers the other end wants; nothing where it has not said so.
    wants: Option<Wants>,
    figures: Figures,
}

impl Outgoing {
    /// A link that takes `stream` away, once its other end is heard.
    #[must_use]
    pub fn new(now: Instant, stream: StreamKey, peer: Peer, keys: &Keys) -> Outgoing {
        Outgoing {
            channel: Channel::new(now, stream, peer, keys),
            has_begun: false,
            next: 0,
            sent: now,
            next_word: now,
            repairs: LINK_REPAIR_BURST * LINK_REPAIR_SHARE,
            said: None,
            wants: None,
            figures: Figures::default(),
        }
    }

    /// Whether its other end was heard.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// The link begins with the packet at the position `next`.
    pub fn begin(&mut self, now: Instant, next: u64) {
        (self.has_begun, self.next, self.next_word) = (true, next, now);
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

    /// Makes a datagram of the front of a packet, which goes before it; see [`super::front_of`].
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn front(
        &mut self,
        position: u64,
        front: &[u8],
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        self.channel.seal(slot, |slot| frame::write_front(slot, position, front))
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
        let has_begun = self.has_begun;
        match self.channel.open(arrived, datagram)? {
            Frame::End => Ok(Asked::Ended),
            Frame::Media(_) | Frame::Front(..) | Frame::Rest(_) => Err(DropReason::MalformedLink),
            Frame::Clock(_) | Frame::Name(..) | Frame::Lineage(_) => Err(DropReason::MalformedLink),
            Frame::Layers(_) => Err(DropReason::MalformedLink),
            // The link begins with what is said behind it.
            Frame::Wants(wants) => Ok(self.heeds(wants)),
            Frame::Had(had) if !has_begun => Ok(Asked::Begins(Some(had))),
            _ if !has_begun => Ok(Asked::Begins(None)),
            Frame::Keyframe(track, layer) => Ok(Asked::Keyframe(track, layer)),
            Frame::Missing(positions) => Ok(Asked::Again(positions)),
            Frame::Alive(_) | Frame::Had(_) => Ok(Asked::Nothing),
        }
    }

    /// The other end says what it wants.
    fn heeds(&mut self, wants: Wants) -> Asked {
        let is_later = |known: Wants| wants.turn.wrapping_sub(known.turn).cast_signed() > 0;
        if self.wants.is_none_or(is_later) {
            self.wants = Some(wants);
            return Asked::Layers;
        }
        Asked::Nothing
    }

    /// Which layers the other end wants; nothing where it has not said so.
    #[must_use]
    pub fn wants(&self) -> Option<&Wants> {
        self.wants.as_ref()
    }

    /// Says which layers of a track there are.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn layers(&mut self, said: &SaidLayers, slot: &mut [u8]) -> Result<usize, DropReason> {
        self.channel.seal(slot, |slot| write_layers(slot, said))
    }

    /// When there is something to say beside media; before it has begun, nothing.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.has_begun.then(|| self.next_word.min(self.sent + LINK_ALIVE))
    }

    /// Whether it is to say what it says again and again.
    #[must_use]
    pub fn is_to_report(&self, now: Instant) -> bool {
        self.has_begun && self.next_word <= now
    }

    /// Says what the publisher calls a layer.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn name(
        &mut self,
        track: TrackId,
        layer: u8,
        name: &LayerName,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        self.channel.seal(slot, |slot| frame::write_name(slot, track, layer, name))
    }

    /// Whether what is said of the stream is other than what was said last.
    #[must_use]
    pub fn is_news(&self, lineage: &Lineage) -> bool {
        self.has_begun && self.said.as_ref() != Some(lineage)
    }

    /// Says where the stream comes from.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn lineage(&mut self, lineage: &Lineage, slot: &mut [u8]) -> Result<usize, DropReason> {
        self.said = Some(*lineage);
        self.channel.seal(slot, |slot| write_lineage(slot, lineage))
    }

    /// How long the other end has been silent.
    #[must_use]
    pub fn silence(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.channel.heard)
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
        self.silence(now) >= LINK_DESERTED
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
