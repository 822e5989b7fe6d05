//! One datagram of a publisher.

use std::time::Instant;

use str0m::format::Codec;

use super::extensions::Said;
use super::sources::{Part, Role, Source};
use super::{Ingest, Micros, Opened};
use crate::drop::DropReason;
use crate::id::{TrackKey, TrackKind};
use crate::limits::CODEC_SWITCH_PAUSE;
use crate::media::{ClockReport, MediaPacket, Origin, Placed, red, starts_keyframe};
use crate::srtp::Rejected;
use crate::wire::rtcp::{self, Packet};
use crate::wire::rtp::{self, Header};

/// Bytes of the original sequence number before an RTX payload (RFC 4588 §4).
const OSN_BYTES: usize = 2;

impl Ingest {
    /// Opens an SRTP datagram in place, which came at `arrived`.
    ///
    /// # Errors
    /// Why it did not authenticate, or says nothing that can be read.
    pub fn rtp<'a>(
        &mut self,
        arrived: Instant,
        bytes: &'a mut [u8],
    ) -> Result<Opened<'a>, DropReason> {
        let header = rtp::parse(bytes).map_err(|_malformed| DropReason::MalformedRtp)?;
        let known = self.sources.place(header.ssrc);
        let index = match known {
            Some(place) => {
                let source = self.sources.at(place);
                let index = source.rollover.guess(header.sequence);
                if !source.replay.check(index) {
                    return Err(DropReason::SrtpReplay);
                }
                index
            }
            None => u64::from(header.sequence),
        };
        let opened = self.opener.open(bytes, header.header_len, header.ssrc, index);
        let length = opened.map_err(|rejected| match rejected {
            Rejected::Malformed => DropReason::MalformedRtp,
            Rejected::Auth => DropReason::SrtpAuth,
            Rejected::Replay => DropReason::SrtpReplay,
        })?;
        let bytes = &*bytes;
        let now = self.micros(arrived);
        let said = self.ids.read(&header, bytes);
        if let Some(sequence) = said.transport_sequence {
            self.arrivals.note(sequence, now);
        }
        let place = match known {
            Some(place) => place,
            None => match self.learn(&header, &said, now) {
                Ok(place) => place,
                Err(_) if is_padding(&header, &bytes[..length]) => return Ok(Opened::Padding),
                Err(reason) => return Ok(Opened::Unplaced(reason)),
            },
        };
        self.placed(place, index, (arrived, now), &header, said, &bytes[..length])
    }

    /// Goes on with a packet whose source is known, in this place.
    fn placed<'a>(
        &mut self,
        place: usize,
        index: u64,
        (arrived, now): (Instant, Micros),
        header: &Header,
        said: Said<'_>,
        packet: &'a [u8],
    ) -> Result<Opened<'a>, DropReason> {
        let payload = header.payload(packet).map_err(|_malformed| DropReason::MalformedRtp);
        let part = match self.sources.hear(place, now) {
            Role::Media(part) => part,
            Role::Repair { track, layer, of } => {
                seen(self.sources.at(place), index);
                let repaired = of.and_then(|ssrc| self.sources.place(ssrc));
                let repaired = repaired.or_else(|| self.sources.newest(track, layer));
                return self.repaired(repaired, track, (arrived, now), header, said, payload?);
            }
            Role::Probe => {
                seen(self.sources.at(place), index);
                return Ok(Opened::Padding);
            }
        };
        self.count(place, part.track, index, header.timestamp, now);
        let payload = payload?;
        let known = &self.terms.tracks[part.track].payload;
        let is_redundant = known.red_payload_type == Some(header.payload_type);
        if header.payload_type != known.payload_type
            && !is_redundant
            && let Err(reason) = self.switch_to(part.track, header.payload_type, now)
        {
            return Ok(Opened::Unplaced(reason));
        }
        Ok(self.media(place, part, index, arrived, header, said, payload))
    }

    /// A track goes on with another payload type of its answer. One that comes and goes with each
    /// packet is not followed.
    #[cold]
    fn switch_to(&mut self, track: usize, payload_type: u8, now: Micros) -> Result<(), DropReason> {
        let pause = CODEC_SWITCH_PAUSE.as_micros() as Micros;
        let soon = self.switched.is_some_and(|at| now < at + pause);
        let track = &mut self.terms.tracks[track];
        let answered = track.answered(payload_type).copied().filter(|_| !soon);
        track.payload = answered.ok_or(DropReason::UnknownPayloadType)?;
        (self.switched, self.switched_to) = (Some(now), Some(track.payload.payload_type));
        Ok(())
    }

    /// Takes a retransmission apart: it becomes the packet it is of, among those of the source in
    /// the place `repaired`.
    fn repaired<'a>(
        &mut self,
        repaired: Option<usize>,
        track: usize,
        (arrived, now): (Instant, Micros),
        header: &Header,
        said: Said<'_>,
        payload: &'a [u8],
    ) -> Result<Opened<'a>, DropReason> {
        let Some((sequence, payload)) = payload.split_first_chunk::<OSN_BYTES>() else {
            // Padding, by which Chromium probes the way, has none.
            return Ok(Opened::Padding);
        };
        if self.terms.tracks[track].payload.rtx_payload_type != Some(header.payload_type) {
            return Ok(Opened::Unplaced(DropReason::UnknownPayloadType));
        }
        let Some(place) = repaired else { return Ok(Opened::Unplaced(DropReason::StaleMedia)) };
        let source = self.sources.at(place);
        let index = source.rollover.guess(u16::from_be_bytes(*sequence));
        let Role::Media(part) = source.role else {
            return Ok(Opened::Unplaced(DropReason::StaleMedia));
        };
        if !source.replay.check(index) {
            // It had come already: Chromium probes with such, and nothing is lost.
            return Ok(Opened::Padding);
        }
        self.count(place, track, index, header.timestamp, now);
        Ok(self.media(place, part, index, arrived, header, said, payload))
    }

    /// A packet has come that was not there before.
    fn count(&mut self, place: usize, track: usize, index: u64, timestamp: u32, now: Micros) {
        let terms = &self.terms.tracks[track];
        let source = self.sources.at(place);
        seen(source, index);
        let highest = source.reception.highest();
        if source.reception.take_in(index) {
            source.reception.time(timestamp, now, terms.id.kind.clock_rate());
            let next = highest.map_or(index, |highest| highest + 1);
            if index > next && terms.payload.nack {
                source.missing.overtaken(next, index, now);
            }
        } else {
            source.missing.came(index);
        }
        if !source.missing.is_empty() {
            let next = source.missing.next(index.max(highest.unwrap_or(0)));
            self.schedule.ask_at(next);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all that a packet is made of")]
    fn media<'a>(
        &mut self,
        place: usize,
        part: Part,
        index: u64,
        arrived: Instant,
        header: &Header,
        said: Said<'_>,
        payload: &'a [u8],
    ) -> Opened<'a> {
        self.totals.packets += 1;
        self.totals.bytes += payload.len() as u64;
        let track = &self.terms.tracks[part.track];
        let keyframe = starts_keyframe(track.payload.codec, payload);
        let is_video = track.id.kind == TrackKind::Video;
        let source = self.sources.at(place);
        let asks = std::mem::take(&mut source.asks) && is_video && !keyframe;
        let (codec, at) = (track.payload.codec, (index, header.timestamp));
        let placed = match codec {
            Codec::H264 | Codec::H265 => {
                source.sets.get_or_insert_default().place(codec, at, payload)
            }
            _ => Some(Placed { sequence: index, sets: None }),
        };
        let Some(Placed { sequence, sets }) = placed else {
            return Opened::Unplaced(DropReason::StaleMedia);
        };
        let is_redundant = track.payload.red_payload_type == Some(header.payload_type);
        if is_redundant && red::primary(payload).is_none() {
            return Opened::Unplaced(DropReason::MalformedRtp);
        }
        let packet = MediaPacket {
            track: TrackKey { stream: self.stream, id: track.id },
            codec: if is_redundant { Codec::Red } else { codec },
            layer: part.layer,
            origin: Origin { publisher: 0, source: part.source },
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            keyframe,
            extensions: said.carried,
            padding: 0,
            received: arrived,
            payload,
        };
        Opened::Media { packet, asks, sets }
    }

    /// Takes in a compound of the publisher that has authenticated, and tells `clock` what its
    /// sender reports say of the time, whose origins have no publisher yet.
    ///
    /// # Errors
    /// [`DropReason::MalformedRtcp`] when nothing of it was taken; of a compound that is malformed
    /// further in the head is.
    pub fn rtcp(
        &mut self,
        now: Instant,
        compound: &[u8],
        mut clock: impl FnMut(ClockReport),
    ) -> Result<(), DropReason> {
        let mut packets = rtcp::compound(compound);
        let first = packets.next().ok_or(DropReason::MalformedRtcp)?;
        let first = first.map_err(|_malformed| DropReason::MalformedRtcp)?;
        for packet in std::iter::once(first).chain(packets.map_while(Result::ok)) {
            match packet {
                Packet::SenderReport { ssrc, ntp, rtp_timestamp, .. } => {
                    if let Some(report) = self.clock(now, ssrc, ntp, rtp_timestamp) {
                        clock(report);
                    }
                }
                Packet::ExtendedReport { delays } => {
                    let micros = self.micros(now);
                    self.schedule.round_trip(micros, delays);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What a sender report says of the clock of one layer. Layers share a wall clock, but each has
    /// RTP times of its own.
    fn clock(&mut self, now: Instant, ssrc: u32, ntp: u64, timestamp: u32) -> Option<ClockReport> {
        let micros = self.micros(now);
        let source = self.sources.place(ssrc)?;
        let source = self.sources.at(source);
        let Role::Media(Part { track, layer, source: number }) = source.role else { return None };
        source.reception.reported(ntp, micros);
        Some(ClockReport {
            track: TrackKey { stream: self.stream, id: self.terms.tracks[track].id },
            layer,
            origin: Origin { publisher: 0, source: number },
            ntp,
            timestamp,
            received: now,
        })
    }
}

/// The packet with this index is one that has come.
fn seen(source: &mut Source, index: u64) {
    source.replay.accept(index);
    source.rollover.update(index);
}

/// Whether a packet is padding and nothing else.
fn is_padding(header: &Header, packet: &[u8]) -> bool {
    header.padding && header.payload(packet).is_ok_and(<[u8]>::is_empty)
}
