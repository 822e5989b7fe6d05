//! Connectivity checks made by hand, to send them from where no client would.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use is::stun::{StunMessage, TransId};

use super::client::Client;
use super::{PATIENCE, Server};

/// Checks of one session.
pub struct Checks {
    username: String,
    password: Vec<u8>,
}

impl Checks {
    /// Those that `client` itself would send.
    pub fn of(client: &mut Client) -> Checks {
        let own = client.rtc.direct_api().local_ice_credentials().ufrag;
        let username = format!("{}:{own}", client.answered("a=ice-ufrag:"));
        Checks { username, password: client.answered("a=ice-pwd:").into() }
    }

    /// The same with a password that is wrong.
    pub fn forged(client: &mut Client) -> Checks {
        Checks { password: b"a password nobody gave out".into(), ..Checks::of(client) }
    }

    /// One check, ready to be sent; `nominate` chooses the address for media.
    pub fn request(&self, nominate: bool) -> (TransId, Vec<u8>) {
        let id = TransId::new();
        let check = StunMessage::binding_request(&self.username, id, true, 1, 1, nominate);
        (id, bytes(check, Some(&self.password)))
    }

    /// Sends one check from `socket` to `to` and waits for its answer; returns where that came
    /// from, and what it says the sender's address is. Everything else that arrives is dropped.
    pub fn exchange(&self, socket: &UdpSocket, to: SocketAddr, nominate: bool) -> Answer {
        let (id, request) = self.request(nominate);
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2_000];
        for round in 0u32.. {
            // Again and again, as clients do: the shard may not know a new session yet.
            if round.is_multiple_of(100) {
                socket.send_to(&request, to).expect("loopback takes it");
            }
            if let Ok((length, from)) = socket.recv_from(&mut buffer)
                && let Ok(message) = StunMessage::parse(&buffer[..length])
                && message.trans_id() == id
            {
                assert!(message.is_successful_binding_response(), "{message:?}");
                assert!(message.verify(&self.password, hmac_sha1), "its integrity holds");
                return Answer { from, mapped: message.mapped_address() };
            }
            assert!(Instant::now() < deadline, "no answer from {to} within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        unreachable!("the deadline comes before the last round")
    }
}

/// What a check was answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub from: SocketAddr,
    pub mapped: Option<SocketAddr>,
}

/// A success response that nobody asked for.
pub fn response(about: SocketAddr) -> Vec<u8> {
    bytes(StunMessage::binding_reply(TransId::new(), about), Some(b"password"))
}

/// Sends `flood` from a socket of its own, as fast as the server counts, and returns that socket
/// for a look at what came back.
pub fn flood(server: &Server, datagrams: impl Iterator<Item = Vec<u8>>) -> UdpSocket {
    let stranger = super::client::socket();
    let before = server.sum(|c| c.datagrams_in.get());
    for (sent, datagram) in (1u64..).zip(datagrams) {
        stranger.send_to(&datagram, server.media()).expect("loopback takes it");
        if sent % 256 == 0 {
            super::eventually("the server keeps up", || {
                server.sum(|c| c.datagrams_in.get()) >= before + sent
            });
        }
    }
    stranger
}

/// What a STUN server answers `request`, when it says that its sender is at `mapped` (RFC 8489
/// section 14.2).
pub fn mapped(request: &[u8], mapped: SocketAddr) -> Vec<u8> {
    let mask = &request[4..20];
    let (family, octets) = match mapped.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut response = vec![1, 1, 0, 8 + octets.len() as u8];
    response.extend(mask);
    response.extend([0, 0x20, 0, 4 + octets.len() as u8, 0, family]);
    let plain = mapped.port().to_be_bytes().into_iter();
    response.extend(plain.zip(mask).map(|(byte, mask)| byte ^ mask));
    response.extend(octets.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
    response
}

fn bytes(message: StunMessage<'_>, password: Option<&[u8]>) -> Vec<u8> {
    let mut buffer = [0; 512];
    let length = message.to_bytes(password, &mut buffer, hmac_sha1).expect("it fits");
    buffer[..length].to_vec()
}

pub fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
}
