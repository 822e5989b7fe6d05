//! A network of three: clients outside, a router that translates addresses, and a server of its
//! own process behind it. The test is the outside; the other two are network namespaces.
//!
//! ```text
//! test 203.0.113.2 ── 203.0.113.1 router 10.0.0.1 ── 10.0.0.2 server
//! ```

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};

use super::client::{Client, Offered, connect, run_until};
use super::namespace::run;

/// Where the outside reaches the server's HTTP: every network here forwards it.
pub const URL: &str = "http://203.0.113.1:7880";
/// The outside, as the test binds it.
pub const OUTSIDE: &str = "203.0.113.2";

/// The network; gone when dropped.
pub struct Network {
    router: Namespace,
    server: Namespace,
}

impl Network {
    /// Builds it inside the test's own namespace, with the router's rules in the chains `pre` and
    /// `post` of the table `ip n`. The error is the command that does not work here.
    pub fn new(rules: &[&str]) -> Result<Network, String> {
        let (router, server) = (Namespace::new(), Namespace::new());
        let outside = [
            "ip link set lo up".to_owned(),
            format!("ip link add out type veth peer name out netns {}", router.pid()),
            format!("ip address add {OUTSIDE}/24 dev out"),
            "ip link set out up".to_owned(),
        ];
        outside.iter().try_for_each(|command| outcome(command, run(command)))?;
        router.run(&format!("ip link add in type veth peer name in netns {}", server.pid()))?;
        for command in [
            "ip link set lo up",
            "ip address add 203.0.113.1/24 dev out",
            "ip address add 10.0.0.1/24 dev in",
            "ip link set out up",
            "ip link set in up",
            "sysctl -q -w net.ipv4.ip_forward=1",
            "nft add table ip n",
            "nft add chain ip n pre { type nat hook prerouting priority -100 ; }",
            "nft add chain ip n post { type nat hook postrouting priority 100 ; }",
            "nft add rule ip n pre iifname out tcp dport 7880 dnat to 10.0.0.2:7880",
        ] {
            router.run(command)?;
        }
        rules.iter().try_for_each(|rule| router.run(&format!("nft add rule ip n {rule}")))?;
        for command in [
            "ip link set lo up",
            "ip address add 10.0.0.2/24 dev in",
            "ip link set in up",
            "ip route add default via 10.0.0.1",
        ] {
            server.run(command)?;
        }
        Ok(Network { router, server })
    }

    /// Starts the server, with media on UDP port 7882.
    pub fn serve(&self, options: &[&str]) -> Served {
        let mut command = self.server.enter(env!("CARGO_BIN_EXE_monoport"));
        command.args(["--no-auth", "--http", "10.0.0.2:7880", "--udp-port", "7882"]);
        command.args(["--shards", "2", "--no-ipv6", "--no-tcp"]).args(options);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, logged) = (child.stderr.take().expect("it is piped"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                *logged.lock().expect("nobody panics with it") += &(line + "\n");
            }
        });
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let ready = stdout.lines().map_while(Result::ok).any(|line| line.starts_with("ready"));
        let served = Served { child, log };
        assert!(ready, "the server does not start: {}", served.log());
        served
    }

    /// Runs a command in the router; whether it succeeded.
    pub fn in_router(&self, command: &str) -> bool {
        self.router.run(command).is_ok()
    }
}

/// The server behind the router; killed when dropped.
pub struct Served {
    child: Child,
    log: Arc<Mutex<String>>,
}

impl Served {
    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publishes and watches from outside, asserts that the answers name `expected` and nothing else,
/// and that all of 50 frames get through.
pub fn plays_at(expected: &[&str]) {
    let offered = Offered::both(Codec::Vp8);
    let join = |path, direction| {
        let socket = UdpSocket::bind((OUTSIDE, 0)).expect("the address is this test's own");
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        Client::try_post_at(URL, path, offered, direction, socket)
            .unwrap_or_else(|refusal| panic!("{path}: {} {}", refusal.status, refusal.body))
    };
    let mut publisher = join("/whip/s", Direction::SendOnly);
    let expected: Vec<SocketAddr> = expected.iter().map(|one| one.parse().unwrap()).collect();
    assert_eq!(candidates(&publisher.answer), expected);
    connect(&mut [&mut publisher]);
    let mut viewer = join("/whep/s", Direction::RecvOnly);
    connect(&mut [&mut publisher, &mut viewer]);
    run_until("a request for a key frame", &mut [&mut publisher, &mut viewer], |all| {
        // Viewers are ready when one of them asks.
        all[0].keyframes_asked > 0
    });
    for number in 0..50 {
        publisher.send(MediaKind::Video, number == 0, number, number * 3_000);
        publisher.poll();
        viewer.poll();
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    run_until("every frame", &mut [&mut publisher, &mut viewer], |all| {
        all[1].video_numbers() == (0..50).collect::<Vec<_>>()
    });
}

/// The addresses of an answer, each once, in order.
pub fn candidates(answer: &str) -> Vec<SocketAddr> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for line in answer.lines().filter_map(|line| line.strip_prefix("a=candidate:")) {
        let words: Vec<&str> = line.split(' ').collect();
        let ip = words[4].parse().expect("an address");
        let address = SocketAddr::new(ip, words[5].parse().expect("a port"));
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// A network namespace, held by a process that does nothing.
struct Namespace(Child);

impl Namespace {
    fn new() -> Namespace {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo made; exec sleep 600"]);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("unshare is there");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        let _ = BufReader::new(stdout).read_line(&mut line);
        assert_eq!(line, "made\n", "a namespace within a namespace");
        Namespace(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid())).arg(program);
        command
    }

    fn run(&self, command: &str) -> Result<(), String> {
        let mut words = command.split(' ');
        let mut entered = self.enter(words.next().expect("a command has a first word"));
        let status = entered.args(words).stderr(Stdio::null()).status();
        outcome(command, status.is_ok_and(|status| status.success()))
    }
}

fn outcome(command: &str, succeeded: bool) -> Result<(), String> {
    if succeeded { Ok(()) } else { Err(command.to_owned()) }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
