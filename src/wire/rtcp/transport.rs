//! Transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): which packets
//! of a transport came, and when.
//!
//! ```text
//! base | count | reference time, 64 ms | number of the report
//! a chunk per run of equal statuses, or per seven statuses of two bits
//! a delta per packet that came: a byte of 250 us, or two bytes with sign
//! ```

use super::write::Cursor;
use super::{FORMAT_TRANSPORT_WIDE, TRANSPORT_FEEDBACK};

/// Statuses that one report holds at most.
pub const MAX_STATUSES: usize = 512;

/// Bytes before the chunks.
const FIXED_BYTES: usize = 20;

/// Ticks of 250 us in a unit of the reference time.
const TICKS_PER_REFERENCE: u32 = 256;

/// Statuses of one chunk of two-bit statuses.
const PER_CHUNK: usize = 7;

/// Ticks from one packet that came to the next, as a byte or as two with sign.
const SMALL: u8 = 1;
const LARGE: u8 = 2;

/// What a report says besides the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportReport {
    /// The reporter.
    pub sender_ssrc: u32,
    /// Any source of the transport.
    pub media_ssrc: u32,
    /// The transport-wide number of the first packet reported on.
    pub base: u16,
    /// The number of the report; wraps.
    pub number: u8,
}

impl TransportReport {
    /// Writes a report on the packets from the base on, which came at these times in ticks of
    /// 250 us, or not at all. Returns its length and on how many packets it reports: fewer than
    /// there are where it is full, or where two came too far apart for one report. A report on none
    /// that came says nothing: then it is `None`, as it is where `out` is too short for any.
    #[must_use]
    pub fn write(
        &self,
        arrivals: impl Iterator<Item = Option<u32>> + Clone,
        out: &mut [u8],
    ) -> Option<(usize, usize)> {
        let first = arrivals.clone().flatten().next()?;
        let reference = first / TICKS_PER_REFERENCE;
        let base_tick = reference.wrapping_mul(TICKS_PER_REFERENCE);
        let mut statuses = [0; MAX_STATUSES];
        let (mut count, mut bytes, mut last, mut came) = (0usize, FIXED_BYTES, base_tick, false);
        // Chunks of two bits are the longest there are: runs only take less.
        for arrival in arrivals.clone().take(MAX_STATUSES) {
            let status = arrival.map_or(Some(0), |tick| status(tick.wrapping_sub(last)));
            let Some(status) = status else { break };
            let chunks = 2 * (count + 1).div_ceil(PER_CHUNK);
            if (bytes + usize::from(status) + chunks).next_multiple_of(4) > out.len() {
                break;
            }
            bytes += usize::from(status);
            last = arrival.unwrap_or(last);
            came |= arrival.is_some();
            statuses[count] = status;
            count += 1;
        }
        if !came {
            return None;
        }
        let mut cursor = Cursor::new(out)?;
        cursor.words(&[self.sender_ssrc, self.media_ssrc])?;
        cursor.words(&[u32::from(self.base) << 16 | count as u32])?;
        cursor.words(&[reference << 8 | u32::from(self.number)])?;
        write_chunks(&statuses[..count], &mut cursor)?;
        let mut last = base_tick;
        for (tick, status) in arrivals.zip(&statuses[..count]) {
            let Some(tick) = tick else { continue };
            let delta = tick.wrapping_sub(last).to_be_bytes();
            cursor.bytes(&delta[4 - usize::from(*status)..])?;
            last = tick;
        }
        // Not padding in the header's sense, which comes in whole words (RFC 3550 §6.4.1).
        cursor.fill()?;
        let length = cursor.finish(TRANSPORT_FEEDBACK, usize::from(FORMAT_TRANSPORT_WIDE))?;
        Some((length, count))
    }
}

/// What a delta is written as, unless it fits neither form.
fn status(delta: u32) -> Option<u8> {
    match delta.cast_signed() {
        0..=255 => Some(SMALL),
        delta if i16::try_from(delta).is_ok() => Some(LARGE),
        _ => None,
    }
}

fn write_chunks(statuses: &[u8], cursor: &mut Cursor<'_>) -> Option<()> {
    let mut rest = statuses;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take_while(|status| **status == first).count();
        let (chunk, taken) = if run >= PER_CHUNK || run == rest.len() {
            (u16::from(first) << 13 | run as u16, run)
        } else {
            let taken = rest.len().min(PER_CHUNK);
            let bits = rest[..taken].iter().zip((0..PER_CHUNK).rev());
            let bits =
                bits.fold(0, |bits, (status, place)| bits | u16::from(*status) << (2 * place));
            (0xC000 | bits, taken)
        };
        cursor.bytes(&chunk.to_be_bytes())?;
        rest = &rest[taken..];
    }
    Some(())
}

const _: () = assert!(MAX_STATUSES < 1 << 13, "a run of all of them fits a chunk");

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: TransportReport =
        TransportReport { sender_ssrc: 1, media_ssrc: 2, base: 65_535, number: 7 };

    fn write(arrivals: &[Option<u32>], room: usize) -> Option<(Vec<u8>, usize)> {
        let mut out = vec![0xAA; room];
        let (length, count) = REPORT.write(arrivals.iter().copied(), &mut out)?;
        out.truncate(length);
        Some((out, count))
    }

    #[test]
    fn layout_is_that_of_the_draft() {
        let arrivals = [Some(0x1_0203), None, Some(0x1_0203 + 255), Some(0x1_0203 - 1)];
        let (report, count) = write(&arrivals, 100).expect("it fits");
        assert_eq!(count, 4);
        let expected = [
            // Six words behind the first.
            [0x8F, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0xFF, 0xFF, 0, 4],
            // Reference 0x102, report 7; small, none, small, large; 3, 255, -256.
            [0, 1, 2, 7, 0b1101_0001, 0b1000_0000, 3, 255, 0xFF, 0x00, 0, 0, 0, 0, 0, 0],
        ];
        let expected = expected.concat();
        assert_eq!(report[..26], expected[..26]);
        assert_eq!(report[26..], [0, 0], "up to a whole word");
    }

    #[test]
    fn equal_statuses_are_one_chunk() {
        let (report, count) = write(&[Some(512); 300], 1_400).expect("it fits");
        assert_eq!((count, report.len()), (300, FIXED_BYTES + 2 + 300 + 2));
        assert_eq!(report[FIXED_BYTES..FIXED_BYTES + 2], (1 << 13 | 300u16).to_be_bytes());
    }

    #[test]
    fn a_report_ends_where_it_is_full_and_where_a_delta_does_not_fit() {
        let far: Vec<_> = (0..10).map(|n| Some(n / 5 * 40_000)).collect();
        assert_eq!(write(&far, 100).expect("the first five").1, 5);
        let alternating: Vec<_> = (0..600).map(|n| (n % 2 == 0).then_some(n * 300)).collect();
        let (report, count) = write(&alternating, 200).expect("some fit");
        assert!(report.len() <= 200 && report.len() > 190, "{}", report.len());
        assert!(count < 200);
        assert_eq!(write(&alternating, 2_000).expect("all that it holds").1, MAX_STATUSES);
        assert_eq!(write(&[None; 9], 100), None);
        assert_eq!(write(&[Some(1)], FIXED_BYTES), None);
    }
}
