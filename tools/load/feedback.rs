//! What a viewer says of transport-wide numbers, so that a server with congestion control goes on
//! sending: which arrived, and when (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use crate::beat::Beat;
use crate::clock::{self, Came};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Chromium's at rates of megabits; below them it says less.
const INTERVAL: Duration = Duration::from_millis(50);
/// Numbers one report can tell of, which is less than a kilobyte at two bytes for each arrival.
/// Behind a longer gap the next report begins anew.
const MAX_SPAN: u64 = 400;
/// Arrivals kept until they are reported; beyond, the oldest are told as missing.
const MAX_WAITING: usize = 4 * MAX_SPAN as usize;
/// Deltas count 250 µs, the reference time 64 ms.
const TICK_NS: u64 = 250_000;
const TICKS_PER_REFERENCE: i64 = 256;

/// RFC 3550 §6.4: version 2, no padding, and the format (RFC 4585 §6.1).
const FIRST_BYTE: u8 = 0x80 | 15;
const TRANSPORT_FEEDBACK: u8 = 205;
/// Header, two SSRCs, base, count, reference time and number of the report.
const FIXED_LEN: usize = 20;

/// Status of a number: missing, there with one byte of delta, there with two.
const MISSING: u16 = 0;
const SMALL: u16 = 1;
const LARGE: u16 = 2;
/// A chunk of seven two-bit statuses; one of a run has a zero here.
const VECTOR: u16 = 0b11 << 14;
const PER_VECTOR: usize = 7;
const MAX_RUN: usize = (1 << 13) - 1;

/// The transport-wide numbers of one viewer.
pub struct Feedback {
    /// The identifier of the extension.
    id: u8,
    /// Arrivals since the last report, by extended number, in ticks.
    arrivals: BTreeMap<u64, i64>,
    /// The number after the last one a report told of.
    next: Option<u64>,
    /// Counts reports.
    count: u8,
    beat: Beat,
}

impl Feedback {
    /// For numbers in the header extension `id`; the first report is due at `now` if anything came.
    #[must_use]
    pub fn new(id: u8, now: Instant) -> Self {
        Self { id, arrivals: BTreeMap::new(), next: None, count: 0, beat: Beat::new(INTERVAL, now) }
    }

    /// When a report is due; `None` while there is nothing to report of.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.beat.due()
    }

    /// There is nobody to report to yet.
    pub fn postpone(&mut self, now: Instant) {
        self.beat.said(false, now);
    }

    /// A packet with these header extensions came. One that a report has called missing stays so.
    pub fn arrived<'a>(&mut self, elements: impl IntoIterator<Item = (u8, &'a [u8])>, came: Came) {
        let number = elements.into_iter().find_map(|(id, data)| {
            (id == self.id).then(|| data.try_into().ok().map(u16::from_be_bytes)).flatten()
        });
        let Some(number) = number else { return };
        let next = *self.next.get_or_insert(1 << 16 | u64::from(number));
        // The nearest number with these low bits.
        let ahead = i64::from(number.wrapping_sub(next as u16) as i16);
        let Some(number) = next.checked_add_signed(ahead).filter(|number| *number >= next) else {
            return;
        };
        if self.arrivals.len() >= MAX_WAITING {
            self.arrivals.pop_first();
        }
        self.arrivals.entry(number).or_insert((came.arrived_ns / TICK_NS) as i64);
        self.beat.want(true, clock::instant(came.now_ns));
    }

    /// Writes a report of what came since the last; returns its length, `None` when nothing did or
    /// `out` is too short.
    pub fn write(&mut self, own: u32, media: u32, now: Instant, out: &mut [u8]) -> Option<usize> {
        self.postpone(now);
        let (&first, at) = self.arrivals.first_key_value()?;
        let reference = at / TICKS_PER_REFERENCE;
        let base = self.next.filter(|next| first - next < MAX_SPAN).unwrap_or(first);
        let later = self.arrivals.split_off(&(base + MAX_SPAN));
        let arrivals = std::mem::replace(&mut self.arrivals, later);
        self.beat.said(!self.arrivals.is_empty(), now);
        let (&last, _) = arrivals.last_key_value()?;
        self.next = Some(last + 1);
        let mut deltas = Vec::new();
        let mut before = reference * TICKS_PER_REFERENCE;
        let status = |number| {
            let Some(at) = arrivals.get(&number) else { return MISSING };
            let delta = (at - before).clamp(i64::from(i16::MIN), i64::from(i16::MAX));
            before = *at;
            if let Ok(small) = u8::try_from(delta) {
                deltas.push(small);
                return SMALL;
            }
            deltas.extend((delta as i16).to_be_bytes());
            LARGE
        };
        let statuses: Vec<u16> = (base..=last).map(status).collect();
        let mut body: Vec<u8> = chunks(&statuses).into_iter().flat_map(u16::to_be_bytes).collect();
        body.extend(deltas);
        body.resize(body.len().next_multiple_of(4), 0);
        let length = FIXED_LEN + body.len();
        let out = out.get_mut(..length)?;
        out[..2].copy_from_slice(&[FIRST_BYTE, TRANSPORT_FEEDBACK]);
        out[2..4].copy_from_slice(&((length / 4 - 1) as u16).to_be_bytes());
        out[4..8].copy_from_slice(&own.to_be_bytes());
        out[8..12].copy_from_slice(&media.to_be_bytes());
        out[12..14].copy_from_slice(&(base as u16).to_be_bytes());
        out[14..16].copy_from_slice(&(statuses.len() as u16).to_be_bytes());
        out[16..19].copy_from_slice(&(reference as u32).to_be_bytes()[1..]);
        out[19] = self.count;
        out[FIXED_LEN..].copy_from_slice(&body);
        self.count = self.count.wrapping_add(1);
        Some(length)
    }
}

/// Statuses as chunks (§3.1.1): a run where it is longer than a vector, else a vector.
fn chunks(mut statuses: &[u16]) -> Vec<u16> {
    let mut chunks = Vec::new();
    while let Some(&first) = statuses.first() {
        let run = statuses.iter().take(MAX_RUN).take_while(|status| **status == first).count();
        let taken = if run > PER_VECTOR {
            chunks.push(first << 13 | run as u16);
            run
        } else {
            let taken = statuses.len().min(PER_VECTOR);
            let place = |(i, status): (usize, &u16)| status << (2 * (PER_VECTOR - 1 - i));
            let vector = statuses[..taken].iter().enumerate().map(place).sum::<u16>();
            chunks.push(VECTOR | vector);
            taken
        };
        statuses = &statuses[taken..];
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use monoport::wire::rtcp::{Packet, compound};

    const MS: u64 = 1_000_000;

    /// Whoever looks at the time first and then asks must find it due, and not again at once.
    #[test]
    fn a_report_is_due_in_its_time_where_something_came() {
        let now = clock::instant(1_000 * MS);
        let mut feedback = Feedback::new(3, now);
        let mut out = [0; 100];
        assert_eq!(feedback.due(), None);
        assert_eq!(feedback.write(1, 2, now, &mut out), None, "nothing came");
        feed(&mut feedback, 7, 1_010);
        assert_eq!(feedback.due(), Some(now + INTERVAL));
        assert!(feedback.write(1, 2, now + INTERVAL, &mut out).is_some());
        assert_eq!(feedback.due(), None, "nothing came since");
        feed(&mut feedback, 8, 1_320);
        assert_eq!(feedback.due(), Some(now + 7 * INTERVAL), "and not sooner than for others");
    }

    /// A process that is late to read is no queue on the way.
    #[test]
    fn what_is_reported_is_when_the_kernel_had_it() {
        let mut feedback = Feedback::new(3, Instant::now());
        for (number, arrived_ms) in [(1u16, 1_000), (2, 1_010)] {
            let came = Came { arrived_ns: arrived_ms * MS, now_ns: 1_700 * MS };
            feedback.arrived([(3, &number.to_be_bytes()[..])], came);
        }
        assert_eq!(report(&mut feedback), Some(vec![(1, 4_000), (2, 4_040)]));
    }

    /// What a report says: numbers and arrivals in ticks since the reference time's zero.
    fn read(report: &[u8]) -> Vec<(u16, i64)> {
        let Some(Ok(Packet::TransportFeedback { sender_ssrc: 1, media_ssrc: 9, raw })) =
            compound(report).next()
        else {
            panic!("no feedback: {report:02x?}")
        };
        let word = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
        let (base, count) = (word(0), usize::from(word(2)));
        let reference = i64::from(u32::from_be_bytes([0, raw[4], raw[5], raw[6]]));
        let (mut at, mut statuses) = (8, Vec::new());
        while statuses.len() < count {
            let chunk = word(at);
            if chunk & 1 << 15 == 0 {
                statuses.resize(statuses.len() + usize::from(chunk & 0x1fff), chunk >> 13);
            } else {
                assert_eq!(chunk & VECTOR, VECTOR);
                statuses.extend((0..7).map(|i| chunk >> (12 - 2 * i) & 3));
            }
            at += 2;
        }
        let mut time = reference * TICKS_PER_REFERENCE;
        let mut arrivals = Vec::new();
        for (i, status) in statuses[..count].iter().enumerate() {
            let (delta, bytes) = match *status {
                MISSING => continue,
                SMALL => (i64::from(raw[at]), 1),
                _ => (i64::from(word(at) as i16), 2),
            };
            (time, at) = (time + delta, at + bytes);
            arrivals.push((base.wrapping_add(i as u16), time));
        }
        assert!(raw.len() - at < 4, "nothing but padding is left");
        arrivals
    }

    fn feed(feedback: &mut Feedback, number: u16, ms: u64) {
        let number = number.to_be_bytes();
        let came = Came { arrived_ns: ms * MS, now_ns: ms * MS };
        feedback.arrived([(2, &[1, 2, 3][..]), (3, &number[..])], came);
    }

    fn report(feedback: &mut Feedback) -> Option<Vec<(u16, i64)>> {
        let mut out = [0; 1_200];
        let length = feedback.write(1, 9, Instant::now(), &mut out)?;
        Some(read(&out[..length]))
    }

    #[test]
    fn a_report_tells_what_came_and_when_over_gaps_and_the_wrap() {
        let mut feedback = Feedback::new(3, Instant::now());
        assert_eq!(report(&mut feedback), None, "nothing came");
        let came: Vec<(u16, u64)> = vec![(65_533, 1_000), (65_534, 1_010), (1, 1_100), (0, 1_090)];
        came.iter().for_each(|(number, ms)| feed(&mut feedback, *number, *ms));
        feed(&mut feedback, 30, 1_101);
        let told = vec![(65_533, 4_000), (65_534, 4_040), (0, 4_360), (1, 4_400), (30, 4_404)];
        assert_eq!(report(&mut feedback), Some(told));
        // The next begins where this one ended: what lies between is missing.
        feed(&mut feedback, 2, 1_200);
        feed(&mut feedback, 33, 1_300);
        assert_eq!(report(&mut feedback), Some(vec![(33, 5_200)]));
        assert_eq!(report(&mut feedback), None);
    }

    #[test]
    fn what_arrived_out_of_order_has_a_delta_below_zero() {
        let mut feedback = Feedback::new(3, Instant::now());
        for (number, ms) in [(10, 500), (11, 490), (12, 900)] {
            feed(&mut feedback, number, ms);
        }
        let told = vec![(10, 2_000), (11, 1_960), (12, 3_600)];
        assert_eq!(report(&mut feedback), Some(told));
    }

    #[test]
    fn much_is_told_in_runs_and_in_several_reports_and_a_jump_begins_anew() {
        let mut feedback = Feedback::new(3, Instant::now());
        (0..900).for_each(|number| feed(&mut feedback, number, u64::from(number)));
        let (now, mut out) = (Instant::now(), [0; 1_200]);
        let length = feedback.write(1, 9, now, &mut out).expect("much came");
        assert_eq!(read(&out[..length]).len(), 400);
        assert_eq!(length, FIXED_LEN + 404, "one chunk, and a byte each, in whole words");
        assert_eq!(feedback.due(), Some(now), "there is more");
        let rest = [report(&mut feedback), report(&mut feedback)];
        assert_eq!(rest.map(|told| told.map_or(0, |told| told.len())), [400, 100]);
        assert_eq!(feedback.due(), None);
        feed(&mut feedback, 30_000, 2_000);
        assert_eq!(report(&mut feedback), Some(vec![(30_000, 8_000)]));
    }
}
