//! Requests and offers that are none, by the thousand, beside viewers who are not to notice.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::attacks::{BOTH, nobody_notices, strength};
use crate::support::client::{Client, socket};
use crate::support::{Server, request};
use str0m::media::Direction;

/// Numbers that look like any, the same in each run (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// `offer` with a few of its lines or bytes taken out, doubled, put elsewhere or made into others.
fn mutated(offer: &str, numbers: &mut Numbers) -> String {
    let mut lines: Vec<String> = offer.lines().map(str::to_owned).collect();
    for _ in 0..=numbers.below(4) {
        let (at, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
        match numbers.below(5) {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, lines[at].clone()),
            2 => lines.swap(at, other),
            3 => lines[at].truncate(numbers.below(80)),
            _ => {
                let mut bytes = lines[at].clone().into_bytes();
                let place = numbers.below(bytes.len());
                if let Some(byte) = bytes.get_mut(place) {
                    *byte = b"0123456789 :=/-*az"[numbers.below(18)];
                }
                lines[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        if lines.is_empty() {
            break;
        }
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

#[test]
fn mutated_offers_are_answered_or_refused_and_cost_nobody_a_packet() {
    // They come from one address, and as fast as they are answered.
    let server = Server::start(&["--shards", "2", "--post-rate-per-ip", "0"]);
    let offers = [Direction::SendOnly, Direction::RecvOnly]
        .map(|direction| Client::offer(BOTH, direction, socket()).1.to_sdp_string());
    nobody_notices(&server, "mutated offers", |server| {
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        let end = Instant::now() + strength().1;
        let mut posts = 0;
        // No server would be left to say how it went, were one of them too much for it.
        while Instant::now() < end {
            let publishes = posts % 2 == 0;
            let offer = mutated(&offers[usize::from(!publishes)], &mut numbers);
            let path = if publishes { "/whip/mutated" } else { "/whep/load-0" };
            let sdp = [("Content-Type", "application/sdp")];
            let status = request("POST", &server.url(path), &sdp, &offer).status;
            // 429: as many of this address wait to connect as may.
            let is_one = [201, 400, 406, 409, 413, 422, 429].contains(&status);
            assert!(is_one, "{status} to {offer}");
            posts += 1;
        }
        posts
    });
}

/// Requests that are none, or that one server on the way could read otherwise than the next.
fn requests() -> Vec<Vec<u8>> {
    let post = "POST /whip/s HTTP/1.1\r\nHost: localhost\r\n";
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    let many = |line: &str, times| line.repeat(times);
    let text = [
        format!("{get}X: {}\r\n\r\n", many("x", 200_000)),
        format!("{get}{}\r\n", many("X: y\r\n", 10_000)),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", many("a", 200_000)),
        format!("{post}Content-Length: 5\r\nContent-Length: 50\r\n\r\nhello"),
        format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP"),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx"),
        format!("{post}Transfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        format!("{post}Content-Length: 18446744073709551616\r\n\r\n"),
        format!("{post}Content-Length: -1\r\n\r\n"),
        format!("{post}Content-Length: 1000000000\r\n\r\n{}", many("v=0\r\n", 60_000)),
        format!("{get}Content-Length: 4\r\n\r\nGET "),
        "GET /healthz\r\n\r\n".to_owned(),
        "GET http://[::1 HTTP/1.1\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("{get} folded\r\n : line\r\n\r\n"),
        many("\r\n", 50_000),
    ];
    let mut requests: Vec<Vec<u8>> = text.into_iter().map(String::into_bytes).collect();
    requests.push(vec![0; 70_000]);
    requests.push((0..=255).cycle().take(70_000).collect());
    // What TLS begins with, to a server that speaks none.
    requests.push([&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[7; 600]].concat());
    requests
}

#[test]
fn requests_that_are_none_are_refused_or_closed_and_cost_nobody_a_packet() {
    let server = Server::start(&["--shards", "2"]);
    let requests = requests();
    nobody_notices(&server, "requests that are none", |server| {
        let end = Instant::now() + strength().1;
        let mut sent = 0;
        while Instant::now() < end {
            let bytes = &requests[sent as usize % requests.len()];
            let mut stream = TcpStream::connect(server.node().http_address()).expect("it listens");
            stream.set_write_timeout(Some(Duration::from_secs(1))).expect("it is not zero");
            stream.set_read_timeout(Some(Duration::from_secs(20))).expect("it is not zero");
            // It may have been closed before it had all of it.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let closed = stream.read_to_end(&mut answer);
            let reset = |error: &std::io::Error| error.kind() != std::io::ErrorKind::WouldBlock;
            assert!(closed.as_ref().err().is_none_or(reset), "{sent}: it is left open");
            let text = String::from_utf8_lossy(&answer);
            let statuses = text.lines().filter_map(|line| line.strip_prefix("HTTP/1."));
            for status in statuses.filter_map(|rest| rest.get(2..5)) {
                assert!(status.starts_with(['2', '4']), "{sent}: {text}");
            }
            // None of them is two: what stands behind the first is nobody's request.
            assert!(text.matches("HTTP/1.").count() <= 2, "{sent}: {text}");
            sent += 1;
        }
        sent
    });
}
