//! The same load on a server with one mux port, with ten, and with a port per session.
//!
//! The server is started anew for every run, and the modes take turns, so that what the machine
//! does meanwhile befalls each of them alike; what counts is the median. A run is this program's
//! own `run`, in a process of its own, so that no mode inherits the client's memory.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::cpu::resident_bytes;
use crate::output;

/// How often the server is looked at during a run.
const LOOK: Duration = Duration::from_millis(100);

/// Compares one port, ten ports and a port per session
#[derive(Args, Clone, Debug)]
pub struct ModesArgs {
    /// The server's program, for example target/release/monoport
    #[arg(long)]
    server: PathBuf,
    /// Its shards
    #[arg(long, default_value_t = 2)]
    shards: usize,
    /// Runs of each mode, in turn
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The first of the mux ports
    #[arg(long, default_value_t = 7900)]
    first_port: u16,
    /// The ports of the mode with a port per session
    #[arg(long, default_value = "10000-30000")]
    port_range: String,
    /// Write every run and the medians here, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// What `run` takes, for example --streams 2 --viewers 500 --audio
    #[arg(last = true)]
    load: Vec<String>,
}

/// A way to have ports.
struct Mode {
    name: &'static str,
    options: [String; 2],
}

/// What one run, or the median of several, shows.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Shown {
    /// CPU of the server for a packet that reached a viewer, in nanoseconds.
    cpu_ns_per_packet: f64,
    /// From offer to keys, half of the sessions, in milliseconds.
    setup_ms_p50: f64,
    /// From the first offer until the last session had its keys, in milliseconds.
    setup_all_ms: f64,
    /// Latency of 99 of 100 packets, in microseconds.
    latency_us_p99: f64,
    /// Resident memory at the end, and as much as the start did not have, in bytes.
    rss_bytes: f64,
    rss_grown_bytes: f64,
    /// Most UDP sockets that were open.
    udp_sockets: f64,
    loss_ratio: f64,
}

#[derive(Serialize)]
struct Compared {
    mode: &'static str,
    options: String,
    median: Shown,
    runs: Vec<Shown>,
}

/// Runs the comparison and prints its table.
///
/// # Errors
/// When the server does not start, or a run has no report.
pub fn run(args: &ModesArgs) -> io::Result<()> {
    output::check("--json", args.json.as_deref())?;
    let modes = modes(args);
    let mut runs: Vec<Vec<Shown>> = modes.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds.max(1) {
        for (mode, runs) in modes.iter().zip(&mut runs) {
            eprintln!("round {round}: {}", mode.name);
            runs.push(measure(args, mode)?);
        }
    }
    let compared: Vec<Compared> = modes
        .iter()
        .zip(runs)
        .map(|(mode, runs)| Compared {
            mode: mode.name,
            options: mode.options.join(" "),
            median: median(&runs),
            runs,
        })
        .collect();
    print!("{}", table(&compared));
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&compared).map_err(io::Error::other)?;
        output::write("--json", Some(path), &(json + "\n"))?;
    }
    Ok(())
}

fn modes(args: &ModesArgs) -> [Mode; 3] {
    let first = args.first_port;
    let last = first.saturating_add(9);
    [
        Mode { name: "one mux port", options: ["--udp-port".into(), first.to_string()] },
        Mode { name: "ten mux ports", options: ["--udp-port".into(), format!("{first}-{last}")] },
        Mode {
            name: "a port per session",
            options: ["--port-range".into(), args.port_range.clone()],
        },
    ]
}

/// One run against a server of its own.
fn measure(args: &ModesArgs, mode: &Mode) -> io::Result<Shown> {
    let server = Server::start(&args.server, args.shards, mode)?;
    let pid = server.child.id();
    let rss_at_start = resident_bytes(pid)?;
    let json = std::env::temp_dir().join(format!("monoport-modes-{pid}.json"));
    let mut load = Command::new(std::env::current_exe()?)
        .args(["run", "--url", &server.url, "--server-pid", &pid.to_string()])
        .args(["--json".as_ref(), json.as_os_str()])
        .args(&args.load)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut udp_sockets = 0;
    let status = loop {
        udp_sockets = udp_sockets.max(udp_sockets_of(pid));
        if let Some(status) = load.try_wait()? {
            break status;
        }
        thread::sleep(LOOK);
    };
    let text = std::fs::read_to_string(&json).map_err(|error| {
        io::Error::other(format!("{}: the run ended with {status}, no report: {error}", mode.name))
    })?;
    let _ = std::fs::remove_file(&json);
    let report: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    if report["sessions_connected"] != report["sessions_requested"] {
        let failures = &report["failures"];
        return Err(io::Error::other(format!("{}: sessions failed: {failures}", mode.name)));
    }
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let rss_bytes = number(&report["server_rss_bytes"]);
    Ok(Shown {
        cpu_ns_per_packet: number(&report["server_cpu_ns_per_egress_packet"]),
        setup_ms_p50: number(&report["session_setup_ms"]["p50"]),
        setup_all_ms: number(&report["setup_ms"]),
        latency_us_p99: number(&report["latency_us"]["p99"]),
        rss_bytes,
        rss_grown_bytes: (rss_bytes - rss_at_start as f64).max(0.0),
        udp_sockets: udp_sockets as f64,
        loss_ratio: number(&report["loss_ratio"]),
    })
}

/// A server that ends with its owner.
struct Server {
    child: Child,
    url: String,
}

impl Server {
    fn start(program: &Path, shards: usize, mode: &Mode) -> io::Result<Server> {
        let mut child = Command::new(program)
            .args(["--http", "127.0.0.1:0", "--bind", "127.0.0.1", "--no-tcp"])
            .args(["--shards", &shards.to_string()])
            .args(&mode.options)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| io::Error::other(format!("{}: {error}", program.display())))?;
        let banner = child.stdout.take().map(BufReader::new);
        let mut server = Server { child, url: String::new() };
        for line in banner.into_iter().flat_map(BufRead::lines).map_while(Result::ok) {
            if let Some(page) = line.trim().strip_prefix("page") {
                server.url = page.trim().to_owned();
            }
            if line.starts_with("ready") {
                return Ok(server);
            }
        }
        let status = server.child.wait()?;
        let options = mode.options.join(" ");
        Err(io::Error::other(format!("the server ended with {status}; try it with {options}")))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that is gone already has been noticed by the run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// UDP sockets a process has open, however many descriptors lead to each: those that
/// `/proc/PID/net/udp` lists (proc_net(5): the tenth column is the inode) and a descriptor is of.
fn udp_sockets_of(pid: u32) -> usize {
    let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let links = links.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let open: BTreeSet<String> = links
        .filter_map(|link| {
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let tables = ["udp", "udp6"]
        .map(|name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    lines.filter_map(|line| line.split_whitespace().nth(9)).filter(|i| open.contains(*i)).count()
}

/// The median of each number; of an even count the lower of the middle two.
fn median(runs: &[Shown]) -> Shown {
    let of = |number: fn(&Shown) -> f64| {
        let mut numbers: Vec<f64> = runs.iter().map(number).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.get(numbers.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
    };
    Shown {
        cpu_ns_per_packet: of(|run| run.cpu_ns_per_packet),
        setup_ms_p50: of(|run| run.setup_ms_p50),
        setup_all_ms: of(|run| run.setup_all_ms),
        latency_us_p99: of(|run| run.latency_us_p99),
        rss_bytes: of(|run| run.rss_bytes),
        rss_grown_bytes: of(|run| run.rss_grown_bytes),
        udp_sockets: of(|run| run.udp_sockets),
        loss_ratio: of(|run| run.loss_ratio),
    }
}

/// The medians as a Markdown table.
fn table(compared: &[Compared]) -> String {
    let mut text = String::from(
        "| Ports | CPU per packet | Set-up, median | All set up | p99 | Memory (grown by) | \
         UDP sockets | Lost |\n|---|---|---|---|---|---|---|---|\n",
    );
    for Compared { mode, options, median, .. } in compared {
        let megabytes = |bytes: f64| bytes / f64::from(1 << 20);
        text += &format!(
            "| {mode} (`{options}`) | {:.2} µs | {:.1} ms | {:.0} ms | {:.1} ms | \
             {:.0} MB ({:.0}) | {:.0} | {} |\n",
            median.cpu_ns_per_packet / 1e3,
            median.setup_ms_p50,
            median.setup_all_ms,
            median.latency_us_p99 / 1e3,
            megabytes(median.rss_bytes),
            megabytes(median.rss_grown_bytes),
            median.udp_sockets,
            median.loss_ratio,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_each_number_and_the_table_has_a_row_each() {
        let run = |cpu: f64, sockets: f64| Shown {
            cpu_ns_per_packet: cpu,
            udp_sockets: sockets,
            ..Shown::default()
        };
        let runs = vec![run(3_000.0, 1.0), run(1_000.0, 9.0), run(2_000.0, 5.0)];
        let median = median(&runs);
        assert_eq!((median.cpu_ns_per_packet, median.udp_sockets), (2_000.0, 5.0));
        let row = Compared { mode: "one", options: "--udp-port 1".into(), median, runs };
        let table = table(&[row]);
        assert_eq!(table.lines().count(), 3);
        assert!(table.contains("| one (`--udp-port 1`) | 2.00 µs |"), "{table}");
        assert!(table.lines().all(|line| line.matches('|').count() == 9), "{table}");
    }
}
