//! What is known of one session, for whoever wants to look: written by its shard every two seconds,
//! read by control threads at any time.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::got::{GOT_BITS, LayerGot};
use super::path::{PATH_BITS, PathShown};
use super::quality::Level;

/// How far a session has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// Answered; nothing of the peer has come.
    #[default]
    Waiting,
    /// Connectivity checks have come, none with the right password.
    Refused,
    /// A check was right; nothing of DTLS has come.
    Checked,
    /// A DTLS record has come, and the handshake has not finished.
    Handshake,
    /// ICE and DTLS are done.
    Connected,
}

impl Stage {
    /// All, in the order in which sessions pass them.
    pub const ALL: [Stage; 5] =
        [Stage::Waiting, Stage::Refused, Stage::Checked, Stage::Handshake, Stage::Connected];

    /// The value of the metric's `state` label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Stage::Waiting => "waiting",
            Stage::Refused => "refused",
            Stage::Checked => "checked",
            Stage::Handshake => "handshake",
            Stage::Connected => "connected",
        }
    }

    /// Whether the session is connected.
    #[must_use]
    pub fn is_connected(self) -> bool {
        self == Stage::Connected
    }
}

/// Which end of a stream a session is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CardRole {
    /// It sends: packets, bytes, loss and score are of its way up.
    #[default]
    Publisher,
    /// It receives: they are of its way down.
    Viewer,
}

impl CardRole {
    /// The word of the API and the metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            CardRole::Publisher => "publisher",
            CardRole::Viewer => "viewer",
        }
    }

    /// Which way its media goes, as the metrics' label.
    #[must_use]
    pub const fn direction(self) -> &'static str {
        match self {
            CardRole::Publisher => "up",
            CardRole::Viewer => "down",
        }
    }
}

/// Names of the SRTP profiles by [`SessionCard::profile`], as IANA registers them.
pub const PROFILES: [&str; 4] =
    ["", "SRTP_AES128_CM_HMAC_SHA1_80", "SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_256_GCM"];

/// One session at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SessionCard {
    /// How far it has got.
    pub stage: Stage,
    /// Which end it is.
    pub role: CardRole,
    /// What was negotiated to encrypt media with, as an index into [`PROFILES`]; 0 until known.
    pub profile: u8,
    /// The last flight of the peer's DTLS handshake that was heard, as RFC 6347 §4.2.4 numbers
    /// them: 1 is its ClientHello, 5 its keys and Finished; 0 when nothing has come.
    pub dtls_flight: u8,
    /// Quality 0 to 100; `None` before the first window with media.
    pub score: Option<f32>,
    /// When it was answered, in milliseconds of Unix time.
    pub created_ms: u64,
    /// From the answer to the first check with the right password, in milliseconds.
    pub first_stun_ms: Option<u32>,
    /// From the answer to the end of the DTLS handshake.
    pub dtls_ms: Option<u32>,
    /// From the answer to the first media packet, from the publisher or to the viewer.
    pub first_media_ms: Option<u32>,
    /// Times its address changed.
    pub moves: u32,
    /// The peer's address.
    pub remote: Option<SocketAddr>,
    /// Ours on that path.
    pub local: Option<SocketAddr>,
    /// Whether that path is a TCP connection.
    pub over_tcp: bool,
    /// Media packets, resends left out.
    pub packets: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Packets that did not arrive, by the receiving end.
    pub lost: u32,
    /// Packets the receiving end asked for again.
    pub nacked: u32,
    /// Packets sent again (viewers).
    pub repaired: u32,
    /// Key frames asked for: by the viewer, of the publisher.
    pub keyframe_requests: u32,
    /// Share of packets lost in the last window, 0 to 1.
    pub loss_ratio: f32,
    /// Interarrival jitter in microseconds.
    pub jitter_us: u32,
    /// Round trip in microseconds.
    pub rtt_us: Option<u32>,
    /// Bits of payload a second in the last window.
    pub bits_per_s: u32,
    /// What they should have been; 0 where that is not known.
    pub expected_bits_per_s: u32,
    /// Which layer of its video a viewer gets, where there are several.
    pub layer: Option<LayerGot>,
    /// Whether it has published packets that no datagram to a viewer has room for.
    pub oversized: bool,
    /// What is thought of a viewer's path, where that decides something.
    pub path: Option<PathShown>,
}

/// Words of eight bytes a card is kept in.
pub(super) const WORDS: usize = 15;

/// Milliseconds of Unix time fit 48 bits until the year 10889; the loss stands above them.
const CREATED_MASK: u64 = (1 << 48) - 1;

/// Bits of the flags, beside a port in half a word.
const FLAGS: u32 = 4;

const _: () = assert!(PATH_BITS <= 16 + (16 - FLAGS) + 16, "the path has room");
const _: () = assert!(GOT_BITS <= 16, "the layer has the other half of a word's half");

/// No value, where all others are possible but this one.
const NONE: u32 = u32::MAX;

impl SessionCard {
    /// The score in words.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.score.map(Level::of)
    }

    /// The mean opinion score.
    #[must_use]
    pub fn mos(&self) -> Option<f32> {
        self.score.map(super::quality::mos)
    }

    pub(super) fn to_words(self) -> [u64; WORDS] {
        let option = |value: Option<u32>| value.map_or(NONE, |value| value.min(NONE - 1));
        let (remote, local) = (address(self.remote), address(self.local));
        let path = PathShown::pack(self.path);
        // Hundredths of a point, and one more so that zero can say "none".
        let score = self.score.map_or(0, |score| (score * 100.0) as u64 + 1);
        let small = [
            (self.stage as u64, 4),
            (self.role as u64, 4),
            (u64::from(self.profile), 4),
            (u64::from(self.dtls_flight), 4),
            (path & 0xffff, 16),
            (score, 16),
            (u64::from(remote.1), 16),
        ];
        let small = small.iter().rev().fold(0, |word, (value, bits)| word << bits | value);
        let loss = (self.loss_ratio.clamp(0.0, 1.0) * 65_535.0).round() as u64;
        let flags = [self.remote.is_some(), self.local.is_some(), self.over_tcp, self.oversized];
        let flags = flags.iter().rev().fold(0, |word, flag| word << 1 | u32::from(*flag));
        // The path lies where there is room.
        let flags = flags | ((path >> 16) as u32 % (1 << 12)) << FLAGS;
        let layer = LayerGot::pack(self.layer) | ((path >> 28) as u32) << 16;
        [
            small,
            (self.created_ms & CREATED_MASK) | loss << 48,
            pair(option(self.first_stun_ms), option(self.dtls_ms)),
            pair(option(self.first_media_ms), self.moves),
            (remote.0 >> 64) as u64,
            remote.0 as u64,
            (local.0 >> 64) as u64,
            local.0 as u64,
            pair(u32::from(local.1) | flags << 16, layer),
            self.packets,
            self.bytes,
            pair(self.lost, self.nacked),
            pair(self.repaired, self.keyframe_requests),
            pair(option(self.rtt_us), self.jitter_us),
            pair(self.bits_per_s, self.expected_bits_per_s),
        ]
    }

    pub(super) fn from_words(words: &[u64; WORDS]) -> SessionCard {
        let high = |index: usize| (words[index] >> 32) as u32;
        let low = |index: usize| words[index] as u32;
        let option = |value: u32| (value != NONE).then_some(value);
        let small = |index: u32| (words[0] >> (4 * index)) as u8 & 0xf;
        let (score, remote_port) = ((words[0] >> 32) as u16, (words[0] >> 48) as u16);
        let ip = |index: usize| u128::from(words[index]) << 64 | u128::from(words[index + 1]);
        let flags = high(8) >> 16;
        let path = words[0] >> 16 & 0xffff
            | u64::from(flags >> FLAGS) << 16
            | u64::from(low(8) >> 16) << 28;
        let at = |bit: u32, ip: u128, port: u16| {
            (flags >> bit & 1 == 1)
                .then(|| SocketAddr::new(Ipv6Addr::from_bits(ip).to_canonical(), port))
        };
        SessionCard {
            stage: Stage::ALL.get(usize::from(small(0))).copied().unwrap_or_default(),
            role: if small(1) == 0 { CardRole::Publisher } else { CardRole::Viewer },
            profile: small(2),
            dtls_flight: small(3),
            score: (score > 0).then(|| f32::from(score - 1) / 100.0),
            created_ms: words[1] & CREATED_MASK,
            first_stun_ms: option(high(2)),
            dtls_ms: option(low(2)),
            first_media_ms: option(high(3)),
            moves: low(3),
            remote: at(0, ip(4), remote_port),
            local: at(1, ip(6), high(8) as u16),
            over_tcp: flags >> 2 & 1 == 1,
            packets: words[9],
            bytes: words[10],
            lost: high(11),
            nacked: low(11),
            repaired: high(12),
            keyframe_requests: low(12),
            loss_ratio: (words[1] >> 48) as f32 / 65_535.0,
            jitter_us: low(13),
            rtt_us: option(high(13)),
            bits_per_s: high(14),
            expected_bits_per_s: low(14),
            layer: LayerGot::unpack(low(8) & 0xffff),
            oversized: flags >> 3 & 1 == 1,
            path: PathShown::unpack(path),
        }
    }
}

fn pair(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn address(address: Option<SocketAddr>) -> (u128, u16) {
    match address {
        None => (0, 0),
        Some(address) => {
            let ip = match address.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            (ip.to_bits(), address.port())
        }
    }
}
