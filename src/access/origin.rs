//! What in a request to loopback speaks for a sender elsewhere.
//!
//! Where no token tells people apart, whoever sits at this machine is let in: HTTP must be bound to
//! loopback, and the request must not have come from elsewhere all the same, through a proxy or
//! through a page in a browser here. What a proxy leaves no trace of can't be told, hence the
//! advice to set a token behind one.

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HOST, HeaderName, ORIGIN, VIA};

/// What speaks for a sender elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trace {
    /// A name of another host, which a proxy or a rebound name of a page leaves there.
    Host,
    /// A page of another site.
    Origin,
    /// A page of another server on this machine.
    Neighbour,
    /// What proxies add to a request.
    Proxy,
}

impl Trace {
    pub const fn words(self) -> &'static str {
        match self {
            Trace::Host => "Host",
            Trace::Origin | Trace::Neighbour => "Origin",
            Trace::Proxy => "trace of a proxy",
        }
    }
}

const PROXIES: [HeaderName; 4] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

/// The worst that a request shows.
pub(super) fn trace(headers: &HeaderMap) -> Option<Trace> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(HOST).unwrap_or("localhost");
    if !is_loopback(host) {
        return Some(Trace::Host);
    }
    let site = text(ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, site)| site));
    if site.is_some_and(|site| !is_loopback(site)) {
        return Some(Trace::Origin);
    }
    if PROXIES.iter().any(|header| headers.contains_key(header)) {
        return Some(Trace::Proxy);
    }
    site.is_some_and(|site| site != host).then_some(Trace::Neighbour)
}

/// Whether `host`, which may have a port, names this machine to itself.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Option<Trace> {
        let pairs = pairs.iter();
        let headers: HeaderMap =
            pairs.map(|(n, v)| (HeaderName::from_static(n), v.parse().expect("a value"))).collect();
        trace(&headers)
    }

    #[test]
    fn a_request_of_this_machine_shows_nothing() {
        for here in ["127.0.0.1:7880", "localhost:7880", "[::1]:7880", "LocalHost", "127.9.9.9"] {
            assert_eq!(of(&[("host", here)]), None, "{here}");
        }
        assert_eq!(of(&[]), None);
        let own = [("host", "localhost:7880"), ("origin", "http://localhost:7880")];
        assert_eq!(of(&own), None, "the server's own page");
    }

    #[test]
    fn what_came_from_elsewhere_shows_it() {
        let here = ("host", "localhost:7880");
        for (elsewhere, trace) in [
            ([("host", "media.example.org"), ("accept", "*/*")], Trace::Host),
            ([("host", "localhost.example.org"), ("accept", "*/*")], Trace::Host),
            ([here, ("origin", "https://example.org")], Trace::Origin),
            ([here, ("origin", "null")], Trace::Origin),
            ([here, ("origin", "http://localhost:3000")], Trace::Neighbour),
            ([here, ("x-forwarded-for", "192.0.2.1")], Trace::Proxy),
            ([here, ("via", "1.1 proxy")], Trace::Proxy),
        ] {
            assert_eq!(of(&elsewhere), Some(trace), "{elsewhere:?}");
        }
    }
}
