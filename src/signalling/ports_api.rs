//! `/api/v1/ports`: the ports now, and how the plan is changed while the server runs.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST, LOCATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::{Control, PortNow, PortState, Problem, RangeNow, Token};
use crate::limits::{MAX_PORT_DRAIN, PORT_DRAIN};
use crate::telemetry::PortCounters;

/// Whether a request may change the server: it comes from this machine, because HTTP listens there
/// alone, not from a page of somewhere else in a browser of this machine, and with the token, if
/// there is one.
///
/// # Errors
/// 401 and 403.
pub(super) fn admit_admin(
    token: &Token,
    loopback: bool,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    if !loopback {
        return Err(Problem::forbidden(
            "the server is changed from its own machine alone, and its HTTP listens for others \
             too: start it with --http 127.0.0.1:7880",
        ));
    }
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if let Some(origin) = text(ORIGIN)
        && origin.split_once("://").map(|(_scheme, host)| host) != text(HOST)
    {
        return Err(Problem::forbidden(format!("a page of {origin} may not change this server")));
    }
    token.admit(headers)
}

/// GET: the ports now.
pub(super) fn list(control: &Control) -> Response<Body> {
    let ports = control.ports_now();
    let listed: Vec<Value> = match &ports.range {
        Some(range) => vec![range_entry(control, range)],
        None => ports.mux.iter().map(|port| entry(control, port)).collect(),
    };
    let range = ports.range.as_ref().map(|range| {
        json!({
            "first": range.first, "last": range.last, "free": range.free, "used": range.used,
            "exhausted": range.exhausted, "skipped": range.skipped,
        })
    });
    let auto = control.decisions().map(|auto| {
        let decisions: Vec<Value> = auto
            .all()
            .iter()
            .map(|one| {
                let at = unix_seconds(one.at);
                json!({ "at": at, "action": one.action, "port": one.port, "why": one.why })
            })
            .collect();
        json!({ "min": auto.least, "max": auto.most, "decisions": decisions })
    });
    let mode = if ports.range.is_some() { "range" } else { "mux" };
    let body = json!({ "mode": mode, "range": range, "ports": listed, "auto": auto });
    answer(StatusCode::OK, &body)
}

/// POST `{"port": 7890}`: one more mux port, open on every shard when this is answered.
///
/// # Errors
/// 400 for a body that names no port, else those of [`Control::open_port`].
pub(super) async fn open(
    control: &std::sync::Arc<Control>,
    body: &str,
) -> Result<Response<Body>, Problem> {
    let asked: Option<Value> = serde_json::from_str(body).ok();
    let number = asked.as_ref().and_then(|body| body.get("port")).and_then(Value::as_u64);
    let number = number.and_then(|number| u16::try_from(number).ok());
    let number =
        number.ok_or_else(|| Problem::bad_request(r#"the body must be {"port": 7890}"#))?;
    let port = control.open_port(number).await?;
    let mut response = answer(StatusCode::CREATED, &entry(control, &port));
    if let Ok(location) = HeaderValue::from_str(&format!("/api/v1/ports/{}", port.number)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

/// DELETE `/api/v1/ports/7890?deadline_s=60`: no new sessions; closed when it is empty or the time
/// is over.
///
/// # Errors
/// 400 for a deadline that is none, else those of [`Control::drain_port`].
pub(super) fn drain(
    control: &std::sync::Arc<Control>,
    number: &str,
    query: Option<&str>,
) -> Result<Response<Body>, Problem> {
    let number: u16 = number
        .parse()
        .map_err(|_error| Problem::not_found(format!("`{number}` is not a UDP port")))?;
    let asked = query.unwrap_or_default().split('&').find_map(|p| p.strip_prefix("deadline_s="));
    let deadline = match asked {
        None => PORT_DRAIN,
        Some(text) => {
            let most = MAX_PORT_DRAIN.as_secs();
            let seconds = text.parse().ok().filter(|seconds| *seconds <= most);
            Duration::from_secs(seconds.ok_or_else(|| {
                Problem::bad_request(format!("deadline_s is a number of seconds, {most} at most"))
            })?)
        }
    };
    let port = control.drain_port(number, deadline)?;
    Ok(answer(StatusCode::ACCEPTED, &entry(control, &port)))
}

/// What the control side counts about ports, as Prometheus text.
pub(super) fn metrics(text: &mut String, control: &Control) {
    use std::fmt::Write;
    let ports = control.ports_now();
    let mut gauge = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = writeln!(text, "# HELP monoport_{name} {help}.\n# TYPE monoport_{name} {kind}");
        let _ = writeln!(text, "monoport_{name} {value}");
    };
    gauge("mux_ports", "gauge", "Mux ports, draining ones included", ports.mux.len() as u64);
    let Some(range) = ports.range else { return };
    gauge("range_ports_free", "gauge", "Ports of the range not given out", range.free as u64);
    gauge("range_ports_used", "gauge", "Ports of the range given out", range.used as u64);
    let help = "Set-ups refused because every port of the range was in use";
    gauge("range_ports_exhausted_total", "counter", help, range.exhausted);
    let help = "Times a port of the range was passed over because somebody else had it";
    gauge("range_ports_skipped_total", "counter", help, range.skipped);
}

/// One mux port. Rates are made where readings are kept; here are the totals they are made of.
fn entry(control: &Control, port: &PortNow) -> Value {
    let (state, deadline) = match port.state {
        PortState::Draining(until) => ("draining", Some(unix_seconds(until))),
        PortState::Closing => ("draining", None),
        PortState::Open | PortState::Opening => ("open", None),
    };
    counted(control, port.slot, json!(port.number), state, json!(deadline), port.sessions)
}

/// All ports of a range together.
fn range_entry(control: &Control, range: &RangeNow) -> Value {
    counted(control, 0, Value::Null, "open", Value::Null, range.used)
}

fn counted(
    control: &Control,
    slot: usize,
    port: Value,
    state: &str,
    deadline: Value,
    sessions: usize,
) -> Value {
    let of = |counter: fn(&PortCounters) -> u64| -> u64 {
        control.wiring.meters.iter().map(|meters| counter(meters.ports.at(slot))).sum()
    };
    let meters = control.wiring.meters.iter().enumerate();
    let shards: Vec<Value> = meters
        .map(|(shard, meters)| {
            let port = meters.ports.at(slot);
            json!({
                "shard": shard, "packets_in_per_s": null, "packets_out_per_s": null,
                "receive_drops": port.receive_drops.get(),
                "packets_in": port.datagrams_in.get(), "packets_out": port.datagrams_out.get(),
            })
        })
        .collect();
    json!({
        "port": port, "protocol": "udp", "state": state, "drain_deadline_at": deadline,
        "sessions": sessions,
        "packets_in_per_s": null, "packets_out_per_s": null,
        "bits_in_per_s": null, "bits_out_per_s": null,
        "packets_in": of(|port| port.datagrams_in.get()),
        "packets_out": of(|port| port.datagrams_out.get()),
        "bytes_in": of(|port| port.bytes_in.get()),
        "bytes_out": of(|port| port.bytes_out.get()),
        "receive_drops": of(|port| port.receive_drops.get()),
        "send_drops": of(|port| port.send_drops.get()),
        "shards": shards,
    })
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn answer(status: StatusCode, body: &Value) -> Response<Body> {
    let json = HeaderValue::from_static("application/json");
    (status, [(CONTENT_TYPE, json)], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_changes_the_server_and_no_page_of_elsewhere() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().expect("a header value"));
            }
            headers
        };
        let open = Token::new(None);
        let host = ("host", "localhost:7880");
        assert!(admit_admin(&open, true, &headers(&[host])).is_ok());
        assert!(admit_admin(&open, false, &headers(&[host])).is_err());
        let own = headers(&[host, ("origin", "http://localhost:7880")]);
        assert!(admit_admin(&open, true, &own).is_ok());
        for origin in ["https://example.org", "null", "http://localhost"] {
            assert!(admit_admin(&open, true, &headers(&[host, ("origin", origin)])).is_err());
        }
        let token = Token::new(Some("secret"));
        assert!(admit_admin(&token, true, &headers(&[host])).is_err());
        let with = headers(&[host, ("authorization", "Bearer secret")]);
        assert!(admit_admin(&token, true, &with).is_ok());
    }
}
