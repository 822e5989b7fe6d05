//! When mux ports come and go under `--ports-auto`.

use std::time::Duration;

/// The thresholds of the rule; `signalling::auto::rule` has the rule in words.
#[derive(Clone, Debug, PartialEq)]
pub struct PortRule {
    /// Sessions a port may have on average before another is added.
    pub sessions_per_port: usize,
    /// Datagrams a second lost to a full receive queue, on any one port, that add another.
    pub drops_per_s: f64,
    /// How long either must last before a port is added.
    pub add_after: Duration,
    /// How long the load must have been small before a port is drained.
    pub drain_after: Duration,
    /// The part of `sessions_per_port` that the ports which stay may be filled to by draining one.
    pub filled_after_drain: f64,
    /// How long nothing is drained after a receive queue was full: bursts come again.
    pub remember_drops: Duration,
    /// The least time between two changes.
    pub pause: Duration,
    /// How long the sessions of a drained port may stay.
    pub deadline: Duration,
}

impl Default for PortRule {
    /// Measured load decides slowly: a change of the firewall's picture is no answer to a burst.
    fn default() -> PortRule {
        PortRule {
            // Half of what 16 bits of client ports give one NAT towards one of our ports.
            sessions_per_port: 30_000,
            drops_per_s: 10.0,
            add_after: Duration::from_secs(5),
            drain_after: Duration::from_secs(300),
            filled_after_drain: 0.6,
            remember_drops: Duration::from_secs(1_800),
            pause: Duration::from_secs(30),
            deadline: crate::limits::PORT_DRAIN,
        }
    }
}
