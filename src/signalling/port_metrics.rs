//! What the control side counts about ports, as Prometheus text.

use std::fmt::Write;

use super::Control;

/// Appends the number of mux ports, or how full the range is.
pub(super) fn write(text: &mut String, control: &Control) {
    let ports = control.ports_now();
    let mut metric = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(text, "# HELP monoport_{name} {help}.\n# TYPE monoport_{name} {kind}");
        let _ = writeln!(text, "monoport_{name} {value}");
    };
    metric("mux_ports", "gauge", "Mux ports, draining ones included", ports.mux.len() as u64);
    let Some(range) = ports.range else { return };
    metric("range_ports_free", "gauge", "Ports of the range not given out", range.free as u64);
    metric("range_ports_used", "gauge", "Ports of the range given out", range.used as u64);
    let help = "Set-ups refused because every port of the range was in use";
    metric("range_ports_exhausted_total", "counter", help, range.exhausted);
    let help = "Times a port of the range was passed over because somebody else had it";
    metric("range_ports_skipped_total", "counter", help, range.skipped);
}
