//! SDP as text: everything that is looked up, cut or mended in it line by line is here.
//!
//! str0m reads offers and writes answers. What it cannot say, or says otherwise than clients need
//! it, is changed in the text before it reads (`offered.rs`) and after it has written
//! (`answered.rs`).

mod answered;
mod offered;
mod redundancy;
mod sources;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub(super) use offered::Offered;
pub(super) use redundancy::{Redundancies, redundant};

use crate::id::Transport;

/// The ICE user name in an offer, an answer or a trickled fragment: that of the session, or of its
/// first section.
#[must_use]
pub fn ice_ufrag(text: &str) -> Option<&str> {
    attribute(text, "a=ice-ufrag:")
}

/// The ICE password, as [`ice_ufrag`] is found.
#[must_use]
pub fn ice_password(text: &str) -> Option<&str> {
    attribute(text, "a=ice-pwd:")
}

/// Whether the one who gives this answer sends the first flight of DTLS (RFC 5763 §5).
pub(super) fn is_dtls_client(answer: &str) -> bool {
    attribute(answer, "a=setup:") == Some("active")
}

fn attribute<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim)
}

/// The host addresses of an answer, each once, as a client would use them: of those over TCP the
/// passive ones (RFC 6544 §4.5). At most `most`.
#[must_use]
pub fn host_candidates(answer: &str, most: usize) -> Vec<(Transport, SocketAddr)> {
    let mut found = Vec::new();
    for line in answer.lines().filter_map(|line| line.strip_prefix("a=candidate:")) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, "1", protocol, _, ip, port, "typ", "host", ref rest @ ..] = words[..] else {
            continue;
        };
        let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.parse()) else { continue };
        let transport = match (protocol.to_ascii_lowercase().as_str(), rest) {
            ("udp", _) => Transport::Udp,
            ("tcp", ["tcptype", "passive", ..]) => Transport::Tcp,
            _ => continue,
        };
        let candidate = (transport, SocketAddr::new(ip, port));
        if !found.contains(&candidate) && found.len() < most {
            found.push(candidate);
        }
    }
    found
}
