//! One run: workers, the ramp of offers, the measured time, and the report.

use crate::args::RunArgs;
use crate::cpu::{cpu_seconds, resident_bytes};
use crate::html::{self, Curves};
use crate::link::{self, Link};
use crate::media::Format;
use crate::output;
use crate::publisher::Shape;
use crate::rebind;
use crate::report::{Harvest, Measured, Report, Thresholds};
use crate::sdp::{Offer, Ssrcs};
use crate::signalling::{Client, Refused, Session, Who};
use crate::stream::Stream;
use crate::tally::{Phase, PhaseCell, Snapshot, Tally};
use crate::transport::{Credentials, Identity};
use crate::watch::Watch;
use crate::worker::{self, Setup};
use crate::{peer::Plan, transport::IdentityError};
use crossbeam::channel;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{io, thread};

/// Offers under way at a time. Each waits for the server, so they cost little.
const OFFERING_THREADS: usize = 8;
/// How long the last sessions may take to connect after the ramp.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// When the first of all must have: lost checks and flights are sent again within a second.
const FIRST_CONNECTED: Duration = Duration::from_secs(3);
/// What may be taken later is asked again this often: nobody publishes yet, or there is no room.
const RETRY: Duration = Duration::from_millis(200);
const RETRIES: usize = 25;
/// What is in flight has this long to arrive, and longer while it still does.
const DRAIN: Duration = Duration::from_millis(500);
const MAX_DRAIN: Duration = Duration::from_secs(3);
/// Up to this many viewers, every packet is opened.
const OPEN_ALL_VIEWERS: usize = 1_000;
/// Beyond, one in this many.
const OPEN_ONE_IN: u32 = 64;

/// Why a run ended without a report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Heads that say the size of a picture are written for VP8 alone.
    #[error("--layers sends simulcast of VP8: leave out --codec")]
    Layers,
    #[error("a worker thread panicked")]
    Worker,
    /// There is nothing to measure.
    #[error("no session could be set up: {0}")]
    NoSession(String),
}

/// What the threads that make offers share.
struct Ramp {
    client: Client,
    args: RunArgs,
    identity: Arc<Identity>,
    streams: Vec<Arc<Stream>>,
    inboxes: Vec<channel::Sender<Box<Plan>>>,
    sessions: Mutex<Vec<Session>>,
    refused: Mutex<BTreeMap<String, u64>>,
}

struct Workers {
    phase: Arc<PhaseCell>,
    tallies: Vec<Arc<Tally>>,
    threads: Vec<thread::JoinHandle<io::Result<Harvest>>>,
}

/// Runs and reports; returns whether every threshold was kept.
///
/// # Errors
/// When this process cannot do its part; a server that fails is in the report.
pub fn run(args: &RunArgs) -> Result<bool, RunError> {
    if args.layers > 1 && args.video() != Some(Format::Vp8) {
        return Err(RunError::Layers);
    }
    output::check("--json", args.json.as_deref())?;
    output::check("--html", args.html.as_deref())?;
    let identity = Arc::new(Identity::new()?);
    let (workers, inboxes) = spawn_workers(args, &identity);
    let name = |i| format!("{}-{i}", args.prefix);
    let streams = (0..args.streams).map(|i| Arc::new(Stream::new(name(i)))).collect();
    let ramp = Ramp {
        client: Client::new(args),
        args: args.clone(),
        identity,
        streams,
        inboxes,
        sessions: Mutex::default(),
        refused: Mutex::default(),
    };
    let mut measured = Measured { sessions_requested: args.sessions(), ..Measured::default() };
    let mut watch = Watch::new(args, workers.tallies.clone());
    let started = Instant::now();
    offer_all(&ramp, &mut watch, true, args.streams);
    await_connected(&ramp, &workers, &mut watch, args.streams as u64);
    if workers.snapshot().connected() == 0 {
        return Err(give_up(&ramp, workers));
    }
    let server_cpu = || args.server_pid.and_then(|pid| cpu_seconds(pid).ok());
    let cpu_before = server_cpu();
    offer_all(&ramp, &mut watch, false, args.streams * args.viewers);
    await_connected(&ramp, &workers, &mut watch, measured.sessions_requested);
    measured.server_setup_cpu_s = server_cpu().zip(cpu_before).map(|(now, then)| now - then);
    measured.viewers_set_up = workers.snapshot().viewers_connected;
    measured.setup_ms = started.elapsed().as_secs_f64() * 1_000.0;

    measure(args, &workers, &mut watch, &mut measured)?;
    measured.sessions_connected = workers.snapshot().connected();
    workers.phase.set(Phase::Drain);
    workers.drain();
    let harvests = workers.stop()?;
    delete_all(&ramp);
    measured.refused = std::mem::take(&mut *lock(&ramp.refused));
    let report = Report::new(&measured, &harvests);
    if args.html.is_some() {
        let curve = Curves::new(&harvests, watch.into_series());
        let page = html::page(args, &report, &curve);
        output::write("--html", args.html.as_deref(), &page)?;
    }
    conclude(args, &report)
}

/// Ends what there is, and says why there is no session.
fn give_up(ramp: &Ramp, workers: Workers) -> RunError {
    let harvests = match workers.stop() {
        Ok(harvests) => harvests,
        Err(error) => return error,
    };
    delete_all(ramp);
    let mut reasons = std::mem::take(&mut *lock(&ramp.refused));
    for (reason, count) in harvests.iter().flat_map(|harvest| &harvest.failures) {
        *reasons.entry((*reason).to_owned()).or_default() += count;
    }
    let told = reasons.iter().map(|(reason, count)| format!("{count} × {reason}"));
    let told = told.collect::<Vec<_>>().join("; ");
    let unanswered = || {
        let seconds = FIRST_CONNECTED.as_secs();
        format!("offers were taken, but in {seconds} s none was connected: is UDP let through?")
    };
    RunError::NoSession(if told.is_empty() { unanswered() } else { told })
}

fn spawn_workers(
    args: &RunArgs,
    identity: &Arc<Identity>,
) -> (Workers, Vec<channel::Sender<Box<Plan>>>) {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = args.threads.unwrap_or(cores / 2).max(1);
    let all = args.streams * args.viewers <= OPEN_ALL_VIEWERS;
    let open_one_in = args.authenticate.unwrap_or(if all { 1 } else { OPEN_ONE_IN });
    let phase = Arc::new(PhaseCell::default());
    let (mut tallies, mut threads, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (inbox, receiver) = channel::unbounded();
        let tally = Arc::new(Tally::default());
        let setup = Setup {
            identity: identity.clone(),
            phase: phase.clone(),
            tally: tally.clone(),
            inbox: receiver,
            open_one_in,
            nack: args.nack,
            arrivals: args.arrivals,
            drop: args.drop,
        };
        tallies.push(tally);
        inboxes.push(inbox);
        threads.push(thread::spawn(move || worker::run(setup)));
    }
    (Workers { phase, tallies, threads }, inboxes)
}

/// Makes `count` offers at the rate of the ramp, from a few threads.
fn offer_all(ramp: &Ramp, watch: &mut Watch, publish: bool, count: usize) {
    let next = AtomicUsize::new(0);
    let interval = Duration::from_secs_f64(1.0 / ramp.args.ramp.max(0.1));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..OFFERING_THREADS.min(count) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= count || ramp.is_hopeless() {
                        next.fetch_max(count, Ordering::Relaxed);
                        return;
                    }
                    let due = started + interval.mul_f64(job as f64);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    if let Err(refused) = offer_one(ramp, publish, job) {
                        let mut reasons = lock(&ramp.refused);
                        *reasons.entry(refused.to_string()).or_default() += 1;
                    }
                }
            });
        }
        while next.load(Ordering::Relaxed) < count {
            thread::sleep(Duration::from_millis(100));
            watch.look(if publish { "publish" } else { "view" }, false);
        }
    });
}

/// Makes offer `job` and hands the peer to its worker.
fn offer_one(ramp: &Ramp, publish: bool, job: usize) -> Result<(), Refused> {
    let Ramp { args, client, identity, .. } = ramp;
    let stream = &ramp.streams[job % ramp.streams.len()];
    let random = random_words();
    let credentials = Credentials {
        ufrag: format!("{:08x}", random[0]),
        password: format!("{:08x}{:08x}{:08x}", random[1], random[2], random[3]),
    };
    let sends = publish.then_some(Ssrcs {
        audio: random[4] | 1,
        video: random[5] & !1 | 2,
        rtx: random[6],
    });
    let offer = Offer {
        ufrag: &credentials.ufrag,
        password: &credentials.password,
        fingerprint: &identity.fingerprint,
        audio: args.has_audio(),
        video: args.video(),
        layers: args.layers,
        sends,
    };
    let offer = offer.to_text();
    let posted = Instant::now();
    let place = job / ramp.streams.len();
    let who = if publish { Who::Publisher } else { Who::Viewer(place) };
    let mut retries = RETRIES;
    let accepted = loop {
        match client.offer(who, &stream.name, &offer) {
            Err(Refused::Later(..)) if retries > 0 => {
                retries -= 1;
                thread::sleep(RETRY);
            }
            other => break other?,
        }
    };
    let remote = reachable(&accepted.answer.candidates, accepted.session.host());
    lock(&ramp.sessions).push(accepted.session);
    let shape = Shape {
        video: args.video(),
        layers: args.layers,
        video_kbps: args.video_kbps,
        fps: args.fps,
        audio: args.has_audio(),
        packet_bytes: args.packet_size,
        key_frame_interval: args.key_frame_interval,
        drop: args.drop,
    };
    let plan = Plan {
        stream: stream.clone(),
        publishes: sends.map(|ssrcs| (shape, ssrcs)),
        video: args.video(),
        credentials,
        server: client.server(who, remote.ip()),
        remote,
        answer: accepted.answer,
        posted,
        pictures: !publish && (args.layers > 1 || args.bandwidth.is_some()),
        link: link(args, publish, job),
        rebind_after: rebind::planned(job, if publish { 0 } else { args.rebind }, args.rebind_at),
    };
    // A worker that is gone has returned an error, which the end of the run reports.
    let _ = ramp.inboxes[job % ramp.inboxes.len()].send(Box::new(plan));
    Ok(())
}

/// What the viewer of offer `job` is behind.
fn link(args: &RunArgs, publish: bool, job: usize) -> Option<Link> {
    let steps = args.bandwidth.clone().filter(|_| !publish)?;
    let limited = args.limited.unwrap_or(usize::MAX);
    let RunArgs { queue, delay, loss, .. } = *args;
    let shape = link::Shape { steps, queue, delay, loss };
    (job < limited).then(|| Link::new(shape, job as u64))
}

/// The candidate to use: one at the address of `host`, where the session's HTTP is; else one of
/// loopback, because then one socket serves all; else the first that has a route.
fn reachable(candidates: &[SocketAddr], host: Option<IpAddr>) -> SocketAddr {
    let has_route = |to: &&SocketAddr| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        UdpSocket::bind(any).and_then(|socket| socket.connect(to)).is_ok()
    };
    let there = candidates.iter().find(|to| to.is_ipv4() && Some(to.ip()) == host);
    let loopback = || candidates.iter().find(|to| to.is_ipv4() && to.ip().is_loopback());
    // `Answer::scan` made sure that there is one.
    *there.or_else(loopback).or_else(|| candidates.iter().find(has_route)).unwrap_or(&candidates[0])
}

/// Waits until `count` sessions are up, or every one that can be.
fn await_connected(ramp: &Ramp, workers: &Workers, watch: &mut Watch, count: u64) {
    let started = Instant::now();
    while started.elapsed() < CONNECT_TIMEOUT {
        let snapshot = workers.snapshot();
        if snapshot.connected() == 0 && started.elapsed() > FIRST_CONNECTED {
            return;
        }
        let refused: u64 = lock(&ramp.refused).values().sum();
        if snapshot.connected() + snapshot.failed + refused >= count || ramp.is_hopeless() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
        watch.look("connect", false);
    }
}

/// Lets the run's duration pass, between two readings of every counter.
fn measure(
    args: &RunArgs,
    workers: &Workers,
    watch: &mut Watch,
    measured: &mut Measured,
) -> io::Result<()> {
    watch.finish("connect", false);
    let own_pid = std::process::id();
    let server_cpu = || args.server_pid.map(cpu_seconds).transpose();
    let before = (Instant::now(), workers.snapshot(), server_cpu()?, cpu_seconds(own_pid)?);
    workers.phase.set(Phase::Measure);
    let end = before.0 + args.duration;
    while Instant::now() < end {
        let left = end.saturating_duration_since(Instant::now());
        thread::sleep(left.min(Duration::from_millis(100)));
        watch.look("measure", true);
    }
    watch.finish("measure", true);
    let after = workers.snapshot();
    measured.seconds = before.0.elapsed().as_secs_f64();
    measured.packets = after.packets - before.1.packets;
    measured.bytes = after.bytes - before.1.bytes;
    // A server that died in the meantime has no CPU time; the rest of the report says so.
    measured.server_cpu_s = server_cpu().ok().flatten().zip(before.2).map(|(now, then)| now - then);
    measured.server_rss_bytes = args.server_pid.and_then(|pid| resident_bytes(pid).ok());
    measured.client_cpu_s = cpu_seconds(own_pid)? - before.3;
    Ok(())
}

/// Ends every session, from as many threads as made them.
fn delete_all(ramp: &Ramp) {
    let sessions = std::mem::take(&mut *lock(&ramp.sessions));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..OFFERING_THREADS.min(sessions.len()) {
            scope.spawn(|| {
                while let Some(session) = sessions.get(next.fetch_add(1, Ordering::Relaxed)) {
                    ramp.client.delete(session);
                }
            });
        }
    });
}

fn conclude(args: &RunArgs, report: &Report) -> Result<bool, RunError> {
    let json = serde_json::to_string_pretty(report).map_err(io::Error::other)?;
    println!("{json}");
    output::write("--json", args.json.as_deref(), &(json + "\n"))?;
    eprintln!("{}", percentages(report));
    if let Some(words) = report.own_lateness() {
        eprintln!("{words}");
    }
    let limited = report.linked.as_ref().map(|linked| ("behind a link", &linked.pictures));
    for (who, pictures) in report.pictures.iter().map(|all| ("viewers", all)).chain(limited) {
        eprintln!("{who}: {pictures}");
    }
    if let Some(worst) = &report.worst_loss {
        eprintln!("{worst}");
    }
    let missed = report.missed(&Thresholds::of(args));
    missed.iter().for_each(|miss| eprintln!("missed: {miss}"));
    Ok(missed.is_empty())
}

/// What it cost; of the server nothing where `--server-pid` does not name it.
fn percentages(report: &Report) -> String {
    let of_a_core = |cpu_s: f64| 100.0 * cpu_s / report.measured_s.max(f64::MIN_POSITIVE);
    let server = report.server_cpu_s.map(of_a_core);
    let server = server.map_or(String::new(), |percent| format!("server {percent:.0} %, "));
    format!("{server}client {:.0} % of a core", of_a_core(report.client_cpu_s))
}

impl Ramp {
    /// Whether nothing was accepted and enough was refused to expect nothing else.
    fn is_hopeless(&self) -> bool {
        let refused: u64 = lock(&self.refused).values().sum();
        refused >= OFFERING_THREADS as u64 && lock(&self.sessions).is_empty()
    }
}

impl Workers {
    /// Ends the workers and takes what they have.
    fn stop(self) -> Result<Vec<Harvest>, RunError> {
        self.phase.set(Phase::Stop);
        let mut harvests = Vec::new();
        for worker in self.threads {
            harvests.push(worker.join().map_err(|_| RunError::Worker)??);
        }
        Ok(harvests)
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::of(self.tallies.iter().map(Arc::as_ref))
    }

    /// Waits until nothing has arrived for a while.
    fn drain(&self) {
        let end = Instant::now() + MAX_DRAIN;
        let mut before = None;
        while before != Some(self.snapshot().packets) && Instant::now() < end {
            before = Some(self.snapshot().packets);
            thread::sleep(DRAIN);
        }
    }
}

/// A poisoned lock holds counts that are still right: the thread that died had one to add.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// # Panics
/// When the operating system has no randomness, which Linux has from boot on.
fn random_words() -> [u32; 8] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("getrandom(2) does not fail once the system has booted");
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_a_candidate_where_http_is_and_then_one_of_loopback() {
        let loopback: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let node: SocketAddr = "127.0.3.1:1".parse().unwrap();
        let other: SocketAddr = "192.0.2.1:1".parse().unwrap();
        assert_eq!(reachable(&[other, loopback], None), loopback);
        assert_eq!(reachable(&[other, loopback, node], Some(node.ip())), node);
        assert_eq!(reachable(&[other, loopback], Some(node.ip())), loopback);
    }
}
