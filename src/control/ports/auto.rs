//! `--ports-auto`: mux ports come and go with the load, by the rule in `rule.rs`.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use super::rule::{Change, PortLoad, PortRule, Rule};
use super::{PortState, PortsNow};
use crate::control::Control;
use crate::limits::MAX_PORT_DECISIONS;

/// Which ports may come and go.
#[derive(Clone, Debug)]
pub struct AutoPorts {
    /// The fewest.
    pub least: usize,
    /// The most.
    pub most: usize,
    /// The ports to choose from, in this order; 0 lets the kernel choose.
    pub numbers: Vec<u16>,
    /// When.
    pub rule: PortRule,
}

/// One decision, for the API.
#[derive(Clone, Debug)]
pub struct PortDecision {
    /// When.
    pub at: SystemTime,
    /// `add` or `drain`.
    pub action: &'static str,
    /// Which port; none where no port could be added.
    pub port: Option<u16>,
    /// The numbers that said so, and what came in the way.
    pub why: String,
}

/// What has been decided, the newest last.
pub struct Decisions {
    /// The fewest ports there may be.
    pub least: usize,
    /// The most.
    pub most: usize,
    log: Mutex<VecDeque<PortDecision>>,
}

impl Decisions {
    pub(super) fn new(least: usize, most: usize) -> Decisions {
        Decisions { least, most, log: Mutex::new(VecDeque::new()) }
    }

    /// The last [`MAX_PORT_DECISIONS`], the newest last.
    #[must_use]
    pub fn all(&self) -> Vec<PortDecision> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn note(&self, action: &'static str, port: Option<u16>, why: String) {
        match port {
            Some(port) => tracing::info!("--ports-auto: {action} UDP port {port}: {why}"),
            None => tracing::warn!("--ports-auto: {action} failed: {why}"),
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == MAX_PORT_DECISIONS {
            log.pop_front();
        }
        log.push_back(PortDecision { at: SystemTime::now(), action, port, why });
    }
}

/// Datagrams received and lost at a port so far, over all shards.
type Totals = (u64, u64);

impl Control {
    /// Follows the load until the server stops.
    pub async fn follow_load(self: Arc<Control>, auto: AutoPorts) {
        let decisions = self.decisions.get_or_init(|| Decisions::new(auto.least, auto.most));
        let AutoPorts { least, most, numbers, rule } = auto;
        let (interval, deadline) = (rule.interval, rule.deadline);
        let mut rule = Rule::new(rule, least, most);
        let mut before = (Instant::now(), HashMap::new());
        loop {
            tokio::time::sleep(interval).await;
            if self.has_passed_on() {
                // The ports are another process's to open and drain.
                continue;
            }
            let now = Instant::now();
            let seconds = now.duration_since(before.0).as_secs_f64();
            let ports = self.ports_now();
            let totals: HashMap<u16, Totals> =
                ports.mux.iter().map(|port| (port.number, self.totals(port.slot))).collect();
            let load = load(&ports, &totals, &before.1, seconds);
            before = (now, totals);
            match rule.decide(now, &load) {
                Some((Change::Add, why)) => self.add_one(&ports, &numbers, decisions, why).await,
                Some((Change::Drain(number), why)) => match self.drain_port(number, deadline) {
                    Ok(_) => decisions.note("drain", Some(number), why),
                    Err(problem) => decisions.note("drain", None, format!("{why}; {problem}")),
                },
                None => {}
            }
        }
    }

    /// Opens one more port: one that is draining, because it is there, or the next that is free.
    async fn add_one(
        self: &Arc<Control>,
        ports: &PortsNow,
        numbers: &[u16],
        decisions: &Decisions,
        why: String,
    ) {
        let draining = ports.mux.iter().filter(|port| port.state != PortState::Open);
        let ours = |number: &u16| *number != 0 && ports.mux.iter().any(|p| p.number == *number);
        let fresh = numbers.iter().copied().filter(|number| !ours(number));
        let mut refused = String::new();
        for number in draining.map(|port| port.number).chain(fresh) {
            match self.open_port(number).await {
                Ok(port) => return decisions.note("add", Some(port.number), why + &refused),
                Err(problem) => refused = format!("{refused}; {problem}"),
            }
        }
        decisions.note("add", None, why + &refused);
    }

    /// Datagrams received and lost at the port in `slot`, over all shards.
    fn totals(&self, slot: usize) -> Totals {
        let ports = self.wiring.meters.iter().map(|meters| meters.ports.at(slot));
        ports.fold((0, 0), |(received, lost), port| {
            (received + port.datagrams_in.get(), lost + port.receive_drops.get())
        })
    }
}

/// The load of the open ports between two readings.
fn load(
    ports: &PortsNow,
    now: &HashMap<u16, Totals>,
    before: &HashMap<u16, Totals>,
    seconds: f64,
) -> Vec<PortLoad> {
    let mut open: Vec<_> = ports.mux.iter().filter(|p| p.state == PortState::Open).collect();
    // The lowest slot is the one of the start, whatever its number.
    open.sort_by_key(|port| port.slot);
    let open = open.into_iter();
    open.map(|port| {
        let of = |totals: &HashMap<u16, Totals>| totals.get(&port.number).copied();
        let (received, lost) = of(now).unwrap_or_default();
        // A port that is new has had nothing before.
        let (received_before, lost_before) = of(before).unwrap_or_default();
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        PortLoad {
            number: port.number,
            sessions: port.sessions,
            datagrams_per_s: rate(received, received_before),
            drops_per_s: rate(lost, lost_before),
        }
    })
    .collect()
}
