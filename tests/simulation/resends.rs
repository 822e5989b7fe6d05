//! A publisher that has negotiated NACK and no RTX, as OBS and FFmpeg do: it sends what it is asked
//! for again as it was, on the SSRC it had.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use monoport::id::Via;
use monoport::srtp::RtcpOpener;
use monoport::wire::kind::{self, Kind};
use monoport::wire::rtcp::{self, Packet};

use crate::client::{Client, Offering, Outgoing};
use crate::media::Tag;
use crate::network::rtp_name;
use crate::server::{Server, Setup};

const SETUP: Setup =
    Setup { shards: 1, ports: 1, publishers_before: 0, hold: Duration::ZERO, seed: 7 };
const STEP: Duration = Duration::from_millis(4);
const PACKETS: u32 = 250;

/// What the publisher keeps to send it again, as a socket would see it.
#[derive(Default)]
struct Sent {
    datagrams: HashMap<u16, Vec<u8>>,
    opener: Option<RtcpOpener>,
    video: Option<u32>,
    again: Vec<Vec<u8>>,
    lost: usize,
}

impl Sent {
    /// Whether a datagram arrives: one in ten of the media does not.
    fn arrives(&mut self, datagram: &[u8]) -> bool {
        if kind::of(datagram) != Some(Kind::Rtp) || Some(rtp_name(datagram).0) != self.video {
            return true;
        }
        let sequence = rtp_name(datagram).1;
        let is_new = self.datagrams.insert(sequence, datagram.to_vec()).is_none();
        let is_lost = is_new && self.datagrams.len() % 10 == 5;
        self.lost += usize::from(is_lost);
        !is_lost
    }

    /// A datagram of the server's: what it asks for again will be.
    fn hear(&mut self, client: &Client, datagram: &[u8]) {
        if kind::of(datagram) != Some(Kind::Rtcp) {
            return;
        }
        let Some(keys) = &client.keys else { return };
        let opener = self.opener.get_or_insert_with(|| RtcpOpener::new(keys.profile, &keys.remote));
        let mut bytes = datagram.to_vec();
        let length = opener.open(&mut bytes).expect("it is the server's");
        for packet in rtcp::compound(&bytes[..length]).map_while(Result::ok) {
            if let Packet::Nack { lost, .. } = packet {
                self.again.extend(lost.filter_map(|number| self.datagrams.get(&number)).cloned());
            }
        }
    }
}

#[test]
fn what_is_lost_on_the_way_in_is_sent_again_without_rtx_and_every_viewer_has_it() {
    let mut now = Instant::now();
    let mut server = Server::new(now, SETUP, 1);
    let host = |number: u16| std::net::SocketAddr::from(([198, 51, 100, 1], 10_000 + number));
    let offering = Offering::without_rtx(now, 0, host(0));
    assert!(offering.sdp().contains(" nack\r\n") && !offering.sdp().contains("rtx/"));
    let publisher = server.publish(now, offering, 0, (0, 0)).client;
    let viewer = server.watch(now, Offering::new(now, 1, host(1), 0), 0, (0, 0)).client;
    let mut clients = [publisher, viewer];
    let (mut sent, mut number) = (Sent::default(), 0);
    for step in 0..600 {
        now += STEP;
        if step > 100 && number < PACKETS {
            sent.video = clients[0].sending_ssrc(Some(0));
            let payload = Tag::video(0, number, number == 0).payload(number == 0, 100);
            let (sequence, timestamp) = (u64::from(number) + 500, number * 900);
            let packet = Outgoing { layer: Some(0), sequence, timestamp, marker: true, payload };
            clients[0].send(now, &packet);
            number += 1;
        }
        let local = server.port_address(0).ip();
        for datagram in std::mem::take(&mut sent.again) {
            server.shards[0].deliver(now, 0, local, host(0), &datagram);
        }
        for client in &mut clients {
            if client.timeout <= now {
                client.advance(now);
            }
            for (to, bytes) in std::mem::take(&mut client.outbox) {
                if client.host != host(0) || sent.arrives(&bytes) {
                    server.shards[0].deliver(now, 0, to.ip(), client.host, &bytes);
                }
            }
        }
        server.shards[0].turn(now);
        for datagram in server.shards[0].take_sent() {
            let Via::Udp(port) = datagram.to.via else { continue };
            let from = server.port_address(port as usize);
            let client = clients.iter_mut().find(|c| c.host == datagram.to.remote);
            let client = client.expect("it is a client's");
            if client.host == host(0) {
                sent.hear(client, &datagram.bytes);
            }
            client.receive(now, from, &datagram.bytes);
        }
    }
    assert_eq!(sent.lost, PACKETS as usize / 10);
    let got: BTreeSet<u32> = clients[1].received.iter().map(|packet| packet.tag.number).collect();
    assert_eq!(
        got.len(),
        PACKETS as usize,
        "all but {:?}",
        (0..PACKETS).find(|n| !got.contains(n))
    );
}
