//! Clients that mean ill: RTCP, checks and bytes that no honest one would send.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use is::stun::{StunMessage, TransId};
use monoport::id::SessionKey;
use monoport::srtp::RtcpSealer;
use monoport::wire::rtcp;
use monoport::wire::ufrag::UfragKey;

use crate::client::Client;
use crate::random::Random;

/// RTCP of a viewer, sealed with its own keys.
pub struct Reporter {
    sealer: RtcpSealer,
    /// The SSRC it reports from.
    sender: u32,
    video: u32,
}

impl Reporter {
    /// That of a client whose DTLS is done. Its own RTCP must be kept from the server from here on:
    /// both would count alike.
    pub fn of(client: &mut Client) -> Option<Reporter> {
        Reporter::sending_as(client, 1)
    }

    /// The same from an SSRC of its own, with an index of its own.
    pub fn sending_as(client: &mut Client, sender: u32) -> Option<Reporter> {
        let keys = client.keys.as_ref()?;
        let sealer = RtcpSealer::new(keys.profile, &keys.local);
        let video = client.watched_ssrcs().video;
        client.own_rtcp = true;
        Some(Reporter { sealer, sender, video })
    }

    /// Asks for as many packets as fit a datagram.
    pub fn flood_of_nacks(&mut self, random: &mut Random) -> Vec<u8> {
        let first = random.next() as u16;
        let step = random.one_of(&[1, 1, 17]);
        let lost: Vec<u16> =
            (0..3_000).map(|index: u16| first.wrapping_add(index * step)).collect();
        self.sealed(|(sender, video), out| {
            // A list of that many may need more entries than there is room for.
            (1..=lost.len())
                .rev()
                .step_by(64)
                .find_map(|count| rtcp::nack(sender, video, &lost[..count], out))
        })
    }

    /// Asks for one packet.
    pub fn nack(&mut self, sequence: u16) -> Vec<u8> {
        self.nacks(&[sequence])
    }

    /// Asks for all of these.
    pub fn nacks(&mut self, sequences: &[u16]) -> Vec<u8> {
        self.sealed(|(sender, video), out| rtcp::nack(sender, video, sequences, out))
    }

    pub fn pli(&mut self) -> Vec<u8> {
        self.sealed(|(sender, video), out| rtcp::pli(sender, video, out))
    }

    /// A report that is well formed, and behind it bytes that are not.
    pub fn garbage(&mut self, random: &mut Random) -> Vec<u8> {
        let length = random.within(4..200) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        self.sealed(|(sender, _video), out| {
            let head = rtcp::receiver_report(sender, &[], out)?;
            out[head..head + bytes.len()].copy_from_slice(&bytes);
            Some(head + bytes.len())
        })
    }

    fn sealed(&mut self, write: impl Fn((u32, u32), &mut [u8]) -> Option<usize>) -> Vec<u8> {
        let mut datagram = vec![0; 1_400];
        let room = datagram.len() - self.sealer.overhead();
        let length = write((self.sender, self.video), &mut datagram[..room]).expect("it fits");
        let length = self.sealer.seal(&mut datagram, length);
        datagram.truncate(length);
        datagram
    }
}

/// A connectivity check of the client's session, made by hand.
pub fn check(client: &mut Client, nominate: bool, password_is_right: bool) -> Vec<u8> {
    let own = client.rtc.direct_api().local_ice_credentials().ufrag;
    let username = format!("{}:{own}", client.answered("a=ice-ufrag:"));
    let password = client.answered("a=ice-pwd:").to_owned();
    let password = if password_is_right { &*password } else { "nobody gave this out" };
    let check = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, nominate);
    bytes(check, password)
}

/// A check that names a session nobody has, under another server's key.
pub fn forged(random: &mut Random) -> Vec<u8> {
    let elsewhere = UfragKey::from_bytes([random.next() as u8; 16]);
    let name =
        SessionKey { shard: random.index(4) as u16, slot: random.index(9) as u32, generation: 0 };
    let username = format!("{}:peer", elsewhere.encode(name).as_str());
    let check = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, true);
    bytes(check, "a password")
}

/// Bytes of any kind.
pub fn noise(random: &mut Random) -> Vec<u8> {
    let length = random.one_of(&[0, 1, 4, 11, 12, 20, 40, 300, 1_400]);
    let mut noise: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    if let Some(first) = noise.first_mut() {
        *first = random.one_of(&[0, 1, 19, 22, 64, 128, 144, 200]);
    }
    noise
}

/// What somebody sends who knows a client's address and none of its keys.
pub fn spoofed(random: &mut Random) -> Vec<u8> {
    let tail: Vec<u8> = (0..random.within(0..80)).map(|_| random.next() as u8).collect();
    let head: &[u8] = random.one_of(&[
        // DTLS 1.2, epoch 0: close_notify, and a fatal alert (RFC 5246 section 7.2).
        &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 1, 0],
        &[21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
        // An encrypted record, a handshake record.
        &[23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 9, 0, 40],
        &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 40],
        // RTP and RTCP.
        &[0x80, 96, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4],
        &[0x80, 200, 0, 6, 1, 2, 3, 4],
    ]);
    [head, &tail].concat()
}

/// An address that nobody else has.
pub fn somewhere(random: &mut Random) -> SocketAddr {
    SocketAddr::from((
        [203, 0, 113, random.within(1..255) as u8],
        random.within(1_024..65_535) as u16,
    ))
}

fn bytes(message: StunMessage<'_>, password: &str) -> Vec<u8> {
    let mut buffer = [0; 512];
    let length = message.to_bytes(Some(password.as_bytes()), &mut buffer, hmac_sha1);
    buffer[..length.expect("it fits")].to_vec()
}

fn hmac_sha1(key: &[u8], parts: &[&[u8]]) -> [u8; 20] {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
}
