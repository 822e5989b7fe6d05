//! A server under all that clients do to it, for as long as asked: sessions come and go, vanish
//! without a word, change their address, take over a name, lose packets, and mux ports open and
//! close. Meanwhile some streams are left alone: they must lose nothing; and when the rest is over,
//! the server's tables and memory must be what they were.

mod disturb;
mod server;

use crate::args::{parse_duration, parse_url};
use crate::output;
use disturb::{Disturbance, Tried};
use server::{Held, Server};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

/// A session that vanished without a word is ended after half a minute of silence; the rest is for
/// the last of a round to end.
const SETTLE: Duration = Duration::from_secs(45);
/// How long the streams that are left alone may take to be set up.
const SET_UP: Duration = Duration::from_secs(15);
/// The gauge of viewers that get media.
const READY: &str = "viewers_ready";
/// Resident memory may grow by a tenth and this: what allocators keep for next time.
const RESIDENT_SLACK_BYTES: u64 = 8 << 20;
/// Descriptors that may be open more than before: connections of HTTP clients that wait.
const DESCRIPTOR_SLACK: u64 = 16;

/// Runs disturbances beside streams that are left alone
#[derive(Args, Clone, Debug)]
pub struct SoakArgs {
    /// The server, a monoport, for example http://127.0.0.1:7880
    #[arg(long, value_parser = parse_url)]
    url: String,
    /// Its process, whose memory and descriptors are watched
    #[arg(long)]
    server_pid: u32,
    /// How long, the settling of 45 s at the end included
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// Streams that are left alone
    #[arg(long, default_value_t = 4)]
    streams: usize,
    /// Viewers of each of them
    #[arg(long, default_value_t = 10)]
    viewers: usize,
    /// Time between disturbances
    #[arg(long, default_value = "500ms", value_parser = parse_duration)]
    pause: Duration,
    /// Exit with 1 when the 99th percentile of latency of those left alone is above this
    #[arg(long, default_value_t = 100.0)]
    max_p99_ms: f64,
    /// Bearer token of publishers and viewers
    #[arg(long, env = "MONOPORT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Bearer token for metrics and ports
    #[arg(long, env = "MONOPORT_ADMIN_TOKEN", hide_env_values = true)]
    admin_token: Option<String>,
    /// Write what was found here, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What a soak found.
#[derive(Serialize)]
struct Found {
    minutes: f64,
    rounds: u64,
    disturbances: Vec<Tried>,
    /// With the streams alone, before anything else; after the first round; and at the end, when
    /// all has settled.
    before: Held,
    after_first_round: Held,
    after: Held,
    /// The report of the streams that were left alone.
    untouched: Value,
    missed: Vec<String>,
}

/// Runs a soak; returns whether all was kept.
///
/// # Errors
/// When a run can't be started, or the server has no metrics.
pub fn run(args: &SoakArgs) -> io::Result<bool> {
    output::check("--json", args.json.as_deref())?;
    let server = Server::new(&args.url, args.server_pid, args.admin_token.as_deref());
    let idle = server.held()?;
    let duration = Duration::from_secs_f64(args.minutes.max(0.0) * 60.0).max(2 * SETTLE / 3);
    let json = std::env::temp_dir().join(format!("monoport-soak-{}.json", std::process::id()));
    let mut untouched = Untouched(start_untouched(args, duration, &json)?);
    let began = Instant::now();
    let before = await_untouched(args, &server, &idle, &mut untouched.0)?;
    eprintln!("{} sessions are left alone", before.sessions());

    let mut disturbances: Vec<Tried> = Disturbance::ALL.map(Tried::new).into();
    let mut after_first_round = None;
    let mut rounds = 0;
    while began.elapsed() + SETTLE < duration || rounds == 0 {
        for tried in &mut disturbances {
            tried.go(args, &server);
            thread::sleep(args.pause);
        }
        rounds += 1;
        let held = server.held()?;
        eprintln!("round {rounds}: {held}");
        after_first_round.get_or_insert(held);
    }
    let after = settle(&server, &before)?;
    let status = untouched.0.wait()?;
    let text = std::fs::read_to_string(&json)
        .map_err(|error| io::Error::other(format!("left alone, ended with {status}: {error}")))?;
    let _ = std::fs::remove_file(&json);
    let mut found = Found {
        minutes: began.elapsed().as_secs_f64() / 60.0,
        rounds,
        disturbances,
        before,
        after_first_round: after_first_round.unwrap_or_default(),
        after,
        untouched: serde_json::from_str(&text).map_err(io::Error::other)?,
        missed: Vec::new(),
    };
    found.missed = found.missed(args);
    conclude(args, &found)
}

/// The streams that are left alone; they end with the soak, however it ends.
struct Untouched(Child);

impl Drop for Untouched {
    fn drop(&mut self) {
        // One that is gone already has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_untouched(
    args: &SoakArgs,
    duration: Duration,
    json: &std::path::Path,
) -> io::Result<Child> {
    disturb::load(args)?
        .args(["--prefix", "untouched", "--streams", &args.streams.to_string()])
        .args(["--viewers", &args.viewers.to_string(), "--video-kbps", "300", "--audio"])
        .args(["--duration", &format!("{}ms", duration.as_millis())])
        .args(["--max-loss", "0", "--max-p99-ms", &args.max_p99_ms.to_string()])
        .args(["--json".as_ref(), json.as_os_str()])
        .spawn()
}

/// Waits until all of them are there.
fn await_untouched(
    args: &SoakArgs,
    server: &Server,
    idle: &Held,
    run: &mut Child,
) -> io::Result<Held> {
    let wanted = idle.sessions() + (args.streams * (1 + args.viewers)) as u64;
    let ready = idle.table(READY) + (args.streams * args.viewers) as u64;
    let end = Instant::now() + SET_UP;
    loop {
        let held = server.held()?;
        if held.sessions() >= wanted && held.table(READY) >= ready {
            thread::sleep(Duration::from_secs(1));
            return server.held();
        }
        if let Some(status) = run.try_wait()? {
            return Err(io::Error::other(format!("the run to be left alone ended with {status}")));
        }
        if Instant::now() > end {
            return Err(io::Error::other(format!("{wanted} sessions did not come up: {held}")));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until the tables are what they were, as long as that may take.
fn settle(server: &Server, before: &Held) -> io::Result<Held> {
    let end = Instant::now() + SETTLE;
    loop {
        let held = server.held()?;
        if held.tables == before.tables || Instant::now() > end {
            return Ok(held);
        }
        thread::sleep(Duration::from_millis(500));
    }
}

impl Found {
    /// What was not kept, in words.
    fn missed(&self, args: &SoakArgs) -> Vec<String> {
        let mut missed = Vec::new();
        let report = &self.untouched;
        let number = |key: &str| report[key].as_f64().unwrap_or(f64::NAN);
        let lost = number("packets_expected") - number("packets_received");
        // Not a number is a miss, too.
        if lost != 0.0 || number("packets_received") <= 0.0 {
            missed.push(format!("those left alone lost {lost} packets"));
        }
        if number("sessions_connected") != number("sessions_requested")
            || number("sessions_lost") != 0.0
        {
            missed.push(format!("of those left alone, {} sessions ended", number("sessions_lost")));
        }
        let p99_ms = report["latency_us"]["p99"].as_f64().unwrap_or(f64::NAN) / 1_000.0;
        if p99_ms.is_nan() || p99_ms > args.max_p99_ms {
            missed.push(format!("p99 of those left alone is {p99_ms} ms"));
        }
        missed.extend(self.after.more_than(&self.before));
        let (grown, first) = (self.after.resident_bytes, self.after_first_round.resident_bytes);
        if grown > first + first / 10 + RESIDENT_SLACK_BYTES {
            missed.push(format!("memory grew from {first} B after the first round to {grown} B"));
        }
        if self.after.descriptors > self.before.descriptors + DESCRIPTOR_SLACK {
            let (now, then) = (self.after.descriptors, self.before.descriptors);
            missed.push(format!("{now} descriptors are open, {then} were before"));
        }
        let silent = self.disturbances.iter().filter(|tried| tried.done == 0);
        missed.extend(silent.map(|tried| format!("{} never worked: {}", tried.what, tried.said)));
        missed
    }
}

fn conclude(args: &SoakArgs, found: &Found) -> io::Result<bool> {
    let json = serde_json::to_string_pretty(found).map_err(io::Error::other)?;
    println!("{json}");
    output::write("--json", args.json.as_deref(), &(json + "\n"))?;
    eprintln!("before: {}\nafter:  {}", found.before, found.after);
    found.missed.iter().for_each(|miss| eprintln!("missed: {miss}"));
    Ok(found.missed.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found() -> Found {
        Found {
            minutes: 1.0,
            rounds: 1,
            disturbances: Vec::new(),
            before: Held::default(),
            after_first_round: Held::default(),
            after: Held::default(),
            untouched: json!({
                "packets_expected": 100, "packets_received": 100, "sessions_requested": 2,
                "sessions_connected": 2, "sessions_lost": 0, "latency_us": { "p99": 900 },
            }),
            missed: Vec::new(),
        }
    }

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: SoakArgs,
    }

    #[test]
    fn what_is_not_kept_is_named() {
        let words = ["soak", "--url", "http://a", "--server-pid", "1"];
        let args = <Cli as clap::Parser>::parse_from(words).args;
        assert_eq!(found().missed(&args), Vec::<String>::new());
        let missed = |change: fn(&mut Found)| {
            let mut found = found();
            change(&mut found);
            found.missed(&args).join("; ")
        };
        assert!(missed(|f| f.untouched["packets_received"] = 99.into()).contains("lost 1 packets"));
        assert!(missed(|f| f.untouched = json!({})).contains("lost NaN packets"));
        assert!(missed(|f| f.untouched["sessions_lost"] = 1.into()).contains("1 sessions ended"));
        assert!(missed(|f| f.untouched["latency_us"]["p99"] = 200_000.into()).contains("200 ms"));
        assert!(missed(|f| f.after.resident_bytes = 9 << 20).contains("memory grew"));
        assert!(missed(|f| f.after.descriptors = 17).contains("17 descriptors"));
        let flows = |f: &mut Found| f.after.tables.extend([("flows".to_owned(), 3)]);
        assert!(missed(flows).contains("flows: 3, before 0"));
        let never = |f: &mut Found| f.disturbances.push(Tried::new(Disturbance::Kill));
        assert!(missed(never).contains("kill never worked"));
    }
}
