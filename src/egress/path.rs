//! What is known of a viewer's path, and by what: transport-wide numbers, a sample of them now and
//! then, what the viewer says of itself, or what waits for its TCP connection. There is nothing to
//! know where nothing is decided by it.

use std::time::{Duration, Instant};

use super::estimate::{Estimate, Hearsay, Micros, Rest, State};
use super::numbered::Numbered;
use super::outbox::Outbox;
use super::{Egress, Lane};
use crate::limits::{QUIET_LOST, QUIET_NACKS, QUIET_ROUND_TRIP};

/// Each is boxed: of most viewers nothing is known.
#[derive(Debug, Default)]
pub(super) enum Path {
    /// Nothing.
    #[default]
    Unknown,
    /// All of it: packets have transport-wide numbers.
    Numbered(Box<Numbered>),
    /// That it carries everything with room to spare: packets have numbers now and then.
    Quiet(Box<Quiet>),
    /// What the viewer says of itself.
    Told(Box<Told>),
    /// What waits for its TCP connection.
    Outbox(Box<Outbox>),
}

/// By what a viewer's path is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// Nothing is decided by it.
    Nothing,
    /// Transport-wide numbers, where it takes them; else its reports.
    Numbers,
    /// Its reports alone.
    Reports,
    /// What waits for its TCP connection.
    Outbox,
}

impl Path {
    pub fn numbered(&self) -> Option<&Numbered> {
        if let Path::Numbered(numbered) = self { Some(numbered) } else { None }
    }

    pub fn numbered_mut(&mut self) -> Option<&mut Numbered> {
        if let Path::Numbered(numbered) = self { Some(numbered) } else { None }
    }
}

/// A viewer that need not report when its packets come.
#[derive(Debug)]
pub(super) struct Quiet {
    rest: Rest,
    since: Instant,
    next: u16,
    /// What it asked for again in the second that began then.
    nacked: u32,
    second: Instant,
    least_round_trip: Option<Duration>,
    /// Once in how many rounds it is looked at, and how many have passed.
    every: u8,
    passed: u8,
}

impl Quiet {
    fn new(now: Instant, numbered: Numbered) -> Quiet {
        let (since, next, estimator, every) = numbered.rest();
        Quiet {
            rest: estimator.rest(),
            since,
            next,
            nacked: 0,
            second: now,
            least_round_trip: None,
            every,
            passed: 0,
        }
    }

    /// Another round has passed: whether it is to be looked at.
    fn is_due(&mut self) -> bool {
        self.passed += 1;
        self.passed >= self.every
    }

    /// It asks for so many packets again, and is so far away: whether that is trouble.
    pub fn is_troubled(&mut self, now: Instant, nacked: u32, rtt: Option<Duration>) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.nacked) = (now, 0);
        }
        self.nacked += nacked;
        let is_far = rtt
            .zip(self.least_round_trip)
            .is_some_and(|(rtt, least)| rtt > least + QUIET_ROUND_TRIP);
        let least = self.least_round_trip.into_iter().chain(rtt).min();
        self.least_round_trip = least;
        self.nacked > QUIET_NACKS || is_far
    }

    /// It loses this share of its packets, in 1/256: whether that is trouble.
    pub fn is_lossy(fraction_lost: u8) -> bool {
        f64::from(fraction_lost) > QUIET_LOST * 256.0
    }
}

/// A viewer that gives no transport-wide feedback.
#[derive(Debug)]
pub(super) struct Told {
    since: Instant,
    hearsay: Hearsay,
}

impl Told {
    fn micros(&self, at: Instant) -> Micros {
        at.saturating_duration_since(self.since).as_micros() as Micros
    }

    /// Its own estimate.
    pub fn remb(&mut self, now: Instant, bits_per_s: u64) {
        self.hearsay.remb(self.micros(now), bits_per_s);
    }

    /// The share of its video that it lost, in 1/256.
    pub fn report(&mut self, now: Instant, fraction_lost: u8) {
        self.hearsay.report(self.micros(now), fraction_lost);
    }
}

impl Egress {
    /// What is decided for the viewer is so by this from here on.
    pub fn know_by(&mut self, now: Instant, by: KnownBy) {
        let takes_numbers = self.lanes.iter().any(Lane::is_counted);
        let told = || Box::new(Told { since: now, hearsay: Hearsay::default() });
        match (by, &self.path) {
            (KnownBy::Nothing, _) => self.path = Path::Unknown,
            (KnownBy::Numbers, Path::Numbered(_) | Path::Quiet(_)) if takes_numbers => {}
            (KnownBy::Numbers, _) if takes_numbers => {
                let random = self.lanes.first().map_or(0, |lane| u64::from(lane.ssrc()));
                self.path = Path::Numbered(Box::new(Numbered::new(now, random)));
            }
            (KnownBy::Outbox, Path::Outbox(_)) => {}
            (KnownBy::Outbox, _) => self.path = Path::Outbox(Box::new(Outbox::new(now))),
            (_, Path::Told(_)) => {}
            (_, _) => self.path = Path::Told(told()),
        }
    }

    /// Whether anything is decided by what its path carries.
    #[must_use]
    pub fn has_known_path(&self) -> bool {
        !matches!(self.path, Path::Unknown)
    }

    /// Whether the viewer need not report when its packets come.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        matches!(self.path, Path::Quiet(_))
    }

    /// It has the best of everything, which needs so many bits a second, or has not: whether it
    /// need not report any more from here on, having had it for a while without trouble.
    pub fn rests(&mut self, now: Instant, needed: Option<f64>) -> bool {
        let Path::Numbered(numbered) = &mut self.path else { return false };
        if !numbered.is_calm(now, needed) {
            return false;
        }
        if let Path::Numbered(numbered) = std::mem::take(&mut self.path) {
            self.path = Path::Quiet(Box::new(Quiet::new(now, *numbered)));
        }
        true
    }

    /// It is to report again until all was well for long.
    pub fn wake(&mut self, now: Instant) {
        self.report_again(now, |_| None);
    }

    /// Another round has passed: it is to report again for a moment, if it is its turn.
    pub fn sample(&mut self, now: Instant) {
        let Path::Quiet(quiet) = &mut self.path else { return };
        if quiet.is_due() {
            self.report_again(now, |quiet| Some(quiet.every));
        }
    }

    fn report_again(&mut self, now: Instant, sample_of: impl FnOnce(&Quiet) -> Option<u8>) {
        if !self.is_quiet() {
            return;
        }
        if let Path::Quiet(quiet) = std::mem::take(&mut self.path) {
            let sample_of = sample_of(&quiet);
            let Quiet { rest, since, next, .. } = *quiet;
            let numbered = Numbered::again(now, (since, next), rest, sample_of);
            self.path = Path::Numbered(Box::new(numbered));
        }
    }

    /// Without a word of the viewer, its path carries as much as its best layers need; more than a
    /// share above that was never tried.
    pub fn assume(&mut self, needed: f64) {
        match &mut self.path {
            Path::Told(told) => told.hearsay.assume(needed),
            Path::Outbox(outbox) => outbox.drain.assume(needed),
            Path::Unknown | Path::Numbered(_) | Path::Quiet(_) => {}
        }
    }

    /// What is thought of the viewer's path.
    #[must_use]
    pub fn estimate(&self) -> Option<Estimate> {
        match &self.path {
            Path::Unknown => None,
            Path::Numbered(numbered) => Some(numbered.estimate()),
            Path::Quiet(quiet) => Some(Estimate { state: State::Quiet, ..quiet.rest.estimate() }),
            Path::Told(told) => Some(told.hearsay.estimate()),
            Path::Outbox(outbox) => Some(outbox.drain.estimate()),
        }
    }

    /// The same, with the time it is by the estimate's own clock; not of one that rests, nor of one
    /// that has said nothing against the path carrying everything.
    #[must_use]
    pub fn estimate_at(&self, now: Instant) -> Option<(Micros, Estimate)> {
        match &self.path {
            Path::Unknown | Path::Quiet(_) => None,
            Path::Numbered(numbered) => Some((numbered.micros(now), numbered.estimate())),
            Path::Told(told) if !told.hearsay.is_doubted() => None,
            Path::Told(told) => Some((told.micros(now), told.hearsay.estimate())),
            Path::Outbox(outbox) if !outbox.drain.is_doubted() => None,
            Path::Outbox(outbox) => Some((outbox.micros(now), outbox.drain.estimate())),
        }
    }

    /// The viewer has another path.
    pub fn forget_path(&mut self, now: Instant) {
        self.wake(now);
        match &mut self.path {
            Path::Numbered(numbered) => numbered.forget(now),
            Path::Outbox(outbox) => **outbox = Outbox::new(now),
            Path::Unknown | Path::Quiet(_) | Path::Told(_) => {}
        }
    }
}
