//! When a mux port is added and when one is drained.
//!
//! Every shard reads every port, so more ports add no core and no throughput. What they do add is
//! room: each brings every shard another receive queue, and every NAT another 65,535 mappings
//! towards this server. So the rule looks at what is short of room, and at nothing else:
//!
//! - **Add one** when for [`PortRule::add_after`] without a break either the average port had more
//!   than [`PortRule::sessions_per_port`] sessions, or the receive queues of some port lost
//!   [`PortRule::drops_per_s`] datagrams a second or more.
//! - **Drain one** when for [`PortRule::drain_after`] without a break the sessions would have
//!   filled the ports that stay to [`PortRule::filled_after_drain`] at most, and for
//!   [`PortRule::remember_drops`] no receive queue lost anything. The one with the fewest sessions
//!   goes; the first port, which is in everybody's firewall, stays.
//! - Between two changes lies [`PortRule::pause`], and there are never fewer than the least nor
//!   more than the most.
//!
//! The gap between the two thresholds is why it does not go to and fro: a port that goes leaves the
//! others well below what would bring it back, and drops, which come in bursts, are remembered.

use std::time::{Duration, Instant};

use crate::limits::{MAX_PORT_DRAIN, PORT_LOAD_INTERVAL};

/// The thresholds of the rule.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRule {
    /// How often the load is looked at.
    pub interval: Duration,
    /// Sessions a port may have on average before another is added.
    pub sessions_per_port: usize,
    /// Datagrams a second lost to full receive queues, at any one port, that add another.
    pub drops_per_s: f64,
    /// How long either must last before a port is added.
    pub add_after: Duration,
    /// How long the load must have been small before a port is drained.
    pub drain_after: Duration,
    /// How full the ports that stay may be made by draining one, as a part of
    /// `sessions_per_port`.
    pub filled_after_drain: f64,
    /// How long nothing is drained after a receive queue was full.
    pub remember_drops: Duration,
    /// The least time between two changes.
    pub pause: Duration,
    /// How long the sessions of a drained port may stay.
    pub deadline: Duration,
}

impl Default for PortRule {
    fn default() -> PortRule {
        PortRule {
            interval: PORT_LOAD_INTERVAL,
            // Half of the mappings that a NAT with one address has towards one of our ports.
            sessions_per_port: 30_000,
            drops_per_s: 10.0,
            add_after: Duration::from_secs(5),
            drain_after: Duration::from_secs(300),
            filled_after_drain: 0.6,
            remember_drops: Duration::from_secs(1_800),
            pause: Duration::from_secs(30),
            // Nobody's session is ended to tidy up.
            deadline: MAX_PORT_DRAIN,
        }
    }
}

/// The load of one open port, over the last interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PortLoad {
    /// The port.
    pub number: u16,
    /// Sessions that were given it.
    pub sessions: usize,
    /// Datagrams received through it, per second.
    pub datagrams_per_s: f64,
    /// Datagrams its receive queues lost, per second.
    pub drops_per_s: f64,
}

/// What is to be done about the ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Open one more.
    Add,
    /// Drain this one.
    Drain(u16),
}

/// The rule, with what it remembers.
pub struct Rule {
    rule: PortRule,
    least: usize,
    most: usize,
    crowded_since: Option<Instant>,
    calm_since: Option<Instant>,
    lost_at: Option<Instant>,
    changed_at: Option<Instant>,
}

impl Rule {
    /// Nothing seen yet; between `least` and `most` ports.
    pub fn new(rule: PortRule, least: usize, most: usize) -> Rule {
        Rule {
            rule,
            least,
            most,
            crowded_since: None,
            calm_since: None,
            lost_at: None,
            changed_at: None,
        }
    }

    /// Takes in the load of the open ports, the first one first, and says what to change, with the
    /// numbers that say so.
    pub fn decide(&mut self, now: Instant, open: &[PortLoad]) -> Option<(Change, String)> {
        let sessions: usize = open.iter().map(|port| port.sessions).sum();
        let datagrams: f64 = open.iter().map(|port| port.datagrams_per_s).sum();
        let worst = open.iter().max_by(|a, b| a.drops_per_s.total_cmp(&b.drops_per_s))?;
        if worst.drops_per_s > 0.0 {
            self.lost_at = Some(now);
        }
        let per_port = self.rule.sessions_per_port;
        let losing = worst.drops_per_s >= self.rule.drops_per_s;
        let crowded = losing || sessions > open.len() * per_port;
        let room = (open.len() - 1) as f64 * per_port as f64 * self.rule.filled_after_drain;
        let remembered = self.rule.remember_drops;
        let forgotten = self.lost_at.is_none_or(|at| now.duration_since(at) >= remembered);
        let calm = !crowded && forgotten && sessions as f64 <= room;
        let crowded_for = since(&mut self.crowded_since, crowded, now);
        let calm_for = since(&mut self.calm_since, calm, now);
        if self.changed_at.is_some_and(|at| now.duration_since(at) < self.rule.pause) {
            return None;
        }
        let load = format!(
            "{sessions} sessions and {datagrams:.0} datagrams/s on {} ports, port {} loses {:.0}/s",
            open.len(),
            worst.number,
            worst.drops_per_s
        );
        if open.len() < self.most && crowded_for.is_some_and(|time| time >= self.rule.add_after) {
            self.changed(now);
            let limit = match losing {
                true => format!("{:.0} lost/s at one port add one", self.rule.drops_per_s),
                false => format!("more than {per_port} sessions a port add one"),
            };
            return Some((Change::Add, format!("{load}; {limit}")));
        }
        if open.len() > self.least && calm_for.is_some_and(|time| time >= self.rule.drain_after) {
            let goes = open[1..].iter().min_by_key(|port| (port.sessions, !port.number))?;
            self.changed(now);
            let why = format!("{load}; {room:.0} sessions or fewer let one go");
            return Some((Change::Drain(goes.number), why));
        }
        None
    }

    fn changed(&mut self, now: Instant) {
        self.changed_at = Some(now);
        self.crowded_since = None;
        self.calm_since = None;
    }
}

/// How long `holds` has held, `None` when it does not.
fn since(start: &mut Option<Instant>, holds: bool, now: Instant) -> Option<Duration> {
    *start = holds.then(|| start.unwrap_or(now));
    start.map(|start| now.duration_since(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rule() -> PortRule {
        PortRule {
            sessions_per_port: 100,
            add_after: 3 * SECOND,
            drain_after: 10 * SECOND,
            remember_drops: 60 * SECOND,
            pause: 5 * SECOND,
            ..PortRule::default()
        }
    }

    /// A server whose ports share the sessions evenly, and whose port 0 loses `drops` a second.
    struct Model {
        rule: Rule,
        now: Instant,
        ports: usize,
        changes: Vec<Change>,
    }

    impl Model {
        fn new(ports: usize) -> Model {
            let (rule, now) = (Rule::new(rule(), 1, 4), Instant::now());
            Model { rule, now, ports, changes: Vec::new() }
        }

        fn run(
            &mut self,
            seconds: u32,
            sessions: impl Fn(u32) -> usize,
            drops: impl Fn(u32) -> f64,
        ) {
            for second in 0..seconds {
                self.now += SECOND;
                let load: Vec<PortLoad> = (0..self.ports)
                    .map(|index| PortLoad {
                        number: index as u16,
                        sessions: sessions(second) / self.ports,
                        datagrams_per_s: 1_000.0,
                        drops_per_s: if index == 0 { drops(second) } else { 0.0 },
                    })
                    .collect();
                if let Some((change, why)) = self.rule.decide(self.now, &load) {
                    assert!(why.contains("sessions"), "{why}");
                    match change {
                        Change::Add => self.ports += 1,
                        Change::Drain(_) => self.ports -= 1,
                    }
                    self.changes.push(change);
                }
            }
        }
    }

    #[test]
    fn sessions_add_ports_one_at_a_time_up_to_the_most() {
        let mut model = Model::new(1);
        model.run(2, |_| 250, |_| 0.0);
        assert_eq!(model.changes, [], "not for a moment");
        model.run(60, |_| 250, |_| 0.0);
        assert_eq!(model.changes, [Change::Add; 2], "250 sessions are 100 each on three");
        model.run(60, |_| 5_000, |_| 0.0);
        assert_eq!(model.ports, 4, "the most there may be");
    }

    #[test]
    fn a_full_receive_queue_adds_a_port_and_is_remembered() {
        let mut model = Model::new(1);
        model.run(30, |_| 10, |second| if second < 4 { 50.0 } else { 0.0 });
        assert_eq!(model.changes, [Change::Add]);
        model.run(25, |_| 10, |_| 0.0);
        assert_eq!(model.changes, [Change::Add], "the burst may come again");
        model.run(60, |_| 10, |_| 0.0);
        assert_eq!(model.changes, [Change::Add, Change::Drain(1)]);
    }

    #[test]
    fn load_around_a_threshold_changes_nothing_twice() {
        for around in [60, 100, 110, 120, 180, 200, 300] {
            let mut model = Model::new(1);
            let noisy = |second: u32| around + (second as usize * 7) % 21 - 10;
            model.run(3_600, noisy, |_| 0.0);
            let only_adds = model.changes.iter().all(|change| *change == Change::Add);
            assert!(only_adds && model.changes.len() <= 3, "{around}: {:?}", model.changes);
        }
        let mut model = Model::new(1);
        // Drops every other second are no state that lasts.
        model.run(600, |_| 10, |second| if second % 2 == 0 { 100.0 } else { 0.0 });
        assert_eq!(model.changes, []);
    }

    #[test]
    fn a_day_of_tides_makes_each_change_once() {
        let mut model = Model::new(1);
        for _tide in 0..3 {
            model.run(600, |second| 20 + second as usize / 2, |_| 0.0);
            model.run(600, |second| 320 - second as usize / 2, |_| 0.0);
        }
        let adds = model.changes.iter().filter(|change| **change == Change::Add).count();
        assert_eq!((adds, model.changes.len()), (9, 18), "{:?}", model.changes);
        assert_eq!(model.ports, 1);
    }

    #[test]
    fn the_emptiest_goes_and_the_first_stays() {
        let mut rule = Rule::new(rule(), 1, 4);
        let port = |number, sessions| PortLoad {
            number,
            sessions,
            datagrams_per_s: 0.0,
            drops_per_s: 0.0,
        };
        let load = [port(7, 0), port(9, 7), port(8, 5)];
        let start = Instant::now();
        let decided = (0..20).find_map(|second| rule.decide(start + second * SECOND, &load));
        let (change, why) = decided.expect("there are few sessions");
        assert_eq!(change, Change::Drain(8), "{why}");
        assert!(why.contains("12 sessions") && why.contains("120 sessions"), "{why}");
    }
}
