//! Values of single options that people write in other ways, and the words that tell them how.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::limits::{MAX_PREFIX_BYTES, MAX_WAKE_GAP};

/// `ADDR:PORT`, as `--http` takes it.
///
/// # Errors
/// What to write instead.
pub(super) fn http_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix(':').unwrap_or(text);
    if port.parse::<u16>().is_ok() {
        return Err(format!(
            "a port needs an address: 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} or \
             [::]:{port} for others too"
        ));
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Err(format!("an address needs a port: {}", SocketAddr::new(ip, 7880)));
    }
    if let Some((_scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        return Err(format!(
            "it is where to listen and no URL: {rest}, with an address in numbers"
        ));
    }
    match text.rsplit_once(':') {
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            Err(format!("the address in numbers: 127.0.0.1:{port} or [::1]:{port}"))
        }
        _ => Err("it takes an address in numbers and a port: 127.0.0.1:7880, [::]:7880".into()),
    }
}

/// One port, as `--tcp-port` takes it.
///
/// # Errors
/// What to write instead.
pub(super) fn one_port(text: &str) -> Result<u16, String> {
    if text.contains([',', '-']) {
        return Err("it takes one port: all clients over TCP share it".into());
    }
    text.parse().map_err(|_| "a port is a number up to 65535".into())
}

/// A number of things, of which none would be no use.
///
/// # Errors
/// What to write instead.
pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("with 0 nobody could connect: it takes 1 or more".into()),
        Ok(number) => Ok(number),
        Err(_error) => Err("it takes a whole number from 1 on".into()),
    }
}

/// A prefix of paths, as `--base-path` takes it; without the slash at its end, so that the root is
/// empty.
///
/// # Errors
/// What to write instead.
pub(super) fn base_path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let is_path = path.is_empty() || path.starts_with('/');
    let leads_elsewhere = path.contains("//") || path.contains("/.");
    if is_path && path.bytes().all(unreserved) && !leads_elsewhere && path.len() <= MAX_PREFIX_BYTES
    {
        return Ok(path.to_owned());
    }
    Err("a path begins with a slash and has letters, digits, - . _ ~ in it: /live, /a/b".into())
}

/// A URL of a server's HTTP, as `--url` and `--peer` take it.
///
/// # Errors
/// What to write instead.
pub(super) fn server_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        Some(_) => Err("it takes a URL of http:// or https://".into()),
        None => Err(format!("a URL begins with its scheme: http://{text} or https://{text}")),
    }
}

/// `--wake-us`: a time, or `None` where the load decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WakeGap(pub Option<Duration>);

impl std::str::FromStr for WakeGap {
    type Err = String;

    fn from_str(text: &str) -> Result<WakeGap, String> {
        if text == "auto" {
            return Ok(WakeGap(None));
        }
        let most = MAX_WAKE_GAP.as_micros() as u64;
        match text.parse() {
            Ok(micros) if micros <= most => Ok(WakeGap(Some(Duration::from_micros(micros)))),
            _ => Err(format!("it takes auto, or microseconds up to {most}; 0 never rests")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_http_that_is_none_is_told_how_to_be_one() {
        assert!(http_address("127.0.0.1:7880").is_ok() && http_address("[::]:80").is_ok());
        for (text, words) in [
            ("7880", "127.0.0.1:7880 for this machine alone, 0.0.0.0:7880"),
            (":7880", "127.0.0.1:7880 for this machine alone"),
            ("0.0.0.0", "an address needs a port: 0.0.0.0:7880"),
            ("::1", "an address needs a port: [::1]:7880"),
            ("http://127.0.0.1:80/", "no URL: 127.0.0.1:80"),
            ("localhost:80", "127.0.0.1:80 or [::1]:80"),
            ("example.org:80", "an address in numbers"),
            ("127.0.0.1:99999", "an address in numbers and a port"),
        ] {
            let error = http_address(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn several_tcp_ports_are_refused_in_words() {
        assert_eq!(one_port("443"), Ok(443));
        for text in ["443,80", "7881-7890"] {
            assert!(one_port(text).is_err_and(|error| error.contains("one port")), "{text}");
        }
        assert!(one_port("70000").is_err_and(|error| error.contains("65535")));
    }

    #[test]
    fn a_url_without_a_scheme_is_told_which_there_are() {
        assert!(server_url("https://media.example.org").is_ok());
        let error = server_url("media.example.org:7880").expect_err("which scheme?");
        let words = "http://media.example.org:7880 or https://media.example.org:7880";
        assert!(error.contains(words), "{error}");
        assert!(server_url("ftp://a").is_err() && server_url("http://").is_err());
    }
}
