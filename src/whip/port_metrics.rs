//! What the control side counts about ports and takeovers, as metrics.

use crate::control::Control;
use crate::telemetry::Exposition;

/// Adds the number of mux ports, or how full the range is, and what earlier processes have left.
pub(super) fn add(exposition: &mut Exposition, control: &Control) {
    let ports = control.ports_now();
    // None of them has a label.
    let none = Vec::new;
    let help = "Mux ports, draining ones included";
    exposition.gauge("mux_ports", help).count(none(), ports.mux.len() as u64);
    let help = "Sessions of the processes that were taken over";
    let left = control.earlier().map_or(0, |earlier| earlier.left().sessions);
    exposition.gauge("earlier_sessions", help).count(none(), left as u64);
    let Some(range) = ports.range else { return };
    let help = "Ports of the range not given out";
    exposition.gauge("range_ports_free", help).count(none(), range.free as u64);
    let help = "Ports of the range given out";
    exposition.gauge("range_ports_used", help).count(none(), range.used as u64);
    let help = "Set-ups refused because every port of the range was in use";
    exposition.counter("range_ports_exhausted", help).count(none(), range.exhausted);
    let help = "Times a port of the range was passed over because somebody else had it";
    exposition.counter("range_ports_skipped", help).count(none(), range.skipped);
}
