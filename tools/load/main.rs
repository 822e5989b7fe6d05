//! `monoport-load`: synthetic publishers and viewers that measure a WHIP and WHEP server.
//!
//! ```text
//! run ── offers (signalling, sdp) ──► workers: peer = transport (ICE, DTLS) + publisher or viewer
//!                                      │ publisher stamps packets (media), keeps a timeline
//! (stream)                                      │ viewer counts (account), opens a sample,
//! measures latency                                      ▼
//!                                     report ──► JSON, exit code
//! ```
//!
//! The client is cheaper than the server, so that the server is what is measured: peers share
//! sockets, a viewer reads headers in the clear and opens only a sample, and what GRO coalesced is
//! one system call. Its own CPU time and drops are in the report, to see when that fails.

#![expect(clippy::disallowed_types, reason = "its threads share what they measure")]

mod account;
mod args;
mod beat;
mod chart;
mod clock;
mod cluster;
mod cpu;
mod dice;
mod feedback;
mod floor;
mod hardship;
mod html;
mod latencies;
mod layers;
mod lens;
mod link;
mod live;
mod media;
mod modes;
mod outbox;
mod output;
mod peer;
mod publisher;
mod punctuality;
mod rebind;
mod report;
mod run;
mod screen;
mod sdp;
mod series;
mod served;
mod signalling;
mod soak;
mod stream;
mod sums;
mod tally;
mod timeline;
mod timers;
mod transport;
mod viewer;
mod waiter;
mod watch;
mod worker;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Ten thousand peers allocate while they shake hands.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(version, about = "Load generator for WHIP and WHEP servers")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Publish streams, watch them, and report loss, latency and cost
    Run(Box<args::RunArgs>),
    /// Compare one mux port, ten, and a port per session on the same load
    Modes(modes::ModesArgs),
    /// Disturb a server for as long as asked, beside streams that must not notice
    Soak(soak::SoakArgs),
    /// Start nodes of a cluster, run a load across them, and report what each delivered
    Cluster(cluster::ClusterArgs),
    /// Measure the least CPU that a packet can cost on this machine
    Floor(floor::FloorArgs),
}

fn main() -> ExitCode {
    // The clock begins with the process.
    let _ = clock::now_ns();
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(&args).map_err(|error| error.to_string()),
        Command::Modes(args) => modes::run(&args).map(|()| true).map_err(|error| error.to_string()),
        Command::Soak(args) => soak::run(&args).map_err(|error| error.to_string()),
        Command::Cluster(args) => cluster::run(&args).map_err(|error| error.to_string()),
        Command::Floor(args) => floor::run(&args).map(|()| true).map_err(|error| error.to_string()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        // A threshold was missed.
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("monoport-load: {error}");
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
#[path = "../../src/manual/shown.rs"]
mod shown;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_line_of_the_manual_is_understood() {
        let lines = shown::command_lines("monoport-load");
        assert!(lines.len() > 5, "they are found: {}", lines.len());
        for (path, command) in lines {
            understood(&path, &command);
        }
        // Tables leave out what is the same in each row.
        for (path, text) in shown::pages() {
            for code in shown::code(&text).iter().filter(|code| code.starts_with("run --")) {
                let words = code.split(' ').map(|word| word.replace("PID", "1"));
                let command = ["monoport-load".to_owned()].into_iter().chain(words);
                understood(&path, &command.collect::<Vec<_>>());
            }
        }
    }

    /// A server is left out where a sentence is about the rest.
    fn understood(path: &str, command: &[String]) {
        if let Err(error) = Cli::try_parse_from(command) {
            let lacks = error.kind() == clap::error::ErrorKind::MissingRequiredArgument;
            assert!(lacks, "{path}: {command:?}: {error}");
        }
    }
}
