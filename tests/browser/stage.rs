//! What a test of the page needs around it: a server of its own, a browser, a loss on the way.

use crate::devtools::{Browser, Tab, find_chromium};
use crate::floor::{self, Place};
use crate::relay::{Hardship, Relay};
use crate::{FRAMES_IN_FIVE_SECONDS, PATIENCE, stats};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Frames that were decoded, for the page.
const FRAMES: &str = "monoport.stats().then((s) => s.watch?.framesDecoded ?? 0)";
/// How often it is looked for them.
const LOOK: Duration = Duration::from_millis(100);
/// More than a key frame and what was under way with it.
const FRAMES_TO_SEE: u64 = 10;

/// A server, a browser, and a place on the floor.
pub struct Stage {
    // Dropped in this order: the browser says goodbye before the server goes.
    browser: Browser,
    pub server: Server,
    _place: Place,
}

impl Stage {
    /// A stage; none on a machine without a browser.
    pub fn set(shards: usize) -> Option<Stage> {
        Stage::set_with(floor::shared, || Server::start(shards, Announced::As("127.0.0.1"), &[]))
    }

    /// The same for a test that measures: no other runs beside it.
    pub fn set_alone(shards: usize) -> Option<Stage> {
        Stage::set_with(floor::alone, || Server::start(shards, Announced::As("127.0.0.1"), &[]))
    }

    /// Another such, on which datagrams get lost between the browser and the server.
    pub fn set_with_loss(shards: usize) -> Option<Stage> {
        let relayed = Announced::AsRelay(Hardship::Loss);
        Stage::set_with(floor::alone, || Server::start(shards, relayed, &[]))
    }

    /// Another such, on which media for viewers gets lost when the test says so.
    pub fn set_with_loss_for_viewers(shards: usize) -> Option<Stage> {
        let relayed = Announced::AsRelay(Hardship::LossForClients);
        Stage::set_with(floor::alone, || Server::start(shards, relayed, &[]))
    }

    /// Another such, on which the path to some viewers can be made narrow.
    pub fn set_with_bottleneck(shards: usize) -> Option<Stage> {
        let relayed = Announced::AsRelay(Hardship::Narrow);
        Stage::set_with(floor::alone, || Server::start(shards, relayed, &[]))
    }

    /// A stage whose server is reached at `announced`, over TCP as well.
    pub fn set_with_tcp(shards: usize, announced: &str, tcp_port: u16) -> Option<Stage> {
        let tcp_port = format!("--tcp-port={tcp_port}");
        let announced = Announced::As(announced);
        Stage::set_with(floor::shared, || Server::start(shards, announced, &[tcp_port]))
    }

    /// A stage whose server takes these options too.
    pub fn set_with_options(options: &[String]) -> Option<Stage> {
        Stage::set_with(floor::shared, || Server::start(1, Announced::As("127.0.0.1"), options))
    }

    /// A stage whose server asks for this token before it says anything of itself.
    pub fn set_guarded(admin_token: &str) -> Option<Stage> {
        Stage::set_with_options(&[format!("--admin-token={admin_token}")])
    }

    fn set_with(place: fn() -> Place, server: impl FnOnce() -> Server) -> Option<Stage> {
        let Some(chromium) = find_chromium() else {
            let required = std::env::var("MONOPORT_REQUIRE_BROWSER").is_ok_and(|v| v == "1");
            assert!(!required, "MONOPORT_REQUIRE_BROWSER=1, and no Chromium is installed");
            println!("no Chromium is installed: this test did not run (see tests/browser/main.rs)");
            return None;
        };
        let place = place();
        let server = server();
        Some(Stage { browser: Browser::start(&chromium), server, _place: place })
    }

    pub fn tab(&self, path: &str) -> Tab<'_> {
        self.browser.open(&format!("http://127.0.0.1:{}{path}", self.server.http_port))
    }

    /// A tab that watches, and is connected.
    pub fn viewer(&self, stream: &str) -> Tab<'_> {
        let tab = self.tab(&format!("/watch/{stream}?autoplay=0"));
        tab.eval("monoport.watch()");
        tab
    }

    /// A publisher of `stream` with these options, a viewer of it, and one whose path carries so
    /// many bits a second; all of them play.
    pub fn publisher_and_viewers(
        &self,
        (stream, options): (&str, &str),
        bits_per_s: u64,
    ) -> [Tab<'_>; 3] {
        let relay = self.server.relay.as_ref().expect("it has one");
        let publisher = self.tab("/publish");
        publisher.eval(&format!("monoport.publish({{ stream: '{stream}', {options} }})"));
        let fast = self.viewer(stream);
        self.assert_plays(&fast);
        relay.narrow_newcomers(bits_per_s);
        let slow = self.viewer(stream);
        self.assert_plays(&slow);
        [publisher, fast, slow]
    }

    /// The dashboard with the sheet of a viewer, once it lists so many sessions, and `ready` is so.
    pub fn viewers_sheet(&self, sessions: usize, ready: &str) -> Tab<'_> {
        let page = self.tab("/dashboard");
        page.set_size(1280, 3000);
        let rows = "[...document.querySelectorAll('#sessions tbody tr')]";
        page.wait_for("the sessions", &format!("{rows}.length === {sessions}"), PATIENCE);
        page.eval(&format!("{rows}.find((row) => row.textContent.includes('Viewer')).click()"));
        let sheet = format!("document.querySelector('#detail').open && {ready}");
        page.wait_for("the viewer's sheet", &sheet, PATIENCE);
        page
    }

    /// A document of another origin: the same server by another name. It is one without the page's
    /// policy, which would let it talk to its own origin only.
    pub fn tab_elsewhere(&self) -> Tab<'_> {
        self.browser.open(&format!("http://localhost:{}/healthz", self.server.http_port))
    }

    /// Enough frames are decoded within five seconds, from the first one on.
    pub fn assert_plays(&self, viewer: &Tab<'_>) {
        let before = frames_from_now(viewer);
        let deadline = Instant::now() + Duration::from_secs(5);
        while frames(viewer) < before + FRAMES_IN_FIVE_SECONDS {
            let grown = frames(viewer) - before;
            assert!(Instant::now() < deadline, "{grown} frames in 5 s: {:#}", stats(viewer));
            std::thread::sleep(LOOK);
        }
    }

    /// A picture moves: for tests of something else that it belongs to.
    pub fn assert_shows(&self, viewer: &Tab<'_>) {
        let wanted = frames_from_now(viewer) + FRAMES_TO_SEE;
        viewer.wait_for("some frames", &format!("{FRAMES}.then((n) => n >= {wanted})"), PATIENCE);
    }

    /// What the layers of the first stream's video send, in bits a second, the smallest first: once
    /// the publisher sends no more of them than a second before.
    pub fn layers(&self) -> Vec<u64> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = self.layers_now();
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let rates = self.layers_now();
            let (sum, sum_before): (u64, u64) = (rates.iter().sum(), before.iter().sum());
            let has_settled = rates.len() == before.len() && sum <= sum_before * 11 / 10;
            if has_settled || Instant::now() > deadline {
                return rates;
            }
            before = rates;
        }
    }

    fn layers_now(&self) -> Vec<u64> {
        let url = format!("http://127.0.0.1:{}/api/v1/streams", self.server.http_port);
        let mut response = ureq::get(&url).call().expect("the streams");
        let text = response.body_mut().read_to_string().expect("text");
        let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let layers = shown["streams"][0]["layers"].as_array().expect("a list").iter();
        let video = layers.filter(|layer| layer["kind"] == "video");
        let mut rates: Vec<u64> =
            video.map(|layer| layer["bits_per_s"].as_u64().expect("a number")).collect();
        rates.sort_unstable();
        rates
    }

    /// The kernel's socket table: the server holds its one UDP port and no other.
    pub fn assert_udp_ports(&self) {
        let ports = udp_ports_of(self.server.child.borrow().id());
        assert_eq!(ports, BTreeSet::from([self.server.udp_port]));
    }
}

/// Decoded so far, once another frame has been.
fn frames_from_now(viewer: &Tab<'_>) -> u64 {
    let more = format!("{FRAMES}.then((n) => n > {})", frames(viewer));
    viewer.wait_for("a frame", &more, PATIENCE);
    frames(viewer)
}

fn frames(viewer: &Tab<'_>) -> u64 {
    viewer.eval(FRAMES).as_u64().expect("a count")
}

/// Where the browser is told to find the server.
enum Announced<'a> {
    /// At this address.
    As(&'a str),
    /// At a relay that makes it hard for datagrams.
    AsRelay(Hardship),
}

/// The real binary on ports of its own; ended when dropped.
pub struct Server {
    child: RefCell<Child>,
    arguments: Vec<String>,
    pub http_port: u16,
    udp_port: u16,
    /// What stands between the browser and the UDP port, where something does.
    pub relay: Option<Relay>,
    log: PathBuf,
}

impl Server {
    fn start(shards: usize, announced: Announced<'_>, options: &[String]) -> Server {
        let (http_port, udp_port) = free_ports();
        let log = format!("monoport-browser-{}-{udp_port}.log", std::process::id());
        let log = std::env::temp_dir().join(log);
        let (announced, relay) = match announced {
            Announced::As(address) => (address.to_owned(), None),
            Announced::AsRelay(hardship) => {
                let relay = Relay::start(([127, 0, 0, 1], udp_port).into(), hardship);
                (relay.address().to_string(), Some(relay))
            }
        };
        let mut arguments = vec![
            format!("--http=127.0.0.1:{http_port}"),
            format!("--udp-port={udp_port}"),
            format!("--shards={shards}"),
            format!("--announce={announced}"),
            // One viewer, and yet on another shard than its publisher.
            "--gather=0".to_owned(),
        ];
        if !options.iter().any(|option| option.starts_with("--tcp-port")) {
            arguments.push("--no-tcp".to_owned());
        }
        arguments.extend_from_slice(options);
        let child = RefCell::new(Server::spawn(&arguments, &log));
        let server = Server { child, arguments, http_port, udp_port, relay, log };
        server.wait_until_ready();
        server
    }

    fn spawn(arguments: &[String], log: &PathBuf) -> Child {
        let said = std::fs::File::create(log).expect("a file for the server's log");
        Command::new(env!("CARGO_BIN_EXE_monoport"))
            // Settings of the shell that runs the tests are not the server's.
            .env_remove("MONOPORT_TOKEN")
            .env_remove("MONOPORT_BIND")
            .env_remove("MONOPORT_ADMIN_TOKEN")
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(said.try_clone().expect("the log, twice"))
            .stderr(said)
            .spawn()
            .expect("the server starts")
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        let health = format!("http://127.0.0.1:{}/healthz", self.http_port);
        while ureq::get(&health).call().is_err() {
            if let Ok(Some(status)) = self.child.borrow_mut().try_wait() {
                panic!("the server ended with {status}");
            }
            assert!(Instant::now() < deadline, "no healthy server within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One counter of `/metrics`, over all shards.
    pub fn metric(&self, name: &str) -> f64 {
        let url = format!("http://127.0.0.1:{}/metrics", self.http_port);
        let mut response = ureq::get(&url).call().expect("the server's metrics");
        let text = response.body_mut().read_to_string().expect("text");
        let values = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let values: Vec<f64> =
            values.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "no metric is called {name}");
        values.iter().sum()
    }

    /// Ends the server without a goodbye, as a crash would, and starts it on the same ports.
    pub fn restart(&self) {
        self.end();
        *self.child.borrow_mut() = Server::spawn(&self.arguments, &self.log);
        self.wait_until_ready();
    }

    /// Ends the server without a goodbye.
    pub fn end(&self) {
        // Errors mean that it has ended already.
        let mut child = self.child.borrow_mut();
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            println!("the server's last words:");
            tail.iter().rev().for_each(|line| println!("  {line}"));
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// A free TCP and a free UDP port below the range the kernel gives out by itself, or the browser's
/// own sockets might take them between our look and the server's bind. No other stage has had them:
/// its server may be between two lives.
fn free_ports() -> (u16, u16) {
    static LOOKED_AT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 5_000) as u16;
    let next = || {
        std::iter::from_fn(|| Some(start + LOOKED_AT.fetch_add(1, Ordering::Relaxed)))
            .take_while(|&port| port < 30_000)
            .find(|&port| {
                TcpListener::bind(("127.0.0.1", port)).is_ok()
                    && UdpSocket::bind(("0.0.0.0", port)).is_ok()
            })
    };
    (next().expect("a free port"), next().expect("another free port"))
}

/// Local ports of the UDP sockets that a process has open, by the kernel's tables (proc(5)): its
/// descriptors name socket inodes, and the tables give each inode's address.
fn udp_ports_of(pid: u32) -> BTreeSet<u16> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the server's files");
    let own: BTreeSet<String> = descriptors
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|to| Some(to.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut ports = BTreeSet::new();
    for table in ["udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (address, inode) = (columns[1], columns[9]);
            if own.contains(inode) {
                let (_, port) = address.rsplit_once(':').expect("address:port in hexadecimal");
                ports.insert(u16::from_str_radix(port, 16).expect("a port in hexadecimal"));
            }
        }
    }
    ports
}
