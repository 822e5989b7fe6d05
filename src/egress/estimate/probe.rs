//! Whether there is room for a better layer is found out by sending as much as it would need, for a
//! moment. Without, a viewer stays where it began: what is not sent is not measured.

use super::Micros;
use crate::limits::{
    PADDING_BYTES, PROBE_PATIENCE, PROBE_PAUSE_GOOD, PROBE_PAUSE_LEAST, PROBE_PAUSE_MOST,
    PROBE_SCOUT, PROBE_TIME,
};

const TIME: Micros = PROBE_TIME.as_micros() as Micros;
const PATIENCE: Micros = PROBE_PATIENCE.as_micros() as Micros;
const PAUSE_LEAST: Micros = PROBE_PAUSE_LEAST.as_micros() as Micros;
const PAUSE_GOOD: Micros = PROBE_PAUSE_GOOD.as_micros() as Micros;
const PAUSE_MOST: Micros = PROBE_PAUSE_MOST.as_micros() as Micros;

/// Sent in a probe, media counted in: this share of what the next layer needs, and audio.
const SHARE: f64 = 1.2;
const AUDIO_BITS: f64 = 80_000.0;
/// A rate this much above the next layer's needs no probe.
const ENOUGH: f64 = 1.2;
/// The ceiling must be this much above the next layer's rate.
const CEILING_SHARE: f64 = 1.15;
/// With a queue longer than this, in milliseconds, there is no room.
const QUEUE_MS: f64 = 15.0;
/// After a good probe the queue may be this long, in milliseconds: frames and the probe's trains
/// make up half of it. With more the probe ends early.
const QUEUE_AFTER_MS: f64 = 35.0;
const QUEUE_STOP_MS: f64 = 36.0;
/// And this share of its packets may be lost.
const LOST: f64 = 0.15;
/// What is taken of the ceiling, and of what came if it came slower than it was sent.
const TAKEN: f64 = 0.95;
/// A path has become wider when two trains came this much faster than it was.
const WIDER: f64 = 1.6;
const SCOUT: Micros = PROBE_SCOUT.as_micros() as Micros;
const SCOUT_BYTES: u32 = 4 * PADDING_BYTES as u32;
/// For so long after its end delays are those of a probe.
const AFTERMATH: Micros = 600_000;

/// What is known of the path when a probe begins or ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub rate: f64,
    pub queue_ms: f64,
    /// How long packets wait for one another in any case.
    pub slack_ms: f64,
    pub overuse: bool,
    pub ceiling: Option<f64>,
    /// The queue is another's, and says nothing.
    pub rival: bool,
    /// What the last train said, the slower of the last two, and the fastest of the last ones;
    /// and whether they are recent.
    pub last: Option<f64>,
    pub newest: Option<f64>,
    pub fastest: Option<f64>,
    pub measured: bool,
}

/// A probe that is on its way.
#[derive(Clone, Copy, Debug)]
struct Running {
    bits_per_s: f64,
    began: Micros,
    sent_bytes: u32,
    came_bytes: u32,
    came: u16,
    lost: u16,
    /// When its first and last packet came, by the viewer's clock.
    arrived: Option<(i64, i64)>,
    /// Something sent later was reported on.
    is_over: bool,
}

/// When to probe, and what came of it.
#[derive(Debug)]
pub(super) struct Probes {
    running: Option<Running>,
    id: u8,
    not_before: Micros,
    pause: Micros,
    /// Until when delays are those of the last one.
    felt_until: Micros,
    /// What the path carried when there was no room.
    narrow: Option<f64>,
    /// A train of padding is to leave, when the last one was to, and whether that was the second.
    scout: bool,
    scouted: Micros,
    scouted_twice: bool,
}

impl Probes {
    pub fn new(now: Micros) -> Probes {
        let not_before = now + PAUSE_LEAST / 6;
        Probes {
            running: None,
            id: 0,
            not_before,
            pause: PAUSE_LEAST,
            felt_until: 0,
            narrow: None,
            scout: false,
            scouted: now,
            scouted_twice: true,
        }
    }

    /// What packets that leave now are part of; 0 of none.
    pub fn id(&self, now: Micros) -> u8 {
        self.running.filter(|probe| now < probe.began + TIME).map_or(0, |_| self.id)
    }

    /// Whether delays are those of a probe: it has ended a moment ago at most.
    pub fn is_felt(&self, now: Micros) -> bool {
        self.felt_until > now
    }

    /// A key frame that was not waited for is leaving: delays are those of it for a while.
    pub fn feel_burst(&mut self, now: Micros) {
        self.felt_until = self.felt_until.max(now + AFTERMATH);
    }

    /// A probe whose packets are late already ends: it has shown that there is no room.
    pub fn stop_if_late(&mut self, now: Micros, view: View) {
        let Some(probe) = &mut self.running else { return };
        if !view.rival && probe.came > 0 && view.queue_ms > QUEUE_STOP_MS + view.slack_ms {
            let unsent = (probe.began + TIME).saturating_sub(now);
            probe.began = probe.began.saturating_sub(unsent);
            self.felt_until = self.felt_until.min(now + AFTERMATH);
            probe.lost = u16::MAX;
        }
    }

    /// The path has become far narrower: what is found out about is over, and what it is wide
    /// enough for again is to be seen first.
    pub fn narrowed(&mut self, now: Micros, carries: f64) {
        (self.running, self.scout, self.scouted) = (None, false, now);
        self.narrow = Some(carries);
        self.not_before = self.not_before.max(now + PAUSE_LEAST);
    }

    /// Begins one, if the next layer's rate is worth it.
    pub fn begin(&mut self, now: Micros, next_layer: f64, view: View) {
        let is_calm = view.rival || (view.queue_ms < QUEUE_MS + view.slack_ms && !view.overuse);
        // Beside another, half of the path is a fair share of what is tried: more comes through now
        // and then, as queues are not listened to, but never enough, and is tried again.
        let tried = SHARE * next_layer + AUDIO_BITS;
        let least = if view.rival { 2.0 * tried } else { CEILING_SHARE * next_layer + AUDIO_BITS };
        let carries = |bits_per_s: f64| bits_per_s > least;
        let has_room = view.ceiling.is_none_or(carries) && self.narrow.is_none_or(carries);
        let is_needed = view.rate < ENOUGH * next_layer + AUDIO_BITS;
        if is_needed && !has_room {
            self.narrow = self.narrow.or(view.fastest);
        }
        if self.running.is_some() || now < self.not_before || !(is_calm && has_room && is_needed) {
            return;
        }
        // Never 0, and another one than the last, whose packets are reported on still.
        self.id = self.id % u8::MAX + 1;
        self.felt_until = self.felt_until.max(now + TIME + AFTERMATH);
        self.running = Some(Running {
            bits_per_s: tried,
            began: now,
            sent_bytes: 0,
            came_bytes: 0,
            came: 0,
            lost: 0,
            arrived: None,
            is_over: false,
        });
    }

    /// A path that was narrow may have become wide: where frames are too small to make trains, one
    /// of padding says so now and then. True where it is wider than it was.
    pub fn look_out(&mut self, now: Micros, view: View) -> bool {
        let Some(narrow) = self.narrow.filter(|_| !view.rival) else { return false };
        if view.newest.is_some_and(|newest| newest > WIDER * narrow) {
            (self.narrow, self.pause, self.not_before) = (None, PAUSE_LEAST, now);
            return true;
        }
        self.narrow = Some(view.fastest.map_or(narrow, |fastest| narrow.min(fastest)));
        let since = now.saturating_sub(self.scouted);
        // One that came faster than before is followed by another at once, to be sure.
        let is_news = !self.scouted_twice
            && (SCOUT / 8..SCOUT / 2).contains(&since)
            && view.last.is_some_and(|last| last > WIDER * narrow);
        let is_due = is_news || (since > SCOUT && !view.measured);
        if is_due && self.running.is_none() {
            (self.scout, self.scouted, self.scouted_twice) = (true, now, is_news);
        }
        false
    }

    /// Whether something is to leave besides media.
    pub fn is_sending(&self, now: Micros) -> bool {
        self.scout || self.id(now) != 0
    }

    /// Bytes that are to leave now so that the probe keeps its rate.
    pub fn owed(&self, now: Micros) -> u32 {
        if self.scout {
            return SCOUT_BYTES;
        }
        let Some(probe) = self.running.filter(|_| self.id(now) != 0) else { return 0 };
        let due = probe.bits_per_s / 8e6 * (now + TICK - probe.began) as f64;
        (due as u32).saturating_sub(probe.sent_bytes)
    }

    /// A train of so many bytes has left as part of a probe.
    pub fn sent(&mut self, id: u8, bytes: u32) {
        self.scout &= bytes < SCOUT_BYTES;
        if let Some(probe) = self.of(id) {
            probe.sent_bytes = probe.sent_bytes.saturating_add(bytes);
        }
    }

    /// A packet came, part of a probe or not.
    pub fn came(&mut self, id: u8, sent: Micros, arrived: i64, bytes: u32) {
        if let Some(probe) = self.of(id) {
            probe.came = probe.came.saturating_add(1);
            probe.came_bytes = probe.came_bytes.saturating_add(bytes);
            let (first, last) = probe.arrived.unwrap_or((arrived, arrived));
            probe.arrived = Some((first.min(arrived), last.max(arrived)));
        } else if let Some(probe) = &mut self.running {
            probe.is_over |= sent >= probe.began + TIME;
        }
    }

    /// A packet of a probe was lost.
    pub fn lost(&mut self, id: u8) {
        if let Some(probe) = self.of(id) {
            probe.lost = probe.lost.saturating_add(1);
        }
    }

    /// Congestion by losses: no probe for a while.
    pub fn discourage(&mut self, now: Micros, view: View) {
        // What trains said before is of another path, if that has just become narrow.
        self.narrow = view.newest.or(view.fastest).or(self.narrow).or(Some(view.rate));
        self.pause = (2 * self.pause).min(PAUSE_MOST);
        self.not_before = self.not_before.max(now + self.pause);
    }

    /// A probe whose feedback is there, or overdue, comes to its end: the rate it has shown.
    pub fn settle(&mut self, now: Micros, view: View) -> Option<f64> {
        let probe = self.running?;
        let patience = probe.began + TIME + PATIENCE;
        if !probe.is_over && now < patience {
            return None;
        }
        self.running = None;
        let shown = probe.arrived.and_then(|(first, last)| {
            let packets = f64::from(probe.came) + f64::from(probe.lost);
            let is_good = f64::from(probe.lost) <= LOST * packets
                && (view.rival || view.queue_ms < QUEUE_AFTER_MS + view.slack_ms);
            let time = last.saturating_sub(first);
            let is_late = time > (TIME + TIME / 10).cast_signed();
            // Those that were lost are few, and were not lost to the probe.
            let bytes = f64::from(probe.came_bytes) * packets / f64::from(probe.came);
            let received = bytes * 8e6 / time.max(TIME.cast_signed()) as f64;
            let received = if is_late { TAKEN * received } else { received };
            is_good.then(|| received.min(TAKEN * view.ceiling.unwrap_or(f64::INFINITY)))
        });
        // What has come through may not be enough yet, or be followed by a better layer.
        let pause;
        (pause, self.pause) = match shown {
            Some(_) => (PAUSE_GOOD, PAUSE_LEAST),
            None => (self.pause, (2 * self.pause).min(PAUSE_MOST)),
        };
        self.narrow = match shown {
            Some(_) => None,
            None => view.fastest.or(Some(view.rate)),
        };
        self.not_before = now + pause;
        shown
    }

    fn of(&mut self, id: u8) -> Option<&mut Running> {
        self.running.as_mut().filter(|_| id != 0 && id == self.id)
    }
}

/// Probes are sent train by train, each for the time until the next.
const TICK: Micros = crate::limits::PACE_TICK.as_micros() as Micros;

#[cfg(test)]
mod tests {
    use super::*;

    const NEXT: f64 = 1e6;
    const CALM: View = View {
        rate: 0.6e6,
        queue_ms: 0.0,
        slack_ms: 0.0,
        overuse: false,
        ceiling: Some(5e6),
        rival: false,
        last: Some(5e6),
        newest: Some(5e6),
        fastest: Some(5e6),
        measured: true,
    };

    fn started(at: Micros, view: View) -> Probes {
        let mut probes = Probes::new(0);
        probes.begin(at, NEXT, view);
        probes
    }

    #[test]
    fn a_probe_begins_when_there_may_be_room_for_what_is_wanted() {
        let begins = |view| started(1_000_000, view).id(1_000_000) != 0;
        assert!(begins(CALM));
        assert!(!begins(View { rate: 1.3e6, ..CALM }), "there is room already");
        assert!(!begins(View { ceiling: Some(1.1e6), ..CALM }), "there can't be");
        assert!(!begins(View { queue_ms: 16.0, ..CALM }));
        assert!(!begins(View { overuse: true, ..CALM }));
        let rival = View { overuse: true, queue_ms: 99.0, rival: true, ..CALM };
        assert!(begins(rival));
        assert!(begins(View { ceiling: Some(2.6e6), ..rival }));
        assert!(!begins(View { ceiling: Some(2.5e6), ..rival }), "more than a fair share is tried");
    }

    /// Sends what is owed in packets of 1,000 bytes, which come at this share of the pace.
    fn run(probes: &mut Probes, began: Micros, pace: f64) -> Micros {
        for tick in 0..20 {
            let now = began + tick * 10_000;
            let owed = probes.owed(now);
            probes.sent(probes.id(now), owed);
            let arrived = ((now - began) as f64 / pace) as i64;
            probes.came(probes.id, now, arrived, owed);
        }
        let now = began + TIME;
        assert_eq!((probes.id(now), probes.owed(now)), (0, 0), "it is over");
        probes.came(0, now, 300_000, 1_000);
        now
    }

    #[test]
    fn a_good_probe_shows_what_came_of_it() {
        let mut probes = started(1_000_000, CALM);
        let end = run(&mut probes, 1_000_000, 1.0);
        let shown = probes.settle(end, CALM).expect("it was good");
        assert!((shown / (SHARE * NEXT + AUDIO_BITS) - 1.0).abs() < 0.01, "{shown}");
        probes.begin(end + PAUSE_GOOD - 1, NEXT, CALM);
        assert_eq!(probes.id(end + PAUSE_GOOD - 1), 0);
        probes.begin(end + PAUSE_GOOD, NEXT, CALM);
        assert_ne!(probes.id(end + PAUSE_GOOD), 0);
    }

    #[test]
    fn what_comes_slower_than_it_was_sent_shows_less() {
        let mut probes = started(1_000_000, CALM);
        let end = run(&mut probes, 1_000_000, 0.5);
        let shown = probes.settle(end, CALM).expect("the queue is gone again");
        assert!(shown < 0.6 * (SHARE * NEXT), "{shown}");
    }

    #[test]
    fn probes_that_fail_are_further_and_further_apart() {
        let mut probes = Probes::new(0);
        let (mut now, mut pauses) = (1_000_000, Vec::new());
        for _ in 0..12 {
            let began = (now..).step_by(100_000).find(|now| {
                probes.begin(*now, NEXT, CALM);
                probes.id(*now) != 0
            });
            let began = began.expect("it probes again");
            pauses.push((began - now) / 100_000);
            run(&mut probes, began, 1.0);
            now = began + TIME;
            assert_eq!(probes.settle(now, View { queue_ms: 40.0, ..CALM }), None);
        }
        assert_eq!([pauses[1], pauses[2]], [30, 60]);
        assert_eq!(pauses[11], 300);
    }

    #[test]
    fn a_probe_nothing_is_said_of_has_failed() {
        let mut probes = started(1_000_000, CALM);
        assert_eq!(probes.settle(1_000_000 + TIME + PATIENCE - 1, CALM), None);
        assert!(probes.running.is_some());
        assert_eq!(probes.settle(1_000_000 + TIME + PATIENCE, CALM), None);
        assert!(probes.running.is_none() && probes.pause > PAUSE_LEAST);
    }

    #[test]
    fn what_trains_said_before_the_path_became_narrow_is_not_what_it_carried_then() {
        let mut probes = Probes::new(0);
        let narrow = View { newest: Some(0.3e6), fastest: Some(50e6), ..CALM };
        probes.discourage(1_000_000, narrow);
        assert!(!probes.look_out(2_000_000, narrow));
        let wider = View { newest: Some(0.9e6), ..narrow };
        assert!(probes.look_out(3_000_000, wider));
        probes.begin(3_000_000, NEXT, CALM);
        assert!(probes.id(3_000_000) != 0, "and what it carries now is tried at once");
    }

    #[test]
    fn a_train_that_comes_faster_than_the_path_was_is_followed_by_another_at_once() {
        let scouts = |last: f64| {
            let mut probes = Probes::new(0);
            let narrow = View { last: None, newest: None, fastest: Some(0.3e6), ..CALM };
            let view = View { measured: false, ..narrow };
            probes.discourage(0, view);
            let ticks = (0..40u64).map(|tick| tick * 100_000).filter(|now| {
                let has_said = probes.scouted > 0;
                let view = View { last: Some(last).filter(|_| has_said), ..view };
                assert!(!probes.look_out(*now, View { measured: has_said, ..view }));
                let leaves = probes.owed(*now) > 0;
                probes.sent(0, SCOUT_BYTES);
                leaves
            });
            ticks.collect::<Vec<_>>()
        };
        assert_eq!(scouts(0.31e6), [1_300_000], "no more while something is known of it");
        assert_eq!(scouts(0.9e6), [1_300_000, 1_500_000], "and one alone");
    }
}
