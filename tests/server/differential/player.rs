//! A publisher that plays a script: str0m seals each packet once, and the datagrams go out in the
//! script's order, twice where it says so, in trains where sizes allow.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Instant;

use monoport::net::{self, Destination, SendBatch, Sender, SocketOptions};
use monoport::wire::rtp;
use str0m::format::Codec;
use str0m::media::{Direction, Mid, Pt};
use str0m::rtp::RtpWrite;
use str0m::{Input, Output};

use super::script::Step;
use crate::support::Server;
use crate::support::client::{Client, Offered};

/// The first packet's sequence number: near the end of 16 bits, so that it wraps on the way.
const FIRST: u64 = 65_536 - 100;

/// A publishing client and the datagrams it has sealed.
pub struct Player {
    pub client: Client,
    /// The client's socket, for sending in trains.
    socket: net::UdpSocket,
    server: SocketAddr,
    batch: SendBatch,
    sender: Sender,
    /// Sections and payload types, video's first.
    tracks: [(Mid, Pt); 2],
    /// Sealed datagrams, by track and number.
    sealed: HashMap<(bool, u64), Vec<u8>>,
}

impl Player {
    pub fn publish(server: &Server, stream: &str, offered: Offered) -> Player {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = SocketOptions { gro: false, ..SocketOptions::default() };
        let socket = net::UdpSocket::bind(any, &options).expect("a free port");
        let handle = socket.as_fd().try_clone_to_owned().expect("a second handle of the socket");
        let path = format!("/whip/{stream}");
        let direction = Direction::SendOnly;
        let client = Client::try_post(server, &path, offered, direction, handle.into());
        let client = client.unwrap_or_else(|refusal| panic!("WHIP: {}", refusal.body));
        let tracks = ["m=video", "m=audio"].map(|section| section_of(&client, section));
        Player {
            socket,
            server: client.server(),
            client,
            batch: SendBatch::new(64, 1 << 18),
            sender: Sender::new(64),
            tracks,
            sealed: HashMap::new(),
        }
    }

    /// Trains sent so far.
    pub fn trains(&self) -> u64 {
        self.batch.train_lengths()[2..].iter().sum()
    }

    /// Seals the packets of a step and sends what it says.
    pub fn play(&mut self, step: &Step) {
        self.seal(step);
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let to = Destination::new(self.server, local, true);
        for key in &step.wire {
            let datagram = self.sealed.get(key).expect("what is sent was sealed before");
            let slot = self.batch.slot().expect("a step is far smaller than the batch");
            slot[..datagram.len()].copy_from_slice(datagram);
            self.batch.commit(to, datagram.len());
        }
        let failed = &mut |_to, failure| panic!("loopback refuses: {failure:?}");
        let report = self.sender.flush(&self.socket, &mut self.batch, failed);
        assert!(!report.would_block, "loopback takes a step at once");
    }

    fn seal(&mut self, step: &Step) {
        let now = Instant::now();
        let mut direct = self.client.rtc.direct_api();
        for packet in &step.packets {
            let (mid, payload_type) = self.tracks[usize::from(packet.audio)];
            let stream = direct.stream_tx_by_mid(mid, None).expect("it was negotiated");
            let number = (FIRST + packet.number).into();
            let payload = packet.payload.clone();
            let write = RtpWrite::new(payload_type, number, packet.timestamp, now, payload);
            stream.write_rtp(write.marker(packet.marker).nackable(!packet.audio));
        }
        self.client.rtc.handle_input(Input::Timeout(now)).expect("time passes");
        let before = self.sealed.len();
        loop {
            match self.client.rtc.poll_output().expect("str0m goes on") {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => match self.key_of(step, &transmit.contents) {
                    Some(key) => _ = self.sealed.insert(key, transmit.contents.into()),
                    None => {
                        let sent = self.client.socket.send_to(&transmit.contents, self.server);
                        sent.expect("loopback takes it");
                    }
                },
                Output::Event(_) => {}
            }
        }
        assert_eq!(self.sealed.len(), before + step.packets.len(), "str0m sent every packet");
    }

    /// Which packet of the step a datagram is; none for STUN, RTCP and RTX.
    fn key_of(&self, step: &Step, datagram: &[u8]) -> Option<(bool, u64)> {
        let header = rtp::parse(datagram).ok()?;
        let is_of = |track: usize| header.payload_type == *self.tracks[track].1;
        let audio = if is_of(0) { false } else { is_of(1).then_some(true)? };
        let mut same = step.packets.iter().filter(|packet| packet.audio == audio);
        let packet = same.find(|packet| (FIRST + packet.number) as u16 == header.sequence)?;
        Some((audio, packet.number))
    }
}

/// The section of the answer that begins with `start`: its id, and the payload type the server
/// takes.
fn section_of(client: &Client, start: &str) -> (Mid, Pt) {
    let lines = client.answer.lines().skip_while(|line| !line.starts_with(start));
    let mid = lines.clone().find_map(|line| line.strip_prefix("a=mid:")).expect("it has an id");
    let mid: Mid = mid.into();
    let codec = if start == "m=audio" { Codec::Opus } else { Codec::Vp8 };
    let accepted = client.rtc.media(mid).expect("the section exists").remote_pts();
    let params = client.rtc.codec_config().params().iter();
    let mut taken = params.filter(|p| p.spec().codec == codec && accepted.contains(&p.pt()));
    (mid, taken.next().expect("the server took the codec").pt())
}
