//! `monoport check`: whether this host is fit for the server, and the command that makes it so.
//!
//! What can be tried is tried (a train, a ring, a steering program, a buffer); the rest is read
//! from `/proc` and `/sys`. With `--peer` it is a running server that is looked at, from outside.

mod attempts;
mod files;
mod from;
mod network;
mod peer;
mod ports;

use std::fmt::{self, Write};

pub use files::Host;
pub use from::{Told, check_from};
pub use peer::{CheckedSession, Probe, check_peer};

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// What was found in one respect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// The respect, in a word or two.
    pub what: &'static str,
    /// What was found.
    pub found: String,
    /// The command that mends it; every finding that is not [`Verdict::Ok`] has one.
    pub fix: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be, or of no matter with these options.
    Ok,
    /// It works, and costs.
    Warn,
    /// The server would not start, or would fail under load.
    Fail,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        })
    }
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Ok, what, found: found.into(), fix: None }
    }

    fn warn(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        let (found, fix) = (found.into(), Some(fix.into()));
        Finding { verdict: Verdict::Warn, what, found, fix }
    }

    /// It would fail, and this mends it.
    #[must_use]
    pub fn fail(what: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding { verdict: Verdict::Fail, ..Finding::warn(what, found, fix) }
    }
}

/// Looks at `host` with the eyes of a server started with `config`.
#[must_use]
pub fn check(config: &Config, host: &Host) -> Vec<Finding> {
    let mut findings = vec![
        files::kernel(host),
        attempts::gso(),
        attempts::gro(),
        attempts::uring(config.io, host),
        attempts::steering(config),
        attempts::buffers(config, host),
        files::open_files(config, host),
        files::clock(host),
        files::conntrack(config, host),
        ports::free_ports(config),
        ports::tcp_port(config),
        ports::http(config),
        ports::permission(config),
    ];
    findings.extend(network::cards(config, host));
    findings
}

/// A line per finding, and one more for what mends it.
#[must_use]
pub fn describe(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { verdict, what, found, fix } in findings {
        let _ = writeln!(text, "{verdict:<4}  {what:<14} {found}");
        if let Some(fix) = fix {
            let _ = writeln!(text, "      {:<14} fix: {fix}", "");
        }
    }
    text
}

/// The worst of what was found.
#[must_use]
pub fn worst(findings: &[Finding]) -> Verdict {
    findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Ok)
}

#[cfg(test)]
mod tests;
