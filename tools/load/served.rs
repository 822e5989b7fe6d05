//! Which server each viewer is served by: of several nodes that are one to their clients, each has
//! figures of its own.

use crate::report::{Percentiles, of_histogram};
use crate::viewer::Viewer;
use crate::worker::latency_histogram;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Servers that are told apart; what further ones serve counts as the last one's.
const MAX_SERVERS: usize = 64;

/// What viewers got from one server.
#[derive(Clone, Debug)]
pub struct Served {
    pub viewers: u64,
    pub expected: u64,
    pub received: u64,
    pub latency_us: Histogram<u64>,
}

impl Default for Served {
    fn default() -> Self {
        Self { viewers: 0, expected: 0, received: 0, latency_us: latency_histogram() }
    }
}

/// What a viewer's latencies are counted by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Who {
    /// When it could first be sent media: what is older is the past, and no measure of the way.
    pub since_ns: u64,
    /// Whether it is behind a link, whose latency is another.
    pub linked: bool,
    /// The place of its server among those of the worker.
    pub server: usize,
}

/// By where they are. The latencies of a worker's viewers are counted apart once there are two.
#[derive(Clone, Debug, Default)]
pub struct Servers(Vec<(IpAddr, Served)>);

/// What one server's viewers got, for the report.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    pub address: IpAddr,
    pub viewers: u64,
    pub packets_expected: u64,
    pub packets_received: u64,
    pub loss_ratio: f64,
    pub latency_us: Percentiles<u64>,
}

impl Servers {
    /// The place of the server at `address`, made where it is new.
    pub fn place(&mut self, address: IpAddr) -> usize {
        if let Some(place) = self.0.iter().position(|(known, _)| *known == address) {
            return place;
        }
        if self.0.len() < MAX_SERVERS {
            self.0.push((address, Served::default()));
        }
        self.0.len() - 1
    }

    /// Counts a latency of the server in this place, where there are several.
    pub fn record(&mut self, place: usize, latency_us: u64) {
        if self.0.len() > 1
            && let Some((_, served)) = self.0.get_mut(place)
        {
            served.latency_us.saturating_record(latency_us);
        }
    }

    /// Counts a viewer of the server at `address`.
    pub fn add_viewer(&mut self, address: IpAddr, viewer: &Viewer) {
        let place = self.place(address);
        let (video, audio) = viewer.accounts();
        let (_, served) = &mut self.0[place];
        served.viewers += 1;
        for (account, sent) in [video, audio] {
            served.expected += account.expected(sent);
            served.received += account.received;
        }
    }

    /// The sum over workers, where there are several servers.
    #[must_use]
    pub fn report<'a>(all: impl Iterator<Item = &'a Servers>) -> Vec<ServerReport> {
        let mut sums: BTreeMap<IpAddr, Served> = BTreeMap::new();
        for (address, served) in all.flat_map(|servers| &servers.0) {
            let sum = sums.entry(*address).or_default();
            sum.viewers += served.viewers;
            sum.expected += served.expected;
            sum.received += served.received;
            sum.latency_us.add(&served.latency_us).expect("histograms of one shape");
        }
        if sums.len() < 2 {
            return Vec::new();
        }
        let report = |(address, served): (IpAddr, Served)| ServerReport {
            address,
            viewers: served.viewers,
            packets_expected: served.expected,
            packets_received: served.received,
            loss_ratio: served.expected.saturating_sub(served.received) as f64
                / served.expected.max(1) as f64,
            latency_us: of_histogram(&served.latency_us),
        };
        sums.into_iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_are_told_apart_and_one_is_no_news() {
        let [one, other] = [1, 2].map(|host| IpAddr::from([127, 0, 3, host]));
        let mut alone = Servers::default();
        let place = alone.place(one);
        alone.record(place, 5);
        assert!(Servers::report([&alone].into_iter()).is_empty());
        let mut both = Servers::default();
        for (address, latency_us) in [(one, 0), (other, 7), (other, 9), (one, 3)] {
            let place = both.place(address);
            both.record(place, latency_us);
        }
        let report = Servers::report([&alone, &both].into_iter());
        let shown: Vec<_> = report.iter().map(|one| (one.address, one.latency_us.max)).collect();
        assert_eq!(shown, [(one, 3), (other, 9)]);
        let last = (0..200u8).map(|host| both.place([127, 0, 4, host].into())).max();
        assert_eq!(last, Some(MAX_SERVERS - 1));
    }
}
