//! TURN for clients: what is handed out, in which form, and that a TURN server takes it. The
//! latter needs coturn (see `support/coturn.rs`).

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::client::{Client, Offered};
use crate::support::coturn::{Coturn, SECRET};
use crate::support::stun::{Checks, hmac_sha1};
use crate::support::{PATIENCE, Response, Server, eventually, post_sdp, request};
use is::stun::{StunMessage, TransId};
use md5::{Digest, Md5};
use str0m::format::Codec;
use str0m::media::Direction;

/// A server that hands out `servers`.
fn server(servers: &str, more: &[&str]) -> Server {
    let turn = ["--shards", "1", "--turn-server", servers, "--turn-secret", SECRET];
    Server::start(&[&turn[..], more].concat())
}

fn publish(server: &Server) -> Response {
    let (_client, offer, _) = Client::offer(
        Offered::both(Codec::Vp8),
        Direction::SendOnly,
        crate::support::client::socket(),
    );
    let response = post_sdp(&server.url("/whip/s"), &offer.to_sdp_string());
    assert_eq!(response.status, 201, "{}", response.body);
    response
}

/// Since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// What stands in quotes behind `name=`.
fn parameter<'a>(link: &'a str, name: &str) -> &'a str {
    let (_, rest) = link.split_once(&format!("; {name}=\"")).unwrap_or_else(|| panic!("{link}"));
    rest.split_once('"').expect("quotes come in pairs").0
}

#[test]
fn servers_are_handed_out_as_links() {
    let uris = ["turn:turn.example.org:3478?transport=udp", "turns:[2001:db8::1]:5349", "stun:s"];
    let server = server(&uris.join(","), &["--turn-ttl", "600"]);
    let mut publisher = Client::publish(&server, "w", Offered::both(Codec::Vp8));
    crate::support::client::connect(&mut [&mut publisher]);
    let (_viewer, offer, _) = Client::offer(
        Offered::both(Codec::Vp8),
        Direction::RecvOnly,
        crate::support::client::socket(),
    );
    let watched = post_sdp(&server.url("/whep/w"), &offer.to_sdp_string());
    let asked = request("OPTIONS", &server.url("/whip/s"), &[], "");
    assert_eq!((watched.status, asked.status), (201, 200));
    let now = seconds();
    for response in [publish(&server), watched, asked] {
        let mut links = response.headers("link");
        // The events of a session are another matter.
        links.retain(|link| link.contains("rel=\"ice-server\""));
        assert_eq!(links.len(), uris.len(), "{links:?}");
        for (link, uri) in links.iter().zip(uris) {
            let Some(rest) = link.strip_prefix(&format!("<{uri}>; rel=\"ice-server\"")) else {
                panic!("{link}")
            };
            if uri.starts_with("stun:") {
                assert_eq!(rest, "");
                continue;
            }
            let (username, credential) =
                (parameter(link, "username"), parameter(link, "credential"));
            let expected = format!(
                "; username=\"{username}\"; credential=\"{credential}\"; \
                 credential-type=\"password\""
            );
            assert_eq!(rest, expected);
            let (expiry, name) = username.split_once(':').expect("EXPIRY:NAME");
            let left = expiry.parse::<u64>().expect("seconds").saturating_sub(now);
            assert!(!name.is_empty() && (500..=660).contains(&left), "{username}");
        }
    }
    let names = |response: &Response| parameter(response.headers("link")[0], "username").to_owned();
    assert_ne!(names(&publish(&server)), names(&publish(&server)), "a name for each session");
}

#[test]
fn credentials_are_for_those_who_may_come_in() {
    let server = server("turn:turn.example.org", &["--token", "t"]);
    let (url, token) = (server.url("/whip/s"), ("Authorization", "Bearer t"));
    let links = |method: &str, headers: &[(&str, &str)]| {
        request(method, &url, headers, "v=0").headers("link").len()
    };
    assert_eq!(links("OPTIONS", &[token]), 1);
    assert_eq!(links("OPTIONS", &[]), 0, "a stranger");
    assert_eq!(links("OPTIONS", &[("Authorization", "Bearer u")]), 0, "a stranger");
    let preflight = ("Access-Control-Request-Method", "POST");
    assert_eq!(links("OPTIONS", &[token, preflight]), 0, "a browser that asks for itself");
    assert_eq!(links("POST", &[]), 0, "401");
    assert_eq!(links("POST", &[token, ("Content-Type", "application/sdp")]), 0, "400");
    assert!(publish(&Server::with_shards(1)).headers("link").is_empty(), "there are no servers");
}

#[test]
fn a_relay_without_a_secret_is_refused_at_the_start() {
    let options = ["--http", "127.0.0.1:0", "--udp-port", "0", "--turn-server", "turn:a"];
    let output = Command::new(env!("CARGO_BIN_EXE_monoport")).args(options).output();
    let output = output.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--turn-secret"), "{said}");
}

/// A TURN client (RFC 8656) with long-term credentials: as much as it takes to relay a datagram.
struct TurnClient {
    socket: UdpSocket,
    username: String,
    credential: String,
    /// Realm and nonce, once the server has said them.
    challenge: (String, String),
}

const ALLOCATE: u16 = 0x0003;
const CREATE_PERMISSION: u16 = 0x0008;
const SEND_INDICATION: u16 = 0x0016;

impl TurnClient {
    /// Allocates a relay; the error is the server's code, as 401.
    fn allocate(turn: &Coturn, username: &str, credential: &str) -> Result<TurnClient, u16> {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(turn.address).expect("loopback has a route");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("not zero");
        let mut client = TurnClient {
            socket,
            username: username.into(),
            credential: credential.into(),
            challenge: (String::new(), String::new()),
        };
        // REQUESTED-TRANSPORT: UDP.
        let wanted = [(0x0019, vec![17, 0, 0, 0])];
        // Unknown yet: the first request is there to be told realm and nonce.
        assert_eq!(client.ask(ALLOCATE, &wanted), Err(401));
        client.ask(ALLOCATE, &wanted).map(|()| client)
    }

    /// Sends a request until it is answered, and keeps the challenge of an error.
    fn ask(&mut self, kind: u16, attributes: &[(u16, Vec<u8>)]) -> Result<(), u16> {
        let request = self.message(kind, attributes);
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2_000];
        loop {
            // While coturn starts, its port is closed.
            let _ = self.socket.send(&request);
            if let Ok(length) = self.socket.recv(&mut buffer)
                && let Ok(answer) = StunMessage::parse(&buffer[..length])
                && buffer[8..20] == request[8..20]
            {
                let Some((code, _)) = answer.error_code() else { return Ok(()) };
                if let (Some(realm), Some(nonce)) = (answer.realm(), answer.nonce()) {
                    self.challenge = (realm.to_owned(), nonce.to_owned());
                }
                return Err(code);
            }
            assert!(Instant::now() < deadline, "coturn does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A message with credentials, once there is a challenge to answer.
    fn message(&self, kind: u16, attributes: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut message = kind.to_be_bytes().to_vec();
        message.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
        let mut id = [0; 12];
        getrandom::fill(&mut id).expect("the operating system gives random bytes");
        message.extend(id);
        let mut add = |kind: u16, value: &[u8], extra: usize| {
            message.extend(kind.to_be_bytes());
            message.extend((value.len() as u16).to_be_bytes());
            message.extend(value);
            message.resize(message.len().next_multiple_of(4), 0);
            let length = (message.len() - 20 + extra) as u16;
            message[2..4].copy_from_slice(&length.to_be_bytes());
            message.clone()
        };
        let mut so_far = Vec::new();
        for (kind, value) in attributes {
            so_far = add(*kind, value, 0);
        }
        let (realm, nonce) = &self.challenge;
        if realm.is_empty() || kind == SEND_INDICATION {
            return so_far;
        }
        add(0x0006, self.username.as_bytes(), 0);
        add(0x0014, realm.as_bytes(), 0);
        // The length counts the 24 bytes of MESSAGE-INTEGRITY (RFC 8489 section 14.5).
        let covered = add(0x0015, nonce.as_bytes(), 24);
        let key = Md5::digest(format!("{}:{realm}:{}", self.username, self.credential));
        add(0x0008, &hmac_sha1(&key, &[&covered]), 0)
    }

    /// Relays `bytes` to `peer`.
    fn send(&self, peer: SocketAddr, bytes: &[u8]) {
        let attributes = [(0x0012, xor_address(peer)), (0x0013, bytes.to_vec())];
        let indication = self.message(SEND_INDICATION, &attributes);
        self.socket.send(&indication).expect("loopback takes it");
    }

    /// Whether an answer to the check `id` came through the relay.
    fn has_answer(&self, id: TransId) -> bool {
        let mut buffer = [0; 2_000];
        let Ok(length) = self.socket.recv(&mut buffer) else { return false };
        let data = StunMessage::parse(&buffer[..length]).ok().and_then(|message| message.data());
        let Some(answer) = data.and_then(|data| StunMessage::parse(data).ok()) else {
            return false;
        };
        answer.trans_id() == id && answer.is_successful_binding_response()
    }
}

/// An IPv4 address as XOR-PEER-ADDRESS has it.
fn xor_address(address: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(address) = address else { panic!("IPv4") };
    let mut bytes = vec![0, 1];
    bytes.extend((address.port() ^ 0x2112).to_be_bytes());
    let mask = [0x21, 0x12, 0xa4, 0x42];
    bytes.extend(address.ip().octets().iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    bytes
}

#[test]
fn coturn_relays_to_the_server_for_those_who_were_given_credentials() {
    let Some(turn) = Coturn::start() else { return };
    let uri = format!("turn:{}?transport=udp", turn.address);
    let server = server(&uri, &[]);
    let mut client = Client::publish(&server, "checked", Offered::both(Codec::Vp8));
    let response = publish(&server);
    let link = response.headers("link")[0];
    let (username, credential) = (parameter(link, "username"), parameter(link, "credential"));

    let mut relay = TurnClient::allocate(&turn, username, credential).expect("they are good");
    relay.ask(CREATE_PERMISSION, &[(0x0012, xor_address(server.media()))]).expect("it may relay");
    let (id, check) = Checks::of(&mut client).request(false);
    eventually("an answer through the relay", || {
        relay.send(server.media(), &check);
        relay.has_answer(id)
    });

    let refused =
        |username: &str, credential: &str| TurnClient::allocate(&turn, username, credential).err();
    assert_eq!(refused(username, "bm90IHRoZSBjcmVkZW50aWFs"), Some(401));
    let (expiry, name) = username.split_once(':').expect("EXPIRY:NAME");
    let later = expiry.parse::<u64>().expect("seconds") + 1;
    assert_eq!(refused(&format!("{later}:{name}"), credential), Some(401), "it is signed");

    // A few seconds later, these have expired: coturn counts whole ones, by a clock that lags.
    let brief = self::server(&uri, &["--turn-ttl", "1"]);
    let response = publish(&brief);
    let link = response.headers("link")[0];
    let (username, credential) = (parameter(link, "username"), parameter(link, "credential"));
    let expiry: u64 = username.split_once(':').and_then(|u| u.0.parse().ok()).expect("seconds");
    eventually("they expire", || seconds() > expiry + 1);
    assert_eq!(refused(username, credential), Some(401), "they have expired");
}
