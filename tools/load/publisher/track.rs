//! One SSRC of a publisher: its numbers, its packets, and what it keeps to send again.

use crate::clock;
use crate::dice::Dice;
use crate::layers::RIDS;
use crate::media::{Format, Stamp};
use crate::sdp::{ABS_SEND_TIME_ID, AUDIO_LEVEL_ID, MID_ID, Section};
use crate::timeline::Timeline;
use crate::transport::Wire;
use monoport::srtp::RtpSealer;
use monoport::wire::rtcp::SenderInfo;
use monoport::wire::rtp::HeaderWriter;

/// A browser sends the MID until the first receiver report, which is about this many packets.
const PACKETS_WITH_MID: u32 = 100;
/// Header with abs-send-time, transport-wide number, MID, and audio level or RID:
/// 12 + 4 + 4 + 3 + 2 + 2, rounded up.
pub const MAX_HEADER: usize = 28;
/// RFC 6464: with voice, 40 dB below overload.
const AUDIO_LEVEL: [u8; 1] = [0x80 | 40];
/// Packets kept for sending again: four seconds at 250 a second.
const HISTORY: usize = 1_024;

/// What all tracks of a publisher write with.
pub struct Sending<'a> {
    pub sealer: &'a RtpSealer,
    /// The transport-wide number of the next packet, whichever track's.
    pub transport_sequence: &'a mut u16,
    pub out: &'a mut dyn Wire,
}

/// One packet's part of what is sent.
pub struct Content<'a> {
    pub marker: bool,
    /// Bytes of payload, which `write` fills.
    pub length: usize,
    pub write: &'a dyn Fn(&mut [u8], Stamp),
}

/// One SSRC.
pub struct Track {
    ssrc: u32,
    format: Format,
    /// What the answer said of its section; `None` where it is not sent.
    section: Option<Section>,
    mid: &'static str,
    /// The simulcast layer, if it is one of several.
    layer: Option<usize>,
    /// `ROC << 16 | seq` of the next packet.
    index: u64,
    /// Packets sent.
    pub number: u32,
    pub timestamp: u32,
    octets: u32,
    /// The last datagrams as they were sent, by the low bits of their sequence numbers; empty when
    /// the track resends nothing.
    sent: Vec<(u16, Vec<u8>)>,
    dice: Dice,
}

impl Track {
    /// A track that loses the part `drop` of its packets on purpose before they are sent.
    #[must_use]
    pub fn new(
        (format, section): (Format, Option<Section>),
        ssrc: u32,
        mid: &'static str,
        drop: f64,
    ) -> Self {
        let sent = if format == Format::Opus || section.is_none() { 0 } else { HISTORY };
        Self {
            ssrc,
            format,
            section,
            mid,
            layer: None,
            // Below 2^15, so that the first packets do not straddle a rollover (RFC 3711 §3.3.1).
            index: u64::from(ssrc & 0x7fff),
            number: 0,
            timestamp: ssrc,
            octets: 0,
            sent: vec![(0, Vec::new()); sent],
            dice: Dice::new(drop, u64::from(ssrc)),
        }
    }

    /// The same as one of several layers.
    #[must_use]
    pub fn of_layer(self, layer: usize) -> Self {
        Self { layer: Some(layer), ..self }
    }

    /// Whether it is sent at all.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.section.is_some()
    }

    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// What a sender report says of it; `None` before the first packet.
    #[must_use]
    pub fn report(&self, ntp: u64, rtp_timestamp: u32) -> Option<SenderInfo> {
        let (ssrc, packets, octets) = (self.ssrc, self.number, self.octets);
        (packets > 0).then_some(SenderInfo { ssrc, ntp, rtp_timestamp, packets, octets })
    }

    /// Sends a packet, and notes in the timeline when.
    pub fn send(
        &mut self,
        content: &Content<'_>,
        timeline: Option<&Timeline>,
        with: &mut Sending<'_>,
    ) {
        let Some(section) = self.section else { return };
        let sent_ns = clock::now_ns();
        let header = HeaderWriter {
            marker: content.marker,
            padding: false,
            payload_type: section.payload_type,
            sequence: self.index as u16,
            timestamp: self.timestamp,
            ssrc: self.ssrc,
        };
        let (number, index) = (self.number, self.index);
        let layer = self.layer.unwrap_or(0) as u8;
        let extensions = self.extensions(section, sent_ns, with.transport_sequence);
        let (sent, lost) = (&mut self.sent, self.dice.lose());
        with.out.datagram(&mut |slot| {
            let Some(header_len) = extensions.write(header, slot) else { return 0 };
            let end = header_len + content.length;
            let Some(payload) = slot.get_mut(header_len..end) else { return 0 };
            (content.write)(payload, Stamp { layer, number, sent_ns });
            let length = with.sealer.seal(slot, header_len, end, header.ssrc, index);
            if let Some((seq, kept)) = sent.get_mut(index as usize % HISTORY) {
                *seq = index as u16;
                kept.clear();
                kept.extend_from_slice(&slot[..length]);
            }
            // A length of 0 is not sent.
            if lost { 0 } else { length }
        });
        if let Some(timeline) = timeline {
            timeline.record(number, sent_ns);
        }
        self.number = self.number.wrapping_add(1);
        self.index += 1;
        self.octets = self.octets.wrapping_add(content.length as u32);
    }

    /// What the header says beside the numbers; a transport-wide number is taken if it is written.
    fn extensions(&self, section: Section, sent_ns: u64, sequence: &mut u16) -> Extensions {
        let transport_wide = section.transport_wide.map(|id| {
            let number = *sequence;
            *sequence = number.wrapping_add(1);
            (id, number.to_be_bytes())
        });
        // abs-send-time: seconds in 6.18 fixed point, from any epoch.
        let abs_send_time = (((sent_ns % 64_000_000_000) << 18) / 1_000_000_000) as u32;
        Extensions {
            abs_send_time: abs_send_time.to_be_bytes(),
            transport_wide,
            mid: (self.number < PACKETS_WITH_MID).then_some(self.mid),
            rid: self.layer.filter(|_| self.number < PACKETS_WITH_MID).zip(section.rid),
            has_level: self.format == Format::Opus,
        }
    }

    /// Sends a packet again, the same bytes on the same SSRC; returns whether it was still there.
    pub fn resend(&self, seq: u16, out: &mut dyn Wire) -> bool {
        let kept = self.sent.get(usize::from(seq) % HISTORY);
        let Some((_, bytes)) = kept.filter(|(of, bytes)| *of == seq && !bytes.is_empty()) else {
            return false;
        };
        out.datagram(&mut |slot| {
            slot[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        });
        true
    }
}

/// The header extensions of one packet.
struct Extensions {
    abs_send_time: [u8; 4],
    /// Identifier and number (draft-holmer-rmcat-transport-wide-cc-extensions §2).
    transport_wide: Option<(u8, [u8; 2])>,
    mid: Option<&'static str>,
    /// A layer, and the identifier of the extension with its name (RFC 8852).
    rid: Option<(usize, u8)>,
    has_level: bool,
}

impl Extensions {
    /// Writes `header` with them; returns its length, `None` when `slot` is too short.
    fn write(&self, header: HeaderWriter, slot: &mut [u8]) -> Option<usize> {
        let mut elements: [(u8, &[u8]); 5] = [(ABS_SEND_TIME_ID, &self.abs_send_time[1..]); 5];
        let mut count = 1;
        let mut put = |id, data| {
            elements[count] = (id, data);
            count += 1;
        };
        if let Some((id, number)) = &self.transport_wide {
            put(*id, number);
        }
        if self.has_level {
            put(AUDIO_LEVEL_ID, &AUDIO_LEVEL);
        }
        if let Some(mid) = self.mid {
            put(MID_ID, mid.as_bytes());
        }
        if let Some((layer, id)) = self.rid {
            put(id, RIDS[layer].as_bytes());
        }
        header.write(&elements[..count], slot)
    }
}
