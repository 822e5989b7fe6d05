//! One track's packets to one viewer: numbering, header, payload, seal.

use str0m::format::Codec;

use super::elements::Elements;
use super::span::{Span, Start, TooEarly};
use crate::drop::DropReason;
use crate::id::TrackId;
use crate::limits::{MAX_DATAGRAM_OUT, MAX_SPANS};
use crate::media::{ExtensionIds, MediaPacket, Shift, ViewerTrack, red};
use crate::srtp::RtpSealer;
use crate::wire::rtp::HeaderWriter;

/// Bytes of the original sequence number before an RTX payload (RFC 4588 §4).
const OSN_BYTES: usize = 2;

/// Longest section id the one-byte header extension carries (RFC 8285 §4.2).
const MAX_MID_BYTES: usize = 16;

/// Where a viewer was before it changed layers, oldest first, and what else few have.
#[derive(Debug, Default)]
struct Earlier {
    spans: Vec<Span>,
    /// From this number on nothing carries earlier packets again.
    spared_from: Option<u64>,
}

/// One track to one viewer. The viewer's numbers are a short list of spans over those of layers: it
/// changes layers at a key frame, its own numbers go on, and what it asks for from before the
/// change is found.
#[derive(Debug)]
pub struct Lane {
    span: Span,
    /// The number of the next packet, if none is skipped; SRTP indices below are used up.
    next: u64,
    /// The number of the first packet of all.
    start: u64,
    before: Option<Box<Earlier>>,
    timestamp_offset: u32,
    ssrc: u32,
    rtx_ssrc: u32,
    /// Packets sent, retransmissions left out, as sender reports count them.
    packets: u32,
    /// Payload bytes sent, likewise.
    octets: u32,
    rtx_index: u64,
    id: TrackId,
    codec: Codec,
    payload_type: u8,
    /// No RTX when there is none.
    rtx_payload_type: Option<u8>,
    /// Nothing that carries earlier packets again when there is none.
    red_payload_type: Option<u8>,
    playing: bool,
    /// The MID extension rides along until the viewer has reported on this SSRC, and on that of RTX
    /// always: once Firefox has had it on one, it lets nothing in of others that come without.
    name_section: bool,
    extensions: ExtensionIds,
    mid_length: u8,
    mid: [u8; MAX_MID_BYTES],
}

const _: () = assert!(size_of::<Lane>() <= 128, "two cache lines, or fan-out pays for a third");

/// A packet that a viewer once was sent, by its layer's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The layer it is of.
    pub layer: u8,
    /// Its number there.
    pub sequence: u64,
    /// Its number to the viewer.
    pub index: u64,
}

impl Lane {
    pub(super) fn new(track: &ViewerTrack, random: u64) -> Lane {
        let mut mid = [0; MAX_MID_BYTES];
        let named = track.mid.len() <= MAX_MID_BYTES && !track.mid.is_empty();
        if named {
            mid[..track.mid.len()].copy_from_slice(track.mid.as_bytes());
        }
        let usable = |id: Option<u8>| id.filter(|id| (1..=14).contains(id));
        // Within the first half, so that the viewer's guess at the rollover counter is right
        // whatever it loses at the start.
        let start = random & 0x7fff;
        Lane {
            span: Span::default(),
            next: start,
            start,
            before: None,
            timestamp_offset: (random >> 16) as u32,
            ssrc: track.ssrc,
            rtx_ssrc: track.rtx_ssrc.unwrap_or_default(),
            packets: 0,
            octets: 0,
            rtx_index: (random >> 48) & 0x7fff,
            id: track.id,
            codec: track.codec,
            payload_type: track.payload_type,
            rtx_payload_type: track.rtx_payload_type.filter(|_| track.rtx_ssrc.is_some()),
            red_payload_type: track.red_payload_type,
            playing: false,
            name_section: named,
            extensions: ExtensionIds {
                mid: usable(track.extensions.mid).filter(|_| named),
                audio_level: usable(track.extensions.audio_level),
                video_orientation: usable(track.extensions.video_orientation),
                playout_delay: usable(track.extensions.playout_delay),
                descriptor: usable(track.extensions.descriptor),
                transport_sequence: usable(track.extensions.transport_sequence),
            },
            mid_length: if named { track.mid.len() as u8 } else { 0 },
            mid,
        }
    }

    /// Which of the stream's tracks it takes.
    #[must_use]
    pub fn id(&self) -> TrackId {
        self.id
    }

    /// Whether it comes in the section with this name.
    #[must_use]
    pub fn is_section(&self, mid: &str) -> bool {
        self.mid[..usize::from(self.mid_length)] == *mid.as_bytes()
    }

    /// What it takes the track as.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// SSRC of the media.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Whether a first packet was sent.
    #[must_use]
    pub fn is_playing(&self) -> bool {
        self.playing
    }

    /// The layer whose packets it gets, once it plays.
    #[must_use]
    pub fn layer(&self) -> Option<u8> {
        self.playing.then_some(self.span.layer)
    }

    /// The number of the first packet sent, as the viewer counts them: its receiver reports go on
    /// from there.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.start
    }

    /// Packets and payload bytes sent, as a sender report counts them.
    #[must_use]
    pub fn sent(&self) -> (u32, u32) {
        (self.packets, self.octets)
    }

    /// A timestamp of the track as the viewer sees it.
    #[must_use]
    pub fn viewer_timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.timestamp_offset)
    }

    /// The viewer has reported on this SSRC: it knows the section, MID need not ride along. Without
    /// RTX it still does, since a resent packet must be the one that was sent, to the bit.
    pub fn acknowledged(&mut self) {
        self.name_section &= self.rtx_payload_type.is_none();
    }

    /// The packet the viewer calls `sequence`: the newest of that number it can have been sent.
    /// `None` when it never was.
    #[must_use]
    pub fn find(&self, sequence: u16) -> Option<Sent> {
        let newest = self.next.checked_sub(1).filter(|_| self.playing)?;
        let behind = (newest as u16).wrapping_sub(sequence);
        if behind >= 0x8000 {
            return None;
        }
        let index = newest.checked_sub(u64::from(behind)).filter(|index| *index >= self.start)?;
        let span = self.span_of(index)?;
        Some(Sent { layer: span.layer, sequence: index.wrapping_sub(span.offset), index })
    }

    /// The viewer's newest number, once it plays.
    #[must_use]
    pub fn newest(&self) -> Option<Sent> {
        let index = self.next.checked_sub(1).filter(|_| self.playing)?;
        let Span { layer, offset, .. } = *self.span_of(index)?;
        Some(Sent { layer, sequence: index.wrapping_sub(offset), index })
    }

    /// Whether `index` is of a layer that the viewer has left.
    #[must_use]
    pub fn has_left(&self, index: u64) -> bool {
        index < self.span.start()
    }

    /// The viewer goes on with another layer, or begins. What it was sent before is found as ever.
    ///
    /// # Errors
    /// [`TooEarly`]: it is as it was.
    pub fn begin(&mut self, start: &Start<'_>) -> Result<(), TooEarly> {
        let sent_in = self.next.checked_sub(1).and_then(|index| self.span_of(index));
        let before = sent_in.filter(|_| self.playing);
        let span = Span::begin(start, self.next, before)?;
        if self.playing {
            let Earlier { spans, .. } = &mut **self.before.get_or_insert_default();
            if spans.len() == MAX_SPANS {
                spans.remove(0);
            }
            spans.push(self.span);
        }
        (self.span, self.playing) = (span, true);
        Ok(())
    }

    /// The layers that it had before, newest first.
    fn earlier(&self) -> impl Iterator<Item = &Span> {
        self.before.iter().flat_map(|before| before.spans.iter().rev())
    }

    /// The span of a number.
    #[inline]
    fn span_of(&self, index: u64) -> Option<&Span> {
        if index >= self.span.start() {
            return Some(&self.span);
        }
        self.earlier().find(|span| index >= span.start())
    }

    /// The viewer's number of `packet`, if the viewer takes it: it plays already, or can start
    /// here.
    pub(super) fn admit(&mut self, packet: &MediaPacket) -> Result<u64, DropReason> {
        let Span { first, offset, layer, .. } = self.span;
        if self.codec != red::without_redundancy(packet.codec) {
            return Err(DropReason::UnknownEncoding);
        }
        if self.playing && packet.layer == layer && packet.sequence >= first {
            return Ok(packet.sequence.wrapping_add(offset));
        }
        self.admit_elsewhere(packet)
    }

    /// As [`Lane::admit`], for what does not go on where the viewer is.
    #[cold]
    fn admit_elsewhere(&mut self, packet: &MediaPacket) -> Result<u64, DropReason> {
        if self.playing {
            let waits = packet.layer == self.span.layer;
            let reason =
                if waits { DropReason::WaitingForKeyframe } else { DropReason::OtherLayer };
            return self.late(packet).ok_or(reason);
        }
        if !packet.keyframe {
            return Err(DropReason::WaitingForKeyframe);
        }
        self.playing = true;
        self.span = Span::at(packet, self.next);
        Ok(self.next)
    }

    /// Whether it may take something of a layer: it has it, or had it, or has none yet.
    #[inline]
    #[must_use]
    pub fn may_take(&self, layer: u8) -> bool {
        !self.playing || self.span.layer == layer || self.had(layer)
    }

    fn had(&self, layer: u8) -> bool {
        self.earlier().any(|span| span.layer == layer)
    }

    /// The viewer's number of a packet that comes late, from before the viewer changed layers.
    fn late(&self, packet: &MediaPacket) -> Option<u64> {
        let mut end = self.span.start();
        for span in self.earlier() {
            let index = packet.sequence.wrapping_add(span.offset);
            let is_within = packet.sequence >= span.first && index < end && !span.sealed;
            if span.layer == packet.layer && is_within {
                return Some(index);
            }
            end = span.start();
        }
        None
    }

    pub(super) fn send(
        &mut self,
        sealer: &RtpSealer,
        packet: &MediaPacket,
        index: u64,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let length = self.write(sealer, packet, index, None, slot)?;
        self.count(packet, index);
        Ok(length)
    }

    /// As [`Lane::send`], under a transport-wide number where the lane has such.
    pub(super) fn send_numbered(
        &mut self,
        sealer: &RtpSealer,
        packet: &MediaPacket,
        (index, number): (u64, u16),
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let length = self.write(sealer, packet, index, Some(number), slot)?;
        self.count(packet, index);
        Ok(length)
    }

    /// Whether the viewer is sent packets that carry earlier ones again.
    #[must_use]
    pub fn takes_redundancy(&self) -> bool {
        self.red_payload_type.is_some() && !self.is_spared(self.next)
    }

    fn is_spared(&self, index: u64) -> bool {
        let from = self.before.as_ref().and_then(|before| before.spared_from);
        from.is_some_and(|from| index >= from)
    }

    /// From here on nothing carries earlier packets again. What was sent stays the same to the bit.
    pub(super) fn spare_redundancy(&mut self) {
        if self.red_payload_type.is_some() {
            self.before.get_or_insert_default().spared_from.get_or_insert(self.next);
        }
    }

    /// Whether its packets can have transport-wide numbers. They have RTX then, so that none is
    /// sent twice under one number of its own.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.extensions.transport_sequence.is_some() && self.rtx_payload_type.is_some()
    }

    fn count(&mut self, packet: &MediaPacket, index: u64) {
        self.next = self.next.max(index + 1);
        self.packets = self.packets.wrapping_add(1);
        let bytes = self.carried(packet, index).map_or(0, |(_, payload)| payload.len());
        self.octets = self.octets.wrapping_add(bytes as u32);
    }

    /// What a viewer is sent of a packet, and as which payload type: where it carries earlier ones
    /// again, all of it or what is new.
    #[inline]
    fn carried<'p>(
        &self,
        packet: &'p MediaPacket,
        index: u64,
    ) -> Result<(u8, &'p [u8]), DropReason> {
        if packet.codec != Codec::Red {
            return Ok((self.payload_type, &packet.payload));
        }
        match self.red_payload_type.filter(|_| !self.is_spared(index)) {
            Some(payload_type) => Ok((payload_type, &packet.payload)),
            None => Ok((self.payload_type, new_in(packet)?)),
        }
    }

    /// Writes and seals the packet numbered `index`. The same packet gives the same bytes each
    /// time, padding included: two texts under one SRTP index would give the key stream away. Under
    /// a transport-wide `number` it is written once only.
    #[inline]
    fn write(
        &self,
        sealer: &RtpSealer,
        packet: &MediaPacket,
        index: u64,
        number: Option<u16>,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let padding = packet.padding;
        let span = self.span_of(index).ok_or(DropReason::RepairTooOld)?;
        let (payload_type, payload) = self.carried(packet, index)?;
        let header = self.header(span, packet, index as u16, padding > 0, None);
        let header = HeaderWriter { payload_type, ..header };
        let start = self.write_header(&header, span.shift, packet, number, slot)?;
        let length = start + payload.len() + usize::from(padding);
        if length + sealer.overhead() > slot.len().min(MAX_DATAGRAM_OUT) {
            return Err(DropReason::TooLong);
        }
        let text = &mut slot[start..start + payload.len()];
        text.copy_from_slice(payload);
        if !span.shift.spares_payload() {
            span.shift.apply(self.codec, text);
        }
        if payload_type != self.payload_type {
            red::name_payloads(text, self.payload_type);
        }
        if padding > 0 {
            slot[start + payload.len()..length].fill(0);
            slot[length - 1] = padding;
        }
        Ok(sealer.seal(slot, start, length, self.ssrc, index))
    }

    pub(super) fn resend(
        &mut self,
        sealer: &RtpSealer,
        packet: &MediaPacket,
        (index, number): (u64, Option<u16>),
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let Some(payload_type) = self.rtx_payload_type else {
            return self.write(sealer, packet, index, None, slot);
        };
        self.rtx_index += 1;
        let span = *self.span_of(index).ok_or(DropReason::RepairTooOld)?;
        let header = self.header(&span, packet, self.rtx_index as u16, false, Some(payload_type));
        let start = self.write_header(&header, span.shift, packet, number, slot)?;
        let payload = if packet.codec == Codec::Red { new_in(packet)? } else { &packet.payload };
        let length = start + OSN_BYTES + payload.len();
        if length + sealer.overhead() > slot.len().min(MAX_DATAGRAM_OUT) {
            return Err(DropReason::TooLong);
        }
        slot[start..start + OSN_BYTES].copy_from_slice(&(index as u16).to_be_bytes());
        let text = &mut slot[start + OSN_BYTES..length];
        text.copy_from_slice(payload);
        span.shift.apply(self.codec, text);
        Ok(sealer.seal(slot, start, length, self.rtx_ssrc, self.rtx_index))
    }

    fn header(
        &self,
        span: &Span,
        packet: &MediaPacket,
        sequence: u16,
        padding: bool,
        rtx_payload_type: Option<u8>,
    ) -> HeaderWriter {
        HeaderWriter {
            marker: packet.marker,
            padding,
            payload_type: rtx_payload_type.unwrap_or(self.payload_type),
            sequence,
            timestamp: self.viewer_timestamp(span.timestamp(packet)),
            ssrc: if rtx_payload_type.is_some() { self.rtx_ssrc } else { self.ssrc },
        }
    }

    #[inline]
    fn write_header(
        &self,
        header: &HeaderWriter,
        shift: Shift,
        packet: &MediaPacket,
        number: Option<u16>,
        slot: &mut [u8],
    ) -> Result<usize, DropReason> {
        let extensions = &packet.extensions;
        let level = [extensions.audio_level.unwrap_or_default()];
        let orientation = [extensions.video_orientation.unwrap_or_default()];
        let delay = extensions.playout_delay.unwrap_or_default();
        let mid = self.extensions.mid.filter(|_| self.name_section || header.ssrc != self.ssrc);
        let mut elements = Elements::default();
        elements.push(mid, &self.mid[..usize::from(self.mid_length)]);
        elements
            .push(self.extensions.audio_level.filter(|_| extensions.audio_level.is_some()), &level);
        elements.push(
            self.extensions.video_orientation.filter(|_| extensions.video_orientation.is_some()),
            &orientation,
        );
        elements.push(
            self.extensions.playout_delay.filter(|_| extensions.playout_delay.is_some()),
            &delay,
        );
        let sequence = number.unwrap_or_default().to_be_bytes();
        elements.push(self.extensions.transport_sequence.filter(|_| number.is_some()), &sequence);
        let descriptor = extensions.descriptor.as_ref().zip(self.extensions.descriptor);
        match descriptor {
            Some((descriptor, id)) if shift.frame != 0 => {
                elements.push_shifted(id, descriptor, shift.frame, |all| header.write(all, slot))
            }
            Some((descriptor, id)) => {
                elements.push(Some(id), descriptor.bytes());
                header.write(elements.as_slice(), slot)
            }
            None => header.write(elements.as_slice(), slot),
        }
        .ok_or(DropReason::TooLong)
    }
}

/// The payload that is new in a packet with earlier ones.
fn new_in(packet: &MediaPacket) -> Result<&[u8], DropReason> {
    red::primary(&packet.payload).ok_or(DropReason::UnknownEncoding)
}

mod padding;
#[cfg(test)]
mod tests;
