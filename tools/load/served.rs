//! Which server each viewer is served by: of several nodes that are one to their clients, each has
//! figures of its own.

use crate::report::{Percentiles, of_histogram};
use crate::viewer::Viewer;
use crate::worker::latency_histogram;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

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

/// A server, as viewers know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Server {
    /// Where its media comes from. Not the port: of those one server may have many.
    pub address: IpAddr,
    /// Where viewers post that it serves: servers at one address differ in that.
    pub url: Arc<str>,
}

/// By what they are known. The latencies of a worker's viewers are counted apart once there are
/// two.
#[derive(Clone, Debug, Default)]
pub struct Servers(Vec<(Server, Served)>);

/// What one server's viewers got, for the report.
#[derive(Clone, Debug, Serialize)]
pub struct ServerReport {
    pub address: IpAddr,
    pub url: String,
    pub viewers: u64,
    pub packets_expected: u64,
    pub packets_received: u64,
    pub loss_ratio: f64,
    pub latency_us: Percentiles<u64>,
}

impl Servers {
    /// The place of a server, made where it is new.
    pub fn place(&mut self, server: &Server) -> usize {
        if let Some(place) = self.0.iter().position(|(known, _)| known == server) {
            return place;
        }
        if self.0.len() < MAX_SERVERS {
            self.0.push((server.clone(), Served::default()));
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

    /// Counts a viewer of this server.
    pub fn add_viewer(&mut self, server: &Server, viewer: &Viewer) {
        let place = self.place(server);
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
        let mut sums: BTreeMap<Server, Served> = BTreeMap::new();
        for (server, served) in all.flat_map(|servers| &servers.0) {
            let sum = sums.entry(server.clone()).or_default();
            sum.viewers += served.viewers;
            sum.expected += served.expected;
            sum.received += served.received;
            sum.latency_us.add(&served.latency_us).expect("histograms of one shape");
        }
        if sums.len() < 2 {
            return Vec::new();
        }
        let report = |(server, served): (Server, Served)| ServerReport {
            address: server.address,
            url: server.url.to_string(),
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

    fn server(address: [u8; 4], url: &str) -> Server {
        Server { address: address.into(), url: url.into() }
    }

    #[test]
    fn several_servers_are_told_apart_and_one_is_no_news() {
        // The first two are at one address.
        let [one, other, third] =
            [(1, "x"), (1, "y"), (2, "x")].map(|(host, url)| server([127, 0, 3, host], url));
        let mut alone = Servers::default();
        let place = alone.place(&one);
        alone.record(place, 5);
        assert!(Servers::report([&alone].into_iter()).is_empty());
        let mut all = Servers::default();
        for (server, latency_us) in [(&one, 0), (&third, 7), (&other, 9), (&one, 3), (&third, 8)] {
            let place = all.place(server);
            all.record(place, latency_us);
        }
        let report = Servers::report([&alone, &all].into_iter());
        let shown = report.iter().map(|one| (one.address, &*one.url, one.latency_us.max));
        let expected = [(&one, 3), (&other, 9), (&third, 8)];
        let expected = expected.map(|(server, max)| (server.address, &*server.url, max));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        let last = (0..200u8).map(|host| all.place(&server([127, 0, 4, host], "x"))).max();
        assert_eq!(last, Some(MAX_SERVERS - 1));
    }
}
