//! What the server holds: its tables by `/metrics`, its memory and descriptors by `/proc`.

use crate::cpu::resident_bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(5);
/// The gauges that count what sessions leave in tables, without what stands before each name.
const TABLES: [&str; 7] = [
    "sessions",
    "flows",
    "streams",
    "viewers_ready",
    "tcp_connections",
    "port_sessions",
    "mux_ports",
];

/// A server that is watched.
pub struct Server {
    agent: ureq::Agent,
    url: String,
    pid: u32,
    bearer: Option<String>,
}

/// What it holds at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// Entries, over all shards.
    pub tables: BTreeMap<String, u64>,
    pub resident_bytes: u64,
    pub descriptors: u64,
}

impl Server {
    #[must_use]
    pub fn new(url: &str, pid: u32, token: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            pid,
            bearer: token.map(|token| format!("Bearer {token}")),
        }
    }

    /// What it holds now.
    ///
    /// # Errors
    /// When it does not answer, or there is no such process.
    pub fn held(&self) -> io::Result<Held> {
        let (status, text) = self.ask(self.agent.get(format!("{}/metrics", self.url)))?;
        if status != 200 {
            return Err(io::Error::other(format!("/metrics: status {status}: {text}")));
        }
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.pid))?.count() as u64;
        let resident_bytes = resident_bytes(self.pid)?;
        Ok(Held { tables: tables(&text), resident_bytes, descriptors })
    }

    /// Opens a mux port, then drains it; what it carries then is ended after a second.
    ///
    /// # Errors
    /// What the server said instead.
    pub fn change_port(&self, port: u16) -> io::Result<()> {
        let ports = format!("{}/api/v1/ports", self.url);
        let body = format!("{{\"port\": {port}}}");
        let mut request = self.agent.post(&ports);
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        let mut response = request.send(&body).map_err(io::Error::other)?;
        let said = response.body_mut().read_to_string().map_err(io::Error::other)?;
        if response.status() != 201 {
            return Err(io::Error::other(format!("opening {port}: {said}")));
        }
        let drain = self.agent.delete(format!("{ports}/{port}?deadline_s=1"));
        match self.ask(drain)? {
            (202, _) => Ok(()),
            (_, said) => Err(io::Error::other(format!("draining {port}: {said}"))),
        }
    }

    fn ask(
        &self,
        mut request: ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    ) -> io::Result<(u16, String)> {
        if let Some(bearer) = &self.bearer {
            request = request.header("Authorization", bearer);
        }
        let mut response = request.call().map_err(io::Error::other)?;
        let text = response.body_mut().read_to_string().map_err(io::Error::other)?;
        Ok((response.status().as_u16(), text))
    }
}

impl Held {
    /// Sessions, whatever their state.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.table("sessions")
    }

    #[must_use]
    pub fn table(&self, name: &str) -> u64 {
        self.tables.get(name).copied().unwrap_or(0)
    }

    /// The tables that hold more than they did `before`, in words.
    pub fn more_than(&self, before: &Held) -> Vec<String> {
        let grown = self.tables.iter().filter(|(name, count)| **count > before.table(name));
        grown
            .map(|(name, count)| format!("{name}: {count}, before {}", before.table(name)))
            .collect()
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in &self.tables {
            write!(f, "{name} {count}, ")?;
        }
        let megabytes = self.resident_bytes as f64 / f64::from(1 << 20);
        write!(f, "{megabytes:.1} MB, {} descriptors", self.descriptors)
    }
}

/// The sums of [`TABLES`] over their labels in the text format of Prometheus.
fn tables(text: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((metric, value)) = line.rsplit_once(' ') else { continue };
        let name = metric.split('{').next().unwrap_or_default();
        let name = name.strip_prefix("monoport_").filter(|name| TABLES.contains(name));
        if let Some((name, value)) = name.zip(value.parse::<f64>().ok()) {
            *sums.entry(name.to_owned()).or_insert(0) += value as u64;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_summed_over_shards_and_nothing_else_is_taken() {
        let text = "# TYPE monoport_flows gauge\nmonoport_flows{shard=\"0\"} 2\n\
                    monoport_flows{shard=\"1\"} 3\nmonoport_packets_in_total{shard=\"0\"} 9\n\
                    monoport_sessions_limit 20000\nother_flows 4\n";
        assert_eq!(tables(text), BTreeMap::from([("flows".to_owned(), 5)]));
    }
}
