//! What is in a datagram: one frame, whose first byte says which.
//!
//! ```text
//! 1 media     position 6, track, codec, layer, flags, publisher 4, source 2, sequence 8,
//!             timestamp 4, extensions as the flags say, payload
//! 2 clock     track, layer, publisher 4, source 2, NTP 8, timestamp 4, age 4
//! 3 key frame track, layer
//! 4 missing   positions, 6 each
//! 5 alive     position 6, time 8, the other end's time 8, held for 4
//! 6 end
//! 7 name      track, layer, 16 bytes
//! 8 front     position 6, bytes
//! 9 rest      as media
//! 16 lineage  publisher 4, publication 8, leaves, path 8
//! 17 had      publication 8, back 2; track, layer, source 2, sequence 8 of each layer
//! 18 wants    turn 4; layers, best of each video track
//! 19 layers   track, best; layer, flags, rate 4, need 4, width 2, height 2, thinned 4 each
//! ```
//!
//! A packet that has no room in one datagram is two frames at one position: the front of its
//! payload, and then the packet with the rest. Fragments of IP would do the same, and many networks
//! drop them.
//!
//! Numbers are big-endian, times and ages in microseconds.

use std::time::{Duration, Instant};

use str0m::format::Codec;

use super::layers::{LAYERS, SaidLayers, WANTS, Wants};
use super::lineage::{HAD, Had, LINEAGE, Lineage};
use crate::drop::DropReason;
use crate::id::{StreamKey, TrackId, TrackKey, TrackKind};
use crate::limits::{
    MAX_DATAGRAM_OUT, MAX_LAYERS, MAX_LINK_ASKED, MAX_PAYLOAD_OUT, MAX_TRACKS_OF_A_KIND,
};
use crate::media::{
    ClockReport, DependencyDescriptor, HeaderExtensions, LayerName, MediaPacket, Origin, red,
};
use crate::wire::link::{HEAD_BYTES, TAG_BYTES};

const MEDIA: u8 = 1;
const CLOCK: u8 = 2;
const KEYFRAME: u8 = 3;
const MISSING: u8 = 4;
const ALIVE: u8 = 5;
const END: u8 = 6;
const NAME: u8 = 7;
const FRONT: u8 = 8;
const REST: u8 = 9;

const MARKER: u8 = 1;
const IS_KEYFRAME: u8 = 1 << 1;
const AUDIO_LEVEL: u8 = 1 << 2;
const ORIENTATION: u8 = 1 << 3;
const PLAYOUT_DELAY: u8 = 1 << 4;
const DESCRIPTOR: u8 = 1 << 5;

/// Set in a track's byte where it is of video.
const VIDEO: u8 = 0x80;

/// Bytes of a position.
const POSITION_BYTES: usize = 6;

/// Bytes before the payload of a media packet, without a descriptor and with all else.
const MEDIA_BYTES: usize = 1 + POSITION_BYTES + 4 + 4 + 2 + 8 + 4 + 5;

/// The codecs that are passed through; a byte is the place in here.
const CODECS: [Codec; 7] =
    [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1, Codec::Red];

/// A media packet with its place among all of its link.
#[derive(Clone, Debug)]
pub struct Media<P> {
    /// The place.
    pub position: u64,
    /// The packet, numbered by its publisher.
    pub packet: MediaPacket<P>,
}

/// A frame.
#[derive(Clone, Debug)]
pub enum Frame<'a> {
    /// A packet.
    Media(Media<&'a [u8]>),
    /// What time it is in a layer.
    Clock(ClockReport),
    /// Somebody needs a key frame.
    Keyframe(TrackId, u8),
    /// Packets that have not come, by their positions.
    Missing(Vec<u64>),
    /// An end is there.
    Alive(Alive),
    /// The link is over.
    End,
    /// What the publisher calls a layer.
    Name(TrackId, u8, LayerName),
    /// The first bytes of the payload of the packet at a position.
    Front(u64, &'a [u8]),
    /// A packet whose payload is what follows its front.
    Rest(Media<&'a [u8]>),
    /// Where the stream comes from.
    Lineage(Lineage),
    /// What the end that takes media has of it already.
    Had(Had),
    /// Which layers it wants.
    Wants(Wants),
    /// Which layers of a track there are.
    Layers(SaidLayers),
}

/// What an end says when it has nothing else to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alive {
    /// The position of the next media packet; 0 from the end that takes them.
    pub next: u64,
    /// The time by the sender's clock, in microseconds since it has the link.
    pub time_us: u64,
    /// What the other end's last one said.
    pub heard_us: u64,
    /// How long ago that came, in microseconds.
    pub held_us: u32,
}

/// Writes into a slot, front to back.
pub(super) struct Writer<'a> {
    slot: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), DropReason> {
        let room = self.slot.get_mut(self.length..self.length + bytes.len());
        room.ok_or(DropReason::TooLong)?.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }

    pub fn length(&self) -> usize {
        self.length
    }

    fn put_position(&mut self, position: u64) -> Result<(), DropReason> {
        self.put(&position.to_be_bytes()[8 - POSITION_BYTES..])
    }
}

pub(super) fn writer(slot: &mut [u8]) -> Writer<'_> {
    Writer { slot, length: 0 }
}

pub(super) fn track_byte(track: TrackId) -> u8 {
    match track.kind {
        TrackKind::Audio => track.number,
        TrackKind::Video => VIDEO | track.number,
    }
}

/// Whether a packet goes over a link: its codec is passed through, and its payload is one that
/// viewers can be sent.
///
/// # Errors
/// [`DropReason::TooLong`] and [`DropReason::UnknownEncoding`].
pub fn fits(packet: &MediaPacket) -> Result<(), DropReason> {
    if !CODECS.contains(&packet.codec) {
        return Err(DropReason::UnknownEncoding);
    }
    if packet.payload.len() <= MAX_PAYLOAD_OUT { Ok(()) } else { Err(DropReason::TooLong) }
}

/// How much of a packet's payload goes ahead in a datagram of its own, where it has no room in one
/// beside what a link adds: half of it. Else nothing.
#[must_use]
pub fn front_of(packet: &MediaPacket) -> &[u8] {
    let HeaderExtensions { descriptor, .. } = &packet.extensions;
    let descriptor = descriptor.as_ref().map_or(0, |descriptor| 1 + descriptor.bytes().len());
    let payload = packet.payload.len();
    let length = HEAD_BYTES + MEDIA_BYTES + descriptor + payload + TAG_BYTES;
    let front = if length <= MAX_DATAGRAM_OUT { 0 } else { payload / 2 };
    &packet.payload[..front]
}

/// Bytes of a descriptor at most, with their number (RFC 8285 section 4.3).
const MAX_DESCRIPTOR_BYTES: usize = 1 + 255;

const _: () = assert!(
    HEAD_BYTES + MEDIA_BYTES + MAX_DESCRIPTOR_BYTES + MAX_PAYLOAD_OUT / 2 + 1 + TAG_BYTES
        <= MAX_DATAGRAM_OUT,
    "the rest has room"
);

/// Writes the front of the payload of the packet at `position`.
pub(super) fn write_front(
    slot: &mut [u8],
    position: u64,
    front: &[u8],
) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[FRONT])?;
    out.put_position(position)?;
    out.put(front)?;
    Ok(out.length)
}

/// Writes a media packet into `slot`, or what is behind its [front](front_of); returns how long it
/// is.
///
/// # Errors
/// [`DropReason::TooLong`], and [`DropReason::UnknownEncoding`] for a codec that is not passed
/// through.
pub(super) fn write_media(
    slot: &mut [u8],
    position: u64,
    packet: &MediaPacket,
) -> Result<usize, DropReason> {
    let codec = CODECS.iter().position(|codec| *codec == packet.codec);
    let codec = codec.ok_or(DropReason::UnknownEncoding)? as u8;
    let HeaderExtensions { audio_level, video_orientation, playout_delay, descriptor } =
        &packet.extensions;
    let flag = |has: bool, flag: u8| if has { flag } else { 0 };
    let flags = flag(packet.marker, MARKER)
        | flag(packet.keyframe, IS_KEYFRAME)
        | flag(audio_level.is_some(), AUDIO_LEVEL)
        | flag(video_orientation.is_some(), ORIENTATION)
        | flag(playout_delay.is_some(), PLAYOUT_DELAY)
        | flag(descriptor.is_some(), DESCRIPTOR);
    let front = front_of(packet).len();
    let mut out = writer(slot);
    out.put(&[if front == 0 { MEDIA } else { REST }])?;
    out.put_position(position)?;
    out.put(&[track_byte(packet.track.id), codec, packet.layer, flags])?;
    out.put(&packet.origin.publisher.to_be_bytes())?;
    out.put(&packet.origin.source.to_be_bytes())?;
    out.put(&packet.sequence.to_be_bytes())?;
    out.put(&packet.timestamp.to_be_bytes())?;
    for byte in [audio_level, video_orientation].into_iter().flatten() {
        out.put(&[*byte])?;
    }
    if let Some(delay) = playout_delay {
        out.put(delay)?;
    }
    if let Some(descriptor) = descriptor {
        // At most 255 (RFC 8285 §4.3).
        out.put(&[descriptor.bytes().len() as u8])?;
        out.put(descriptor.bytes())?;
    }
    out.put(&packet.payload[front..])?;
    Ok(out.length)
}

/// Writes what time it is in a layer, at `now`.
pub(super) fn write_clock(
    slot: &mut [u8],
    now: Instant,
    report: &ClockReport,
) -> Result<usize, DropReason> {
    let age = now.saturating_duration_since(report.received).as_micros();
    let mut out = writer(slot);
    out.put(&[CLOCK, track_byte(report.track.id), report.layer])?;
    out.put(&report.origin.publisher.to_be_bytes())?;
    out.put(&report.origin.source.to_be_bytes())?;
    out.put(&report.ntp.to_be_bytes())?;
    out.put(&report.timestamp.to_be_bytes())?;
    out.put(&u32::try_from(age).unwrap_or(u32::MAX).to_be_bytes())?;
    Ok(out.length)
}

/// Writes a request for a key frame.
pub(super) fn write_keyframe(
    slot: &mut [u8],
    track: TrackId,
    layer: u8,
) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[KEYFRAME, track_byte(track), layer])?;
    Ok(out.length)
}

/// Writes which packets have not come, [`MAX_LINK_ASKED`] at most.
pub(super) fn write_missing(slot: &mut [u8], positions: &[u64]) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[MISSING])?;
    for position in positions.iter().take(MAX_LINK_ASKED) {
        out.put_position(*position)?;
    }
    Ok(out.length)
}

/// Writes that an end is there.
pub(super) fn write_alive(slot: &mut [u8], alive: &Alive) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[ALIVE])?;
    out.put_position(alive.next)?;
    out.put(&alive.time_us.to_be_bytes())?;
    out.put(&alive.heard_us.to_be_bytes())?;
    out.put(&alive.held_us.to_be_bytes())?;
    Ok(out.length)
}

/// Writes what the publisher calls a layer.
pub(super) fn write_name(
    slot: &mut [u8],
    track: TrackId,
    layer: u8,
    name: &LayerName,
) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[NAME, track_byte(track), layer])?;
    out.put(&name.0)?;
    Ok(out.length)
}

/// Writes that the link is over.
pub(super) fn write_end(slot: &mut [u8]) -> Result<usize, DropReason> {
    let mut out = writer(slot);
    out.put(&[END])?;
    Ok(out.length)
}

/// Reads front to back.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn some(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn left(&self) -> usize {
        self.0.len()
    }

    pub fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn position(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[8 - POSITION_BYTES..].copy_from_slice(&self.take::<POSITION_BYTES>()?);
        Some(u64::from_be_bytes(bytes))
    }

    pub fn track(&mut self) -> Option<TrackId> {
        let byte = self.byte()?;
        let kind = if byte & VIDEO != 0 { TrackKind::Video } else { TrackKind::Audio };
        let number = byte & !VIDEO;
        (usize::from(number) < MAX_TRACKS_OF_A_KIND).then_some(TrackId { kind, number })
    }

    pub fn layer(&mut self) -> Option<u8> {
        self.byte().filter(|layer| usize::from(*layer) < MAX_LAYERS)
    }

    fn origin(&mut self) -> Option<Origin> {
        let publisher = u32::from_be_bytes(self.take()?);
        Some(Origin { publisher, source: u16::from_be_bytes(self.take()?) })
    }

    fn media(&mut self, stream: StreamKey, received: Instant) -> Option<Media<&'a [u8]>> {
        let position = self.position()?;
        let id = self.track()?;
        let codec = *CODECS.get(usize::from(self.byte()?))?;
        let (layer, flags) = (self.layer()?, self.byte()?);
        let origin = self.origin()?;
        let sequence = u64::from_be_bytes(self.take()?);
        let timestamp = u32::from_be_bytes(self.take()?);
        let has = |flag: u8| flags & flag != 0;
        let is_audio = red::without_redundancy(codec).is_audio();
        if is_audio != (id.kind == TrackKind::Audio) || sequence > MOST_SEQUENCE {
            return None;
        }
        let mut extensions = HeaderExtensions::default();
        if has(AUDIO_LEVEL) {
            extensions.audio_level = Some(self.byte()?);
        }
        if has(ORIENTATION) {
            extensions.video_orientation = Some(self.byte()?);
        }
        if has(PLAYOUT_DELAY) {
            extensions.playout_delay = Some(self.take()?);
        }
        if has(DESCRIPTOR) {
            let length = self.byte()?;
            let bytes = self.some(usize::from(length))?;
            extensions.descriptor = Some(DependencyDescriptor::new(bytes)?);
        }
        let packet = MediaPacket {
            track: TrackKey { stream, id },
            codec,
            layer,
            origin,
            sequence,
            timestamp,
            marker: has(MARKER),
            keyframe: has(IS_KEYFRAME),
            extensions,
            padding: 0,
            received,
            payload: std::mem::take(&mut self.0),
        };
        Some(Media { position, packet })
    }

    fn clock(&mut self, stream: StreamKey, received: Instant) -> Option<ClockReport> {
        let id = self.track()?;
        let (layer, origin) = (self.layer()?, self.origin()?);
        let ntp = u64::from_be_bytes(self.take()?);
        let timestamp = u32::from_be_bytes(self.take()?);
        let age = Duration::from_micros(u64::from(u32::from_be_bytes(self.take()?)));
        let track = TrackKey { stream, id };
        let received = received.checked_sub(age).unwrap_or(received);
        Some(ClockReport { track, layer, origin, ntp, timestamp, received })
    }

    fn missing(&mut self) -> Option<Vec<u64>> {
        let count = self.0.len() / POSITION_BYTES;
        if count > MAX_LINK_ASKED {
            return None;
        }
        (0..count).map(|_| self.position()).collect()
    }

    fn alive(&mut self) -> Option<Alive> {
        let next = self.position()?;
        let (time_us, heard_us) =
            (u64::from_be_bytes(self.take()?), u64::from_be_bytes(self.take()?));
        Some(Alive { next, time_us, heard_us, held_us: u32::from_be_bytes(self.take()?) })
    }
}

/// The greatest sequence number there is: 48 bits of RTP's, and what comes before the first
/// (RFC 3711 §3.3.1).
const MOST_SEQUENCE: u64 = 1 << 50;

impl<'a> Frame<'a> {
    /// The frame in opened `bytes` that came at `received`, of a link that brings `stream`. `None`
    /// where it is none.
    #[must_use]
    pub fn read(bytes: &'a [u8], stream: StreamKey, received: Instant) -> Option<Frame<'a>> {
        let mut reader = Reader(bytes);
        let frame = match reader.byte()? {
            MEDIA => Frame::Media(reader.media(stream, received)?),
            CLOCK => Frame::Clock(reader.clock(stream, received)?),
            KEYFRAME => Frame::Keyframe(reader.track()?, reader.layer()?),
            MISSING => Frame::Missing(reader.missing()?),
            ALIVE => Frame::Alive(reader.alive()?),
            END => Frame::End,
            FRONT => Frame::Front(reader.position()?, std::mem::take(&mut reader.0)),
            REST => Frame::Rest(reader.media(stream, received)?),
            NAME => Frame::Name(reader.track()?, reader.layer()?, LayerName(reader.take()?)),
            LINEAGE => Frame::Lineage(reader.lineage()?),
            HAD => Frame::Had(reader.had()?),
            WANTS => Frame::Wants(reader.wants()?),
            LAYERS => Frame::Layers(reader.layers()?),
            _ => return None,
        };
        reader.0.is_empty().then_some(frame)
    }
}
