//! Bearer tokens.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::Problem;

/// The token clients must present, if any.
#[derive(Clone)]
pub struct Token(Option<Box<str>>);

impl Token {
    /// `None` admits everybody.
    #[must_use]
    pub fn new(token: Option<&str>) -> Token {
        Token(token.map(Into::into))
    }

    /// Whether a request with these headers may go on. The comparison takes the same time wherever
    /// the first difference is.
    ///
    /// # Errors
    /// 401 as a [`Problem`].
    pub fn admit(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(expected) = &self.0 else { return Ok(()) };
        let presented = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match presented {
            None => Err(Problem::unauthorized("this server asks for a bearer token")),
            Some(token) if bool::from(token.as_bytes().ct_eq(expected.as_bytes())) => Ok(()),
            Some(_) => Err(Problem::unauthorized("the bearer token is not the right one")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_bearer_token_is_admitted() {
        let token = Token::new(Some("secret"));
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
            headers
        };
        assert!(token.admit(&headers("Bearer secret")).is_ok());
        assert!(token.admit(&headers("bearer secret")).is_ok());
        for wrong in ["Bearer secre", "Bearer secrets", "Basic secret", "secret", "Bearer "] {
            assert!(token.admit(&headers(wrong)).is_err(), "{wrong}");
        }
        assert!(token.admit(&HeaderMap::new()).is_err());
        assert!(Token::new(None).admit(&HeaderMap::new()).is_ok());
    }
}
