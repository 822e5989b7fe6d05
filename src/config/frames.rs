//! Who may show the player in a frame, as `--frame-ancestors` takes it.

use std::str::FromStr;

/// A source of `frame-ancestors` (CSP Level 3, §6.4.2): `'self'`, `'none'`, `*`, or an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameAncestor(Box<str>);

impl FrameAncestor {
    /// As the header has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FrameAncestor {
    type Err = String;

    fn from_str(text: &str) -> Result<FrameAncestor, String> {
        let source = match text.trim_matches('\'') {
            "self" => "'self'",
            "none" => "'none'",
            _ => text,
        };
        if ["'self'", "'none'", "*"].contains(&source) || is_origin(source) {
            return Ok(FrameAncestor(source.into()));
        }
        Err("it takes origins, as in https://example.org or https://*.example.org:8443, or self, \
             none, *"
            .to_owned())
    }
}

/// Whether it is a scheme and a host, maybe with a port: a path would be ignored, and anything else
/// could end the directive.
fn is_origin(source: &str) -> bool {
    let Some((scheme, host)) = source.split_once("://") else { return false };
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (host, None),
    };
    let labels = host.strip_prefix("*.").unwrap_or(host);
    ["http", "https"].contains(&scheme)
        && !labels.is_empty()
        && labels.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        && port.is_none_or(|port| port == "*" || port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_keywords_are_taken_and_nothing_that_ends_the_directive() {
        for (text, source) in [
            ("*", "*"),
            ("self", "'self'"),
            ("'none'", "'none'"),
            ("https://example.org", "https://example.org"),
            ("https://*.example.org:8443", "https://*.example.org:8443"),
            ("http://127.0.0.1:*", "http://127.0.0.1:*"),
        ] {
            assert_eq!(text.parse::<FrameAncestor>().expect(text).as_str(), source);
        }
        for text in [
            "",
            "example.org",
            "https://",
            "https://a/b",
            "https://a;script-src",
            "https://a b",
            "'x'",
        ] {
            assert!(text.parse::<FrameAncestor>().is_err(), "{text}");
        }
    }
}
