//! STUN and TURN servers for clients, handed out as `Link` headers (RFC 9725 §4.6).
//!
//! Credentials are made here and nobody is asked: the TURN server knows the same secret and reads
//! from the user name until when they are good (draft-uberti-behave-turn-rest, coturn's
//! `use-auth-secret`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The servers, and what makes credentials for those that relay.
pub struct IceServers {
    servers: Vec<Server>,
    ttl: Duration,
}

struct Server {
    uri: String,
    /// The key of its credentials; `None` for a STUN server, which wants none.
    key: Option<hmac::Key>,
}

impl IceServers {
    /// `servers` are URIs of RFC 7064 and RFC 7065, each with the secret of its credentials if it
    /// asks for some; credentials are good for `ttl`.
    pub fn new<'a>(
        servers: impl Iterator<Item = (&'a str, Option<&'a str>)>,
        ttl: Duration,
    ) -> IceServers {
        let key =
            |secret: &str| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let server = |(uri, secret): (&str, Option<&str>)| Server {
            uri: uri.to_owned(),
            key: secret.map(key),
        };
        IceServers { servers: servers.map(server).collect(), ttl }
    }

    /// A `Link` header for each server. Each call makes new credentials, with a name of their own:
    /// a TURN server's quotas are by name.
    #[must_use]
    pub fn links(&self, now: SystemTime) -> Vec<HeaderValue> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let name = random.map(|byte| format!("{byte:02x}")).concat();
        let expiry = now.duration_since(UNIX_EPOCH).unwrap_or_default() + self.ttl;
        let username = format!("{}:{name}", expiry.as_secs());
        let links = self.servers.iter().map(|server| server.link(&username));
        // URIs were checked when they were read, and the rest is digits and base64.
        links.filter_map(|link| HeaderValue::from_str(&link).ok()).collect()
    }
}

impl Server {
    /// The header's value. Nothing in it needs escaping within quotes.
    fn link(&self, username: &str) -> String {
        let link = format!("<{}>; rel=\"ice-server\"", self.uri);
        let Some(key) = &self.key else { return link };
        let credential = STANDARD.encode(hmac::sign(key, username.as_bytes()));
        format!(
            "{link}; username=\"{username}\"; credential=\"{credential}\"; \
             credential-type=\"password\""
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_comes_with_credentials_and_a_stun_server_without() {
        let servers = [("turn:a:1?transport=udp", Some("north")), ("stun:b", None)];
        let servers = IceServers::new(servers.into_iter(), Duration::from_secs(100));
        let links = servers.links(UNIX_EPOCH + Duration::from_secs(1_000));
        let [relay, stun] = &links[..] else { panic!("{links:?}") };
        assert_eq!(stun, "<stun:b>; rel=\"ice-server\"");
        let relay = relay.to_str().expect("plain text");
        let head = "<turn:a:1?transport=udp>; rel=\"ice-server\"; username=\"1100:";
        assert!(relay.starts_with(head), "{relay}");
        assert!(relay.ends_with("\"; credential-type=\"password\""), "{relay}");
        let again = servers.links(UNIX_EPOCH + Duration::from_secs(1_000));
        assert_ne!(again[0], links[0], "a name for each");
    }

    /// `printf '1433895918:ninefingers' | openssl dgst -sha1 -hmac north -binary | base64`
    #[test]
    fn the_credential_is_what_a_turn_server_computes() {
        let servers = IceServers::new([("turn:a", Some("north"))].into_iter(), Duration::ZERO);
        let link = servers.servers[0].link("1433895918:ninefingers");
        let credential = "\"jy8hTxmOO7UtEKXqSkSlvakPVYA=\"";
        assert!(link.contains(&format!("; credential={credential};")), "{link}");
    }

    #[test]
    fn no_servers_are_no_headers() {
        let none = IceServers::new(std::iter::empty(), Duration::ZERO);
        assert!(none.links(SystemTime::now()).is_empty());
    }
}
