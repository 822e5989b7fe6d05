//! Who may use the API.
//!
//! With an admin token, whoever has it. Without one, whoever sits at this machine: HTTP must be
//! bound to loopback, and the request must not have come from elsewhere all the same, through a
//! proxy or through a page in a browser here. What a proxy leaves no trace of can't be told, hence
//! the advice to set a token behind one.

use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HOST, HeaderName, ORIGIN, VIA};

use crate::whip::{Problem, Token};

/// The rule in force.
pub(super) enum Admin {
    /// Whoever has the token.
    Token(Token),
    /// Whoever is on this machine.
    ThisMachine,
    /// Nobody: others reach HTTP, and there is no token to tell them apart.
    Nobody,
}

/// What a request that was let in may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// Clients' addresses are shown to those alone who have shown the token.
    pub addresses: bool,
}

/// What proxies add to a request.
const TRACES: [HeaderName; 4] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-real-ip"),
];

impl Admin {
    pub fn new(token: Option<&str>, http_is_loopback: bool) -> Admin {
        match token {
            Some(token) => Admin::Token(Token::new(Some(token))),
            None if http_is_loopback => Admin::ThisMachine,
            None => Admin::Nobody,
        }
    }

    /// Lets a request in, to read or to change.
    ///
    /// # Errors
    /// 401 without the right token, 403 where there is none to present; the words say what to set.
    pub fn admit(&self, headers: &HeaderMap) -> Result<Admitted, Problem> {
        match self {
            Admin::Token(token) => token.admit(headers).map(|()| Admitted { addresses: true }),
            Admin::Nobody => Err(Problem::forbidden(
                "the API is closed, since others reach this address and no token tells you apart \
                 from them: start the server with --admin-token, or with --http on loopback",
            )),
            Admin::ThisMachine => match from_elsewhere(headers) {
                None => Ok(Admitted { addresses: false }),
                Some(trace) => Err(Problem::forbidden(format!(
                    "without an admin token the API is for this machine alone, and the request's \
                     {trace} says that it came from elsewhere: start the server with --admin-token"
                ))),
            },
        }
    }
}

/// What in a request to loopback speaks for a sender elsewhere: a name of another host, which a
/// proxy or a rebound name of a page leaves there, an origin that is another site, or a proxy's
/// own headers.
fn from_elsewhere(headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let host = text(HOST).unwrap_or("localhost");
    if !is_loopback(host) {
        return Some("Host");
    }
    if text(ORIGIN).is_some_and(|origin| origin.split_once("://").is_none_or(|(_, o)| o != host)) {
        return Some("Origin");
    }
    TRACES.iter().any(|trace| headers.contains_key(trace)).then_some("trace of a proxy")
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

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs.map(|(n, v)| (HeaderName::from_static(n), v.parse().expect("a value"))).collect()
    }

    #[test]
    fn without_a_token_only_this_machine_is_let_in() {
        let admin = Admin::new(None, true);
        for here in ["127.0.0.1:7880", "localhost:7880", "[::1]:7880", "LocalHost", "127.9.9.9"] {
            assert!(admin.admit(&headers(&[("host", here)])).is_ok(), "{here}");
        }
        assert_eq!(admin.admit(&HeaderMap::new()).ok(), Some(Admitted { addresses: false }));
        let same = [("host", "localhost:7880"), ("origin", "http://localhost:7880")];
        assert!(admin.admit(&headers(&same)).is_ok(), "the server's own page");
        for elsewhere in [
            [("host", "media.example.org"), ("accept", "*/*")],
            [("host", "localhost.example.org"), ("accept", "*/*")],
            [("host", "localhost:7880"), ("origin", "https://example.org")],
            [("host", "localhost:7880"), ("origin", "null")],
            [("host", "localhost:7880"), ("x-forwarded-for", "192.0.2.1")],
            [("host", "localhost:7880"), ("via", "1.1 proxy")],
        ] {
            assert!(admin.admit(&headers(&elsewhere)).is_err(), "{elsewhere:?}");
        }
    }

    #[test]
    fn with_a_token_it_alone_counts() {
        let admin = Admin::new(Some("secret"), true);
        assert!(admin.admit(&headers(&[("host", "localhost")])).is_err());
        let shown = [("host", "example.org"), ("authorization", "Bearer secret")];
        assert_eq!(admin.admit(&headers(&shown)).ok(), Some(Admitted { addresses: true }));
        assert!(Admin::new(None, false).admit(&headers(&[("host", "localhost")])).is_err());
    }
}
