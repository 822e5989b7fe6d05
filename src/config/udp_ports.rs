//! The options about UDP ports: which there are, and how they come and go.

use std::fmt;
use std::str::FromStr;

use super::{Args, ConfigError, Io, SteerBy};
use crate::limits::MAX_MUX_PORTS;

/// The ports of `--port-range`, as in `50000-60000`: one for each session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last, which belongs to it.
    pub last: u16,
}

impl PortRange {
    /// How many ports it has.
    #[must_use]
    pub fn count(&self) -> usize {
        usize::from(self.last - self.first) + 1
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let wrong = || format!("`{text}` is not of the form 50000-60000");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let number = |part: &str| part.trim().parse::<u16>().map_err(|_error| wrong());
        match (number(first)?, number(last)?) {
            (0, _) => Err("port 0 is not a port; a range begins at 1 or above".into()),
            (first, last) if first > last => Err(format!("{first} is greater than {last}")),
            (first, last) => Ok(PortRange { first, last }),
        }
    }
}

/// How many mux ports there may be (`--ports-auto`), as in `1-8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortCount {
    /// At the start, and at any time.
    pub min: usize,
    /// Under load.
    pub max: usize,
}

impl FromStr for PortCount {
    type Err = String;

    fn from_str(text: &str) -> Result<PortCount, String> {
        let wrong = || format!("`{text}` is not of the form 1-8: the fewest and the most ports");
        let (min, max) = text.split_once('-').ok_or_else(wrong)?;
        let number = |part: &str| part.trim().parse::<usize>().map_err(|_error| wrong());
        let count = PortCount { min: number(min)?, max: number(max)? };
        match (1..=count.max).contains(&count.min) && count.max <= MAX_MUX_PORTS {
            true => Ok(count),
            false => Err(format!("{text}: at least 1, at most {MAX_MUX_PORTS}, the fewer first")),
        }
    }
}

/// The UDP ports of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpPorts {
    /// Mux ports there are at the start; none with a range.
    pub mux: Vec<u16>,
    /// A port per session out of this.
    pub range: Option<PortRange>,
    /// Mux ports that come and go with the load.
    pub auto: Option<PortCount>,
}

/// The port of all media where none is named.
const DEFAULT_PORT: u16 = 7882;

impl UdpPorts {
    /// What the options ask for.
    ///
    /// # Errors
    /// [`ConfigError`]: options that contradict one another, or a port beyond 65535.
    pub(super) fn new(args: &Args) -> Result<UdpPorts, ConfigError> {
        let given = args.udp_port.as_ref().map(|list| list.0.clone());
        if let Some(range) = args.port_range {
            if args.io == Io::Uring {
                return Err(ConfigError::RangeExcludes(
                    "--io uring",
                    "io_uring needs a ring a port",
                ));
            }
            if args.steering == SteerBy::Ebpf {
                let why = "there is one socket to a port, and nothing to steer";
                return Err(ConfigError::RangeExcludes("--steering ebpf", why));
            }
            if args.kernel_drop {
                let why = "it would take a program on every port";
                return Err(ConfigError::RangeExcludes("--kernel-drop", why));
            }
            return Ok(UdpPorts { mux: Vec::new(), range: Some(range), auto: None });
        }
        let mux = given.unwrap_or_else(|| vec![DEFAULT_PORT]);
        let Some(auto) = args.ports_auto else {
            return Ok(UdpPorts { mux, range: None, auto: None });
        };
        let [first] = mux[..] else { return Err(ConfigError::AutoFrom(mux.len())) };
        let mux = auto_ports(first, auto.max).ok_or(ConfigError::AutoBeyond(first, auto.max))?;
        let mux = mux[..auto.min].to_vec();
        Ok(UdpPorts { mux, range: None, auto: Some(auto) })
    }

    /// Every mux port there may ever be without a request for more: those of the start, and those
    /// that come with load.
    #[must_use]
    pub fn possible_mux(&self) -> Vec<u16> {
        let all = self.auto.and_then(|auto| auto_ports(*self.mux.first()?, auto.max));
        all.unwrap_or_else(|| self.mux.clone())
    }

    /// As nft and people write them: `7882, 3478` or `50000-60000`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.range {
            Some(range) => range.to_string(),
            None => {
                let ports: Vec<String> =
                    self.possible_mux().iter().map(ToString::to_string).collect();
                ports.join(", ")
            }
        }
    }
}

/// `count` ports from `first` on; with 0, as many for the kernel to choose. `None` where there are
/// not as many.
fn auto_ports(first: u16, count: usize) -> Option<Vec<u16>> {
    if first == 0 {
        return Some(vec![0; count]);
    }
    let last = u16::try_from(usize::from(first) + count - 1).ok()?;
    Some((first..=last).collect())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn ports(options: &[&str]) -> Result<UdpPorts, ConfigError> {
        let args = Args::try_parse_from(std::iter::once(&"monoport").chain(options));
        UdpPorts::new(&args.expect("the options parse"))
    }

    #[test]
    fn a_range_and_mux_ports_exclude_one_another() {
        assert_eq!(ports(&[]).unwrap().mux, [7882]);
        let range = PortRange { first: 50_000, last: 60_000 };
        let found = ports(&["--port-range", "50000-60000"]).unwrap();
        assert_eq!((found.mux.len(), found.range), (0, Some(range)));
        assert_eq!(range.count(), 10_001);
        let both = ["monoport", "--port-range", "5-6", "--udp-port", "7882"];
        let error = Args::try_parse_from(both).expect_err("which of them?").to_string();
        assert!(error.contains("--port-range") && error.contains("--udp-port"), "{error}");
        let with: [&[&str]; 3] = [&["--io", "uring"], &["--steering", "ebpf"], &["--kernel-drop"]];
        for other in with {
            let error = ports(&[&["--port-range", "5-6"], other].concat()).expect_err("excluded");
            assert!(error.to_string().contains(other[0]), "{error}");
        }
        for wrong in ["7", "0-9", "9-8", "a-b", "1-65536"] {
            assert!(wrong.parse::<PortRange>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_that_come_with_load_follow_the_first() {
        let found = ports(&["--ports-auto", "2-4", "--udp-port", "9000"]).unwrap();
        assert_eq!(found.mux, [9000, 9001]);
        assert_eq!(found.possible_mux(), [9000, 9001, 9002, 9003]);
        assert_eq!(found.describe(), "9000, 9001, 9002, 9003");
        let error = ports(&["--ports-auto", "1-4", "--udp-port", "9000,9002"]);
        assert_eq!(error.err(), Some(ConfigError::AutoFrom(2)));
        let error = ports(&["--ports-auto", "1-4", "--udp-port", "65533"]);
        assert_eq!(error.err(), Some(ConfigError::AutoBeyond(65_533, 4)));
        for wrong in ["0-3", "3-2", "1-65", "4"] {
            assert!(wrong.parse::<PortCount>().is_err(), "{wrong}");
        }
    }
}
