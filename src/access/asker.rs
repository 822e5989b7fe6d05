//! What a request shows of who sends it.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};

use super::origin::{Trace, trace};
use crate::limits::MAX_TOKEN_BYTES;

/// Who asks, as far as the request tells.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The bearer token of the header, else of `?token=`.
    token: Option<String>,
    trace: Option<Trace>,
    /// Whether it is about what was begun before: a token whose time is over will do.
    late: bool,
}

impl Asker {
    /// Reads a request's headers and its query. The header is preferred: URLs end in logs.
    #[must_use]
    pub fn of(headers: &HeaderMap, uri: &Uri) -> Asker {
        let token = bearer(headers).map(str::to_owned).or_else(|| in_query(uri));
        Asker { token, trace: trace(headers), late: false }
    }

    /// The token, which may be longer than any that is right.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
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

    fn token(authorization: Option<&str>, uri: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
        }
        Asker::of(&headers, &uri.parse().expect("a URI")).token
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
