//! The address of a client behind proxies, as far as those are trusted.
//!
//! Each proxy adds whom it heard from: to `X-Forwarded-For`, or to `Forwarded` (RFC 7239). What it
//! got may be made up. So the list is read from its end, for as long as who wrote the entry is
//! trusted. A request that has both headers and means two clients by them is refused: a proxy knows
//! one of the two and hands the other on as it came.

use std::net::{IpAddr, SocketAddr};

use axum::http::header::FORWARDED;
use axum::http::{HeaderMap, HeaderName};

use super::Networks;
use crate::limits::MAX_PROXY_HOPS;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// It can't be told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "X-Forwarded-For and Forwarded name two clients, {0} and {1}: have the proxy take the one away \
     that it does not write itself"
)]
pub struct TwoClients(IpAddr, IpAddr);

/// The client of a request that `peer` sends, with `trusted` proxies.
pub(super) fn client(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &Networks,
) -> Result<IpAddr, TwoClients> {
    if !trusted.contains(peer) {
        return Ok(peer.to_canonical());
    }
    let by = |name: HeaderName, address: fn(&str) -> Option<IpAddr>| {
        let entries: Vec<Option<IpAddr>> = headers
            .get_all(name)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .map(|entry| address(entry.trim()))
            .collect();
        (!entries.is_empty()).then(|| walk(peer, &entries, trusted))
    };
    match (by(X_FORWARDED_FOR, plain), by(FORWARDED, forwarded)) {
        (Some(one), Some(other)) if one != other => Err(TwoClients(one, other)),
        (Some(client), _) | (None, Some(client)) => Ok(client),
        (None, None) => Ok(peer.to_canonical()),
    }
}

/// Goes back from `proxy`, which is trusted, for as long as who is there is trusted and names an
/// address.
fn walk(proxy: IpAddr, entries: &[Option<IpAddr>], trusted: &Networks) -> IpAddr {
    let mut at = proxy;
    for entry in entries.iter().rev().take(MAX_PROXY_HOPS) {
        let Some(before) = entry else { break };
        at = *before;
        if !trusted.contains(at) {
            break;
        }
    }
    at.to_canonical()
}

/// An address with or without a port.
fn plain(entry: &str) -> Option<IpAddr> {
    let with_port = || entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    entry.trim_matches(['[', ']']).parse().ok().or_else(with_port)
}

/// The address in `for=192.0.2.1;proto=https` or `for="[2001:db8::1]:4711"`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let (_, node) = pairs.find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    plain(node.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, headers: &[(&'static str, &str)]) -> Result<String, TwoClients> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        let trusted: Networks = trusted.into_iter().collect();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().expect("a value"));
        }
        let peer = peer.parse().expect("an address");
        client(peer, &map, &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn the_list_is_believed_for_as_long_as_its_writers_are_trusted() {
        let listed = |list| of("10.0.0.1", &[("x-forwarded-for", list)]).expect("one client");
        assert_eq!(listed("203.0.113.9"), "203.0.113.9");
        assert_eq!(listed("198.51.100.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(listed("203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(listed("[2001:db8::1]:4711"), "2001:db8::1");
        assert_eq!(listed("2001:db8::1"), "2001:db8::1");
        assert_eq!(listed("::ffff:203.0.113.9"), "203.0.113.9");
        // What can't be read leaves it at the proxy that wrote it.
        assert_eq!(listed("203.0.113.9, unknown"), "10.0.0.1");
        assert_eq!(listed("203.0.113.9, nonsense, 10.0.0.2"), "10.0.0.2");
        assert_eq!(listed(""), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[]).expect("one client"), "10.0.0.1");
        let two = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(of("fd00::1", &two).expect("one client"), "203.0.113.9");
        let endless = vec!["10.0.0.2"; 10_000].join(",");
        assert_eq!(listed(&endless), "10.0.0.2");
    }

    #[test]
    fn strangers_say_nothing_about_themselves() {
        let forged = [("x-forwarded-for", "10.0.0.9"), ("forwarded", "for=10.0.0.8")];
        assert_eq!(of("203.0.113.9", &forged).expect("one client"), "203.0.113.9");
    }

    #[test]
    fn forwarded_says_the_same_in_its_own_form_and_a_contradiction_is_refused() {
        let said = |value| of("10.0.0.1", &[("forwarded", value)]).expect("one client");
        assert_eq!(
            said("for=198.51.100.1, for=203.0.113.9;proto=https;by=10.0.0.1"),
            "203.0.113.9"
        );
        assert_eq!(said("proto=https; For=\"[2001:db8::1]:4711\""), "2001:db8::1");
        assert_eq!(said("for=_hidden"), "10.0.0.1");
        let both = |other| [("x-forwarded-for", "203.0.113.9"), ("forwarded", other)];
        assert_eq!(of("10.0.0.1", &both("for=203.0.113.9")).expect("one client"), "203.0.113.9");
        let error = of("10.0.0.1", &both("for=192.0.2.66")).expect_err("whom to believe?");
        assert!(error.to_string().contains("192.0.2.66"), "{error}");
    }
}
