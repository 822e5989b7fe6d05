//! The viewer that lost most: a sum over thousands does not tell a packet lost here and there from
//! one viewer who saw nothing.

use crate::account::Account;
use serde::Serialize;
use std::fmt;

/// The longest time in which nothing came of one SSRC, after its first packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Silence {
    last_ns: Option<u64>,
    longest_ns: u64,
    /// When it was over.
    ended_ns: u64,
}

impl Silence {
    /// A packet came.
    pub fn broken(&mut self, now_ns: u64) {
        let lasted_ns = now_ns.saturating_sub(self.last_ns.unwrap_or(now_ns));
        if lasted_ns > self.longest_ns {
            (self.longest_ns, self.ended_ns) = (lasted_ns, now_ns);
        }
        self.last_ns = Some(now_ns);
    }
}

/// What one viewer lost of one SSRC.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hardship {
    pub stream: String,
    /// Its address where the server is on loopback, else the socket's.
    pub viewer: String,
    pub media: &'static str,
    pub packets_expected: u64,
    pub packets_received: u64,
    /// The longest time without a packet, and when after the run's first act it was over.
    pub longest_silence_ms: f64,
    pub silence_ended_s: f64,
    /// From its last packet until the run was over.
    pub silent_at_the_end_ms: f64,
}

impl Hardship {
    /// What `account` lacks of the `sent` packets; `None` when that is nothing.
    #[must_use]
    pub fn of(
        (stream, media): (&str, &'static str),
        (account, sent): (&Account, u64),
        silence: Silence,
        now_ns: u64,
    ) -> Option<Self> {
        let packets_expected = account.expected(sent);
        (packets_expected > account.received).then(|| Self {
            stream: stream.to_owned(),
            viewer: String::new(),
            media,
            packets_expected,
            packets_received: account.received,
            longest_silence_ms: milliseconds(silence.longest_ns),
            silence_ended_s: milliseconds(silence.ended_ns) / 1_000.0,
            silent_at_the_end_ms: milliseconds(
                now_ns.saturating_sub(silence.last_ns.unwrap_or(now_ns)),
            ),
        })
    }

    #[must_use]
    pub fn lost(&self) -> u64 {
        self.packets_expected.saturating_sub(self.packets_received)
    }
}

impl fmt::Display for Hardship {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, viewer, media, packets_expected, .. } = self;
        write!(
            f,
            "most was lost by {viewer} of {media} in {stream}: {} of {packets_expected} packets; \
             silent for {} ms until {} s",
            self.lost(),
            self.longest_silence_ms,
            self.silence_ended_s,
        )
    }
}

/// Viewers' media that lack packets, and the one that lacks most.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Hardships {
    pub count: u64,
    pub worst: Option<Hardship>,
}

impl Hardships {
    pub fn add(&mut self, hardship: Hardship) {
        self.count += 1;
        if self.worst.as_ref().is_none_or(|worst| hardship.lost() > worst.lost()) {
            self.worst = Some(hardship);
        }
    }

    /// Adds those of another worker.
    pub fn join(&mut self, other: Self) {
        let count = self.count + other.count;
        other.worst.into_iter().for_each(|worst| self.add(worst));
        self.count = count;
    }
}

fn milliseconds(ns: u64) -> f64 {
    (ns / 1_000) as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lost_most_is_named_with_its_longest_silence() {
        let mut silence = Silence::default();
        let mut account = Account::default();
        for index in [0, 1, 2, 50, 51] {
            account.opened(index, index as u32);
            silence.broken(1_000_000_000 + index * 20_000_000);
        }
        let of = |sent| Hardship::of(("s", "audio"), (&account, sent), silence, 2_520_000_000);
        let mut one = Hardships::default();
        one.add(of(52).expect("47 are missing"));
        let mut other = Hardships::default();
        other.add(of(60).expect("55 are missing"));
        other.join(one);
        let worst = other.worst.expect("there is one");
        assert_eq!((other.count, worst.lost(), worst.packets_expected), (2, 55, 60));
        assert_eq!((worst.longest_silence_ms, worst.silence_ended_s), (960.0, 2.0));
        assert_eq!(worst.silent_at_the_end_ms, 500.0);
        let mut whole = Account::default();
        whole.opened(0, 0);
        assert_eq!(Hardship::of(("s", "audio"), (&whole, 1), silence, 0), None);
    }
}
