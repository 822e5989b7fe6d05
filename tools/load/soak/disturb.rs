//! What clients do to a server, each for a few seconds, by runs of this program's own `run`.

use super::SoakArgs;
use super::server::Server;
use serde::Serialize;
use std::io;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long a run may take; it has been asked for a few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a run that will be killed has its sessions.
const SET_UP: Duration = Duration::from_secs(2);

/// A kind of disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Sessions come, stay for a second, and end as they should.
    Churn,
    /// Publishers and viewers vanish without a word.
    Kill,
    /// The names of those who vanished are published again, while their sessions linger.
    Republish,
    /// Viewers change their address.
    Rebind,
    /// A tenth of the packets is lost both ways.
    BadNetwork,
    /// A mux port is opened and drained.
    Ports,
}

impl Disturbance {
    /// Each of them, in the order of a round.
    pub const ALL: [Self; 6] =
        [Self::Churn, Self::Kill, Self::Republish, Self::Rebind, Self::BadNetwork, Self::Ports];

    fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Kill => "kill",
            Self::Republish => "republish",
            Self::Rebind => "rebind",
            Self::BadNetwork => "bad network",
            Self::Ports => "port change",
        }
    }

    /// What its run takes.
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Churn => &["--prefix", "churn", "--viewers", "10", "--duration", "1s", "--audio"],
            Self::Kill => &["--prefix", "killed", "--viewers", "5", "--duration", "60s"],
            Self::Republish => &["--prefix", "killed", "--viewers", "5", "--duration", "1s"],
            Self::Rebind => &[
                "--prefix",
                "moving",
                "--viewers",
                "5",
                "--duration",
                "4s",
                "--rebind",
                "5",
                "--rebind-at",
                "200ms",
            ],
            Self::BadNetwork => &[
                "--prefix",
                "lossy",
                "--viewers",
                "5",
                "--duration",
                "2s",
                "--drop",
                "0.1",
                "--nack",
                "--max-loss",
                "0.5",
            ],
            Self::Ports => &[],
        }
    }
}

/// How often one was tried, and what came of it.
#[derive(Debug, Serialize)]
pub struct Tried {
    pub what: &'static str,
    #[serde(skip)]
    kind: Disturbance,
    pub tried: u64,
    /// Times at which all went as it should for those who were part of it.
    pub done: u64,
    /// What was said when it last did not.
    pub said: String,
}

impl Tried {
    #[must_use]
    pub fn new(kind: Disturbance) -> Self {
        Self { what: kind.name(), kind, tried: 0, done: 0, said: String::new() }
    }

    /// Does it once.
    pub fn go(&mut self, args: &SoakArgs, server: &Server) {
        self.tried += 1;
        let outcome = match self.kind {
            Disturbance::Ports => free_port().and_then(|port| server.change_port(port)),
            Disturbance::Kill => self.spawn(args).and_then(kill),
            _ => self.spawn(args).and_then(end),
        };
        match outcome {
            Ok(()) => self.done += 1,
            Err(error) => {
                eprintln!("{}: {error}", self.what);
                self.said = error.to_string();
            }
        }
    }

    fn spawn(&self, args: &SoakArgs) -> io::Result<Child> {
        load(args)?
            .args(["--streams", "2", "--video-kbps", "300", "--max-p99-ms", "60000"])
            .args(self.kind.options())
            .stderr(Stdio::piped())
            .spawn()
    }
}

/// This program's `run` against the server, so that what it does ends with its process.
///
/// # Errors
/// When this program can't find itself.
pub fn load(args: &SoakArgs) -> io::Result<Command> {
    let mut load = Command::new(std::env::current_exe()?);
    load.args(["run", "--url", &args.url, "--threads", "1", "--ramp", "50", "--live=never"]);
    load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    load.env_remove("MONOPORT_TOKEN");
    if let Some(token) = &args.token {
        // Not on the command line, where every user of the machine could read it.
        load.env("MONOPORT_TOKEN", token);
    }
    Ok(load)
}

/// Waits for a run to end well.
fn end(mut run: Child) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while run.try_wait()?.is_none() {
        if Instant::now() > until {
            run.kill()?;
        }
        thread::sleep(Duration::from_millis(20));
    }
    let output = run.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let told =
        said.lines().filter(|line| line.contains("missed") || line.contains("monoport-load"));
    let told = told.collect::<Vec<_>>().join("; ");
    Err(io::Error::other(format!("{}: {told}", output.status)))
}

/// Lets a run set up its sessions, and then end without having said so.
fn kill(mut run: Child) -> io::Result<()> {
    thread::sleep(SET_UP);
    if let Some(status) = run.try_wait()? {
        return Err(io::Error::other(format!("it ended before it was killed: {status}")));
    }
    run.kill()?;
    run.wait().map(drop)
}

/// A port that nobody has at this moment.
fn free_port() -> io::Result<u16> {
    UdpSocket::bind("0.0.0.0:0")?.local_addr().map(|address| address.port())
}
