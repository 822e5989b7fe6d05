//! The nodes and their directory: processes that end with this one, unless that is killed with
//! SIGKILL.

use super::ClusterArgs;
use super::hop::Hop;
use crate::cpu::{cpu_seconds, resident_bytes};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// How long the directory may take to listen.
const LISTENS: Duration = Duration::from_secs(10);
/// The address of a node, and so much behind it that of the hop before it.
const FIRST_NODE: u8 = 10;
const HOPS: u32 = 100;
/// How long a node may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What is ended, however this process is.
#[derive(Default)]
struct Started {
    children: Vec<Child>,
    folder: Option<PathBuf>,
    is_over: bool,
    /// Whether this process was told to stop.
    told: bool,
}

/// What ends everything when this process is told to stop.
#[derive(Clone)]
pub struct Stopped(Arc<Mutex<Started>>);

impl Stopped {
    /// Watches for SIGINT, SIGTERM and SIGHUP.
    ///
    /// # Errors
    /// When they can't be watched for.
    pub fn on_signals() -> io::Result<Stopped> {
        use tokio::signal::unix::{SignalKind, signal};
        let stopped = Stopped(Arc::default());
        let waits = stopped.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut signals = runtime.block_on(async {
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            kinds.into_iter().map(signal).collect::<io::Result<Vec<_>>>()
        })?;
        thread::spawn(move || {
            runtime.block_on(async {
                let [interrupt, terminate, hangup] = &mut signals[..] else { return };
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            });
            waits.lock().told = true;
            waits.end();
            eprintln!("monoport-load: told to stop: the nodes have ended");
            std::process::exit(130);
        });
        Ok(stopped)
    }

    /// Starts a process, which ends with the others.
    fn spawn(&self, command: &mut Command) -> io::Result<usize> {
        let mut started = self.lock();
        if started.is_over {
            return Err(io::Error::other("told to stop"));
        }
        started.children.push(command.spawn()?);
        Ok(started.children.len() - 1)
    }

    /// Whoever is told to stop ends as that, and not with what fails because everything ends.
    pub fn wait_if_told(&self) {
        while self.lock().told {
            thread::sleep(ANSWER);
        }
    }

    fn end(&self) {
        let mut started = self.lock();
        started.is_over = true;
        for child in &mut started.children {
            // One that is gone has been noticed, or is nobody's concern any more.
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(folder) = started.folder.take() {
            let _ = fs::remove_dir_all(folder);
        }
    }

    /// What it holds stays right whoever panicked with it.
    fn lock(&self) -> MutexGuard<'_, Started> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A process that is waited for.
pub struct Kept<'a> {
    stopped: &'a Stopped,
    place: usize,
}

impl Kept<'_> {
    /// How it ended, if it has.
    ///
    /// # Errors
    /// Those of `waitpid(2)`.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.stopped.lock().children[self.place].try_wait()
    }
}

/// Nodes that run. All of them end when it is dropped.
pub struct Nodes {
    stopped: Stopped,
    folder: PathBuf,
    agent: ureq::Agent,
    nodes: Vec<Node>,
}

/// One of them.
pub struct Node {
    pub name: String,
    pub zone: String,
    pub address: Ipv4Addr,
    pub url: String,
    place: usize,
    pid: u32,
    killed: Mutex<bool>,
    /// The way to it for other nodes, where that loses.
    hop: Option<Hop>,
}

/// What one of them shows.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub sessions: u64,
    /// `/api/v1/cluster`.
    pub cluster: Value,
    /// Requests taken on to other nodes.
    pub forwarded: u64,
    pub cpu_s: f64,
    pub resident_bytes: u64,
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stopped.end();
    }
}

impl Nodes {
    /// Starts the directory and then the nodes.
    ///
    /// # Errors
    /// What does not start, and why.
    pub fn start(args: &ClusterArgs, stopped: &Stopped) -> io::Result<Nodes> {
        let folder = std::env::temp_dir().join(format!("monoport-cluster-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        stopped.lock().folder = Some(folder.clone());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(ANSWER))
            .build();
        let (stopped, agent) = (stopped.clone(), agent.into());
        let mut started = Nodes { stopped, folder, agent, nodes: Vec::new() };
        let network = free_network()?;
        let redis = SocketAddr::from((host(network, 1), 6379));
        started.directory(args, redis)?;
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut file = fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(started.secret())?;
        writeln!(file, "{secret}")?;
        for number in 0..args.nodes {
            let node = started.node(args, number, host(network, FIRST_NODE + number), redis)?;
            started.nodes.push(node);
        }
        Ok(started)
    }

    fn secret(&self) -> PathBuf {
        self.folder.join("secret")
    }

    fn directory(&self, args: &ClusterArgs, at: SocketAddr) -> io::Result<()> {
        let mut command = Command::new(&args.redis);
        command
            .args(["--bind", &at.ip().to_string(), "--port", &at.port().to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(&self.folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.stopped.spawn(&mut command).map_err(|error| {
            let redis = args.redis.display();
            io::Error::other(format!(
                "{redis}: {error}. The nodes share a directory in Redis or Valkey: install it \
                 (apt-get install redis-server), or name its program with --redis"
            ))
        })?;
        let end = Instant::now() + LISTENS;
        while TcpStream::connect_timeout(&at, ANSWER).is_err() {
            if Instant::now() > end {
                let seconds = LISTENS.as_secs();
                let words = format!("the directory does not listen at {at} within {seconds} s");
                return Err(io::Error::other(words));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn node(
        &self,
        args: &ClusterArgs,
        number: u8,
        address: Ipv4Addr,
        redis: SocketAddr,
    ) -> io::Result<Node> {
        let (name, zone) = (ClusterArgs::name(number), args.zone(number));
        let program = args.program()?;
        let hop = match args.loss > 0.0 {
            true => Some(Hop::new(Ipv4Addr::from(u32::from(address) + HOPS), args.loss)?),
            false => None,
        };
        let announced = hop.as_ref().map(|hop| format!("{},{address}", hop.address));
        let log = fs::File::create(self.folder.join(format!("{name}.log")))?;
        let mut command = Command::new(&program);
        command
            .args(["--no-auth", "--no-tcp", "--bind", &address.to_string(), "--udp-port", "0"])
            .args(["--http", &format!("{address}:0"), "--shards", &args.shards.to_string()])
            .args(["--cluster", &format!("redis://{redis}"), "--node", &name, "--zone", &zone])
            .arg("--cluster-secret-file")
            .arg(self.secret())
            .args(announced.iter().flat_map(|announced| ["--announce", announced]))
            .env_remove("MONOPORT_TOKEN")
            .stdout(Stdio::piped())
            .stderr(log);
        let place = self.stopped.spawn(&mut command).map_err(|error| {
            let program = program.display();
            io::Error::other(format!("{program}: {error}; name the server's with --server"))
        })?;
        let (banner, pid) = {
            let child = &mut self.stopped.lock().children[place];
            (child.stdout.take(), child.id())
        };
        let mut lines = BufReader::new(banner.ok_or_else(|| io::Error::other("no pipe"))?).lines();
        let mut url = None;
        let mut is_ready = false;
        while let Some(Ok(line)) = lines.next() {
            if let Some(page) = line.trim().strip_prefix("page") {
                // It names loopback, of which each node has an address of its own.
                let port = page.trim().trim_end_matches('/').rsplit(':').next();
                url = port.map(|port| format!("http://{address}:{port}"));
            }
            is_ready = line.starts_with("ready");
            if is_ready {
                break;
            }
        }
        let killed = Mutex::new(false);
        match url.filter(|_| is_ready) {
            Some(url) => {
                if let Some(hop) = &hop {
                    hop.leads_to((address, self.port_of(&url)?).into());
                }
                Ok(Node { name, zone, address, url, place, pid, killed, hop })
            }
            None => Err(io::Error::other(format!("the node {name} ended: {}", self.why(&name)))),
        }
    }

    /// The number of a node's UDP port.
    fn port_of(&self, url: &str) -> io::Result<u16> {
        let known = self.json(&format!("{url}/api/v1/ports"))?;
        let port = known["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        port.ok_or_else(|| io::Error::other(format!("{url}/api/v1/ports names no port")))
    }

    /// The end of what a node has logged.
    fn log(&self, name: &str) -> String {
        let text = self.logged(name);
        text.lines().last().unwrap_or("it has said nothing").to_owned()
    }

    /// Why a node ended, by its own words.
    fn why(&self, name: &str) -> String {
        error_of(&self.logged(name)).unwrap_or("it has said nothing").to_owned()
    }

    fn logged(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| &*node.url)
    }

    pub fn all(&self) -> &[Node] {
        &self.nodes
    }

    /// Starts a process that ends with the nodes.
    ///
    /// # Errors
    /// Those of starting it.
    pub fn keep(&self, command: &mut Command) -> io::Result<Kept<'_>> {
        let place = self.stopped.spawn(command)?;
        Ok(Kept { stopped: &self.stopped, place })
    }

    /// Waits until each node knows all of them.
    ///
    /// # Errors
    /// When they don't `within` this time: what one of them has logged last.
    pub fn meet(&self, within: Duration) -> io::Result<()> {
        let end = Instant::now() + within;
        for node in &self.nodes {
            let knows = || {
                let cluster = self.json(&format!("{}/api/v1/cluster", node.url)).ok()?;
                Some(cluster["nodes"].as_array()?.len() == self.nodes.len())
            };
            while knows() != Some(true) {
                if Instant::now() > end {
                    let (name, said) = (&node.name, self.log(&node.name));
                    let words = format!("{name} does not know all nodes; it said last: {said}");
                    return Err(io::Error::other(words));
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
        Ok(())
    }

    /// What each shows now; of one that is killed, nothing.
    pub fn look(&self) -> Vec<Look> {
        self.nodes.iter().map(|node| self.look_at(node).unwrap_or_default()).collect()
    }

    fn look_at(&self, node: &Node) -> io::Result<Look> {
        if node.is_killed() {
            return Ok(Look::default());
        }
        let metrics = self.text(&format!("{}/metrics", node.url))?;
        Ok(Look {
            sessions: sum(&metrics, "monoport_sessions"),
            cluster: self.json(&format!("{}/api/v1/cluster", node.url))?,
            forwarded: sum(&metrics, "monoport_forwarded_requests_total"),
            cpu_s: cpu_seconds(node.pid)?,
            resident_bytes: resident_bytes(node.pid)?,
        })
    }

    /// Kills a node, unless it is done; returns whether it was now.
    ///
    /// # Errors
    /// Those of `kill(2)`.
    pub fn kill(&self, name: &str) -> io::Result<bool> {
        let Some(node) = self.nodes.iter().find(|node| node.name == name) else { return Ok(false) };
        let mut killed = node.killed.lock().unwrap_or_else(PoisonError::into_inner);
        if *killed {
            return Ok(false);
        }
        *killed = true;
        self.stopped.lock().children[node.place].kill()?;
        Ok(true)
    }

    fn text(&self, url: &str) -> io::Result<String> {
        let mut response = self.agent.get(url).call().map_err(io::Error::other)?;
        response.body_mut().read_to_string().map_err(io::Error::other)
    }

    fn json(&self, url: &str) -> io::Result<Value> {
        serde_json::from_str(&self.text(url)?).map_err(io::Error::other)
    }
}

impl Node {
    pub fn is_killed(&self) -> bool {
        *self.killed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Datagrams on their way to it that were lost on purpose.
    pub fn lost_on_the_way(&self) -> u64 {
        self.hop.as_ref().map_or(0, Hop::lost)
    }
}

impl ClusterArgs {
    fn program(&self) -> io::Result<PathBuf> {
        if let Some(program) = &self.server {
            return Ok(program.clone());
        }
        let own = std::env::current_exe()?;
        Ok(own.with_file_name("monoport"))
    }
}

/// A network of 256 addresses of loopback in which nobody has a Redis.
fn free_network() -> io::Result<[u8; 3]> {
    let first = std::process::id() % 254;
    for step in 0..254 {
        let network = [127, 0, 1 + ((first + step) % 254) as u8];
        if TcpListener::bind((host(network, 1), 6379)).is_ok() {
            return Ok(network);
        }
    }
    Err(io::Error::other("each network of 127.0.1.0 to 127.0.254.0 has a Redis at its .1"))
}

fn host([a, b, c]: [u8; 3], host: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, host)
}

/// The line that tells an error, behind which may be how the server is used; else the last.
fn error_of(log: &str) -> Option<&str> {
    let told = |line: &&str| line.starts_with("error:") || line.starts_with("monoport:");
    log.lines().find(told).or_else(|| log.lines().last())
}

/// The sum of a metric over its labels.
fn sum(metrics: &str, name: &str) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let (metric, value) = line.rsplit_once(' ')?;
        let is_it = metric.split('{').next() == Some(name);
        value.parse::<f64>().ok().filter(|_| is_it)
    });
    values.sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_no_other_is_taken() {
        let text = "# TYPE monoport_sessions gauge\nmonoport_sessions{shard=\"0\"} 2\n\
                    monoport_sessions{shard=\"1\"} 3\nmonoport_sessions_limit 20000\n";
        assert_eq!(sum(text, "monoport_sessions"), 5);
    }

    #[test]
    fn an_error_is_told_rather_than_what_comes_behind_it() {
        let log = "error: invalid value '' for '--zone <NAME>'\n\nFor more information, try it\n";
        assert_eq!(error_of(log), Some("error: invalid value '' for '--zone <NAME>'"));
        assert_eq!(error_of("one\ntwo\n"), Some("two"));
        assert_eq!(error_of(""), None);
    }

    #[test]
    fn everything_ends_and_nothing_begins_after() {
        let stopped = Stopped(Arc::default());
        let place = stopped.spawn(Command::new("sleep").arg("60")).expect("sleep(1) is there");
        let began = Instant::now();
        stopped.end();
        assert!(began.elapsed() < Duration::from_secs(30));
        assert!(stopped.lock().children[place].try_wait().expect("ours").is_some());
        assert!(stopped.spawn(&mut Command::new("true")).is_err());
    }
}
