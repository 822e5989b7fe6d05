//! Fragments of SDP in PATCH (RFC 8840 §9): what a client says of its ICE, and what it is answered.

use std::fmt::Write;
use std::net::SocketAddr;

use str0m::IceCreds;

use super::Problem;
use crate::control::RestartedIce;

/// The media type of a fragment.
pub(super) const SDPFRAG: &str = "application/trickle-ice-sdpfrag";

/// What a fragment says. Its credentials stand at the session's level or in its first section;
/// candidates are not needed, since the server learns the client's addresses from its checks.
#[derive(Debug)]
pub struct Fragment<'a> {
    /// The name of the client's ICE session.
    pub ufrag: &'a str,
    password: Option<&'a str>,
    /// The first section: its `m=` line and its `a=mid` line.
    section: Option<&'a str>,
    mid: Option<&'a str>,
}

impl<'a> Fragment<'a> {
    /// Reads a fragment.
    ///
    /// # Errors
    /// 400 where it does not name an ICE session.
    pub fn read(text: &'a str) -> Result<Fragment<'a>, Problem> {
        let line = |prefix: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(prefix));
            found.map(str::trim).filter(|value| value.len() <= 256)
        };
        let ufrag = line("a=ice-ufrag:")
            .ok_or_else(|| Problem::bad_request("the fragment has no a=ice-ufrag line"))?;
        let (password, section, mid) = (line("a=ice-pwd:"), line("m="), line("a=mid:"));
        Ok(Fragment { ufrag, password, section, mid })
    }

    /// The credentials of the ICE session that it names.
    ///
    /// # Errors
    /// 400 where they are not what RFC 8839 §5.4 has: a name of 4 to 256 ice-chars and a password
    /// of 22 to 256.
    pub fn credentials(&self) -> Result<IceCreds, Problem> {
        let is_ice = |text: &str, least: usize| {
            let char = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
            text.len() >= least && text.bytes().all(char)
        };
        match self.password {
            Some(pass) if is_ice(pass, 22) && is_ice(self.ufrag, 4) => {
                Ok(IceCreds { ufrag: self.ufrag.to_owned(), pass: pass.to_owned() })
            }
            _ => Err(Problem::bad_request(
                "an ICE restart needs a=ice-ufrag with 4 to 256 ice-chars and a=ice-pwd with 22 to \
                 256 (RFC 8839 section 5.4)",
            )),
        }
    }

    /// The answer to a restart: our new credentials and all addresses, in the client's first
    /// section, which bundles all others.
    pub fn answer(&self, ice: &RestartedIce) -> String {
        let RestartedIce { credentials, candidates, tcp_candidates, .. } = ice;
        let (section, mid) = (self.section.unwrap_or("audio 9 RTP/AVP 0"), self.mid);
        let mut text = format!(
            "a=ice-options:trickle ice2\r\nm={section}\r\na=mid:{}\r\na=ice-ufrag:{}\r\n\
             a=ice-pwd:{}\r\n",
            mid.unwrap_or("0"),
            credentials.ufrag,
            credentials.pass
        );
        let all = candidates.iter().map(|address| (address, false));
        let all = all.chain(tcp_candidates.iter().map(|address| (address, true)));
        for (number, (address, tcp)) in (0..).zip(all) {
            candidate(&mut text, number, address, tcp);
        }
        text + "a=end-of-candidates\r\n"
    }
}

/// A line for a host candidate (RFC 8839 §5.1, RFC 6544 §4.5). Those that come first are preferred.
fn candidate(text: &mut String, number: u32, address: &SocketAddr, tcp: bool) {
    // RFC 8445 §5.1.2.1 and RFC 6544 §4.2: any over UDP comes before any over TCP.
    let preference = if tcp { 90 } else { 126 };
    let priority = preference << 24 | (65_535 - number.min(65_535)) << 8 | 255;
    let (transport, kind) = if tcp { ("tcp", " tcptype passive") } else { ("udp", "") };
    let (ip, port) = (address.ip(), address.port());
    let written = write!(
        text,
        "a=candidate:{} 1 {transport} {priority} {ip} {port} typ host{kind}\r\n",
        number + 1
    );
    written.expect("a string takes everything");
}
