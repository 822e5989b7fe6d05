//! Compound packets as an iterator of what they say.

use super::{
    BLOCK_DELAYS, BYE, EXTENDED_REPORT, FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI,
    FORMAT_TRANSPORT_WIDE, HEADER_LEN, PAYLOAD_FEEDBACK, RECEIVER_REPORT, REMB_NAME,
    REPORT_BLOCK_LEN, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
};
use crate::wire::{Malformed, be16, be32};

/// One packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RFC 3550 §6.4.1.
    SenderReport {
        /// The sender.
        ssrc: u32,
        /// Wall-clock time of the report: seconds since 1900 in 32.32 fixed point.
        ntp: u64,
        /// The same instant in the RTP clock.
        rtp_timestamp: u32,
        /// Packets sent since the start.
        packets: u32,
        /// Bytes of payload sent since the start.
        octets: u32,
        /// What the sender receives, if anything.
        reports: ReportBlocks<'a>,
    },
    /// RFC 3550 §6.4.2.
    ReceiverReport {
        /// The reporter. Browsers that only receive use constants here: never a key.
        ssrc: u32,
        /// One per source received.
        reports: ReportBlocks<'a>,
    },
    /// Generic NACK, RFC 4585 §6.2.1.
    Nack {
        /// The asker.
        sender_ssrc: u32,
        /// The source whose packets are missing.
        media_ssrc: u32,
        /// Their sequence numbers.
        lost: Lost<'a>,
    },
    /// Picture loss indication, RFC 4585 §6.3.1.
    Pli {
        /// The source to make a key frame.
        media_ssrc: u32,
    },
    /// Full intra request, RFC 5104 §4.3.1.
    Fir {
        /// Source and command number of each request.
        entries: FirEntries<'a>,
    },
    /// Receiver's estimate of the bandwidth, draft-alvestrand-rmcat-remb.
    Remb {
        /// Saturates at the end of `u64`.
        bitrate_bps: u64,
        /// The sources that share it.
        ssrcs: Ssrcs<'a>,
    },
    /// Transport-wide congestion control, draft-holmer-rmcat-transport-wide-cc-extensions.
    TransportFeedback {
        /// The reporter.
        sender_ssrc: u32,
        /// Any source of the transport.
        media_ssrc: u32,
        /// What follows the SSRCs, from the base sequence number on.
        raw: &'a [u8],
    },
    /// RFC 3550 §6.6.
    Bye {
        /// The sources that end.
        ssrcs: Ssrcs<'a>,
    },
    /// Extended report, RFC 3611: of its blocks, how long ago a sender heard reference times.
    ExtendedReport {
        /// What it says of each receiver.
        delays: Delays<'a>,
    },
    /// RFC 3550 §6.5; nothing in it is of use to this server.
    SourceDescription,
    /// A packet of another type or format, whole and skipped.
    Other {
        /// From the header.
        packet_type: u8,
        /// The five bits that are a format or a count.
        format: u8,
    },
}

/// The packets of a decrypted compound, in order. A single feedback packet is a compound too
/// (reduced size, RFC 5506).
#[must_use]
pub fn compound(bytes: &[u8]) -> Compound<'_> {
    Compound { rest: bytes }
}

/// Iterates over the packets of a compound; the first malformed one is an error and the end.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.split().and_then(|(header, body)| parse(header, body));
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

impl<'a> Compound<'a> {
    /// Takes the next packet off the front: its first two bytes, and its body without padding.
    fn split(&mut self) -> Result<([u8; 2], &'a [u8]), Malformed> {
        let header: &[u8; HEADER_LEN] = self.rest.first_chunk().ok_or(Malformed::Short)?;
        if header[0] >> 6 != 2 {
            return Err(Malformed::Constant);
        }
        let words = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let end = HEADER_LEN + 4 * words;
        let mut body = self.rest.get(HEADER_LEN..end).ok_or(Malformed::Length)?;
        self.rest = &self.rest[end..];
        if header[0] & 0x20 != 0 {
            // RFC 3550 §6.4.1: padding belongs to the last packet only, in whole words, and counts
            // itself. Transport-wide feedback is padded to a word like this wherever it stands.
            let padding = usize::from(*body.last().ok_or(Malformed::Length)?);
            let is_arrivals =
                header[1] == TRANSPORT_FEEDBACK && header[0] & 0x1F == FORMAT_TRANSPORT_WIDE;
            let whole = padding.is_multiple_of(4) && self.rest.is_empty();
            if padding == 0 || padding > body.len() || !(whole || is_arrivals) {
                return Err(Malformed::Length);
            }
            body = &body[..body.len() - padding];
        }
        Ok(([header[0], header[1]], body))
    }
}

fn parse(header: [u8; 2], body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (format, packet_type) = (header[0] & 0x1F, header[1]);
    match (packet_type, format) {
        (SENDER_REPORT, count) => sender_report(body, count),
        (RECEIVER_REPORT, count) => Ok(Packet::ReceiverReport {
            ssrc: word(body, 0)?,
            reports: ReportBlocks::split(&body[4..], count)?,
        }),
        (SOURCE_DESCRIPTION, _) => Ok(Packet::SourceDescription),
        (BYE, count) => {
            let ssrcs = body.get(..4 * usize::from(count)).ok_or(Malformed::Length)?;
            Ok(Packet::Bye { ssrcs: Ssrcs(ssrcs) })
        }
        (EXTENDED_REPORT, _) => {
            let blocks = body.get(4..).ok_or(Malformed::Length)?;
            Ok(Packet::ExtendedReport { delays: Delays { blocks, items: &[] } })
        }
        (TRANSPORT_FEEDBACK | PAYLOAD_FEEDBACK, _) => feedback(packet_type, format, body),
        _ => Ok(Packet::Other { packet_type, format }),
    }
}

fn sender_report(body: &[u8], count: u8) -> Result<Packet<'_>, Malformed> {
    Ok(Packet::SenderReport {
        ssrc: word(body, 0)?,
        ntp: u64::from(word(body, 4)?) << 32 | u64::from(word(body, 8)?),
        rtp_timestamp: word(body, 12)?,
        packets: word(body, 16)?,
        octets: word(body, 20)?,
        reports: ReportBlocks::split(&body[24..], count)?,
    })
}

/// RFC 4585 §6.1: two SSRCs, then what the format says.
fn feedback(packet_type: u8, format: u8, body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (sender_ssrc, media_ssrc) = (word(body, 0)?, word(body, 4)?);
    let control = &body[8..];
    Ok(match (packet_type, format) {
        (TRANSPORT_FEEDBACK, FORMAT_NACK) => {
            Packet::Nack { sender_ssrc, media_ssrc, lost: Lost::new(control) }
        }
        (TRANSPORT_FEEDBACK, FORMAT_TRANSPORT_WIDE) => {
            Packet::TransportFeedback { sender_ssrc, media_ssrc, raw: control }
        }
        (PAYLOAD_FEEDBACK, FORMAT_PLI) => Packet::Pli { media_ssrc },
        (PAYLOAD_FEEDBACK, FORMAT_FIR) if control.len().is_multiple_of(8) => {
            Packet::Fir { entries: FirEntries(control) }
        }
        (PAYLOAD_FEEDBACK, FORMAT_FIR) => return Err(Malformed::Length),
        (PAYLOAD_FEEDBACK, FORMAT_APPLICATION) if control.starts_with(&REMB_NAME) => {
            remb(&control[REMB_NAME.len()..])?
        }
        _ => Packet::Other { packet_type, format },
    })
}

/// draft-alvestrand-rmcat-remb §2.2: a count, the bit rate as 6 bits of exponent and 18 of
/// mantissa, and the sources.
fn remb(body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let fields = word(body, 0)?;
    let count = (fields >> 24) as usize;
    let exponent = fields >> 18 & 0x3F;
    let mantissa = u64::from(fields & 0x3_FFFF);
    let bitrate_bps = match mantissa.leading_zeros() {
        // Zero times any power of two.
        64 => 0,
        room if exponent <= room => mantissa << exponent,
        _ => u64::MAX,
    };
    let ssrcs = body.get(4..4 + 4 * count).ok_or(Malformed::Length)?;
    Ok(Packet::Remb { bitrate_bps, ssrcs: Ssrcs(ssrcs) })
}

fn word(body: &[u8], at: usize) -> Result<u32, Malformed> {
    be32(body, at).ok_or(Malformed::Length)
}

/// The report blocks of a sender or receiver report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    /// What follows the blocks is a profile's extension (RFC 3550 §6.4.3) and ignored.
    fn split(bytes: &'a [u8], count: u8) -> Result<Self, Malformed> {
        bytes.get(..REPORT_BLOCK_LEN * usize::from(count)).map(Self).ok_or(Malformed::Length)
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_first_chunk::<REPORT_BLOCK_LEN>()?;
        self.0 = rest;
        let loss = be32(block, 4)?;
        Some(ReportBlock {
            ssrc: be32(block, 0)?,
            fraction_lost: block[4],
            // The sign of 24 bits moves up to that of 32 and comes back with the shift.
            cumulative_lost: (loss << 8).cast_signed() >> 8,
            highest_sequence: be32(block, 8)?,
            jitter: be32(block, 12)?,
            last_sr: be32(block, 16)?,
            delay_since_last_sr: be32(block, 20)?,
        })
    }
}

/// The sequence numbers a NACK asks for: each entry names one and, in a mask, which of the sixteen
/// that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost<'a> {
    entries: &'a [u8],
    /// The sequence number the lowest bit of `mask` stands for.
    next: u16,
    /// What of the current entry has not been given out.
    mask: u32,
}

impl<'a> Lost<'a> {
    fn new(entries: &'a [u8]) -> Self {
        Self { entries, next: 0, mask: 0 }
    }
}

impl Iterator for Lost<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask == 0 {
            let (entry, rest) = self.entries.split_first_chunk::<4>()?;
            self.entries = rest;
            self.next = be16(entry, 0)?;
            self.mask = u32::from(be16(entry, 2)?) << 1 | 1;
        }
        let skipped = self.mask.trailing_zeros();
        let lost = self.next.wrapping_add(skipped as u16);
        self.mask >>= skipped + 1;
        self.next = lost.wrapping_add(1);
        Some(lost)
    }
}

/// Source and command number of each full intra request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntries<'a>(&'a [u8]);

impl Iterator for FirEntries<'_> {
    type Item = (u32, u8);

    fn next(&mut self) -> Option<(u32, u8)> {
        let (entry, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some((be32(entry, 0)?, entry[4]))
    }
}

/// The items of the DLRR blocks (RFC 3611 §4.5) of an extended report: a receiver's SSRC, the
/// middle 32 bits of the reference time it sent last, and how long ago that came, in 1/65,536 s. A
/// block that is cut short ends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays<'a> {
    blocks: &'a [u8],
    items: &'a [u8],
}

impl Iterator for Delays<'_> {
    type Item = (u32, u32, u32);

    fn next(&mut self) -> Option<(u32, u32, u32)> {
        loop {
            if let Some((item, rest)) = self.items.split_first_chunk::<12>() {
                self.items = rest;
                return Some((be32(item, 0)?, be32(item, 4)?, be32(item, 8)?));
            }
            let (header, rest) = self.blocks.split_first_chunk::<4>()?;
            let words = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let (block, rest) = rest.split_at_checked(4 * words)?;
            self.blocks = rest;
            self.items = if header[0] == BLOCK_DELAYS { block } else { &[] };
        }
    }
}

/// A list of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ssrcs<'a>(&'a [u8]);

impl Iterator for Ssrcs<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (ssrc, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*ssrc))
    }
}
