//! `monoport check --peer`: whether a running server can be reached at the addresses it announces.
//!
//! It does what a client does, up to the first packet: publishes a stream under a throw-away name,
//! reads the addresses in the answer, sends each an ICE check with the answer's credentials (RFC
//! 8445 §7.2), and ends the session. So the server needs no door for it, and what is tried is what
//! clients will use.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use is::stun::{StunMessage, TransId};
use str0m::Rtc;
use str0m::media::{Direction, MediaKind};
use ureq::http::{Request, Uri, header};

use super::Finding;
use crate::access::Roots;
use crate::id::Transport;
use crate::limits::{MAX_DATAGRAM_OUT, MAX_OFFER_BYTES, MAX_PEER_ADDRESSES, PEER_ANSWER_WAIT};
use crate::session::{host_candidates, ice_password, ice_ufrag};

/// How long the server's HTTP may take.
const HTTP_WAIT: Duration = Duration::from_secs(10);
/// The first check is repeated after this time, and then after twice as long each time.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Host candidate, UDP, component 1 (RFC 8445 §5.1.2.1).
const PRIORITY: u32 = 126 << 24 | 65_535 << 8 | 255;

/// Looks at the server whose HTTP is at `url`, with a bearer token if it wants one.
#[must_use]
pub fn check_peer(url: &str, token: Option<&str>) -> Vec<Finding> {
    let server = Server { base: url.trim_end_matches('/'), token };
    let session = match server.publish() {
        Ok(session) => session,
        Err(finding) => return vec![finding],
    };
    let mut findings = session.look();
    if let Err(problem) = server.delete(&session.url) {
        let found = format!("the session was not ended: {problem}");
        findings.push(Finding::warn("HTTP", found, "nothing: the server ends it in half a minute"));
    }
    findings
}

/// An offer that is made to be answered, and nothing else: of a stream nobody watches.
pub struct Probe {
    /// Where it is posted.
    pub path: String,
    /// The offer.
    pub offer: String,
    /// Its ufrag.
    ours: String,
    asked: Instant,
}

impl Default for Probe {
    fn default() -> Probe {
        Probe::new()
    }
}

impl Probe {
    /// One under a throw-away name.
    #[must_use]
    pub fn new() -> Probe {
        let mut rtc = Rtc::builder().build(Instant::now());
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Audio, Direction::SendOnly, None, None, None);
        let offer = changes.apply().expect("something is offered").0.to_sdp_string();
        let ours = rtc.direct_api().local_ice_credentials().ufrag;
        // Of what is in a ufrag, a stream's name has letters and digits alone.
        let name: String = ours.chars().filter(char::is_ascii_alphanumeric).collect();
        Probe { path: format!("/whip/check-{name}"), offer, ours, asked: Instant::now() }
    }

    /// The session that was made of it, whose URL is `url`, by its `answer`.
    #[must_use]
    pub fn answered(&self, url: String, answer: &str) -> CheckedSession {
        CheckedSession {
            url,
            username: format!("{}:{}", ice_ufrag(answer).unwrap_or_default(), self.ours),
            password: ice_password(answer).unwrap_or_default().to_owned(),
            candidates: candidates(answer),
            answered_after: self.asked.elapsed(),
        }
    }
}

/// A server's HTTP.
struct Server<'a> {
    base: &'a str,
    token: Option<&'a str>,
}

/// A session that was set up.
pub struct CheckedSession {
    /// What ends it.
    pub url: String,
    /// `theirs:ours`, the name in checks.
    username: String,
    password: String,
    candidates: Vec<Candidate>,
    answered_after: Duration,
}

/// An address the answer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Candidate {
    tcp: bool,
    address: SocketAddr,
}

/// What came of a check.
struct Answer {
    after: Duration,
    /// Where the server saw it come from.
    seen: Option<SocketAddr>,
}

/// Why none came.
enum Silence {
    /// This machine can't even send there.
    NoWay(io::Error),
    /// Nothing, or nothing good, came back.
    Unanswered(String),
}

impl Server<'_> {
    /// Publishes a stream nobody watches.
    fn publish(&self) -> Result<CheckedSession, Finding> {
        let fail = |found: String, fix: &str| Finding::fail("HTTP", found, fix);
        let probe = Probe::new();
        let endpoint = format!("{}{}", self.base, probe.path);
        let (status, location, answer) =
            self.request("POST", &endpoint, &probe.offer).map_err(|error| {
                fail(
                    format!("POST {endpoint}: {error}"),
                    "start the server, or pass the URL under which this machine reaches its HTTP",
                )
            })?;
        match (status, location) {
            (201, Some(location)) => Ok(probe.answered(absolute(&endpoint, &location), &answer)),
            (401 | 403, _) => Err(fail(
                format!("the server answers {status}: it wants a token"),
                "pass --token TOKEN (or MONOPORT_TOKEN)",
            )),
            (404 | 405, _) => Err(fail(
                format!("there is no WHIP at {endpoint}: {status}"),
                "pass the URL of the server without a path, as in http://HOST:7880",
            )),
            _ => {
                let said: String = answer.chars().take(200).collect();
                Err(fail(
                    format!("the server refuses a session: {status} {said}"),
                    "see its log; when it has too many sessions, come back later",
                ))
            }
        }
    }

    fn delete(&self, url: &str) -> Result<(), String> {
        match self.request("DELETE", url, "") {
            Ok((200..300, ..)) => Ok(()),
            Ok((status, ..)) => Err(format!("DELETE {url} answers {status}")),
            Err(error) => Err(format!("DELETE {url}: {error}")),
        }
    }

    /// Status, `Location` and body of the response.
    fn request(
        &self,
        method: &str,
        url: &str,
        body: &str,
    ) -> Result<(u16, Option<String>, String), ureq::Error> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(HTTP_WAIT))
            .tls_config(Roots::default().tls());
        let agent: ureq::Agent = config.build().into();
        let mut request = Request::builder().method(method).uri(url);
        request = request.header(header::CONTENT_TYPE, "application/sdp");
        if let Some(token) = self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut response = agent.run(request.body(body.to_owned())?)?;
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(MAX_OFFER_BYTES as u64);
        Ok((status, location, body.read_to_string().unwrap_or_default()))
    }
}

/// A `Location` as a URL; the server gives a path (RFC 9110 §10.2.2).
fn absolute(endpoint: &str, location: &str) -> String {
    match endpoint.parse::<Uri>().map(Uri::into_parts) {
        Ok(parts) if location.starts_with('/') => {
            let scheme = parts.scheme.map_or_else(String::new, |scheme| scheme.to_string());
            let host = parts.authority.map_or_else(String::new, |host| host.to_string());
            format!("{scheme}://{host}{location}")
        }
        _ => location.to_owned(),
    }
}

/// The addresses of an answer.
fn candidates(answer: &str) -> Vec<Candidate> {
    let found = host_candidates(answer, MAX_PEER_ADDRESSES).into_iter();
    found.map(|(by, address)| Candidate { tcp: by == Transport::Tcp, address }).collect()
}

/// A finding per address, all tried at once.
fn look_at(session: &CheckedSession) -> Vec<Finding> {
    if session.candidates.is_empty() {
        let fix = "restart it with --announce ADDRESS";
        return vec![Finding::fail("addresses", "the answer names none", fix)];
    }
    std::thread::scope(|scope| {
        let tries: Vec<_> = session
            .candidates
            .iter()
            .map(|candidate| (candidate, scope.spawn(|| session.check(*candidate))))
            .collect();
        let ended = |(candidate, attempt): (&Candidate, std::thread::ScopedJoinHandle<'_, _>)| {
            finding(*candidate, attempt.join().expect("a check does not panic"))
        };
        tries.into_iter().map(ended).collect()
    })
}

fn finding(candidate: Candidate, outcome: Result<Answer, Silence>) -> Finding {
    let Candidate { tcp, address } = candidate;
    let what = if tcp { "TCP" } else { "UDP" };
    match outcome {
        Ok(Answer { after, seen }) => {
            let seen = seen.map_or_else(String::new, |seen| format!("; it sees us as {seen}"));
            Finding::ok(what, format!("{address} answered after {}{seen}", in_ms(after)))
        }
        Err(Silence::NoWay(error)) => Finding::warn(
            what,
            format!("{address} was not tried: this machine can't send there: {error}"),
            "run the check from a machine that has addresses of that family",
        ),
        Err(Silence::Unanswered(reason)) => Finding::fail(
            what,
            format!("{address} {reason}"),
            format!(
                "let {what} port {} through to {} (firewall, security group, forwarded port), or \
                 announce what is reachable: --announce",
                address.port(),
                address.ip()
            ),
        ),
    }
}

impl CheckedSession {
    /// Tries its addresses, which takes some seconds where one does not answer.
    #[must_use]
    pub fn look(&self) -> Vec<Finding> {
        let found = format!("answered after {}", in_ms(self.answered_after));
        let mut findings = vec![Finding::ok("HTTP", found)];
        findings.extend(look_at(self));
        findings
    }

    fn check(&self, candidate: Candidate) -> Result<Answer, Silence> {
        match candidate.tcp {
            true => self.check_tcp(candidate.address),
            false => self.check_udp(candidate.address),
        }
    }

    /// One check, without nominating: no media shall come here.
    fn request(&self, id: TransId) -> Vec<u8> {
        let mut buffer = [0; 512];
        let request = StunMessage::binding_request(&self.username, id, true, 1, PRIORITY, false);
        let password = self.password.as_bytes();
        let length = request.to_bytes(Some(password), &mut buffer, hmac_sha1).unwrap_or(0);
        buffer[..length].to_vec()
    }

    /// What the server answers to one of the checks `sent`, if `bytes` are that.
    fn answer(&self, bytes: &[u8], sent: &[(TransId, Instant)]) -> Option<Result<Answer, Silence>> {
        let message = StunMessage::parse(bytes).ok()?;
        let (_, at) = sent.iter().find(|(id, _)| *id == message.trans_id())?;
        // The same password is on both sides: a check that came back is no answer.
        let answers =
            message.is_successful_binding_response() || message.is_failed_binding_response();
        if !answers || !message.verify(self.password.as_bytes(), hmac_sha1) {
            return None;
        }
        Some(match message.error_code() {
            Some((code, reason)) => {
                Err(Silence::Unanswered(format!("refuses the check: {code} {reason}")))
            }
            None => Ok(Answer { after: at.elapsed(), seen: message.mapped_address() }),
        })
    }

    fn check_udp(&self, to: SocketAddr) -> Result<Answer, Silence> {
        let any: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let connected = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.connect(to)?;
            Ok(socket)
        });
        let socket = connected.map_err(Silence::NoWay)?;
        let start = Instant::now();
        let (mut retry, mut next) = (FIRST_RETRY, start);
        let mut sent = Vec::new();
        let mut reason = format!("does not answer within {} s", PEER_ANSWER_WAIT.as_secs());
        let mut buffer = [0; MAX_DATAGRAM_OUT];
        while start.elapsed() < PEER_ANSWER_WAIT {
            let now = Instant::now();
            if now >= next {
                next = now + retry;
                retry *= 2;
                // Each its own transaction, so that an answer says which one it took so long for.
                let id = TransId::new();
                sent.push((id, now));
                if let Err(error) = socket.send(&self.request(id)) {
                    reason = describe(&error);
                }
            }
            let wait = next.saturating_duration_since(Instant::now());
            let wait = wait.clamp(Duration::from_millis(1), PEER_ANSWER_WAIT);
            socket.set_read_timeout(Some(wait)).map_err(Silence::NoWay)?;
            match socket.recv(&mut buffer) {
                Ok(length) => match self.answer(&buffer[..length], &sent) {
                    Some(answer) => return answer,
                    None => reason = "answers, but it is not this server".into(),
                },
                Err(error) if is_timeout(&error) => {}
                // The server may have restarted a moment ago: its last word is what counts.
                Err(error) => {
                    reason = describe(&error);
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            }
        }
        Err(Silence::Unanswered(reason))
    }

    /// The same over TCP, where a length of two bytes goes before each message (RFC 4571).
    fn check_tcp(&self, to: SocketAddr) -> Result<Answer, Silence> {
        let failed = |error: io::Error| match is_timeout(&error) {
            true => {
                let waited = PEER_ANSWER_WAIT.as_secs();
                Silence::Unanswered(format!("does not answer within {waited} s"))
            }
            false => Silence::Unanswered(describe(&error)),
        };
        let start = Instant::now();
        let mut stream = match TcpStream::connect_timeout(&to, PEER_ANSWER_WAIT) {
            Err(error) if error.kind() == io::ErrorKind::NetworkUnreachable => {
                return Err(Silence::NoWay(error));
            }
            connected => connected.map_err(failed)?,
        };
        let sent = [(TransId::new(), Instant::now())];
        let request = self.request(sent[0].0);
        let mut framed = (request.len() as u16).to_be_bytes().to_vec();
        framed.extend(request);
        stream.write_all(&framed).map_err(failed)?;
        while start.elapsed() < PEER_ANSWER_WAIT {
            stream.set_read_timeout(Some(PEER_ANSWER_WAIT)).map_err(failed)?;
            let mut length = [0; 2];
            stream.read_exact(&mut length).map_err(failed)?;
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut message).map_err(failed)?;
            if let Some(answer) = self.answer(&message, &sent) {
                return answer;
            }
        }
        Err(Silence::Unanswered("answers, but not the check".into()))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "is there, but nothing listens on the port".into(),
        _ => format!("can't be reached: {error}"),
    }
}

fn in_ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    parts.iter().for_each(|part| context.update(part));
    let mut tag = [0; 20];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

#[cfg(test)]
mod tests;
