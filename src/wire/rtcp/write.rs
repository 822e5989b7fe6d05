//! Writers of single packets; a compound is several, one behind the other.
//!
//! Each writes to the front of `out` and returns the length, a multiple of four. Each returns
//! `None` when the packet does not fit `out` or its own count field, and `out` then holds nothing
//! of use. Lengths are in the doc comments, so that buffers can be sized by arithmetic.

use super::{
    BLOCK_REFERENCE_TIME, BYE, EXTENDED_REPORT, FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK,
    FORMAT_PLI, HEADER_LEN, MAX_COUNT, PAYLOAD_FEEDBACK, RECEIVER_REPORT, REMB_NAME, ReportBlock,
    SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK,
};

/// What a sender reports about itself (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The sender.
    pub ssrc: u32,
    /// Wall-clock time of the report: seconds since 1900 in 32.32 fixed point.
    pub ntp: u64,
    /// The same instant in the RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the start; wraps.
    pub packets: u32,
    /// Bytes of payload sent since the start; wraps.
    pub octets: u32,
}

/// A sender report: 28 bytes and 24 for each of at most 31 `reports`.
#[must_use]
pub fn sender_report(info: &SenderInfo, reports: &[ReportBlock], out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    cursor.words(&[info.ssrc, (info.ntp >> 32) as u32, info.ntp as u32])?;
    cursor.words(&[info.rtp_timestamp, info.packets, info.octets])?;
    cursor.reports(reports)?;
    cursor.finish(SENDER_REPORT, reports.len())
}

/// A receiver report: 8 bytes and 24 for each of at most 31 `reports`.
#[must_use]
pub fn receiver_report(ssrc: u32, reports: &[ReportBlock], out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    cursor.words(&[ssrc])?;
    cursor.reports(reports)?;
    cursor.finish(RECEIVER_REPORT, reports.len())
}

/// A source description with a canonical name of at most 255 bytes (RFC 3550 §6.5.1): 10 bytes, the
/// name, and one to four zeros up to a whole word.
#[must_use]
pub fn sdes_cname(ssrc: u32, cname: &str, out: &mut [u8]) -> Option<usize> {
    const CNAME: u8 = 1;
    let mut cursor = Cursor::new(out)?;
    cursor.words(&[ssrc])?;
    cursor.bytes(&[CNAME, u8::try_from(cname.len()).ok()?])?;
    cursor.bytes(cname.as_bytes())?;
    // The list of items ends with a zero byte, and zeros fill the word.
    let zeros = 4 - cursor.len % 4;
    cursor.bytes(&[0; 4][..zeros])?;
    cursor.finish(SOURCE_DESCRIPTION, 1)
}

/// The end of at most 31 sources (RFC 3550 §6.6): 4 bytes and 4 for each.
#[must_use]
pub fn bye(ssrcs: &[u32], out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    cursor.words(ssrcs)?;
    cursor.finish(BYE, ssrcs.len())
}

/// An extended report with the receiver's reference time (RFC 3611 §4.4), seconds in 32.32 fixed
/// point, which senders answer with how long ago it came: 20 bytes.
#[must_use]
pub fn reference_time(ssrc: u32, ntp: u64, out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    cursor.words(&[ssrc, u32::from(BLOCK_REFERENCE_TIME) << 24 | 2])?;
    cursor.words(&[(ntp >> 32) as u32, ntp as u32])?;
    cursor.finish(EXTENDED_REPORT, 0)
}

/// A generic NACK (RFC 4585 §6.2.1): 12 bytes and 4 for each entry, which covers a sequence number
/// and the sixteen that follow it. Ascending `lost` packs into the fewest entries.
#[must_use]
pub fn nack(sender_ssrc: u32, media_ssrc: u32, lost: &[u16], out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    cursor.words(&[sender_ssrc, media_ssrc])?;
    let mut rest = lost;
    while let Some((&first, mut following)) = rest.split_first() {
        let mut mask = 0u16;
        while let Some((&next, others)) = following.split_first() {
            match next.wrapping_sub(first) {
                0 => {}
                distance @ 1..=16 => mask |= 1 << (distance - 1),
                _ => break,
            }
            following = others;
        }
        cursor.words(&[u32::from(first) << 16 | u32::from(mask)])?;
        rest = following;
    }
    cursor.finish(TRANSPORT_FEEDBACK, usize::from(FORMAT_NACK))
}

/// A picture loss indication (RFC 4585 §6.3.1): 12 bytes.
#[must_use]
pub fn pli(sender_ssrc: u32, media_ssrc: u32, out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    cursor.words(&[sender_ssrc, media_ssrc])?;
    cursor.finish(PAYLOAD_FEEDBACK, usize::from(FORMAT_PLI))
}

/// Full intra requests (RFC 5104 §4.3.1), each a source and a command number that grows with every
/// new request to it: 12 bytes and 8 for each.
#[must_use]
pub fn fir(sender_ssrc: u32, entries: &[(u32, u8)], out: &mut [u8]) -> Option<usize> {
    let mut cursor = Cursor::new(out)?;
    // RFC 5104 §4.3.1.2: the media SSRC is not used and zero.
    cursor.words(&[sender_ssrc, 0])?;
    for &(ssrc, command) in entries {
        cursor.words(&[ssrc, u32::from(command) << 24])?;
    }
    cursor.finish(PAYLOAD_FEEDBACK, usize::from(FORMAT_FIR))
}

/// A bandwidth estimate in bits a second for at most 255 sources (draft-alvestrand-rmcat-remb): 20
/// bytes and 4 for each. The rate is rounded down to 18 significant bits.
#[must_use]
pub fn remb(sender_ssrc: u32, bitrate_bps: u64, ssrcs: &[u32], out: &mut [u8]) -> Option<usize> {
    let count = u8::try_from(ssrcs.len()).ok()?;
    let exponent = (u64::BITS - bitrate_bps.leading_zeros()).saturating_sub(18);
    let mantissa = (bitrate_bps >> exponent) as u32;
    let mut cursor = Cursor::new(out)?;
    // draft-alvestrand-rmcat-remb §2.2: the media SSRC is zero.
    cursor.words(&[sender_ssrc, 0])?;
    cursor.bytes(&REMB_NAME)?;
    cursor.words(&[u32::from(count) << 24 | exponent << 18 | mantissa])?;
    cursor.words(ssrcs)?;
    cursor.finish(PAYLOAD_FEEDBACK, usize::from(FORMAT_APPLICATION))
}

/// Appends behind a header whose fields are known last.
pub(super) struct Cursor<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(out: &'a mut [u8]) -> Option<Self> {
        (out.len() >= HEADER_LEN).then_some(Self { out, len: HEADER_LEN })
    }

    pub fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.len + bytes.len();
        self.out.get_mut(self.len..end)?.copy_from_slice(bytes);
        self.len = end;
        Some(())
    }

    pub fn words(&mut self, words: &[u32]) -> Option<()> {
        words.iter().try_for_each(|word| self.bytes(&word.to_be_bytes()))
    }

    fn reports(&mut self, reports: &[ReportBlock]) -> Option<()> {
        const LOST_MAX: i32 = (1 << 23) - 1;
        reports.iter().try_for_each(|report| {
            let lost = report.cumulative_lost.clamp(-LOST_MAX - 1, LOST_MAX);
            let lost = lost.cast_unsigned() & 0xFF_FFFF;
            self.words(&[report.ssrc, u32::from(report.fraction_lost) << 24 | lost])?;
            self.words(&[report.highest_sequence, report.jitter])?;
            self.words(&[report.last_sr, report.delay_since_last_sr])
        })
    }

    /// Fills up to a whole word with zeros.
    pub fn fill(&mut self) -> Option<()> {
        let zeros = self.len.next_multiple_of(4) - self.len;
        self.bytes(&[0; 4][..zeros])
    }

    /// Writes the header; `format` is the five bits that are a format or a count.
    pub fn finish(self, packet_type: u8, format: usize) -> Option<usize> {
        if format > MAX_COUNT {
            return None;
        }
        let words = u16::try_from(self.len / 4 - 1).ok()?;
        self.out[..2].copy_from_slice(&[0x80 | format as u8, packet_type]);
        self.out[2..HEADER_LEN].copy_from_slice(&words.to_be_bytes());
        Some(self.len)
    }
}
