//! What a viewer's path carries, by what the viewer says of the packets it was sent.
//!
//! A pure function of what is sent and what is reported: time is an argument, there is no timer.
//! What decides is split by decision: the trend of delays and the level of the queue on the path,
//! what of it downloads beside us are to blame for, the rate that follows, the bound by losses, the
//! ceiling, and the probes that find out whether there is more.
//!
//! The unit is the *train*: what leaves together comes as fast as the path carries it, so its first
//! packet says how long the queue is, and the others how fast the path is.

mod acked;
mod arriving;
mod ceiling;
mod drain;
mod hearsay;
mod loss;
mod pause;
mod plateau;
mod probe;
mod queue;
mod rate;
mod reference;
mod rest;
mod rival;
mod told;
mod trains;
mod trend;

use crate::limits::{
    ESTIMATE_START, ESTIMATE_START_MOST, GROUP_TIME, PROBE_SCOUT, QUEUE_FULL_ENOUGH, QUEUE_OVERUSE,
};
use acked::Acked;
use arriving::Arriving;
use ceiling::Ceiling;
pub use drain::Drain;
pub use hearsay::Hearsay;
use loss::Loss;
use pause::Pause;
use probe::{Probes, View};
use queue::Queue;
use rate::Rate;
use reference::Reference;
pub use rest::Rest;
use rival::{Rival, Signs};
use told::Told;
pub use trains::Train;
use trains::Trains;
use trend::Trend;

/// Microseconds since some moment that the caller keeps to.
pub type Micros = u64;

/// With a queue shorter than this, in milliseconds, the first trains may raise the rate, to this
/// share of the ceiling.
const START_QUEUE_MS: f64 = 25.0;
const START_SHARE: f64 = 0.8;
/// Feedbacks that the first trains are judged after.
const START_FEEDBACKS: u8 = 2;

/// A path of which a train has said something since is measured.
const SCOUTED: Micros = PROBE_SCOUT.as_micros() as Micros;

/// What paths carry around each datagram: of small ones it is a tenth.
const IP_UDP_BYTES: u32 = 28;

/// Bits of a packet.
const PACKET_BITS: f64 = 1_200.0 * 8.0;

/// What waits leaves at so many times the rate (libwebrtc's pacer), or at this share of the
/// ceiling.
const PACE_SPEED: f64 = 2.5;
const PACE_SHARE: f64 = 0.9;

/// What delays say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The queue on the path is as it was.
    Normal,
    /// It drains.
    Underuse,
    /// It grows, or is long.
    Overuse,
    /// It is not looked at just now: the path carries everything.
    Quiet,
    /// Nothing is known of it: the viewer does not say when packets come.
    Unknown,
}

/// How long a packet takes at a rate, in milliseconds: on a narrow path one waits for another
/// without there being too many.
fn slack_ms(bits_per_s: f64) -> f64 {
    PACKET_BITS * 1e3 / bits_per_s.max(1.0)
}

/// What the rate was changed by last, other than by growing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the one a viewer begins with.
    Start,
    /// The first trains came fast.
    FirstTrains,
    /// Delays grew.
    Delay,
    /// The queue was long.
    Queue,
    /// Packets were lost.
    Loss,
    /// A probe came through.
    Probe,
    /// The queue turned out to be another's.
    Rival,
    /// The viewer said so (REMB).
    Told,
}

/// What is thought of a viewer's path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// What may be sent, in bits a second.
    pub bits_per_s: f64,
    /// What the path could carry at most, where that is known.
    pub ceiling_bits_per_s: Option<f64>,
    /// How long packets wait on the path, in milliseconds.
    pub queue_ms: f64,
    /// The share of packets that was lost, where it is known.
    pub lost: Option<f64>,
    /// What delays say.
    pub state: State,
    /// The queue is that of somebody else.
    pub rival: bool,
    /// What changed the rate last.
    pub reason: Reason,
    /// When the path was seen to have become wider, the last time.
    pub widened: Option<Micros>,
}

/// One viewer's path.
#[derive(Debug)]
pub struct Estimator {
    trains: Trains,
    trend: Trend,
    queue: Queue,
    acked: Acked,
    rate: Rate,
    loss: Loss,
    ceiling: Ceiling,
    rival: Rival,
    probes: Probes,
    told: Told,
    arriving: Option<Arriving>,
    /// When the last group left and when its first packet came.
    group: Option<(Micros, i64)>,
    /// The newest number that was reported on.
    reported: Option<u16>,
    reference: Reference,
    round_trip: Micros,
    last: Micros,
    feedbacks: u8,
    reason: Reason,
    widened: Option<Micros>,
    /// What was reported last has shown that it has become far narrower.
    narrows: bool,
    pause: Pause,
}

const _: () = assert!(
    size_of::<Estimator>() - size_of::<Trains>() <= 1_536 && size_of::<Trains>() <= 2_064,
    "a viewer that adapts takes less than 3.5 KB"
);

impl Estimator {
    /// Nothing is known of the path at `now`.
    #[must_use]
    pub fn new(now: Micros) -> Estimator {
        Estimator {
            trains: Trains::new(),
            trend: Trend::new(),
            queue: Queue::new(),
            acked: Acked::new(),
            rate: Rate::new(ESTIMATE_START),
            loss: Loss::new(),
            ceiling: Ceiling::new(),
            rival: Rival::default(),
            probes: Probes::new(now),
            told: Told::default(),
            arriving: None,
            group: None,
            reported: None,
            reference: Reference::default(),
            round_trip: 100_000,
            last: now,
            feedbacks: 0,
            reason: Reason::Start,
            widened: None,
            narrows: false,
            pause: Pause::default(),
        }
    }

    /// What is thought of the path now.
    #[must_use]
    pub fn estimate(&self) -> Estimate {
        let view = self.view();
        Estimate {
            bits_per_s: view.rate,
            ceiling_bits_per_s: view.ceiling,
            queue_ms: view.queue_ms,
            lost: self.loss.shown(),
            state: if view.overuse { State::Overuse } else { self.trend.state() },
            rival: view.rival,
            reason: self.reason,
            widened: self.widened,
        }
    }

    /// How fast what waits may leave, in bits a second: faster than the rate, but no faster than it
    /// can come, where that is known. Of a layer that sends more it has to be more.
    #[must_use]
    pub fn pace(&self) -> f64 {
        let fast = PACE_SPEED * self.rate.bits_per_s();
        self.ceiling.bits_per_s().map_or(fast, |ceiling| fast.min(PACE_SHARE * ceiling))
    }

    /// Whether nothing is to leave now, until what stands in front of the path is less.
    #[must_use]
    pub fn is_paused(&self, now: Micros) -> bool {
        self.pause.is_on(now)
    }

    /// Whether packets wait on the path that are too many for it.
    #[must_use]
    pub fn is_crowded(&self, now: Micros) -> bool {
        let view = self.view();
        !view.rival && (view.overuse || self.pause.is_felt(now))
    }

    /// A train has left.
    pub fn sent(&mut self, train: Train) {
        self.probes.sent(train.probe, train.bytes);
        self.trains.note(train);
    }

    /// The viewer could be sent a better layer, which needs so many bits a second: a probe begins
    /// if it is worth it.
    pub fn wants(&mut self, now: Micros, next_layer: f64) {
        if self.probes.look_out(now, self.view()) {
            self.ceiling.forget();
            self.widened = Some(now);
        }
        let view = self.view();
        self.probes.begin(now, next_layer, view);
    }

    /// The viewer changes layers, which begins with a key frame: that makes a queue which passes.
    pub fn switches(&mut self, now: Micros) {
        self.probes.feel_burst(now);
    }

    /// The probe that what leaves now is part of; 0 of none.
    #[must_use]
    pub fn probe(&self, now: Micros) -> u8 {
        self.probes.id(now)
    }

    /// Whether padding is to leave: as part of a probe, or to measure the path.
    #[must_use]
    pub fn is_probing(&self, now: Micros) -> bool {
        self.probes.is_sending(now)
    }

    /// Bytes that are to leave now besides media, so that the probe keeps its rate.
    #[must_use]
    pub fn probe_bytes(&self, now: Micros) -> u32 {
        self.probes.owed(now)
    }

    /// The viewer reports which packets came, and when: in microseconds since the `reference` time
    /// of 24 bits, in units of 64 ms.
    pub fn feedback(
        &mut self,
        now: Micros,
        reference: u32,
        packets: impl Iterator<Item = (u16, Option<i64>)>,
    ) {
        let reference = self.reference.unwrap(reference);
        let (mut came, mut lost, mut overuse) = (0u16, 0u16, false);
        let mut newest_sent = None;
        for (sequence, arrived) in packets {
            let Some((place, train)) = self.trains.find(sequence) else { continue };
            if self.reported.is_some_and(|newest| !is_after(sequence, newest)) {
                if arrived.is_some() {
                    self.loss.found();
                }
                continue;
            }
            self.reported = Some(sequence);
            let Some(arrived) = arrived else {
                lost += 1;
                self.probes.lost(train.probe);
                continue;
            };
            came += 1;
            let left = train.left(now);
            newest_sent = Some(left);
            self.arrived(place, train, left, sequence, reference + arrived);
            overuse |= self.trend.state() == State::Overuse;
        }
        self.loss.note(now, came + lost, lost);
        if let Some(sent) = newest_sent {
            self.round_trip = (7 * self.round_trip + now.saturating_sub(sent)) / 8;
            self.told.measured(now);
            self.judge(now, overuse);
        }
    }

    /// The viewer's own estimate (REMB): it counts where the viewer gives no transport-wide
    /// feedback, or is far lower than what it says it gets.
    pub fn remb(&mut self, now: Micros, bits_per_s: u64) {
        let told = bits_per_s as f64;
        let bound = self.told.remb(now, told, self.rate.bits_per_s(), self.acked.rate());
        self.tell(bound);
    }

    /// The viewer has another path.
    pub fn forget(&mut self, now: Micros) {
        (self.trend, self.group, self.arriving) = (Trend::new(), None, None);
        (self.acked, self.reported) = (Acked::new(), None);
        (self.queue, self.ceiling) = (Queue::new(), Ceiling::new());
        (self.rival, self.loss, self.probes) = (Rival::default(), Loss::new(), Probes::new(now));
    }

    fn tell(&mut self, bound: Option<told::Bound>) {
        match bound {
            Some(told::Bound::AtMost(bits_per_s)) if bits_per_s < self.rate.bits_per_s() => {
                self.rate.limit(bits_per_s);
                self.reason = Reason::Told;
            }
            Some(told::Bound::AtLeast(bits_per_s)) => self.rate.raise(bits_per_s),
            Some(told::Bound::AtMost(_)) | None => {}
        }
    }

    fn arrived(&mut self, place: u8, train: Train, left: Micros, sequence: u16, arrived: i64) {
        let bytes = train.bytes_of(sequence);
        self.acked.note(arrived, bytes);
        self.probes.came(train.probe, left, arrived, bytes);
        if let Some(arriving) = self.arriving.as_mut().filter(|train| train.place == place) {
            arriving.note(arrived, bytes + IP_UDP_BYTES);
            return;
        }
        if let Some(before) = self.arriving.replace(Arriving::begin(place, arrived)) {
            self.ceiling.note(left, before.packets, before.bytes_behind, before.within());
        }
        // Without its first packet a train says less of when it came.
        if sequence == train.first {
            self.begin_group(left, arrived);
        }
    }

    /// The first packet of a train came. Trains that left together are one group.
    fn begin_group(&mut self, left: Micros, arrived: i64) {
        let Some((sent, came)) = self.group else {
            self.group = Some((left, arrived));
            return;
        };
        let apart = left.saturating_sub(sent);
        if apart < GROUP_TIME.as_micros() as Micros {
            return;
        }
        let occupied = self.rival.occupies(left);
        if self.queue.note(left, arrived.saturating_sub_unsigned(left), occupied) {
            self.rival = Rival::default();
        }
        self.trend.note(apart as f64 / 1e3, arrived.saturating_sub(came) as f64 / 1e3);
        self.group = Some((left, arrived));
    }

    /// Draws the conclusion of a feedback.
    fn judge(&mut self, now: Micros, mut overuse: bool) {
        let passed = now.saturating_sub(self.last).min(1_000_000) as f64 / 1e6;
        self.last = now;
        self.feedbacks = self.feedbacks.saturating_add(1);
        let (queue_ms, mut acked) = (self.queue.level_ms(), self.acked.rate());
        // What left together and still comes says it sooner than what left after it.
        let slow = self.arriving.and_then(|train| train.slow(self.rate.bits_per_s()));
        if let Some(slow) = slow {
            (overuse, acked) = (true, slow);
            // However much of it is another's: all of it is less than what is sent.
            self.rival = Rival::default();
        }
        // What a probe has done is no reason to fall.
        let is_felt = self.probes.is_felt(now) && slow.is_none();
        self.narrows = false;
        self.ceiling.forget_old(now);
        self.probes.stop_if_late(now, self.view());
        // What was measured a while ago may have been another path.
        let ceiling = self.ceiling.bits_per_s().filter(|_| self.view().measured);
        let signs = Signs {
            overuse,
            lost: self.loss.share().unwrap_or(0.0),
            share_of_ceiling: ceiling.map_or(1.0, |ceiling| acked / ceiling),
        };
        if !is_felt
            && slow.is_none()
            && let Some(given_up) = self.rival.look(now, queue_ms, self.rate.bits_per_s(), signs)
        {
            self.rate.raise(given_up);
            self.reason = Reason::Rival;
        }
        let listens = !self.rival.is_there();
        let slack_ms = slack_ms(self.rate.bits_per_s());
        let is_long = queue_ms > QUEUE_OVERUSE.as_millis() as f64 + slack_ms;
        let is_filling = queue_ms > QUEUE_FULL_ENOUGH.as_millis() as f64 + slack_ms;
        if listens && is_felt && (overuse || is_long) {
            // It passes.
        } else if listens && (overuse || is_long) {
            self.fall(now, acked, slow, if overuse { Reason::Delay } else { Reason::Queue });
        } else if !listens || (self.trend.state() == State::Normal && !is_filling) {
            self.rate.grow(acked, self.round_trip, passed);
        }
        self.judge_losses(now, acked, queue_ms);
        self.judge_start(queue_ms);
        let view = self.view();
        if let Some(shown) = self.probes.settle(now, view)
            && shown > view.rate
        {
            self.loss.raise(shown);
            self.rate.raise(shown);
            self.reason = Reason::Probe;
        }
    }

    fn fall(&mut self, now: Micros, acked: f64, slow: Option<f64>, reason: Reason) {
        let before = self.rate.bits_per_s();
        self.rate.fall(now, acked, self.round_trip);
        let rate = self.rate.bits_per_s();
        if rate < before {
            self.reason = reason;
        }
        // Of a train that still comes the end waits longest.
        let waited = if slow.is_some() { i64::MAX } else { self.queue.newest() };
        self.narrows = self.pause.fell(now, (before, rate), waited);
        if self.narrows {
            self.probes.narrowed(now, acked);
            self.ceiling.forget();
        }
    }

    fn judge_losses(&mut self, now: Micros, acked: f64, queue_ms: f64) {
        let rate = self.rate.bits_per_s();
        if self.loss.judge(now, rate, acked, queue_ms) {
            let view = self.view();
            self.probes.discourage(now, view);
            self.reason = Reason::Loss;
        }
        self.rate.limit(self.loss.bound());
    }

    /// A viewer's first trains are a key frame: how fast it came says where to begin.
    fn judge_start(&mut self, queue_ms: f64) {
        if self.feedbacks != START_FEEDBACKS || queue_ms > START_QUEUE_MS {
            return;
        }
        let shown = START_SHARE * self.ceiling.bits_per_s().unwrap_or(0.0);
        if shown > self.rate.bits_per_s() {
            self.rate.raise(shown.min(ESTIMATE_START_MOST));
            self.reason = Reason::FirstTrains;
        }
    }

    fn view(&self) -> View {
        let rival = self.rival.is_there();
        let queue_ms = self.queue.level_ms();
        let rate = self.rate.bits_per_s();
        let is_long = queue_ms > QUEUE_OVERUSE.as_millis() as f64 + slack_ms(rate);
        View {
            rate,
            slack_ms: slack_ms(rate),
            queue_ms,
            overuse: !rival && (is_long || self.narrows || self.trend.state() == State::Overuse),
            ceiling: self.ceiling.bits_per_s(),
            rival,
            last: self.ceiling.last(),
            newest: self.ceiling.newest(),
            fastest: self.ceiling.fastest(),
            measured: self.ceiling.is_measured(self.last.saturating_sub(SCOUTED)),
        }
    }
}

fn is_after(sequence: u16, newest: u16) -> bool {
    sequence.wrapping_sub(newest).cast_signed() > 0
}

#[cfg(test)]
mod tests;
