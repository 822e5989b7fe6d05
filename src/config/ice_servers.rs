//! STUN and TURN servers, as they are named on the command line.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::addresses::Announced;
use super::{Args, ConfigError};

/// The port of STUN and TURN where none is named (RFC 8489 §9, RFC 8656 §5).
const STUN_PORT: u16 = 3478;

/// A server handed to clients: a URI of RFC 7064 or RFC 7065 with nothing in it that a header
/// field would have to escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// As it was written, as in `turn:turn.example.org:3478?transport=udp`.
    pub uri: String,
    /// Whether it relays, and therefore asks for credentials.
    pub relays: bool,
}

impl FromStr for IceServer {
    type Err = String;

    fn from_str(text: &str) -> Result<IceServer, String> {
        let wrong = || {
            format!(
                "`{text}` is none of stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp], \
                 stuns:… and turns:…"
            )
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
        let (server, query) = match rest.split_once('?') {
            Some((server, query)) => (server, Some(query)),
            None => (rest, None),
        };
        let relays = match scheme {
            "stun" | "stuns" => false,
            "turn" | "turns" => true,
            _ => return Err(wrong()),
        };
        let transport = [None, Some("transport=udp"), Some("transport=tcp")];
        let known = query.is_none() || (relays && transport.contains(&query));
        // An IPv6 address stands in brackets in a URI, with or without a port (RFC 3986 §3.2.2).
        let bare_v6 = server.matches(':').count() > 1 && !server.starts_with('[');
        match server.parse::<Announced>() {
            Ok(_) if known && !bare_v6 => Ok(IceServer { uri: text.to_owned(), relays }),
            _ => Err(wrong()),
        }
    }
}

/// A STUN server that is asked for the outside address, as in `stun:stun.example.org:3478`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StunServer(Announced);

impl StunServer {
    /// Its host and port, for a look-up.
    #[must_use]
    pub fn host_and_port(&self) -> (String, u16) {
        let Announced { host, port } = &self.0;
        let host = Announced { host: host.clone(), port: None }.to_string();
        (host, port.unwrap_or(STUN_PORT))
    }
}

impl FromStr for StunServer {
    type Err = String;

    fn from_str(text: &str) -> Result<StunServer, String> {
        let server = text.strip_prefix("stun:").and_then(|server| server.parse().ok());
        server.map(StunServer).ok_or_else(|| format!("`{text}` is not stun:HOST[:PORT]"))
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stun:{}", self.0)
    }
}

/// What clients are handed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IceServers {
    /// The servers, in order.
    pub servers: Vec<IceServer>,
    /// The secret shared with the TURN servers, where there are any.
    pub secret: Option<String>,
    /// How long credentials are good for.
    pub ttl: Duration,
}

impl IceServers {
    /// # Errors
    /// A relay without a secret, a secret without a relay, or an unreadable file.
    pub(super) fn new(args: &Args) -> Result<IceServers, ConfigError> {
        let secret = match (&args.turn_secret, &args.turn_secret_file) {
            (Some(secret), _) => Some(secret.clone()),
            (None, Some(path)) => Some(first_line(path)?),
            (None, None) => None,
        };
        let servers = args.turn_server.clone();
        let relay = servers.iter().find(|server| server.relays);
        match (relay, &secret) {
            (Some(relay), None) => return Err(ConfigError::TurnWithoutSecret(relay.uri.clone())),
            (None, Some(_)) => return Err(ConfigError::SecretWithoutTurn),
            (Some(_), Some(secret)) if secret.is_empty() => {
                return Err(ConfigError::EmptyTurnSecret);
            }
            _ => {}
        }
        Ok(IceServers { servers, secret, ttl: Duration::from_secs(args.turn_ttl) })
    }
}

fn first_line(path: &Path) -> Result<String, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError::TurnSecretFile {
        path: path.display().to_string(),
        problem: error.to_string(),
    })?;
    Ok(text.lines().next().map(str::trim).unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn servers_are_uris_that_need_no_escaping() {
        let relays = |text: &str| text.parse::<IceServer>().map(|server| server.relays);
        for relay in [
            "turn:turn.example.org",
            "turn:192.0.2.1:3478?transport=udp",
            "turns:turn.example.org:5349?transport=tcp",
            "turn:[2001:db8::1]:3478",
            "turn:[2001:db8::1]",
        ] {
            assert_eq!(relays(relay), Ok(true), "{relay}");
        }
        assert_eq!(relays("stun:stun.example.org:3478"), Ok(false));
        assert_eq!(relays("stuns:stun.example.org"), Ok(false));
        for wrong in [
            "",
            "turn:",
            "turn:a b",
            "turn:a\"",
            "turn:a>",
            "turn:a?transport=sctp",
            "turn:a?transport=udp&x=y",
            "turn:2001:db8::1",
            "stun:a?transport=udp",
            "turn://a",
            "http:a",
            "turn.example.org",
            "turn:a:99999",
        ] {
            assert!(relays(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stun_server_has_a_port_of_its_own_or_the_usual_one() {
        let parse = |text: &str| text.parse::<StunServer>().map(|server| server.host_and_port());
        assert_eq!(parse("stun:192.0.2.1"), Ok(("192.0.2.1".into(), 3478)));
        assert_eq!(parse("stun:stun.example.org:99"), Ok(("stun.example.org".into(), 99)));
        assert_eq!(parse("stun:[2001:db8::1]:99"), Ok(("2001:db8::1".into(), 99)));
        for wrong in ["192.0.2.1", "turn:192.0.2.1", "stun:", "stun:a b", "stun:a?b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_relay_and_its_secret_come_together() {
        let servers = |options: &[&str]| {
            let args = Args::try_parse_from(std::iter::once(&"monoport").chain(options));
            IceServers::new(&args.expect("the options parse"))
        };
        let (relay, secret) = (["--turn-server", "turn:a,stun:b"], ["--turn-secret", "s"]);
        let both = servers(&[relay, secret].concat()).expect("they belong together");
        assert_eq!((both.servers.len(), both.ttl.as_secs()), (2, 14_400));
        assert_eq!(servers(&relay).err(), Some(ConfigError::TurnWithoutSecret("turn:a".into())));
        assert_eq!(servers(&secret).err(), Some(ConfigError::SecretWithoutTurn));
        let empty = servers(&[relay, ["--turn-secret", ""]].concat());
        assert_eq!(empty.err(), Some(ConfigError::EmptyTurnSecret));
        assert!(servers(&["--turn-server", "stun:b"]).is_ok_and(|all| all.secret.is_none()));
        let absent = servers(&[relay, ["--turn-secret-file", "/nowhere"]].concat());
        assert!(absent.is_err_and(|error| error.to_string().contains("/nowhere")));
    }
}
