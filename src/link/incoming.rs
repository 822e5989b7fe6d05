//! The end that takes media: what is missing is asked for, and key frames that its viewers need.

use std::time::{Duration, Instant};

use super::channel::Channel;
use super::frame::{self, Frame, Media};
use super::fronts::Fronts;
use super::holes::{Holes, Seen};
use super::layers::{SaidLayers, Wants, write_wants};
use super::lineage::{Had, Lineage, write_had};
use super::{Figures, Keys, Peer};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId};
use crate::limits::{
    LINK_ASSUMED_ROUND_TRIP, LINK_FIRST_WORD, LINK_REPORT, LINK_SILENT, MAX_LINK_ASKED,
    MAX_LINK_WISHES, MAX_TRACKS_OF_A_KIND,
};
use crate::media::{ClockReport, LayerName, MediaPacket, WantedLayers};

/// What a datagram has brought.
#[derive(Debug)]
pub enum Got<'a> {
    /// A packet, numbered by its publisher.
    Media(MediaPacket<&'a [u8]>),
    /// What time it is in a layer.
    Clock(ClockReport),
    /// What the publisher calls a layer.
    Name(TrackId, u8, LayerName),
    /// Where the stream comes from.
    Lineage(Lineage),
    /// Which layers of a track there are.
    Layers(SaidLayers),
    /// A sign of life.
    Nothing,
    /// The other end sends nothing any more.
    Ended,
}

/// The end of a link that takes media.
pub struct Incoming {
    channel: Channel,
    holes: Holes,
    fronts: Box<Fronts>,
    /// Key frames to ask for.
    wishes: Vec<(TrackId, u8)>,
    /// What is to be asked for in the next datagram.
    asked: Vec<u64>,
    next_report: Instant,
    /// Whether the other end was heard, which waits for a word of this one.
    is_heard: bool,
    /// What this end has already, which is its first word then.
    had: Option<Had>,
    /// Which layers are wanted, where it was said; and whether that is to be said now.
    wants: Option<Wants>,
    tells_wants: bool,
    /// Whether the silence of the other end was noticed.
    is_silent: bool,
    /// Whether the other end has ended it.
    is_over: bool,
    figures: Figures,
}

impl Incoming {
    /// A link that begins at `now` and brings `stream`, as it is called here, from behind what was
    /// `had` of it before.
    #[must_use]
    pub fn new(
        now: Instant,
        stream: StreamKey,
        peer: Peer,
        keys: &Keys,
        had: Option<Had>,
    ) -> Incoming {
        Incoming {
            channel: Channel::new(now, stream, peer, keys),
            holes: Holes::default(),
            fronts: Box::default(),
            wishes: Vec::with_capacity(MAX_LINK_WISHES),
            asked: Vec::with_capacity(MAX_LINK_ASKED),
            next_report: now,
            is_heard: false,
            had,
            wants: None,
            tells_wants: false,
            is_silent: false,
            is_over: false,
            figures: Figures::default(),
        }
    }

    /// It has the name of `before`, which is over, and of which something may come yet.
    pub fn follows(&mut self, before: Incoming) {
        self.channel.follows(before.channel);
    }

    /// Takes in a datagram that came at `arrived`; it is opened where it lies.
    ///
    /// # Errors
    /// Why it is of no use.
    pub fn receive<'a>(
        &'a mut self,
        arrived: Instant,
        datagram: &'a mut [u8],
    ) -> Result<Got<'a>, DropReason> {
        let frame = self.channel.open(arrived, datagram)?;
        (self.is_heard, self.is_silent) = (true, false);
        match frame {
            Frame::Media(media) => {
                take(&mut self.holes, &mut self.figures, arrived, media.position)?;
                Ok(Got::Media(media.packet))
            }
            Frame::Front(position, bytes) => {
                self.fronts.keep(position, bytes);
                Ok(Got::Nothing)
            }
            Frame::Rest(media) => {
                let Media { position, packet } = media;
                let Some(whole) = self.fronts.join(position, packet.payload) else {
                    // Both are asked for again, unless it has come.
                    self.holes.expect(arrived, position + 1);
                    return Err(DropReason::LinkIncomplete);
                };
                take(&mut self.holes, &mut self.figures, arrived, position)?;
                Ok(Got::Media(packet.with_payload(|_rest| whole)))
            }
            Frame::Clock(mut report) => {
                let way = self.channel.round_trip.unwrap_or_default() / 2;
                report.received = report.received.checked_sub(way).unwrap_or(report.received);
                Ok(Got::Clock(report))
            }
            Frame::Alive(alive) => {
                self.holes.expect(arrived, alive.next);
                Ok(Got::Nothing)
            }
            Frame::Name(track, layer, name) => Ok(Got::Name(track, layer, name)),
            Frame::Lineage(lineage) => Ok(Got::Lineage(lineage)),
            Frame::Layers(said) => Ok(Got::Layers(said)),
            Frame::End => {
                self.is_over = true;
                Ok(Got::Ended)
            }
            Frame::Keyframe(..) | Frame::Missing(_) | Frame::Had(_) | Frame::Wants(_) => {
                Err(DropReason::MalformedLink)
            }
        }
    }

    /// Somebody needs a key frame. One more wish than there is room for is made again.
    pub fn want_keyframe(&mut self, track: TrackId, layer: u8) {
        if self.wishes.len() < MAX_LINK_WISHES && !self.wishes.contains(&(track, layer)) {
            self.wishes.push((track, layer));
        }
    }

    /// These layers of the video tracks are wanted from here on.
    pub fn want_layers(&mut self, videos: [WantedLayers; MAX_TRACKS_OF_A_KIND]) {
        if self.wants.is_some_and(|known| known.videos == videos) {
            return;
        }
        let turn = self.wants.map_or(0, |known| known.turn.wrapping_add(1));
        (self.wants, self.tells_wants) = (Some(Wants { turn, videos }), true);
    }

    /// When there is something to say.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Instant {
        if self.tells_wants {
            return now;
        }
        if !self.is_heard && self.had.is_some() {
            return self.next_report;
        }
        if !self.wishes.is_empty() {
            return now;
        }
        self.holes.due().map_or(self.next_report, |due| due.min(self.next_report))
    }

    /// Whether there is something to say at `now`, which [`Incoming::say`] does then.
    #[must_use]
    pub fn has_to_say(&self, now: Instant) -> bool {
        !self.is_over && self.deadline(now) <= now
    }

    /// Makes the next datagram that is due at `now`, in `slot`; returns its length.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn say(&mut self, now: Instant, slot: &mut [u8]) -> Result<usize, DropReason> {
        if let Some(wants) = self.wants.filter(|_| std::mem::take(&mut self.tells_wants)) {
            return self.channel.seal(slot, |slot| write_wants(slot, &wants));
        }
        if let Some(had) = self.had.as_ref().filter(|_| !self.is_heard) {
            // Nothing else comes before it: the other end begins with the first that it hears.
            self.next_report = now + LINK_FIRST_WORD;
            self.tells_wants = self.wants.is_some();
            return self.channel.seal(slot, |slot| write_had(slot, had));
        }
        if let Some((track, layer)) = self.wishes.pop() {
            return self.channel.seal(slot, |slot| frame::write_keyframe(slot, track, layer));
        }
        let round_trip = self.channel.round_trip.unwrap_or(LINK_ASSUMED_ROUND_TRIP);
        self.holes.ask(now, round_trip, &mut self.asked);
        if !self.asked.is_empty() {
            let Incoming { channel, asked, .. } = self;
            return channel.seal(slot, |slot| frame::write_missing(slot, asked));
        }
        self.next_report = now + if self.is_heard { LINK_REPORT } else { LINK_FIRST_WORD };
        self.tells_wants = self.wants.is_some();
        self.channel.alive(now, 0, slot)
    }

    /// Makes the last datagram of the link.
    ///
    /// # Errors
    /// [`DropReason::TooLong`].
    pub fn end(&mut self, slot: &mut [u8]) -> Result<usize, DropReason> {
        self.channel.seal(slot, frame::write_end)
    }

    /// Whether the other end has been silent for too long, where that was not noticed before. It
    /// may speak again: what came between is asked for then.
    pub fn falls_silent(&mut self, now: Instant) -> bool {
        let falls = !self.is_over && !self.is_silent && self.silent_at() <= now;
        self.is_silent |= falls;
        falls
    }

    /// When the other end has been silent for too long, if it says nothing until then.
    fn silent_at(&self) -> Instant {
        self.channel.heard + LINK_SILENT
    }

    /// When there is something to do, were it that nothing has come.
    #[must_use]
    pub fn next(&self, now: Instant) -> Instant {
        match (self.is_over, self.is_silent) {
            (true, _) => now + LINK_REPORT,
            (false, true) => self.deadline(now),
            (false, false) => self.deadline(now).min(self.silent_at()),
        }
    }

    /// Whether the other end is there, as far as is known.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.is_over && !self.is_silent
    }

    /// So many packets before the last one there are some missing.
    #[must_use]
    pub fn back(&self) -> u16 {
        self.holes.back()
    }

    /// Nobody's silence is told from a time in which nobody listened.
    pub fn forgive(&mut self, paused: Duration) {
        self.channel.forgive(paused);
    }

    /// What it has counted.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let round_trip = self.channel.round_trip.unwrap_or_default();
        let round_trip_us = round_trip.as_micros() as u64;
        Figures { lost: self.holes.lost, round_trip_us, ..self.figures }
    }
}

/// Counts the packet at `position`, which has come whole.
fn take(
    holes: &mut Holes,
    figures: &mut Figures,
    arrived: Instant,
    position: u64,
) -> Result<(), DropReason> {
    match holes.take(arrived, position) {
        Seen::New => figures.packets += 1,
        Seen::Late => figures.repaired += 1,
        Seen::Known => return Err(DropReason::LinkDuplicate),
    }
    Ok(())
}
