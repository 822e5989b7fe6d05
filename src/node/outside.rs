//! Under which address the UDP ports are seen from outside, as STUN servers say (`--external-ip`).
//!
//! The servers are asked through the media sockets themselves, before any shard reads them: what a
//! NAT makes of another socket says nothing about these. All are asked at once, in a few rounds,
//! and the start never waits longer than [`EXTERNAL_ADDRESS_WAIT`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver as Channel, channel};
use std::time::{Duration, Instant};

use crate::config::StunServer;
use crate::limits::{EXTERNAL_ADDRESS_RETRY, EXTERNAL_ADDRESS_WAIT};
use crate::net::{Backend, Destination, Receiver, SendBatch, Sender, UdpSocket};
use crate::wire::mapped::{REQUEST_BYTES, binding_request, mapped_address};

/// An address that is ours from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outside {
    pub ip: IpAddr,
    /// Our ports that a NAT shows as another: ours, then the other.
    pub ports: Vec<(u16, u16)>,
}

/// What was found out.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// At most one per family.
    pub found: Vec<Outside>,
    /// What whoever starts the server should know, in sentences.
    pub warnings: Vec<String>,
}

/// What one server says of one of our ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    /// Position in the list of servers.
    server: usize,
    port: u16,
    mapped: SocketAddr,
}

/// A server's address, and how it answers. Each of our ports is asked about with its own
/// transaction.
struct Question {
    server: usize,
    to: SocketAddr,
    /// Position of the socket in its shard's list.
    port: usize,
    transaction_id: [u8; 12],
    next: Instant,
    answered: bool,
}

/// Asks `servers` through `sockets` (one list per shard, one socket per mux port), in the families
/// that `serves` says.
///
/// # Errors
/// Those of making a receiver. Whatever goes wrong with the servers is a warning.
pub(super) fn discover(
    servers: &[StunServer],
    serves: impl Fn(bool) -> bool,
    sockets: &[Vec<UdpSocket>],
) -> std::io::Result<Discovery> {
    let start = Instant::now();
    let mut inquiry = Inquiry::new(sockets)?;
    let addresses = look_up(servers);
    let mut awaited = servers.len();
    let mut warnings = Vec::new();
    let mut enough: Option<Instant> = None;
    let end = start + EXTERNAL_ADDRESS_WAIT;
    loop {
        for (server, found) in addresses.try_iter() {
            awaited -= 1;
            match found {
                Ok(found) => inquiry.add(server, &found, &serves),
                Err(error) => warnings.push(format!("{}: {error}", servers[server])),
            }
        }
        let now = Instant::now();
        inquiry.ask(now);
        inquiry.listen();
        if enough.is_none() && inquiry.each_port_is_known() {
            // One more round, for the others to agree or not.
            enough = Some(now + EXTERNAL_ADDRESS_RETRY);
        }
        let all = awaited == 0 && inquiry.is_done();
        if all || now >= end || enough.is_some_and(|enough| now >= enough) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let silent = |(index, server): (usize, &StunServer)| {
        let asked = inquiry.questions.iter().any(|question| question.server == index);
        let heard = inquiry.answers.iter().any(|answer| answer.server == index);
        let late =
            awaited > 0 && !asked && !warnings.iter().any(|w| w.starts_with(&server.to_string()));
        ((asked && !heard) || late).then(|| format!("{server} did not answer"))
    };
    let mut silent: Vec<String> = servers.iter().enumerate().filter_map(silent).collect();
    warnings.append(&mut silent);
    let ports: Vec<u16> = sockets[0].iter().map(UdpSocket::port).collect();
    Ok(conclude(&inquiry.answers, &ports, &serves, warnings))
}

/// Looks all names up at once; a resolver that takes its time holds up nobody, and its thread ends
/// when it does.
fn look_up(servers: &[StunServer]) -> Channel<(usize, Result<Vec<SocketAddr>, String>)> {
    let (found, addresses) = channel();
    for (index, server) in servers.iter().enumerate() {
        let (found, host) = (found.clone(), server.host_and_port());
        std::thread::spawn(move || {
            let looked_up = host.to_socket_addrs().map(Iterator::collect);
            let _ = found.send((index, looked_up.map_err(|error| error.to_string())));
        });
    }
    addresses
}

/// Questions under way.
struct Inquiry<'a> {
    sockets: &'a [Vec<UdpSocket>],
    receiver: Receiver,
    questions: Vec<Question>,
    answers: Vec<Answer>,
}

impl Inquiry<'_> {
    fn new(sockets: &[Vec<UdpSocket>]) -> std::io::Result<Inquiry<'_>> {
        let receiver = Receiver::new(Backend::Mmsg, 16, &[])?;
        Ok(Inquiry { sockets, receiver, questions: Vec::new(), answers: Vec::new() })
    }

    /// Plans to ask a server at the first of its addresses in each family that is served.
    fn add(&mut self, server: usize, found: &[SocketAddr], serves: &impl Fn(bool) -> bool) {
        for v6 in [false, true] {
            let first = found.iter().find(|address| address.is_ipv6() == v6);
            let Some(to) = first.copied().filter(|_| serves(v6)) else { continue };
            for port in 0..self.sockets[0].len() {
                let mut transaction_id = [0; 12];
                getrandom::fill(&mut transaction_id)
                    .expect("the operating system gives random bytes");
                let next = Instant::now();
                let question = Question { server, to, port, transaction_id, next, answered: false };
                self.questions.push(question);
            }
        }
    }

    /// Sends what is due.
    fn ask(&mut self, now: Instant) {
        let mut sender = Sender::new(1);
        let mut batch = SendBatch::new(1, REQUEST_BYTES.next_power_of_two() * 64);
        for question in self.questions.iter_mut().filter(|q| !q.answered && q.next <= now) {
            question.next = now + EXTERNAL_ADDRESS_RETRY;
            let Some(slot) = batch.slot() else { return };
            slot[..REQUEST_BYTES].copy_from_slice(&binding_request(question.transaction_id));
            let local = Ipv4Addr::UNSPECIFIED.into();
            batch.commit(Destination::new(question.to, local, false), REQUEST_BYTES);
            // A family without a route, or a full queue: the next round or nobody answers.
            let _ = sender.flush(&self.sockets[0][question.port], &mut batch, &mut |_, _| {});
            batch.clear();
        }
    }

    /// Takes in what has come, on whichever shard's socket the kernel put it.
    fn listen(&mut self) {
        for socket in self.sockets.iter().flatten() {
            // An error is an ICMP message about a server that is not there.
            while self.receiver.receive(socket).is_ok_and(|count| count > 0) {
                for datagram in self.receiver.datagrams() {
                    let (questions, from) = (&mut self.questions, datagram.remote);
                    let answer = questions.iter_mut().filter(|q| q.to == from).find_map(|q| {
                        let mapped = mapped_address(datagram.bytes, q.transaction_id)?;
                        q.answered = true;
                        Some((q.server, mapped))
                    });
                    if let Some((server, mapped)) = answer.filter(|(_, m)| is_usable(*m, from)) {
                        let answer = Answer { server, port: socket.port(), mapped };
                        if !self.answers.contains(&answer) {
                            self.answers.push(answer);
                        }
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        self.questions.iter().all(|question| question.answered)
    }

    /// Whether some server has answered for each port, in each family asked in.
    fn each_port_is_known(&self) -> bool {
        let known = |question: &Question| {
            let port = self.sockets[0][question.port].port();
            let v6 = question.to.is_ipv6();
            self.answers.iter().any(|a| a.port == port && a.mapped.is_ipv6() == v6)
        };
        !self.questions.is_empty() && self.questions.iter().all(known)
    }
}

/// Whether a client could send to `mapped`, which the server at `server` says is ours.
fn is_usable(mapped: SocketAddr, server: SocketAddr) -> bool {
    let ip = mapped.ip();
    let special = match ip {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some(),
    };
    // Who asks over loopback is seen there, and nobody else is.
    let loopback_fits = ip.is_loopback() == server.ip().is_loopback();
    mapped.is_ipv4() == server.is_ipv4()
        && mapped.port() != 0
        && !(ip.is_unspecified() || ip.is_multicast() || special)
        && loopback_fits
}

/// The address most servers name, and its ports.
fn conclude(
    answers: &[Answer],
    ports: &[u16],
    serves: &impl Fn(bool) -> bool,
    mut warnings: Vec<String>,
) -> Discovery {
    let mut found = Vec::new();
    for v6 in [false, true].into_iter().filter(|v6| serves(*v6)) {
        let of_family: Vec<&Answer> =
            answers.iter().filter(|answer| answer.mapped.is_ipv6() == v6).collect();
        let Some(ip) = most_named(&of_family) else { continue };
        if let Some(other) = of_family.iter().find(|answer| answer.mapped.ip() != ip) {
            let other = other.mapped.ip();
            warnings.push(format!("the servers disagree: {ip} is taken, one says {other}"));
        }
        let mut outside = Outside { ip, ports: Vec::new() };
        for port in ports {
            let of_port = |a: &&&Answer| a.mapped.ip() == ip && a.port == *port;
            let mapped = of_family.iter().filter(of_port).map(|answer| answer.mapped.port());
            let mut mapped: Vec<u16> = mapped.collect();
            mapped.sort_unstable();
            mapped.dedup();
            match mapped[..] {
                [] => {}
                [one] if one == *port => {}
                [one] => {
                    warnings.push(format!(
                        "a NAT shows UDP port {port} as {one}, for as long as it remembers: where \
                         clients fail to connect, forward a port and pass --announce {ip}:PORT"
                    ));
                    outside.ports.push((*port, one));
                }
                _ => warnings.push(format!(
                    "a NAT shows UDP port {port} to each server as another port: clients get \
                     through where {port} is forwarded, and nowhere else"
                )),
            }
        }
        found.push(outside);
    }
    if found.is_empty() {
        warnings.push(
            "no STUN server has said a usable address: answers name those of the interfaces; \
             open UDP to the servers, or pass --announce with the outside address"
                .into(),
        );
    }
    Discovery { found, warnings }
}

/// The address that most servers name; of two, the one named by the server that was listed first.
fn most_named(answers: &[&Answer]) -> Option<IpAddr> {
    let mut servers: HashMap<IpAddr, Vec<usize>> = HashMap::new();
    for answer in answers {
        let of_ip = servers.entry(answer.mapped.ip()).or_default();
        if !of_ip.contains(&answer.server) {
            of_ip.push(answer.server);
        }
    }
    let first = |servers: &Vec<usize>| servers.iter().min().copied();
    let best = servers
        .iter()
        .min_by_key(|(_, servers)| (std::cmp::Reverse(servers.len()), first(servers)));
    best.map(|(ip, _)| *ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(server: usize, port: u16, mapped: &str) -> Answer {
        Answer { server, port, mapped: mapped.parse().unwrap() }
    }

    fn concluded(answers: &[Answer], ports: &[u16]) -> (Vec<Outside>, String) {
        let Discovery { found, warnings } = conclude(answers, ports, &|_| true, Vec::new());
        (found, warnings.join("\n"))
    }

    #[test]
    fn the_port_is_named_only_where_the_nat_changes_it() {
        let answers = [
            answer(0, 1, "198.51.100.7:1"),
            answer(0, 2, "198.51.100.7:99"),
            answer(0, 1, "[2001:db8::7]:1"),
        ];
        let (found, warnings) = concluded(&answers, &[1, 2]);
        let v4 = Outside { ip: "198.51.100.7".parse().unwrap(), ports: vec![(2, 99)] };
        let v6 = Outside { ip: "2001:db8::7".parse().unwrap(), ports: vec![] };
        assert_eq!(found, [v4, v6]);
        assert!(warnings.contains("shows UDP port 2 as 99"), "{warnings}");
        assert_eq!(warnings.lines().count(), 1, "{warnings}");
    }

    #[test]
    fn the_majority_is_believed_and_the_dispute_told() {
        let said = |ips: [&str; 3]| -> Vec<Answer> {
            let each = ips.iter().enumerate();
            each.map(|(server, ip)| answer(server, 1, &format!("{ip}:1"))).collect()
        };
        let (found, warnings) = concluded(&said(["192.0.2.9", "192.0.2.1", "192.0.2.1"]), &[1]);
        assert_eq!(found[0].ip.to_string(), "192.0.2.1");
        assert!(warnings.contains("one says 192.0.2.9"), "{warnings}");
        let (found, _) = concluded(&said(["192.0.2.9", "192.0.2.1", "192.0.2.2"]), &[1]);
        assert_eq!(found[0].ip.to_string(), "192.0.2.9", "the first of equals");
    }

    #[test]
    fn a_nat_with_a_port_for_each_destination_is_told() {
        let answers = [answer(0, 1, "192.0.2.1:5"), answer(1, 1, "192.0.2.1:6")];
        let (found, warnings) = concluded(&answers, &[1]);
        assert_eq!(found[0].ports, []);
        assert!(warnings.contains("as another port"), "{warnings}");
        let (found, warnings) = concluded(&[], &[1]);
        assert!(found.is_empty() && warnings.contains("--announce"), "{warnings}");
    }

    #[test]
    fn what_no_client_could_use_is_not_believed() {
        let usable = |mapped: &str, server: &str| {
            is_usable(mapped.parse().unwrap(), server.parse().unwrap())
        };
        let server = "192.0.2.1:3478";
        assert!(usable("198.51.100.7:7882", server) && usable("10.0.0.1:7882", server));
        assert!(usable("127.0.0.1:7882", "127.0.0.1:3478"));
        for wrong in [
            "0.0.0.0:7882",
            "198.51.100.7:0",
            "224.0.0.1:7882",
            "255.255.255.255:7882",
            "127.0.0.1:7882",
            "169.254.0.1:7882",
            "[2001:db8::7]:7882",
        ] {
            assert!(!usable(wrong, server), "{wrong}");
        }
        for wrong in ["[fe80::1]:1", "[ff02::1]:1", "[::ffff:192.0.2.1]:1", "[::]:1"] {
            assert!(!usable(wrong, "[2001:db8::1]:3478"), "{wrong}");
        }
    }
}
