//! Nodes of a cluster on this machine, with a directory of their own, and a load across them:
//! streams are published on the first node and watched on all, as if each were a machine elsewhere.
//!
//! ```text
//! run (a process of its own) ──▶ a ──links──▶ b, c, …     each at an address of 127/8
//!                 viewers ◀──────┴────────────┘           hops between them lose what --loss says
//! ```

mod hop;
mod nodes;
mod shown;

use crate::args::{RunArgs, parse_duration};
use crate::output;
use clap::Args;
use nodes::{Nodes, Stopped};
use serde_json::Value;
use shown::{Shown, Watched};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How often nodes are looked at during the run.
const LOOK: Duration = Duration::from_millis(500);
/// How long nodes may take to know one another: a beat each, and a look at the directory.
const MEET: Duration = Duration::from_secs(30);

/// What `run` is told by [`command`] alone.
const SET_HERE: [&str; 10] = [
    "--url",
    "--whip-url",
    "--whep-url",
    "--streams",
    "--viewers",
    "--duration",
    "--live",
    "--max-loss",
    "--max-p99-ms",
    "--json",
];

/// Runs a load across nodes that it starts and ends
#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// The server's program. Default: monoport beside this program
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// The program of the directory
    #[arg(long, value_name = "FILE", default_value = "redis-server")]
    redis: PathBuf,
    /// Nodes: a, b, c and so on; streams are published on a
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=20))]
    nodes: u8,
    /// Zones of the nodes, as in x,y,y. Default: each has one of its own, so that it serves its
    /// viewers itself
    #[arg(long, value_delimiter = ',', value_name = "ZONES")]
    zones: Vec<String>,
    /// Shards of each node
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    shards: u8,
    /// Streams, with one publisher each
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    streams: u16,
    /// Viewers of each stream on each node
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=5_000))]
    viewers: u16,
    /// How long to measure once all sessions are up, an hour at most
    #[arg(long, default_value = "10s", value_parser = parse_hour)]
    duration: Duration,
    /// The part that the ways between nodes lose, as in 0.02 or 2%
    #[arg(long, default_value_t = 0.0, value_parser = crate::args::parse_ratio)]
    loss: f64,
    /// Kill a node (SIGKILL) so long after all sessions are up, as in b@5s. What its viewers lack
    /// then is not counted as missed
    #[arg(long, value_parser = parse_kill)]
    kill: Option<Kill>,
    /// Exit with 1 when more than this part of the packets is lost by viewers of a node that lives
    #[arg(long, default_value_t = 0.0)]
    max_loss: f64,
    /// Write what was found here, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// What else `run` takes, for example --video-kbps 1000 --audio
    #[arg(last = true)]
    load: Vec<String>,
}

/// Which node is killed, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kill {
    node: String,
    after: Duration,
}

fn parse_hour(text: &str) -> Result<Duration, String> {
    let hour = Duration::from_secs(3_600);
    parse_duration(text).and_then(|duration| match duration <= hour {
        true => Ok(duration),
        false => Err("an hour at most".into()),
    })
}

fn parse_kill(text: &str) -> Result<Kill, String> {
    let (node, after) = text.split_once('@').ok_or("it takes NODE@TIME, as in b@5s")?;
    Ok(Kill { node: node.to_owned(), after: parse_duration(after)? })
}

/// Runs a load across nodes; returns whether all was kept.
///
/// # Errors
/// When the directory or a node does not start, nodes do not find one another, or the run has no
/// report.
pub fn run(args: &ClusterArgs) -> io::Result<bool> {
    if let Some(wrong) = args.wrong() {
        return Err(io::Error::other(wrong));
    }
    output::check("--json", args.json.as_deref())?;
    let stopped = Stopped::on_signals()?;
    let found = measure(args, &stopped);
    stopped.wait_if_told();
    conclude(args, &found?)
}

fn measure(args: &ClusterArgs, stopped: &Stopped) -> io::Result<Shown> {
    let nodes = Nodes::start(args, stopped)?;
    nodes.meet(MEET)?;
    let report = nodes.folder().join("report.json");
    let mut load = nodes.keep(&mut command(args, &nodes, &report)?)?;
    let mut watched = Watched::default();
    let sessions = u64::from(args.streams) * (1 + u64::from(args.viewers) * u64::from(args.nodes));
    let mut all_up = None;
    let status = loop {
        if let Some(status) = load.try_wait()? {
            break status;
        }
        let looks = nodes.look();
        if all_up.is_none() && looks.iter().map(|look| look.sessions).sum::<u64>() >= sessions {
            all_up = Some(Instant::now());
        }
        watched.take(&looks);
        if let (Some(kill), Some(since)) = (&args.kill, all_up)
            && since.elapsed() >= kill.after
            && nodes.kill(&kill.node)?
        {
            eprintln!("{} is killed", kill.node);
        }
        thread::sleep(LOOK);
    };
    watched.take(&nodes.look());
    let text = std::fs::read_to_string(&report).map_err(|_| {
        io::Error::other(format!("the run across the nodes ended with {status} and no report"))
    })?;
    let report: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    Ok(Shown::new(args, &nodes, &watched, report))
}

/// The run, as a process of its own: nodes must not pay for this one's looks.
fn command(args: &ClusterArgs, nodes: &Nodes, report: &Path) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let first = nodes.urls().next().unwrap_or_default();
    command.args(["run", "--whip-url", &format!("{first}/whip/{{name}}")]);
    for url in nodes.urls() {
        command.args(["--whep-url", &format!("{url}/whep/{{name}}")]);
    }
    let viewers = usize::from(args.viewers) * usize::from(args.nodes);
    command
        .args(["--streams", &args.streams.to_string(), "--viewers", &viewers.to_string()])
        .args(["--duration", &format!("{}ms", args.duration.as_millis()), "--live=never"])
        // What counts is judged here, node by node.
        .args(["--max-loss", "1", "--max-p99-ms", "3600000"])
        .args(["--json".as_ref(), report.as_os_str()])
        .args(&args.load)
        .env_remove("MONOPORT_TOKEN")
        .stdout(Stdio::null());
    Ok(command)
}

fn conclude(args: &ClusterArgs, found: &Shown) -> io::Result<bool> {
    print!("{}", found.table());
    let json = serde_json::to_string_pretty(found).map_err(io::Error::other)?;
    output::write("--json", args.json.as_deref(), &(json + "\n"))?;
    found.missed.iter().for_each(|miss| eprintln!("missed: {miss}"));
    Ok(found.missed.is_empty())
}

impl ClusterArgs {
    /// The node's name by its number.
    fn name(number: u8) -> String {
        char::from(b'a' + number).to_string()
    }

    fn zone(&self, number: u8) -> String {
        let zone = self.zones.get(usize::from(number)).cloned();
        zone.unwrap_or_else(|| format!("zone-{}", Self::name(number)))
    }

    /// What can't be meant.
    fn wrong(&self) -> Option<String> {
        if !self.zones.is_empty() && self.zones.len() != usize::from(self.nodes) {
            let (zones, nodes) = (self.zones.len(), self.nodes);
            return Some(format!("--zones names {zones} zones for {nodes} nodes: name one each"));
        }
        if let Some(empty) = self.zones.iter().position(|zone| zone.trim().is_empty()) {
            return Some(format!("zone {} of --zones is empty: name it", empty + 1));
        }
        self.wrong_kill().or_else(|| self.wrong_load())
    }

    fn wrong_kill(&self) -> Option<String> {
        let Kill { node, after } = self.kill.as_ref()?;
        if *node == Self::name(0) {
            return Some("--kill a: the streams are published there; kill another node".to_owned());
        }
        if !(1..self.nodes).any(|number| *node == Self::name(number)) {
            return Some(format!(
                "--kill {node}: there is no such node; they are a, b, c and so on"
            ));
        }
        let duration = self.duration;
        (*after >= duration).then(|| {
            format!(
                "--kill {node}@{after:?}: that is after the end, since --duration is {duration:?}; \
                 kill it earlier, or let it last longer"
            )
        })
    }

    /// What `run` would not take.
    fn wrong_load(&self) -> Option<String> {
        for word in &self.load {
            let option = word.split('=').next().unwrap_or_default();
            if SET_HERE.contains(&option) {
                return Some(format!(
                    "{option} behind `--`: `cluster` itself sets that for `run`; its own options \
                     come before the `--`"
                ));
            }
        }
        let given = ["run", "--url", "http://127.0.0.1"].map(str::to_owned);
        let words = given.iter().chain(&self.load);
        let command = RunArgs::augment_args(clap::Command::new("run")).disable_help_flag(true);
        let error = command.try_get_matches_from(words).err()?.to_string();
        // The rest is about how to use `run` alone.
        let told = error.split("\n\n").next().unwrap_or_default();
        let told = told.trim_start_matches("error: ").split_whitespace().collect::<Vec<_>>();
        let told = told.join(" ");
        Some(format!("behind `--`: {told}; see `monoport-load run --help` for what goes there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(clap::Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        args: ClusterArgs,
    }

    fn parsed(words: &[&str]) -> Result<ClusterArgs, String> {
        let words = ["cluster"].iter().chain(words);
        let cli = <Cli as clap::Parser>::try_parse_from(words);
        cli.map(|cli| cli.args).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_has_bounds_and_what_cannot_be_meant_is_told() {
        let wrong = |words: &[&str]| parsed(words).expect("it parses").wrong();
        assert_eq!(wrong(&["--kill", "b@1s"]), None);
        assert!(wrong(&["--kill", "a@1s"]).is_some_and(|words| words.contains("published there")));
        assert!(wrong(&["--kill", "d@1s"]).is_some_and(|words| words.contains("no such node")));
        assert_eq!(wrong(&["--nodes", "4", "--kill", "d@1s"]), None);
        assert_eq!(wrong(&["--zones", "x,y,y"]), None);
        assert!(wrong(&["--zones", "x,y"]).is_some_and(|words| words.contains("one each")));
        let empty = wrong(&["--zones", "x,,y"]);
        assert!(empty.is_some_and(|words| words.contains("zone 2 of --zones is empty")));
        let late = wrong(&["--kill", "b@30s", "--duration", "3s"]);
        assert!(late.is_some_and(|words| words.starts_with("--kill b@30s: that is after the end")));
        assert!(
            parsed(&["--duration", "2h"]).is_err_and(|words| words.contains("an hour at most"))
        );
        for words in [
            ["--nodes", "1"],
            ["--nodes", "21"],
            ["--streams", "0"],
            ["--viewers", "5001"],
            ["--duration", "61m"],
            ["--loss", "2"],
            ["--kill", "b"],
        ] {
            assert!(parsed(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn what_run_would_not_take_is_told_before_anything_starts() {
        let wrong = |words: &[&str]| {
            parsed(&[&["--"], words].concat()).expect("it parses").wrong().unwrap_or_default()
        };
        assert_eq!(wrong(&["--video-kbps", "1000", "--audio", "--threads", "1"]), "");
        let told = wrong(&["--bogus"]);
        assert!(told.starts_with("behind `--`: unexpected argument '--bogus' found;"), "{told}");
        let told = wrong(&["--fps", "many"]);
        assert!(told.contains("invalid value 'many' for '--fps <FPS>'"), "{told}");
        for words in [&["--json", "x"][..], &["--whep-url=http://a"], &["--max-loss", "1"]] {
            let told = wrong(words);
            assert!(told.contains("`cluster` itself sets that"), "{told}");
        }
    }
}
