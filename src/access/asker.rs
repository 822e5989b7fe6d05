//! What a request shows of who sends it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Request, Uri};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::origin::{Trace, trace};
use crate::limits::{MAX_QUERY_BYTES, MAX_TOKEN_BYTES};

/// Who asks, as far as the request tells.
#[derive(Clone)]
pub struct Asker {
    /// The bearer token of the header, else of `?token=`.
    token: Option<String>,
    /// User and password (RFC 7617).
    password: Option<(String, String)>,
    /// The query of the URL, cut off where nobody's is as long. It may have secrets in it.
    query: String,
    /// Where it comes from: a trusted proxy's word, or the address of the connection.
    from: Option<IpAddr>,
    trace: Option<Trace>,
    /// Whether it is about what was begun before: a token whose time is over will do.
    late: bool,
}

impl Asker {
    /// Reads a request's headers and its query. The header is preferred: URLs end in logs.
    #[must_use]
    pub fn of<B>(request: &Request<B>) -> Asker {
        let (headers, uri) = (request.headers(), request.uri());
        let token = bearer(headers).map(str::to_owned).or_else(|| in_query(uri));
        let query = uri.query().filter(|query| query.len() <= MAX_QUERY_BYTES);
        let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Asker {
            token,
            password: basic(headers),
            query: query.unwrap_or_default().to_owned(),
            from: from.map(|ConnectInfo(address)| address.ip().to_canonical()),
            trace: trace(headers),
            late: false,
        }
    }

    /// The token, which may be longer than any that is right.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// User and password, where it shows those.
    #[must_use]
    pub fn password(&self) -> Option<(&str, &str)> {
        self.password.as_ref().map(|(user, password)| (user.as_str(), password.as_str()))
    }

    /// The query of its URL; empty where it is longer than anybody's.
    #[must_use]
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The address it comes from, where that is known.
    #[must_use]
    pub fn from(&self) -> Option<IpAddr> {
        self.from
    }

    /// Who knows the URL of a session and asks about that: what was begun with a token can be ended
    /// with it when its time is over.
    #[must_use]
    pub fn with_session(self) -> Asker {
        Asker { late: true, ..self }
    }

    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    pub(super) fn trace(&self) -> Option<Trace> {
        self.trace
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// User and password of the header (RFC 7617), no longer than a token may be.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let is_ours = scheme.eq_ignore_ascii_case("basic") && encoded.len() <= 2 * MAX_TOKEN_BYTES;
    let bytes = is_ours.then(|| BASE64_STANDARD.decode(encoded.trim()).ok()).flatten()?;
    let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_TOKEN_BYTES)?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// The value of `token` in the query (RFC 6750 §2.3), for those who can set nothing but a URL.
fn in_query(uri: &Uri) -> Option<String> {
    let value = uri.query()?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    // An escape has three characters; what is longer is no token of ours.
    (value.len() <= 3 * MAX_TOKEN_BYTES).then(|| unescaped(value))
}

/// `value` without its percent escapes (RFC 3986 §2.1); what is no escape stays as it is.
fn unescaped(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.first_chunk::<2>().filter(|_| *first == b'%');
        let escape = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(authorization: Option<&str>, uri: &str) -> Asker {
        let mut request = Request::builder().uri(uri);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        Asker::of(&request.body(()).expect("a request"))
    }

    fn token(authorization: Option<&str>, uri: &str) -> Option<String> {
        asker(authorization, uri).token
    }

    #[test]
    fn user_and_password_are_read_and_are_no_token() {
        let shown = |value: &str| asker(Some(value), "/").password;
        let (user, password) = ("u".to_owned(), "p:q".to_owned());
        assert_eq!(shown("Basic dTpwOnE="), Some((user, password)));
        for none in ["Basic dTpwOnE", "Basic ", "Bearer dTpwOnE=", "Basic dQ=="] {
            assert_eq!(shown(none), None, "{none}");
        }
        assert_eq!(token(Some("Basic dTpwOnE="), "/"), None);
    }

    #[test]
    fn a_token_is_read_from_the_header_or_the_query() {
        assert_eq!(token(Some("Bearer a"), "/").as_deref(), Some("a"));
        assert_eq!(token(Some("bearer  a"), "/?token=b").as_deref(), Some("a"));
        assert_eq!(token(None, "/whep/s?x=1&token=b%2B%zz%").as_deref(), Some("b+%zz%"));
        for none in [token(Some("Basic a"), "/"), token(Some("a"), "/?token"), token(None, "/")] {
            assert_eq!(none, None);
        }
        let endless = format!("/?token={}", "a".repeat(3 * MAX_TOKEN_BYTES + 1));
        assert_eq!(token(None, &endless), None, "it is not even copied");
    }
}
