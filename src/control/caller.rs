//! Who asks for a session.

use std::net::IpAddr;

/// Who asks for a session, as far as the request tells.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The client's address.
    pub ip: Option<IpAddr>,
    /// What it calls itself, cut off where nobody's name is as long.
    pub agent: Box<str>,
    /// Whether the log, and whoever is told of sessions, may know it.
    pub is_told: bool,
}

impl Caller {
    /// Both, for the log; nothing where that is private.
    #[must_use]
    pub fn words(&self) -> String {
        match (self.is_told, self.ip) {
            (false, _) => String::new(),
            (true, ip) => {
                let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
                format!("{ip}, {}", self.agent)
            }
        }
    }
}
