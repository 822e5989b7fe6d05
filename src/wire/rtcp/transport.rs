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

/// What a report says, read: which packets came, and when.
#[derive(Clone, Debug)]
pub struct Statuses<'a> {
    /// Units of 64 ms, 24 bits: what the times of the packets count from.
    pub reference: u32,
    /// The next packet, and how many are left.
    sequence: u16,
    left: u16,
    chunks: &'a [u8],
    /// The chunk at hand, the statuses it has left, and how long each is.
    chunk: Chunk,
    deltas: &'a [u8],
    ticks: i64,
}

/// The statuses of a chunk that are not given out yet.
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Run {
        status: u8,
        left: u16,
    },
    /// Each of so many bits, the next one on top of fourteen.
    Bits {
        bits: u16,
        width: u16,
        left: u16,
    },
}

impl<'a> Statuses<'a> {
    /// Reads what follows the SSRCs of a report ([`super::Packet::TransportFeedback`]). `None`
    /// where it is too short for what it says.
    #[must_use]
    pub fn read(raw: &'a [u8]) -> Option<Statuses<'a>> {
        let (head, chunks) = raw.split_first_chunk::<8>()?;
        let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let reference = u32::from_be_bytes([0, head[4], head[5], head[6]]);
        let (sequence, left) = (word(0), word(2));
        let chunk = Chunk::Run { status: 0, left: 0 };
        let mut statuses =
            Statuses { reference, sequence, left, chunks, chunk, deltas: &[], ticks: 0 };
        // Deltas begin where the chunks end, which is known when all statuses are counted.
        let (mut behind, mut counted) = (chunks, 0u32);
        while counted < u32::from(left) {
            let (chunk, rest) = behind.split_first_chunk::<2>()?;
            counted += u32::from(Chunk::read(*chunk).left());
            behind = rest;
        }
        statuses.chunks = &chunks[..chunks.len() - behind.len()];
        statuses.deltas = behind;
        Some(statuses)
    }

    fn next_status(&mut self) -> Option<u8> {
        while self.chunk.left() == 0 {
            let (chunk, rest) = self.chunks.split_first_chunk::<2>()?;
            (self.chunk, self.chunks) = (Chunk::read(*chunk), rest);
        }
        Some(self.chunk.take())
    }
}

impl Chunk {
    fn read(bytes: [u8; 2]) -> Chunk {
        let chunk = u16::from_be_bytes(bytes);
        match chunk >> 14 {
            0 | 1 => Chunk::Run { status: (chunk >> 13) as u8, left: chunk & 0x1FFF },
            2 => Chunk::Bits { bits: chunk, width: 1, left: 14 },
            _ => Chunk::Bits { bits: chunk, width: 2, left: 7 },
        }
    }

    fn left(&self) -> u16 {
        let (Chunk::Run { left, .. } | Chunk::Bits { left, .. }) = self;
        *left
    }

    /// Takes the next status; there must be one.
    fn take(&mut self) -> u8 {
        match self {
            Chunk::Run { status, left } => {
                *left -= 1;
                *status
            }
            Chunk::Bits { bits, width, left } => {
                *left -= 1;
                (*bits >> (*left * *width)) as u8 & if *width == 1 { 1 } else { 3 }
            }
        }
    }
}

impl Iterator for Statuses<'_> {
    /// The transport-wide number of a packet, and when it came: in microseconds since the
    /// reference time, or not at all.
    type Item = (u16, Option<i64>);

    fn next(&mut self) -> Option<(u16, Option<i64>)> {
        self.left = self.left.checked_sub(1)?;
        let status = self.next_status()?;
        let delta = match status {
            0 => None,
            SMALL => {
                let (delta, rest) = self.deltas.split_first_chunk::<1>()?;
                self.deltas = rest;
                Some(i64::from(delta[0]))
            }
            LARGE => {
                let (delta, rest) = self.deltas.split_first_chunk::<2>()?;
                self.deltas = rest;
                Some(i64::from(i16::from_be_bytes(*delta)))
            }
            // Reserved (§3.1.1).
            _ => None,
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let arrived = delta.map(|delta| {
            self.ticks += delta;
            self.ticks * MICROS_PER_TICK
        });
        Some((sequence, arrived))
    }
}

const MICROS_PER_TICK: i64 = 250;

#[cfg(test)]
mod tests {
    use super::*;

    /// A report, read again.
    fn read(report: &[u8]) -> Vec<(u16, Option<i64>)> {
        let statuses = Statuses::read(&report[12..]).expect("it is whole");
        let reference = i64::from(statuses.reference) * 64_000;
        statuses.map(|(sequence, at)| (sequence, at.map(|at| (reference + at) / 250))).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let patterns: [fn(u32) -> Option<u32>; 4] = [
            |n| Some(1_000 + n * 3),
            |n| (n % 3 == 0).then_some(90_000 + n * 400),
            |n| (n > 40).then_some(7 + n),
            |n| Some(50_000 + n * 40 - (n % 2) * 300),
        ];
        for pattern in patterns {
            let arrivals: Vec<_> = (0..300).map(pattern).collect();
            let (report, count) = write(&arrivals, 1_400).expect("it fits");
            let read = read(&report);
            assert_eq!(read.len(), count);
            for (n, (sequence, at)) in read.into_iter().enumerate() {
                assert_eq!(sequence, 65_535u16.wrapping_add(n as u16));
                assert_eq!(at, arrivals[n].map(i64::from), "{n}");
            }
        }
    }

    #[test]
    fn statuses_of_one_bit_are_read() {
        // Base 7, fourteen packets, reference 2; the first and the last two came.
        let raw = [0, 7, 0, 14, 0, 0, 2, 9, 0b1010_0000, 0b0000_0011, 1, 2, 4, 0];
        let statuses = Statuses::read(&raw).expect("it is whole");
        assert_eq!(statuses.reference, 2);
        let came: Vec<_> = statuses.filter_map(|(n, at)| Some((n, at?))).collect();
        assert_eq!(came, [(7, 250), (19, 750), (20, 1_750)]);
    }

    #[test]
    fn a_report_that_says_more_than_it_has_ends_there() {
        assert!(Statuses::read(&[0; 7]).is_none());
        assert!(Statuses::read(&[0, 0, 0, 9, 0, 0, 0, 0]).is_none(), "no chunk");
        assert!(Statuses::read(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0]).is_none(), "a run of none");
        let short = [0, 0, 0, 9, 0, 0, 0, 0, 0x20, 9, 5, 5];
        assert_eq!(Statuses::read(&short).expect("deltas end").count(), 2);
        let endless = [0, 0, 0xFF, 0xFF, 0, 0, 0, 0];
        let chunks = [0x1F, 0xFF].repeat(9);
        let whole = [&endless[..], &chunks[..]].concat();
        assert_eq!(Statuses::read(&whole).expect("it is whole").count(), 65_535);
    }

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
